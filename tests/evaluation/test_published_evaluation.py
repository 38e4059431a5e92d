"""The command line on label maps that the published evaluator was given: the same figures come out."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, StoreWriter
from partseg_cli.vocabulary import Pair, Vocabulary

FILES = {"oracle-obj": "oracle", "pred-all": "predall"}
"""Protocol -> what its arrays are called."""
FIGURES = {
    "mIoU": ("mIoU-base", "mIoU-unbase", "h-IoU"),
    "recall": ("mRecall-base", "mRecall-unbase", "h-Recall"),
    "boundary_iou": ("Boundary-mIoU-base", "Boundary-mIoU-unbase", "h-bIoU"),
}
"""Metric -> the published names of seen, unseen and harmonic."""
CLASSES = {"iou": "IoU", "recall": "Recall", "boundary_iou": "BoundaryIoU"}
PUBLISHED_NONE = 255


@pytest.fixture(scope="module")
def expected(reference) -> dict:
    return json.loads((reference / "evaluator_expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def maps(reference) -> dict[str, np.ndarray]:
    with np.load(reference / "evaluator_label_maps.npz") as arrays:
        return dict(arrays)


def flat_record(name: str, labels: np.ndarray, info: DatasetInfo) -> Record:
    """Cut a label map into masks that do not overlap; each object is the union of its parts."""
    owner = info.vocabulary.object_of
    shown = [int(pair) for pair in np.unique(labels[labels != PUBLISHED_NONE])]
    objects = tuple(
        Instance(own, own, Mask.encode(np.isin(labels, [pair for pair in shown if owner[pair] == own])))
        for own in dict.fromkeys(owner[pair] for pair in shown)
    )
    parts = tuple(Part(owner[pair], pair, "", 1, Mask.encode(labels == pair)) for pair in shown)
    height, width = labels.shape
    return Record(name, f"{name}.png", width, height, "a published map", objects, parts)


@pytest.fixture(scope="module")
def prepared(expected, maps, tmp_path_factory) -> Path:
    """A dataset of the maps, with grey photos of their sizes."""
    folder = tmp_path_factory.mktemp("maps")
    words = [name.split("'s ", 1) for name in expected["class_names"]]
    pairs = tuple(Pair(*pair, index in expected["base_class_ids"]) for index, pair in enumerate(words))
    vocabulary = Vocabulary(pairs)
    info = DatasetInfo("published-maps", "images", vocabulary.objects, vocabulary)
    (folder / "images").mkdir()
    with StoreWriter(folder, info, ["train", "val"]) as writer:
        for number in range(len(maps) // 3):
            labels, name = maps[f"gt_{number}"], f"map_{number:02}"
            Image.fromarray(np.zeros_like(labels)).save(folder / "images" / f"{name}.png")
            writer.add("val", flat_record(name, labels, info))
    return folder


def evaluated(partseg, prepared, maps, protocol: str, folder: Path) -> dict:
    """Write the predictions as label PNGs, and give the document that the command prints."""
    (folder / "maps").mkdir()
    for number in range(len(maps) // 3):
        Image.fromarray(maps[f"{FILES[protocol]}_{number}"]).save(folder / "maps" / f"map_{number:02}.png")
    given = ("--predictions", folder / "maps", "--dataset", prepared, "--protocol", protocol)
    light = ("--device", "cpu", "--bootstrap-samples", 0, "--pictures", 0, "--out", folder / "out", "--json")
    ended = partseg("evaluate", *given, "--rule", "partclipseg", *light)
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


@pytest.mark.parametrize("protocol", FILES)
def test_the_command_line_gives_the_published_figures(expected, prepared, maps, protocol, partseg, tmp_path):
    document = evaluated(partseg, prepared, maps, protocol, tmp_path)
    wanted = expected["expected"][protocol]
    assert document["images"] == document["samples_counted"] == 60
    for metric, names in FIGURES.items():
        assert list(document[metric].values()) == pytest.approx([wanted[name] for name in names], abs=1e-9), metric
    labelled = [row for row in document["per_class"] if row["target_pixels"]]
    assert len(labelled) + len(document["classes_without_pixels"]) == expected["num_classes"]
    for row in labelled:
        for key, name in CLASSES.items():
            value = wanted[f"{name}-{row['name']}"]
            assert row[key] == (None if value is None else pytest.approx(value, abs=1e-9)), (key, row["name"])

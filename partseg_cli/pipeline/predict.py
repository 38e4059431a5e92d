"""`partseg predict`: images and words -> masks, overlays and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from partseg_cli.data.manifest import load_manifest, manifest_names
from partseg_cli.data.rle import Mask
from partseg_cli.errors import PartsegError, VocabularyError
from partseg_cli.inference.checkpoint_resolver import BUNDLED, find_checkpoint
from partseg_cli.inference.query import Query, read_query_terms, resolve_query
from partseg_cli.inference.segmenter import Segmentation, Segmenter, load_segmenter, read_images
from partseg_cli.io.atomic import write_json
from partseg_cli.io.label_maps import palette, write_label_map, write_png
from partseg_cli.io.paths import create_run_dir, packaged_weights
from partseg_cli.models.checkpoints.checkpoint import CheckpointHeader, checkpoint_file
from partseg_cli.reports.overlay import add_legend, overlay_labels
from partseg_cli.runtime.devices import build_inference_config
from partseg_cli.vocabulary import Pair, QueryTerm, Vocabulary


@dataclass(frozen=True)
class Predictor:
    """Model and query of a prediction.

    Attributes:
        segmenter: Model that is ready to segment.
        query: Query terms, and the pairs that compete with them.
        checkpoint: Path of the checkpoint.
        header: Header of the checkpoint.
    """

    segmenter: Segmenter
    query: Query
    checkpoint: Path
    header: CheckpointHeader

    @property
    def warning(self) -> str | None:
        """Warning about the weights, None if there is none."""
        is_bundled = self.header.model["backbone"] == BUNDLED
        return "this model, nano, knows cartoon pictures, not photos" if is_bundled else None


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image, or its failure.

    Attributes:
        path: Path of the image.
        files: Overlay, label map and JSON; empty on failure.
        document: Content of the JSON.
        error: Reason of the failure.
    """

    path: Path
    files: tuple[Path, ...] = ()
    document: dict[str, Any] = field(default_factory=dict)
    error: PartsegError | None = None


def open_predictor(
    vocab: Sequence[str],
    *,
    checkpoint: Path | None = None,
    model: str | None = None,
    context: str = "auto",
    device: str = "auto",
    precision: str = "fp32",
    batch: int = 1,
    prompt_chunk: int | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Predictor:
    """Read the query, load the weights, and resolve the query.

    Args:
        vocab: Query terms, or files of them.
        checkpoint: Path of a checkpoint or run directory.
        model: Name of a checkpoint, see `find_checkpoint`. With neither, the weights on this machine are used, else the
            bundled model.
        context: "auto", "none", or a file of pairs: the parts that compete silently.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: "fp32", "bf16" or "fp16".
        batch: Number of images per forward pass.
        prompt_chunk: Number of prompts that the decoder takes at once; None suits the device.
        log: Callback for one-line status messages.

    Raises:
        CheckpointError: The weights are not found, or cannot be read.
        VocabularyError: The query is empty, repetitive or unreadable, or has words that the model does not know.
    """
    compute = build_inference_config(device, precision, prompt_chunk, batch)
    terms = read_query_terms(vocab)
    path = find_checkpoint(checkpoint, model, log)
    if path is None:
        log(f"no other weights on this machine: the bundled model {BUNDLED} is used")
        path = packaged_weights(BUNDLED)
    segmenter, header = load_segmenter(path, compute)
    competing = context if context in {"auto", "none"} else _read_pairs(context)
    query = resolve_query(terms, header.vocabulary, _packaged_vocabularies(), competing)
    segmenter.check_words(query.vocabulary)
    return Predictor(segmenter, query, checkpoint_file(path), header)


def _packaged_vocabularies() -> Iterator[Vocabulary]:
    for name in manifest_names():
        yield load_manifest(name).vocabulary


def _read_pairs(file: str) -> Vocabulary:
    pairs = []
    for term in read_query_terms([file]):
        if term.object is None or term.part is None:
            raise VocabularyError(
                f'--context: a file of pairs such as "cat\'s ear" is wanted, got {term.text!r}; complete it'
            )
        pairs.append(Pair(term.object, term.part))
    return Vocabulary(tuple(pairs))


def predict(predictor: Predictor, paths: Sequence[Path], out: Path | None = None) -> Iterator[Prediction]:
    """Predict image after image; one that fails does not stop the others.

    Args:
        predictor: Model and query.
        paths: Files, folders and patterns.
        out: Folder of the results; default `runs/predict/photos-N`.
    """
    folder = out
    stems: set[str] = set()
    group: list[tuple[Path, Image.Image]] = []
    for path, image in read_images(paths):
        if isinstance(image, Image.Image):
            folder = folder or create_run_dir("predict", "photos")
            group.append((path, image))
        if group and (isinstance(image, PartsegError) or len(group) == predictor.segmenter.compute.batch):
            yield from _predict_group(predictor, group, folder or Path(), stems)
            group = []
        if isinstance(image, PartsegError):
            yield Prediction(path, error=image)
    if group:
        yield from _predict_group(predictor, group, folder or Path(), stems)


def _predict_group(
    predictor: Predictor, group: Sequence[tuple[Path, Image.Image]], folder: Path, stems: set[str]
) -> Iterator[Prediction]:
    """Predict images in one forward pass; decide and write one after the other."""
    results = predictor.segmenter.segment([image for _, image in group], predictor.query)
    for (path, image), result in zip(group, results, strict=True):
        stem, number = path.stem, 1
        while stem in stems:
            number += 1
            stem = f"{path.stem}-{number}"
        stems.add(stem)
        yield _write(predictor, path, image, result, folder / stem)


def _write(predictor: Predictor, path: Path, image: Image.Image, result: Segmentation, stem: Path) -> Prediction:
    """Write the files of one image, whose names begin with `stem`."""
    query, labels = predictor.query, result.labels.numpy()
    classes = [_describe(term, index, result) for index, term in enumerate(query.terms)]
    files = tuple(stem.with_name(stem.name + suffix) for suffix in ("_overlay.png", "_labels.png", ".json"))
    colours = palette(len(query.terms))
    scores = [f"{row['score']:.2f}" if row["area"] else "(nowhere)" for row in classes]
    legend = [
        (rgb.tolist(), f"{row['word']}  {score}") for rgb, row, score in zip(colours, classes, scores, strict=True)
    ]
    write_png(files[0], add_legend(overlay_labels(image, labels, colours), legend, path.name))
    write_label_map(files[1], labels, len(query.terms))
    header = predictor.header
    document = {
        "image": str(path),
        "width": image.width,
        "height": image.height,
        "checkpoint": str(predictor.checkpoint),
        "model": header.model,
        "step": header.step,
        "licence": header.imported.get("licence"),
        "warning": predictor.warning,
        "classes": classes,
        "nothing_area": int((labels < 0).sum()),
        "competing_silently": [
            pair.name for pair, term in zip(query.vocabulary.pairs, query.pair_to_term, strict=True) if term < 0
        ],
        "notes": list(query.notes),
    }
    write_json(files[2], document)
    return Prediction(path, files, document)


def _describe(term: QueryTerm, index: int, result: Segmentation) -> dict[str, Any]:
    """Return the record of one query term: its pixels, their mean score (null without any), its mask."""
    inside = result.labels == index
    area = int(inside.sum())
    mask = Mask.encode(inside.numpy())
    return {
        "index": index,
        "word": term.text,
        "object": term.object,
        "part": term.part,
        "area": area,
        "score": round(float(result.scores[inside].mean()), 6) if area else None,
        "bbox": list(mask.bbox),
        "rle": {"size": list(result.labels.shape), "counts": mask.rle},
    }

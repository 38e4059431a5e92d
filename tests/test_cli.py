import csv
import io
import json
import re
import subprocess
import sys
import warnings
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from command_line import tiny
from PIL import Image
from pycocotools import mask as coco
from safetensors.torch import load_file

import partseg_cli
from partseg_cli.io.label_maps import palette
from partseg_cli.training.objective import Objective

COMMANDS = ("prepare", "inspect", "split", "train", "evaluate", "compare", "merge", "predict", "export", "demo")
RESULT_KEYS = {
    *("protocol", "rule", "split", "dataset", "model", "checkpoint", "mIoU", "recall", "boundary_iou"),
    *("classes_counted", "classes_at_zero", "pixels", "per_class", "versions"),
}
OBJECTS = (
    *("aeroplane", "bicycle", "bird", "bottle", "bus", "car", "cat", "cow", "dog", "horse", "motorbike", "person"),
    *("pottedplant", "sheep", "train", "tvmonitor"),
)
CAT_PARTS = ("tail", "head", "eye", "torso", "neck", "leg", "nose", "paw", "ear")
CARTOON_WARNING = "this model, nano, knows cartoon pictures, not photos"
BUNDLED = f"no other weights on this machine: the bundled model nano is used\nwarning: {CARTOON_WARNING}\n"
NO_WEIGHTS = (
    "error: trained weights are needed, got none (looked in {}, {}): pass --checkpoint RUN_FOLDER after "
    "`partseg train`, bring published ones with `partseg weights import`, or, where there is a network, let "
    "--model clipseg-rd64-refined fetch CLIPSeg's; --model nano is bundled, but knows cartoons only\n"
)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
"""Escape codes, and the carriage returns of bars."""


def scene(trained) -> Path:
    """A photo with a cat in it, where the model finds something."""
    return trained.photos[3]


def one_json(out: str) -> dict:
    """The document on stdout; json refuses anything before or after it."""
    return json.loads(out)


def predicted(partseg, trained, out: Path, *words: object, photo: Path | None = None) -> dict:
    """Predict one photo; give its JSON file."""
    photo = photo or scene(trained)
    ended = partseg("predict", photo, "--checkpoint", trained.run, "--device", "cpu", "--out", out, *words)
    assert ended.code == 0, ended.err
    return json.loads((out / f"{photo.stem}.json").read_text())


def vocab(*words: str) -> list[str]:
    return [piece for word in words for piece in ("--vocab", word)]


def mask_of(row: dict) -> np.ndarray:
    rle = row["rle"]
    with warnings.catch_warnings(action="ignore"):  # pycocotools meets NumPy 2
        return coco.decode({"size": rle["size"], "counts": rle["counts"].encode()}).astype(bool)


def picture(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
    return image


# help


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example_of_it(partseg, command):
    ended = partseg(command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f"Example: partseg {command}" in " ".join(ended.out.split())


def test_the_help_names_every_command(partseg):
    ended = partseg("--help")
    assert ended.code == 0
    assert re.findall(r"^│ ([a-z]+)  ", ended.out, re.MULTILINE) == [*COMMANDS, "weights", "recipes", "launch", "bench"]


@pytest.mark.process
def test_no_help_waits_for_torch():
    code = (
        "import sys\n"
        "from partseg_cli.cli.app import app\n"
        f"for words in [], *([name] for name in {(*COMMANDS, 'weights', 'recipes', 'launch', 'bench')!r}):\n"
        "    app([*words, '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'scipy', 'PIL', 'open_clip'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_version_is_the_packages(partseg):
    assert partseg("--version") == (0, f"partseg {partseg_cli.__version__}\n", "")


# train


@pytest.mark.training
@pytest.mark.page
def test_train_fills_a_run_folder_and_prints_its_checkpoint(partseg, trained, tmp_path):
    ended = partseg("train", "tiny", *tiny(trained.data), "--device", "cpu", "--out", tmp_path / "run")
    assert ended.code == 0
    assert ended.out == f"{tmp_path}/run/checkpoints/last.safetensors\n"
    assert sorted(p.relative_to(tmp_path / "run").as_posix() for p in (tmp_path / "run").rglob("*.*")) == [
        "checkpoints/last.safetensors",
        "checkpoints/selected.json",
        "checkpoints/step-000002.safetensors",
        "checkpoints/step-000002.state",
        "command.txt",
        "env.json",
        "loss.png",
        "metrics.jsonl",
        "recipe.yaml",
        "run.html",
    ]
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert (tmp_path / "run/command.txt").read_text().startswith("partseg train tiny data.dataset=cartoon-part ")


@pytest.mark.training
def test_the_same_recipe_trains_the_same_weights(partseg, trained, tmp_path):
    partseg("train", "tiny", *tiny(trained.data), "--device", "cpu", "--out", tmp_path / "run")
    again, first = (load_file(run / "checkpoints/last.safetensors") for run in (tmp_path / "run", trained.run))
    assert again.keys() == first.keys()
    assert all(tensor.equal(first[name]) for name, tensor in again.items())


@pytest.mark.training
def test_the_recipe_of_a_run_folder_is_a_recipe(partseg, trained, tmp_path):
    ended = partseg("train", trained.run / "recipe.yaml", "train.iterations=1", "--out", tmp_path, "--device", "cpu")
    assert ended.code == 0
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.training
def test_off_a_terminal_nothing_prints_escape_codes_or_bars(partseg, trained, tmp_path):
    data = tmp_path / "data"
    common = ("--device", "cpu", "--out")
    commands = (
        ("prepare", "cartoon-part", "--images", 10, "--size", 64, "--out", data),
        ("split", data),
        ("train", "tiny", *tiny(data), *common, tmp_path / "run"),
        ("evaluate", "tiny", *tiny(data), "--checkpoint", tmp_path / "run", *common, tmp_path / "scores"),
        ("predict", scene(trained), "--vocab", "cat", "--checkpoint", tmp_path / "run", *common, tmp_path / "p"),
    )
    for words in commands:
        ended = partseg(*words)
        assert ended.code == 0, ended.err
        assert CONTROL.findall(ended.out + ended.err) == [], words[0]
        assert "%|" not in ended.err, words[0]


# evaluate


@pytest.mark.parametrize("protocol", ["pred-all", "oracle-obj"])
def test_evaluate_json_is_one_document_with_the_agreed_keys(partseg, trained, tmp_path, protocol):
    words = ("--checkpoint", trained.run, "--protocol", protocol, "--device", "cpu", "--out", tmp_path, "--json")
    ended = partseg("evaluate", "tiny", *tiny(trained.data), *words)
    assert ended.code == 0, ended.err
    document = one_json(ended.out)
    assert document.keys() >= RESULT_KEYS
    assert document == json.loads((tmp_path / "results.json").read_text())
    assert ended.err == f"{tmp_path}: results.json, results.csv, results.md, results.html, counts.npz\n"
    about = [document[key] for key in ("protocol", "rule", "split", "dataset", "model", "checkpoint")]
    assert about == [
        protocol,
        "ref-v2",
        "val",
        "cartoon-part",
        "partclipseg",
        str(trained.run / "checkpoints/last.safetensors"),
    ]


def test_the_means_of_a_result_follow_from_its_classes(partseg, trained, tmp_path):
    words = ("--checkpoint", trained.run, "--protocol", "oracle-obj", "--device", "cpu", "--out", tmp_path, "--json")
    document = one_json(partseg("evaluate", "tiny", *tiny(trained.data), *words).out)
    rows = document["per_class"]
    counted = [row for row in rows if row["target_pixels"]]
    assert 0 < len(counted) == document["classes_counted"] <= len(rows)
    assert document["pixels"] == sum(row["target_pixels"] for row in rows)
    for key, column in (("mIoU", "iou"), ("recall", "recall")):
        seen, unseen = ([row[column] for row in counted if row["seen"] is flag] for flag in (True, False))
        assert list(document[key]) == ["seen", "unseen", "harmonic"]
        assert document[key]["seen"] == pytest.approx(sum(seen) / len(seen))
        if unseen:
            means = [sum(values) / len(values) for values in (seen, unseen)]
            assert document[key]["unseen"] == pytest.approx(means[1])
            assert document[key]["harmonic"] == pytest.approx(2 * means[0] * means[1] / sum(means) if all(means) else 0)
        else:
            assert document[key]["unseen"] is document[key]["harmonic"] is None
    assert document["mIoU"]["seen"] > 0


def test_evaluate_without_json_prints_tables_and_writes_a_line_for_each_pair(partseg, trained, tmp_path):
    ended = partseg("evaluate", "tiny", *tiny(trained.data), "--checkpoint", trained.run, "--out", tmp_path)
    assert ended.code == 0, ended.err
    for text in ("cartoon-part, val", "mIoU", "recall", "harmonic", "pred-all, rule ref-v2"):
        assert text in ended.out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text())))
    assert len(rows) == 116
    assert list(rows[0]) == [
        *("name", "seen", "iou", "recall", "precision", "boundary_iou", "over", "under"),
        *("target_pixels", "predicted_pixels"),
    ]


def test_evaluate_on_train_scores_other_photos_than_on_val(partseg, trained, tmp_path):
    words = ("--checkpoint", trained.run, "--device", "cpu", "--json", "--out")
    pixels = [
        one_json(partseg("evaluate", "tiny", *tiny(trained.data), "--split", split, *words, tmp_path / split).out)[
            "pixels"
        ]
        for split in ("train", "val")
    ]
    assert pixels[0] > pixels[1] > 0


# pictures and label maps


def test_predict_writes_an_overlay_a_label_map_and_a_json(partseg, trained, tmp_path):
    words = ["cat's head", "cat's ear", "dog", "person"]
    document = predicted(partseg, trained, tmp_path, *vocab(*words))
    stem = scene(trained).stem
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{stem}.json",
        f"{stem}_labels.png",
        f"{stem}_overlay.png",
    ]
    assert [row["word"] for row in document["classes"]] == words
    assert (document["width"], document["height"]) == (64, 64)
    assert document["warning"] is None
    overlay = picture(tmp_path / f"{stem}_overlay.png")
    assert overlay.width > 64  # the legend stands beside the photo


def test_label_map_areas_and_run_lengths_say_the_same(partseg, trained, tmp_path):
    document = predicted(partseg, trained, tmp_path, *vocab(*OBJECTS, "cat's head", "person's torso"))
    image = picture(tmp_path / f"{scene(trained).stem}_labels.png")
    assert (image.mode, image.size) == ("P", (64, 64))
    labels = np.asarray(image)
    assert set(np.unique(labels)) <= {*range(len(OBJECTS) + 2), 255}
    assert sum(row["area"] for row in document["classes"]) > 0
    for row in document["classes"]:
        np.testing.assert_array_equal(mask_of(row), labels == row["index"])
        assert row["area"] == (labels == row["index"]).sum()
        assert (row["score"] is None) == (row["area"] == 0)
        assert row["score"] is None or 0 < row["score"] <= 1
    assert document["nothing_area"] == (labels == 255).sum()


def test_the_palette_of_the_label_map_holds_the_colours_of_the_legend(partseg, trained, tmp_path):
    predicted(partseg, trained, tmp_path, *vocab("cat", "dog", "bus"))
    image = picture(tmp_path / f"{scene(trained).stem}_labels.png")
    colours = np.asarray(image.getpalette()).reshape(-1, 3)
    image = picture(tmp_path / f"{scene(trained).stem}_overlay.png")
    legend = {colour for _, colour in image.convert("RGB").crop((64, 0, *image.size)).getcolors(10**6)}
    np.testing.assert_array_equal(colours[:3], palette(3))
    assert {tuple(colour) for colour in colours[:3].tolist()} <= legend
    assert colours[255].tolist() == [0, 0, 0]


def test_from_255_words_on_the_label_map_has_16_bits(partseg, trained, tmp_path):
    (tmp_path / "words.txt").write_text("\n".join(f"thing {number}" for number in range(255)))
    predicted(partseg, trained, tmp_path / "out", "--vocab", tmp_path / "words.txt")
    image = picture(tmp_path / "out" / f"{scene(trained).stem}_labels.png")
    assert image.mode == "I;16"
    values = set(np.unique(np.asarray(image)))
    assert values <= {*range(255), 65535}
    assert len(values) > 1


def test_predict_twice_gives_the_same_bytes(partseg, trained, tmp_path):
    for out in (tmp_path / "a", tmp_path / "b"):
        predicted(partseg, trained, out, *vocab("cat", "dog's ear"))
    for first in (tmp_path / "a").iterdir():
        assert first.read_bytes() == (tmp_path / "b" / first.name).read_bytes()


def test_a_turned_photo_is_predicted_upright(partseg, trained, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: show it a quarter clockwise
    upright = picture(scene(trained)).crop((0, 0, 40, 64))
    upright.save(tmp_path / "upright.png")
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    words = vocab(*OBJECTS)
    for name in ("upright", "turned"):
        document = predicted(partseg, trained, tmp_path / "out", *words, photo=tmp_path / f"{name}.png")
        assert (document["width"], document["height"]) == (40, 64)
    labels = [np.asarray(picture(tmp_path / f"out/{name}_labels.png")) for name in ("upright", "turned")]
    assert labels[0].shape == (64, 40)
    np.testing.assert_array_equal(*labels)
    overlays = [picture(tmp_path / f"out/{name}_overlay.png").crop((0, 0, 40, 64)) for name in ("upright", "turned")]
    np.testing.assert_array_equal(*map(np.asarray, overlays))


def test_photos_of_every_colour_kind_are_predicted_at_their_own_size(partseg, trained, tmp_path):
    photo = picture(scene(trained)).convert("RGB").crop((0, 0, 50, 30))
    grey = np.asarray(photo.convert("L"))
    (tmp_path / "in").mkdir()
    kinds = {
        "alpha.png": photo.convert("RGBA"),
        "bits.png": photo.convert("1"),
        "cmyk.jpg": photo.convert("CMYK"),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "grey.png": Image.fromarray(grey),
        "palette.gif": photo.convert("P"),
    }
    for name, image in kinds.items():
        image.save(tmp_path / "in" / name)
    words = (*vocab(*OBJECTS), "--checkpoint", trained.run, "--device", "cpu", "--out", tmp_path / "out", "--json")
    ended = partseg("predict", tmp_path / "in", *words)
    assert ended.code == 0, ended.err
    documents = one_json(ended.out)["predictions"]
    assert [Path(document["image"]).name for document in documents] == sorted(kinds)
    assert {(document["width"], document["height"]) for document in documents} == {(50, 30)}
    labels = {name: np.asarray(picture(tmp_path / f"out/{name[:-4]}_labels.png")) for name in kinds}
    assert {plane.shape for plane in labels.values()} == {(30, 50)}
    np.testing.assert_array_equal(labels["deep.png"], labels["grey.png"])


def test_files_folders_and_patterns_stand_for_photos(partseg, trained, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b.png", "a.png"):
        picture(scene(trained)).save(folder / name)
    (folder / "notes.md").write_text("no photo")
    words = ("--vocab", "cat", "--checkpoint", trained.run, "--device", "cpu", "--out", tmp_path / "out", "--json")
    ended = partseg("predict", scene(trained), folder, *words)
    assert ended.code == 0
    named = [Path(item["image"]).name for item in one_json(ended.out)["predictions"]]
    assert named == [scene(trained).name, "a.png", "b.png"]
    named = [item["image"] for item in one_json(partseg("predict", folder / "?.png", *words).out)["predictions"]]
    assert named == [str(folder / "a.png"), str(folder / "b.png")]


def test_a_photo_named_twice_is_predicted_once(partseg, trained, tmp_path):
    photo = scene(trained)
    words = ("--vocab", "cat", "--checkpoint", trained.run, "--device", "cpu", "--out", tmp_path, "--json")
    ended = partseg("predict", photo, photo.parent / f"{photo.stem[:-1]}[{photo.stem[-1]}].png", *words)
    assert ended.code == 0
    assert [item["image"] for item in one_json(ended.out)["predictions"]] == [str(photo)]


def test_photos_of_one_name_do_not_overwrite_each_other(partseg, trained, tmp_path):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / scene(trained).name
    Image.new("RGB", (20, 10)).save(twin)
    words = ("--vocab", "cat", "--checkpoint", trained.run, "--device", "cpu", "--out", tmp_path / "out")
    assert partseg("predict", scene(trained), twin, *words).code == 0
    stem = twin.stem
    sizes = [picture(tmp_path / "out" / f"{name}_labels.png").size for name in (stem, f"{stem}-2")]
    assert sizes == [(64, 64), (20, 10)]


# words


def test_every_form_of_a_vocabulary_asks_the_same(partseg, trained, tmp_path):
    (tmp_path / "words.txt").write_text("# of cats\ncat's ear\n\ncat's tail  # the long one\nbus\n")
    (tmp_path / "list.yaml").write_text("- cat's ear\n- {object: cat, part: tail}\n- {object: bus}\n")
    (tmp_path / "map.yml").write_text("cat: [ear, tail]\nbus:\n")
    forms = (
        vocab("cat's ear", "cat's tail", "bus"),
        vocab("cat's ear, cat's tail,bus"),
        vocab("cat’s ear", "cat's  tail,", "Bus"),
        *(["--vocab", tmp_path / name] for name in ("words.txt", "list.yaml", "map.yml")),
    )
    asked = []
    for words in forms:
        classes = predicted(partseg, trained, tmp_path / "out", *words)["classes"]
        asked.append([{key: row[key] for key in ("index", "object", "part", "area", "rle")} for row in classes])
    assert [(row["object"], row["part"]) for row in asked[0]] == [("cat", "ear"), ("cat", "tail"), ("bus", None)]
    assert all(other == asked[0] for other in asked[1:])


def test_one_asked_part_gets_the_same_pixels_as_when_all_parts_are_asked(partseg, trained, tmp_path):
    together = predicted(partseg, trained, tmp_path, *vocab(*(f"cat's {part}" for part in CAT_PARTS)))["classes"]
    found = [row for row in together if row["area"]]
    assert len(found) > 1
    for row in found:
        (alone,) = predicted(partseg, trained, tmp_path, "--vocab", row["word"])["classes"]
        assert (alone["area"], alone["rle"]) == (row["area"], row["rle"])


def test_one_asked_part_never_fills_its_object(partseg, trained, tmp_path):
    whole = predicted(partseg, trained, tmp_path, "--vocab", "cat")["classes"][0]["area"]
    documents = [predicted(partseg, trained, tmp_path, "--vocab", f"cat's {part}") for part in CAT_PARTS]
    areas = [document["classes"][0]["area"] for document in documents]
    assert 0 < max(areas) < whole
    others = sorted(f"cat's {part}" for part in CAT_PARTS if part != "ear")
    assert sorted(documents[-1]["competing_silently"]) == others


def test_without_context_the_asked_part_takes_its_whole_object(partseg, trained, tmp_path):
    words = ("--vocab", "cat's ear", "--context")
    areas = {
        context: predicted(partseg, trained, tmp_path, *words, context)["classes"][0]["area"]
        for context in ("auto", "none")
    }
    assert areas["none"] > areas["auto"]


def test_a_file_of_pairs_names_what_competes(partseg, trained, tmp_path):
    (tmp_path / "context.txt").write_text("cat's ear\ncat's whisker\ndog's tail\n")
    words = ("--vocab", "cat's ear", "--context", tmp_path / "context.txt")
    assert predicted(partseg, trained, tmp_path / "out", *words)["competing_silently"] == ["cat's whisker"]


def test_an_object_gets_what_no_asked_part_of_it_takes(partseg, trained, tmp_path):
    alone = predicted(partseg, trained, tmp_path, "--vocab", "cat")["classes"][0]
    part, rest = predicted(partseg, trained, tmp_path, *vocab("cat's torso", "cat"))["classes"]
    assert rest["area"] > 0
    assert rest["area"] + part["area"] == alone["area"]
    np.testing.assert_array_equal(mask_of(rest) | mask_of(part), mask_of(alone))


def test_a_bare_part_is_that_part_of_every_object_that_has_it(partseg, trained, tmp_path):
    document = predicted(partseg, trained, tmp_path, "--vocab", "wing")
    (row,) = document["classes"]
    assert (row["object"], row["part"]) == (None, "wing")
    others = {
        "aeroplane": ("body", "stern", "tail", "engine", "wheel"),
        "bird": ("tail", "head", "eye", "beak", "torso", "neck", "leg", "foot"),
    }
    assert sorted(document["competing_silently"]) == sorted(
        f"{name}'s {part}" for name, parts in others.items() for part in parts
    )


def test_an_unknown_word_is_said_to_be_taken_as_an_object(partseg, trained, tmp_path):
    words = ("--vocab", "teapot", "--checkpoint", trained.run, "--out", tmp_path)
    ended = partseg("predict", scene(trained), *words)
    assert ended.err.startswith("'teapot' is no known object or part: taken as an object\n")


# weights


def test_evaluate_without_weights_says_how_to_get_them(partseg, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ended = partseg("evaluate", "tiny", *tiny(trained.data), "--out", tmp_path / "out")
    assert ended == (4, "", NO_WEIGHTS.format(tmp_path, tmp_path / "cache/partseg"))
    assert not (tmp_path / "out").exists()


def test_the_weights_of_the_environment_are_used(partseg, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(trained.run / "checkpoints"))
    ended = partseg("predict", scene(trained), "--vocab", "cat", "--out", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    (document,) = one_json(ended.out)["predictions"]
    assert document["checkpoint"] == str(trained.run / "checkpoints/last.safetensors")


def test_without_weights_the_bundled_model_is_used_and_warns_on_the_terminal_and_in_the_json(
    partseg, trained, tmp_path, monkeypatch
):
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(tmp_path))
    words = ("--vocab", "cat's ear", "--device", "cpu", "--json")
    ended = partseg("predict", scene(trained), *words, "--out", tmp_path / "out")
    assert (ended.code, ended.err) == (0, BUNDLED)
    (document,) = one_json(ended.out)["predictions"]
    assert (document["warning"], document["model"]["backbone"]) == (CARTOON_WARNING, "nano")
    assert document["checkpoint"].endswith("nano.safetensors")


def test_the_bundled_model_stands_in_only_where_there_are_no_weights(partseg, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(trained.run / "checkpoints"))
    words = ("--vocab", "cat's ear", "--device", "cpu", "--json")
    ended = partseg("predict", scene(trained), *words, "--out", tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert one_json(ended.out)["predictions"][0]["warning"] is None


def test_the_bundled_model_goes_by_its_name(partseg, trained, tmp_path):
    words = ("--vocab", "cat's ear", "--device", "cpu", "--json", "--model", "nano")
    ended = partseg("predict", scene(trained), *words, "--out", tmp_path)
    assert (ended.code, ended.err) == (0, f"warning: {CARTOON_WARNING}\n")


def test_words_that_the_bundled_model_has_never_seen_are_named(partseg, trained, tmp_path):
    words = ("--vocab", "zebra's trunk", "--vocab", "cat's ear", "--device", "cpu", "--model", "nano")
    ended = partseg("predict", scene(trained), *words, "--out", tmp_path / "out")
    assert ended.code == 2
    assert "this model knows 61 words, got trunk, zebra; known are aeroplane, and, " in ended.err
    assert not (tmp_path / "out").exists()


# ways to compute


@pytest.fixture
def album(trained, tmp_path) -> list[Path]:
    """Five photos, no two of one size."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number, path in enumerate(trained.photos[:5]):
        picture(path).crop((0, 0, 64 - 3 * number, 40 + 5 * number)).save(folder / path.name)
    return sorted(folder.iterdir())


def label_maps(partseg, trained, album: list[Path], out: Path, *words: object) -> dict[str, np.ndarray]:
    given = (*vocab(*OBJECTS, "cat's head", "dog's ear"), "--checkpoint", trained.run, "--device", "cpu")
    ended = partseg("predict", *album, *given, "--out", out, *words)
    assert ended.code == 0, ended.err
    return {path.name: np.asarray(picture(path)) for path in sorted(out.glob("*_labels.png"))}


def test_labels_do_not_depend_on_how_many_photos_or_prompts_are_taken_at_once(partseg, trained, album, tmp_path):
    expected = label_maps(partseg, trained, album, tmp_path / "plain")
    assert len(expected) == 5
    assert len(np.unique(np.concatenate([labels.ravel() for labels in expected.values()]))) > 2
    ways = {"batch": ("--batch", 2), "chunk": ("--prompt-chunk", 3), "both": ("--prompt-chunk", 99, "--batch", 5)}
    for name, words in ways.items():
        found = label_maps(partseg, trained, album, tmp_path / name, *words)
        assert found.keys() == expected.keys()
        for photo, labels in found.items():
            np.testing.assert_array_equal(labels, expected[photo], err_msg=f"{name} {photo}")


def test_half_precision_changes_few_labels(partseg, trained, album, tmp_path):
    full, half = (label_maps(partseg, trained, album, tmp_path / p, "--precision", p) for p in ("fp32", "bf16"))
    same = [(half[name] == labels).mean() for name, labels in full.items()]
    assert np.mean(same) > 0.9


def test_a_batch_with_a_bad_photo_in_it_predicts_the_others_in_order(partseg, trained, album, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    words = ("--vocab", "cat", "--checkpoint", trained.run, "--device", "cpu", "--out", tmp_path / "out", "--json")
    photos = [album[0], tmp_path / "bad.png", *album[1:]]
    ended = partseg("predict", *photos, *words, "--batch", 3)
    assert ended.code == 3
    documents = one_json(ended.out)["predictions"]
    assert [document["image"] for document in documents] == [str(path) for path in photos]
    assert ["error" in document for document in documents] == [False, True, False, False, False, False]
    assert [(d["width"], d["height"]) for d in documents if "error" not in d] == [picture(p).size for p in album]


@pytest.mark.parametrize("protocol", ["pred-all", "oracle-obj"])
def test_scores_do_not_depend_on_how_many_photos_or_prompts_are_taken_at_once(partseg, trained, tmp_path, protocol):
    common = ("--checkpoint", trained.run, "--protocol", protocol, "--device", "cpu", "--json", "--out", tmp_path)
    plain, *others = (
        one_json(partseg("evaluate", "tiny", *tiny(trained.data), *common, *words).out)
        for words in ([], ["--batch", 3], ["--prompt-chunk", 7], ["--batch", 99, "--prompt-chunk", 1])
    )
    assert plain["pixels"] > 0
    *same, single = others
    assert all(other == plain for other in same)
    # one prompt at a time is summed in another order: where two parts tie almost, a pixel or two may fall the other way
    assert single["mIoU"] == pytest.approx(plain["mIoU"], abs=0.02)
    pairs = zip(single["per_class"], plain["per_class"], strict=True)
    assert sum(abs(one["predicted_pixels"] - two["predicted_pixels"]) for one, two in pairs) <= 4
    half = one_json(partseg("evaluate", "tiny", *tiny(trained.data), *common, "--precision", "bf16").out)
    assert half["pixels"] == plain["pixels"]


def test_the_model_and_its_picture_size_are_the_checkpoints_whatever_recipe_names_the_data(partseg, trained, tmp_path):
    common = ("--checkpoint", trained.run, "--device", "cpu", "--json", "--out", tmp_path)
    own, other = (
        one_json(partseg("evaluate", recipe, *tiny(trained.data), *more, *common).out)
        for recipe, more in (("tiny", []), ("pascal_zeroshot", ["model.image_size=352"]))
    )
    assert own == other
    assert other["backbone"] == "tiny"


# demo


@pytest.mark.training
def test_demo_runs_the_whole_chain_and_names_its_page(partseg, tmp_path):
    ended = partseg("demo", "--images", 20, "--iterations", 1, "--out", tmp_path / "demo")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == f"look at {tmp_path / 'demo/demo.html'}"
    page = (tmp_path / "demo/demo.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "http:" not in page
    assert "https:" not in page
    assert "dog&#39;s ear" in page
    assert [picture(tmp_path / "demo" / name).mode for name in ("data/preview.png", "predictions.png")] == ["RGB"] * 2


# interruption


@pytest.fixture
def interrupt(monkeypatch):
    """Ctrl-C in the second training step."""
    call, calls = Objective.__call__, count(1)

    def interrupted(self, batch):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return call(self, batch)

    monkeypatch.setattr(Objective, "__call__", interrupted)


@pytest.mark.training
@pytest.mark.usefixtures("interrupt")
def test_an_interrupted_run_exits_130_and_leaves_nothing_half_written(partseg, trained, tmp_path):
    ended = partseg("train", "tiny", *tiny(trained.data), "--out", tmp_path / "run", "--device", "cpu")
    assert (ended.code, ended.out) == (130, "")
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 1
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.training
@pytest.mark.usefixtures("interrupt")
def test_an_interrupted_run_says_so_in_its_last_line(partseg, trained, tmp_path):
    ended = partseg("train", "tiny", *tiny(trained.data), "--out", tmp_path / "run", "--device", "cpu")
    assert ended.err.splitlines()[-1] == "interrupted"


def test_the_bundled_model_takes_the_chunk_asked_for(monkeypatch, tmp_path):
    from partseg_cli.pipeline.predict import open_predictor

    monkeypatch.setenv("PARTSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert open_predictor(["cat"], device="cpu", prompt_chunk=3).segmenter.model.prompt_chunk == 3

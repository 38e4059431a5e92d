"""Wrong input: each one ends in one line (what, the rule, the value got, what to do) and the agreed exit code."""

import json
import pickle
import shutil

import numpy as np
import pytest
from command_line import tiny
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from partseg_cli.cli import app
from partseg_cli.data.manifest import load_manifest
from partseg_cli.errors import CheckpointError, DataError, OutOfMemoryError, PartsegError, RecipeError
from partseg_cli.io.paths import packaged
from partseg_cli.models.partclipseg.objective import PartCLIPSegLoss
from partseg_cli.runtime.devices import memory_watch

TINY = packaged("recipes") / "tiny.yaml"
FORMATS = "JPEG, PNG, WEBP, TIFF, BMP, GIF, PPM, JPEG2000"
NOWHERE = "(looked for Annotations_Part, pascal_part/Annotations_Part, */Annotations_Part, */*/Annotations_Part)"


@pytest.fixture
def complaint(partseg, tmp_path, monkeypatch):
    """Give `complaint(*words)`: exit code and the whole error message, run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[object, str]:
        ended = partseg(*words)
        assert ended.out == ""
        *notes, last = ended.err.splitlines()
        assert not any(note.startswith("error") for note in notes)
        assert last.startswith("error: "), ended.err
        return ended.code, last.removeprefix("error: ")

    return run


@pytest.fixture
def refused(partseg, tmp_path, monkeypatch):
    """Give `refused(*words)`: the text of a command line that cannot be parsed; its exit code is 2."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> str:
        ended = partseg(*words)
        assert (ended.code, ended.out) == (2, "")
        return " ".join(ended.err.replace("│", " ").split())

    return run


@pytest.fixture
def photo(trained):
    return trained.photos[3]


@pytest.fixture
def altered(trained, tmp_path):
    """Give `altered(name, **model)`: a checkpoint whose header says something else of its model."""

    def write(name: str, **model: object):
        before, after = trained.run / "checkpoints/last.safetensors", tmp_path / name
        with safe_open(before, framework="pt") as file:
            metadata = file.metadata()
        about = json.loads(metadata["partseg"])
        about["model"] |= model
        save_file(load_file(before), after, {**metadata, "partseg": json.dumps(about)})
        return after

    return write


def everything_below(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# exit codes


@pytest.mark.parametrize(
    ("error", "code"),
    [(PartsegError, 1), (RecipeError, 2), (DataError, 3), (CheckpointError, 4), (OutOfMemoryError, 5)],
)
def test_every_kind_of_mistake_has_its_exit_code_and_one_line(partseg, monkeypatch, error, code):
    def fail():
        raise error("a first line\n  and a second")

    monkeypatch.setattr(app, "app", fail)
    assert partseg("demo") == (code, "", "error: a first line and a second\n")


def test_a_programmers_mistake_keeps_its_traceback(partseg, monkeypatch):
    def fail():
        raise ValueError("no such axis")

    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(ValueError, match=r"^no such axis$"):
        partseg("demo")


def test_running_out_of_memory_says_what_to_lower():
    with (
        pytest.raises(OutOfMemoryError, match=r"^out of memory \(MemoryError\); lower train.micro_batch_size$"),
        memory_watch("lower train.micro_batch_size"),
    ):
        raise MemoryError


@pytest.mark.parametrize("words", [("evaluate", "cartoon", "--draws", "9"), ("compare", "a", "b", "--draws=9")])
def test_a_renamed_option_is_refused_with_its_new_name(partseg, words):
    ended = partseg(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: --draws has been renamed, use --bootstrap-samples\n"


def test_a_success_exits_0(partseg, trained, tmp_path):
    assert partseg("split", trained.data, "--out", tmp_path / "split.yaml").code == 0


# the command line itself


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "train needs a recipe, got none; name one, or --resume the folder of a run"),
        (["predict", "--vocab", "cat"], "Missing argument 'IMAGE...'."),
        (["predict", "photo.jpg"], "Missing option '--vocab'."),
        (["evaluate", "tiny", "--checkpoint", "x", "--protocol", "pred-al"], "'pred-al' is not one of"),
        (["prepare", "cartoon-part", "--preview", "-1"], "Invalid value for '--preview'"),
        (["predikt"], "No such command 'predikt'. Did you mean 'predict'?"),
        (["predict", "photo.jpg", "--vocab", "cat", "--chekpoint", "x"], "No such option: --chekpoint"),
    ],
)
def test_a_command_line_that_cannot_be_parsed_exits_2(refused, words, message):
    assert message in refused(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "nonsense"], "--device must be auto, cpu, cuda, cuda:N or mps, got 'nonsense'"),
        (["--device", "meta"], "--device must be auto, cpu, cuda, cuda:N or mps, got 'meta'"),
        (["--device", "cuda"], "--device: this machine has 0 CUDA devices, got 'cuda'; use --device cpu"),
        (
            ["--gpus", "8"],
            "--gpus: this machine has 0 CUDA devices, got 8; ask for what is there, or --device cpu",
        ),
        (
            ["--gpus", "0"],
            "--gpus: this machine has 0 CUDA devices, got 0; ask for what is there, or --device cpu",
        ),
        (["--gpus", "two"], "--gpus must be a number, all, or a list such as 0,2, got 'two'"),
    ],
)
def test_a_device_that_is_not_there_exits_2(complaint, trained, monkeypatch, words, message):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert complaint("train", "tiny", *tiny(trained.data), *words) == (2, message)
    assert everything_below(trained.data.parent / "runs") == []


# recipes


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.itertions=5", f"{TINY}: unknown key train.itertions; did you mean train.iterations?"),
        ("trian.iterations=5", f"{TINY}: unknown key trian; did you mean train?"),
        ("iterations=5", "override must read section.key=value, got 'iterations=5'; for example train.lr=1e-4"),
        ("train.lr=fast", f"{TINY}: train.lr must be of type float, got 'fast'"),
        ("train.lr=inf", f"{TINY}: train.lr must be finite, got inf"),
        ("train.batch_size=0", f"{TINY}: train.batch_size must be >= 1, got 0"),
        (
            "model.image_size=50",
            "tiny: model.image_size must be a multiple of 8, got 50; the backbone cuts images into squares of that "
            "size",
        ),
    ],
)
def test_a_wrong_override_exits_2_and_says_the_rule(complaint, trained, tmp_path, override, message):
    assert complaint("train", "tiny", *tiny(trained.data), override, "--device", "cpu") == (2, message)
    assert everything_below(tmp_path) == []


def test_a_recipe_with_a_typo_exits_2_with_the_key_that_was_meant(complaint, tmp_path):
    (tmp_path / "mine.yaml").write_text(TINY.read_text().replace("batch_size", "batchsize"))
    message = "mine.yaml: unknown key train.batchsize; did you mean train.batch_size?"
    assert complaint("train", "mine.yaml") == (2, message)


def test_an_unknown_recipe_exits_2_with_the_one_that_was_meant(complaint):
    known = ", ".join(sorted(path.stem for path in packaged("recipes").glob("*.yaml")))
    assert "pascal_zeroshot, tiny" in known
    message = f"tini: no such recipe; packaged are {known}: did you mean tiny?"
    assert complaint("train", "tini") == (2, message)


def test_a_missing_recipe_file_is_not_replaced_by_a_packaged_one(complaint, trained):
    code, message = complaint("train", "my/own/tiny.yaml", *tiny(trained.data), "--device", "cpu")
    assert (code, message.split(";")[0]) == (2, "my/own/tiny.yaml: no such recipe")


# data


def test_a_missing_source_exits_3_and_leaves_no_folder(complaint, tmp_path):
    message = f"raw: must hold the folder Annotations_Part {NOWHERE}, got no such folder; unpack trainval.tar.gz of "
    words = ("prepare", "pascal-part-116", "--source", "raw", "--out", "store")
    assert complaint(*words) == (3, f"{message}PASCAL-Part there")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_source_exits_3_and_says_that_it_is_empty(complaint, tmp_path):
    (tmp_path / "raw").mkdir()
    message = f"raw: must hold the folder Annotations_Part {NOWHERE}, got an empty folder; unpack trainval.tar.gz of "
    words = ("prepare", "pascal-part-116", "--source", "raw", "--out", "store")
    assert complaint(*words) == (3, f"{message}PASCAL-Part there")
    assert not (tmp_path / "store").exists()


def test_an_unknown_data_set_exits_3_and_names_the_known_ones(complaint):
    known = "ade20k-part-234, cartoon-part, cityscapes-panoptic-parts, paco, partimagenet, pascal-part-116"
    message = f"dataset must be one of {known}, got 'pascal'; did you mean pascal-part-116?"
    assert complaint("prepare", "pascal") == (3, message)
    message = f"dataset must be one of {known}, got 'zoo'; for a set of your own write partseg prepare coco DIR"
    assert complaint("prepare", "zoo") == (3, message)


def test_a_store_of_another_data_set_is_not_overwritten(complaint, trained, tmp_path):
    shutil.copytree(trained.data, tmp_path / "store")
    path = tmp_path / "store/dataset.json"
    path.write_text(path.read_text().replace('"name": "cartoon-part"', '"name": "mine"'))
    before = {file: file.read_bytes() for file in (tmp_path / "store").rglob("*.*")}
    message = "store: must be empty or hold cartoon-part, got a store of mine; choose another --out"
    assert complaint("prepare", "cartoon-part", "--images", 20, "--out", "store") == (3, message)
    assert {file: file.read_bytes() for file in (tmp_path / "store").rglob("*.*")} == before


def test_training_without_prepared_data_exits_3(complaint):
    message = "store: no prepared dataset (dataset.json: not found); run partseg prepare first"
    assert complaint("train", "tiny", "data.root=store", "--device", "cpu") == (3, message)


def test_a_split_of_another_data_set_exits_3(complaint, trained, tmp_path):
    text = (trained.data / "split.yaml").read_text().replace("dataset: cartoon-part", "dataset: pascal-part-116")
    (tmp_path / "split.yaml").write_text(text)
    words = ("train", "tiny", *tiny(trained.data), "data.split=split.yaml", "--device", "cpu")
    message = "split.yaml: must belong to cartoon-part, got a split of pascal-part-116; make it again"
    assert complaint(*words) == (3, message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--val-fraction", "2"], "--val-fraction must be between 0 and 1, got 2"),
        (["--shots", "0"], "--shots must be >= 1, got 0"),
        (["--unseen", "catt"], "unseen objects: must be in the vocabulary, got 'catt'; did you mean cat?"),
        (
            ["--unseen", ",".join(load_manifest("cartoon-part").vocabulary.objects)],
            "--unseen: at least one object must stay seen, got all of them; leave one out",
        ),
    ],
)
def test_a_wrong_split_exits_2_and_writes_nothing(complaint, trained, tmp_path, words, message):
    assert complaint("split", trained.data, *words, "--out", "new.yaml") == (2, message)
    assert list(tmp_path.iterdir()) == []


# photos


def test_a_bad_photo_among_good_ones_is_reported_and_the_others_finish(partseg, trained, photo, tmp_path):
    broken = tmp_path / "broken.jpg"
    Image.open(photo).convert("RGB").resize((300, 300)).save(broken)
    broken.write_bytes(broken.read_bytes()[:3000])
    words = ("--vocab", "cat", "--checkpoint", trained.run, "--device", "cpu", "--out", tmp_path / "out")
    ended = partseg("predict", photo, broken, trained.photos[0], *words, "--json")
    assert ended.code == 3
    first, bad, last = json.loads(ended.out)["predictions"]
    assert [item["classes"][0]["word"] for item in (first, last)] == ["cat", "cat"]
    assert bad.keys() == {"image", "error"}
    assert ended.err == f"error: {bad['error']}\n"
    assert bad["error"].startswith(f"{broken}: an image must be complete, got one that cannot be decoded (")
    stems = {path.name.removesuffix(".json") for path in (tmp_path / "out").glob("*.json")}
    assert stems == {photo.stem, trained.photos[0].stem}


def test_a_photo_of_more_than_100_megapixels_is_refused_before_it_is_decoded(complaint, trained, tmp_path):
    Image.new("1", (12000, 9000)).save(tmp_path / "large.png")
    words = ("predict", "large.png", "--vocab", "cat", "--checkpoint", trained.run, "--out", "out")
    message = "large.png: an image must have at most 100 megapixels, got 12000x9000; make it smaller"
    assert complaint(*words) == (3, message)
    assert everything_below(tmp_path) == ["large.png"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.jpg", "none.jpg: must be an image, a folder of images or a pattern, got nothing there; check the path"),
        ("*.jpg", "*.jpg: a pattern must match at least one file, got none; check it"),
        (
            "page.jpg",
            f"page.jpg: must be an image ({FORMATS}), got an HTML page; get or convert it again",
        ),
        ("empty.png", f"empty.png: must be an image ({FORMATS}), got an empty file; get or convert it again"),
    ],
)
def test_what_is_no_photo_exits_3(complaint, trained, tmp_path, name, message):
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><html>") if name == "page.jpg" else None
    (tmp_path / "empty.png").touch()
    words = ("predict", name, "--vocab", "cat", "--checkpoint", trained.run, "--out", "out")
    assert complaint(*words) == (3, message)
    assert not (tmp_path / "out").exists()


def test_photos_that_all_fail_leave_no_run_folder(complaint, trained, tmp_path):
    code, _ = complaint("predict", "none.jpg", "--vocab", "cat", "--checkpoint", trained.run)
    assert code == 3
    assert list(tmp_path.iterdir()) == []


# words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([""], 'vocabulary: needs at least one entry, got none; pass --vocab "cat\'s ear"'),
        ([" , "], 'vocabulary: needs at least one entry, got none; pass --vocab "cat\'s ear"'),
        (["cat", "dog,cat"], "vocabulary: duplicate entry, got 'cat' twice; remove one"),
        (["cat's ear,cat’s ear"], 'vocabulary: duplicate entry, got "cat\'s ear" twice; remove one'),
        (["cat,Cat"], "vocabulary: each entry must ask for something else, got 'cat' and 'Cat'; remove one"),
        (["wing,Wing"], "vocabulary: each entry must ask for something else, got 'wing' and 'Wing'; remove one"),
        (["cat's"], 'vocabulary: an entry reads "object\'s part", "object" or "part", got "cat\'s"; complete it'),
    ],
)
def test_words_that_cannot_be_asked_exit_2(complaint, trained, photo, tmp_path, words, message):
    asked = [piece for word in words for piece in ("--vocab", word)]
    assert complaint("predict", photo, *asked, "--checkpoint", trained.run, "--out", "out") == (2, message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty.txt", "# nothing\n"),
        ("empty.yaml", ""),
        ("number.yaml", "5"),
        ("numbers.yaml", "- 5\n"),
        ("letters.yaml", "cat: ear\n"),
        ("count.yaml", "cat: 5\n"),
        ("nested.yaml", "- {object: [cat], part: ear}\n"),
        ("digits.yaml", "- {object: 1, part: 2}\n"),
        ("broken.yaml", "cat: [ear\n"),
    ],
)
def test_a_file_that_is_no_vocabulary_exits_2(complaint, trained, photo, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    code, _ = complaint("predict", photo, "--vocab", name, "--checkpoint", trained.run, "--out", "out")
    assert code == 2
    assert not (tmp_path / "out").exists()


def test_a_context_that_is_no_pair_exits_2(complaint, trained, photo):
    words = ("predict", photo, "--vocab", "cat's ear", "--context", "cat", "--checkpoint", trained.run)
    message = "--context: a file of pairs such as \"cat's ear\" is wanted, got 'cat'; complete it"
    assert complaint(*words) == (2, message)


# checkpoints


def test_a_missing_checkpoint_exits_4(complaint, photo):
    message = "none.safetensors: no such checkpoint; name a .safetensors file or the folder of a training run"
    assert complaint("predict", photo, "--vocab", "cat", "--checkpoint", "none.safetensors") == (4, message)


def test_a_folder_without_a_checkpoint_exits_4(complaint, photo, tmp_path):
    message = (
        f"{tmp_path}: no checkpoint in it; name a .safetensors file or the folder of a training run, and bring "
        "published weights here with `partseg weights import`"
    )
    assert complaint("predict", photo, "--vocab", "cat", "--checkpoint", tmp_path) == (4, message)


@pytest.mark.parametrize("kind", ["empty", "half", "pickle", "page"])
def test_a_file_that_is_no_whole_safetensors_file_exits_4(complaint, trained, photo, tmp_path, kind):
    whole = (trained.run / "checkpoints/last.safetensors").read_bytes()
    content = {"empty": b"", "half": whole[: len(whole) // 2], "pickle": pickle.dumps([1]), "page": b"<!DOCTYPE html>"}
    (tmp_path / "model.safetensors").write_bytes(content[kind])
    code, message = complaint("predict", photo, "--vocab", "cat", "--checkpoint", "model.safetensors", "--out", "out")
    assert code == 4
    assert message.startswith("model.safetensors: is not a whole safetensors file (")
    assert message.endswith("); copy or train it again")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_no_checkpoint_of_ours_exit_4(complaint, trained, photo, tmp_path):
    save_file(load_file(trained.run / "checkpoints/last.safetensors"), tmp_path / "bare.safetensors")
    message = (
        "bare.safetensors: must be a checkpoint of format 'partseg-checkpoint-2', got None; "
        "name one that `partseg train` or `partseg weights import` wrote"
    )
    assert complaint("predict", photo, "--vocab", "cat", "--checkpoint", "bare.safetensors") == (4, message)


def test_a_loss_of_another_model_exits_2_before_anything_is_written(complaint, tmp_path):
    text = TINY.read_text().replace("name: partclipseg", "name: clipseg\n  visual_adapter: true")
    text = "\n".join(line for line in text.splitlines() if "object_text_index" not in line)
    (tmp_path / "mine.yaml").write_text(text)
    message = "mine.yaml: unknown key loss.lambda_obj; known are background_weight, loss_mean"
    assert complaint("train", "mine.yaml", "--device", "cpu") == (2, message)
    assert everything_below(tmp_path) == ["mine.yaml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch", "0"], "Invalid value for '--batch'"),
        (["--prompt-chunk", "0"], "Invalid value for '--prompt-chunk'"),
        (["--prompt-chunk", "all"], "Invalid value for '--prompt-chunk'"),
        (["--precision", "fp8"], "'fp8' is not one of"),
    ],
)
@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_way_to_compute_that_there_is_not_exits_2(refused, trained, tmp_path, verb, words, message):
    given = {"predict": (trained.photos[0], "--vocab", "cat"), "evaluate": ("tiny", *tiny(trained.data))}
    assert message in refused(verb, *given[verb], "--checkpoint", trained.run, *words)
    assert everything_below(tmp_path) == []


def test_a_checkpoint_whose_weights_do_not_fit_its_header_exits_4(complaint, altered, photo):
    path = altered("wide.safetensors", backbone="ViT-B-16-quickgelu", image_size=352)
    code, message = complaint("predict", photo, "--vocab", "cat", "--checkpoint", path)
    assert code == 4
    assert message.endswith("; these weights belong to another model")


@pytest.mark.parametrize(
    "model",
    [{"backbone": "huge"}, {"image_size": 50}, {"object_text_index": "other"}, {"background_embedding": "other"}],
)
def test_a_checkpoint_of_a_model_that_we_cannot_build_exits_4(complaint, altered, photo, model):
    path = altered("strange.safetensors", **model)
    code, message = complaint("predict", photo, "--vocab", "cat", "--checkpoint", path)
    assert code == 4
    assert message.startswith(f"{path}: names a model that this version cannot build (")


def test_a_run_folder_with_a_broken_selection_exits_4(complaint, trained, photo, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    (run / "checkpoints/selected.json").write_text('{"file": ')
    code, message = complaint("predict", photo, "--vocab", "cat", "--checkpoint", run)
    assert code == 4
    assert message.startswith(f"{run}/checkpoints/selected.json: ")


def test_weights_that_are_not_finite_exit_4(complaint, trained, photo, tmp_path):
    path = trained.run / "checkpoints/last.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["background"] = tensors["background"] * np.nan
    save_file(tensors, tmp_path / "nan.safetensors", metadata)
    message = "nan.safetensors: background must be finite, got NaN or infinity; get the file again"
    assert complaint("predict", photo, "--vocab", "cat", "--checkpoint", "nan.safetensors") == (4, message)


@pytest.mark.training
def test_a_gradient_that_is_not_finite_stops_the_run_before_it_spoils_the_weights(
    complaint, trained, tmp_path, monkeypatch
):
    terms = PartCLIPSegLoss.__call__

    def with_endless_slope(self, logits, labels):
        values = terms(self, logits, labels)
        return {**values, "total": values["total"] + (values["total"] * 0).sqrt()}

    monkeypatch.setattr(PartCLIPSegLoss, "__call__", with_endless_slope)
    code, message = complaint("train", "tiny", *tiny(trained.data), "--device", "cpu", "--out", "run")
    assert code == 1
    saved = "run/checkpoints/step-000000.safetensors"
    assert message.startswith("step 1: the gradient must be finite, got nan")
    assert message.endswith(f"; the weights before it are in {saved}")
    assert all(value.isfinite().all() for value in load_file(tmp_path / saved).values())


# the disk


def test_a_run_folder_that_is_not_empty_exits_2_and_stays_as_it_is(complaint, trained, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")
    message = "--out must be a new or empty folder, got run; name another or remove it"
    assert complaint("train", "tiny", *tiny(trained.data), "--out", "run", "--device", "cpu") == (2, message)
    assert everything_below(tmp_path) == ["run/notes.txt"]


def test_an_out_that_is_a_file_exits_1_and_stays_as_it_is(complaint, trained, photo, tmp_path):
    (tmp_path / "file").write_text("mine")
    words = ("predict", photo, "--vocab", "cat", "--checkpoint", trained.run, "--device", "cpu", "--out", "file")
    code, message = complaint(*words)
    assert (code, message) == (
        1,
        f"file/{photo.stem}_overlay.png: cannot be written (File exists); choose another --out",
    )
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("option", ["--checkpoint", "--model"])
def test_label_maps_and_a_model_are_not_scored_at_once(complaint, trained, option):
    assert complaint("evaluate", "tiny", *tiny(trained.data), "--predictions", "maps", option, "voc") == (
        2,
        "--predictions and a model: give one of them, got maps and voc; leave out the other",
    )


@pytest.mark.parametrize(
    ("rule", "advice"),
    [
        ("partcatsg", "did you mean partcatseg?"),
        ("OVPARTS", "did you mean ovparts?"),
        ("x", "choose one of them"),
    ],
)
def test_an_unknown_rule_is_told_with_the_one_that_was_meant(complaint, trained, rule, advice):
    rules = "ref-v2, full, partclipseg, ovparts, partcatseg, ref-bug"
    ended = complaint("evaluate", "tiny", *tiny(trained.data), "--rule", rule)
    assert ended == (2, f"--rule must be one of {rules}, got {rule!r}; {advice}")


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict", "demo"])
def test_a_place_for_runs_that_cannot_be_made_exits_1(complaint, trained, photo, tmp_path, verb):
    (tmp_path / "runs").write_text("a file")
    words = {
        "train": ("tiny", *tiny(trained.data), "--device", "cpu"),
        "evaluate": ("tiny", *tiny(trained.data), "--checkpoint", trained.run, "--device", "cpu"),
        "predict": (photo, "--vocab", "cat", "--checkpoint", trained.run, "--device", "cpu"),
        "demo": ("--images", 20, "--iterations", 1),
    }
    code, message = complaint(verb, *words[verb])
    assert code == 1
    assert "cannot be written (Not a directory); choose another --out" in message


FULL = "cannot be written (File too large); lift the file size limit or choose another --out"


def test_a_full_disk_while_preparing_leaves_no_store(complaint, file_size_limit, tmp_path):
    with file_size_limit(10_000):
        words = ("prepare", "cartoon-part", "--images", 20, "--size", 64, "--out", "store")
        code, message = complaint(*words)
    assert code == 1
    assert message.endswith(FULL)
    left = {name.split("/")[1] for name in everything_below(tmp_path)}
    assert {name for name in left if not name.startswith(".unfinished-")} <= {"images"}


def test_a_full_disk_while_splitting_keeps_the_former_split(complaint, file_size_limit, trained, tmp_path):
    (tmp_path / "split.yaml").write_text("the former one")
    with file_size_limit(100):
        words = ("split", trained.data, "--out", "split.yaml")
        assert complaint(*words) == (1, f"split.yaml: {FULL}")
    assert everything_below(tmp_path) == ["split.yaml"]
    assert (tmp_path / "split.yaml").read_text() == "the former one"


@pytest.mark.training
@pytest.mark.parametrize("missing", ["step-000002.safetensors", "step-000002.state"])
def test_a_full_disk_while_saving_a_checkpoint_leaves_no_part_of_it(
    complaint, file_size_limit, trained, tmp_path, missing
):
    sizes = {path.name: path.stat().st_size for path in (trained.run / "checkpoints").iterdir()}
    assert sizes["step-000002.safetensors"] < sizes["step-000002.state"]
    with file_size_limit(sizes[missing] - 1000):
        code, message = complaint("train", "tiny", *tiny(trained.data), "--device", "cpu", "--out", "run")
    assert code == 1
    assert message.startswith(f"run/checkpoints/{missing}: cannot be written (")
    assert not (tmp_path / "run/checkpoints" / missing).exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_full_disk_while_scoring_leaves_no_result(complaint, file_size_limit, trained, tmp_path):
    with file_size_limit(1000):
        words = ("--checkpoint", trained.run, "--device", "cpu", "--out", "scores")
        ended = complaint("evaluate", "tiny", *tiny(trained.data), *words)
    assert ended == (1, f"scores: {FULL}")
    assert [name for name in everything_below(tmp_path) if "/." not in name] in ([], ["scores"])


def test_a_full_disk_while_predicting_leaves_no_half_picture(complaint, file_size_limit, trained, photo, tmp_path):
    with file_size_limit(1000):
        words = ("--vocab", "cat", "--checkpoint", trained.run, "--device", "cpu", "--out", "out")
        ended = complaint("predict", photo, *words)
    assert ended == (1, f"out/{photo.stem}_overlay.png: {FULL}")
    assert everything_below(tmp_path) == []

"""`partseg recipes`: what is packaged, copies to edit, and what a recipe needs on this machine."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from command_line import tiny

from partseg_cli.config.recipe import load_any_recipe, load_recipe
from partseg_cli.errors import RecipeError
from partseg_cli.io.paths import packaged
from partseg_cli.pipeline.recipes import first_sentence, packaged_recipes
from partseg_cli.pipeline.train import check_batch
from partseg_cli.runtime.process_group import SINGLE_PROCESS, Layout

NAMES = [path.stem for path in packaged_recipes()]


@pytest.fixture(autouse=True)
def _bare_machine(tmp_path, monkeypatch):
    """Work in an empty folder, without data and weights; the network must not be asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARTSEG_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("PARTSEG_WEIGHTS", raising=False)
    monkeypatch.setattr(
        "partseg_cli.models.checkpoints.hub._download", lambda source: pytest.fail("the network is asked")
    )
    monkeypatch.setattr("partseg_cli.models.checkpoints.hub.try_to_load_from_cache", lambda *_: None)


# ---- list, show, copy


def test_every_packaged_recipe_is_listed_with_its_purpose(partseg):
    listed = json.loads(partseg("recipes", "list", "--json").out)["recipes"]
    assert [one["name"] for one in listed] == NAMES
    by_name = {one["name"]: one for one in listed}
    assert by_name["nano_start"] | {"path": ""} == {
        "name": "nano_start",
        "task": "phrases",
        "dataset": "cartoon-captions",
        "model": "clipseg",
        "purpose": "Pretraining of a decoder on the nano CLIP: phrases and their masks, as PhraseCut is to CLIPSeg's "
        "rd64-refined.",
        "path": "",
    }
    assert by_name["ade_zeroshot"]["purpose"] == (
        "PartCLIPSeg on ADE20K-Part-234, zero-shot: trained on 33 objects, tested on 44."
    )
    ended = partseg("recipes", "list")
    assert (ended.code, ended.err) == (0, "")
    assert all(f" {name} " in ended.out for name in NAMES)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", ""),
        ("data: 1\n# A comment. Not a head.", ""),
        ("# One word", "One word"),
        ("# By 0.5 s. More.\n", "By 0.5 s."),
        ("# A.\n\n# B.", "A."),
        ("#   partseg train a.yaml\n# After the command.", "After the command."),
    ],
)
def test_the_purpose_is_the_first_sentence_of_the_head(text, sentence):
    assert first_sentence(text) == sentence


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_shown_as_it_is(name, partseg):
    assert partseg("recipes", "show", name).out == (packaged("recipes") / f"{name}.yaml").read_text(encoding="utf-8")


def test_with_overrides_the_recipe_that_they_make_is_shown(partseg, tmp_path):
    ended = partseg("recipes", "show", "tiny", "train.lr=1", "data.split=few.yaml")
    (tmp_path / "tiny.yaml").write_text(ended.out, encoding="utf-8")
    assert load_any_recipe(str(tmp_path / "tiny.yaml")) == load_recipe("tiny", ["train.lr=1", "data.split=few.yaml"])


def test_a_wrong_override_is_not_shown(partseg):
    ended = partseg("recipes", "show", "tiny", "train.lr=fast")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"error: {packaged('recipes') / 'tiny.yaml'}: train.lr must be of type float, got 'fast'\n"


@pytest.mark.parametrize(
    ("to", "lands"), [(None, "tiny.yaml"), ("mine.yaml", "mine.yaml"), ("a/b.yaml", "a/b.yaml"), (".", "tiny.yaml")]
)
def test_a_copy_is_byte_for_byte(to, lands, partseg, tmp_path):
    ended = partseg("recipes", "copy", "tiny", *([to] if to else []))
    assert (ended.code, ended.out) == (0, f"{lands}\n")
    assert (tmp_path / lands).read_bytes() == (packaged("recipes") / "tiny.yaml").read_bytes()


def test_a_copy_overwrites_nothing(partseg, tmp_path):
    (tmp_path / "tiny.yaml").write_text("mine")
    (tmp_path / "link.yaml").symlink_to("nowhere.yaml")
    for words, name in ((["tiny"], "tiny.yaml"), (["tiny", "."], "tiny.yaml"), (["tiny", "link.yaml"], "link.yaml")):
        ended = partseg("recipes", "copy", *words)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == (
            f"error: {name}: a copy must be a new file, got one that exists; name another, or remove it\n"
        )
    assert (tmp_path / "tiny.yaml").read_text() == "mine"
    assert not (tmp_path / "nowhere.yaml").exists()


def test_a_copy_that_cannot_be_written_is_told(partseg, tmp_path):
    (tmp_path / "file").write_text("")
    ended = partseg("recipes", "copy", "tiny", "file/tiny.yaml")
    assert ended.code == 1
    assert re.fullmatch(r"error: file/tiny.yaml: cannot be written \(.*\); name another file\n", ended.err)


@pytest.mark.parametrize("verb", ["show", "copy"])
def test_an_unknown_recipe_is_told_with_the_one_that_was_meant(verb, partseg):
    ended = partseg("recipes", verb, "pascal_zeroshoot")
    assert ended.code == 2
    assert ended.err.startswith("error: pascal_zeroshoot: no such recipe; packaged are ade_clipseg, ")
    assert ended.err.endswith(": did you mean pascal_zeroshot?\n")


@pytest.mark.process
@pytest.mark.parametrize("words", [["list"], ["show", "tiny"], ["copy", "tiny", "new.yaml"]])
def test_what_only_reads_recipes_does_without_torch(words, tmp_path):
    program = (
        "import sys; from partseg_cli.cli.app import app; app(sys.argv[1:], standalone_mode=False);"
        "print({'torch', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "recipes", *words], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stderr == "set()\n"


# ---- check


def checked(partseg, *words: str) -> list[dict]:
    ended = partseg("recipes", "check", *words, "--json")
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)["checked"]


def test_all_packaged_recipes_are_good_and_tell_what_is_missing(partseg, tmp_path):
    found = {one["recipe"]: one for one in checked(partseg)}
    assert list(found) == NAMES
    assert {one["problem"] for one in found.values()} == {None}
    data = tmp_path / "data"
    assert found["ade_fewshot"]["missing"] == {
        "data": f"{data / 'ade20k-part-234'} is no prepared dataset; see `partseg prepare ade20k-part-234 --explain`",
        "split": "ade_16shot.yaml is no file; make it with `partseg split`, see `partseg recipes show ade_fewshot`",
        "weights": "CIDAS/clipseg-rd64-refined is not on this machine; run `hf download CIDAS/clipseg-rd64-refined`",
    }
    # its start comes with the package, and its dataset has no manifest
    assert found["nano_start"]["missing"] == {
        "data": f"{data / 'cartoon-captions'} is no prepared dataset; see `partseg recipes show nano_start`"
    }


def test_what_is_there_is_not_missing(partseg, tmp_path, monkeypatch):
    for folder in ("data/ade20k-part-234", "weights/clipseg-rd64-refined"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/ade20k-part-234/dataset.json").write_text("{}")
    (tmp_path / "weights/clipseg-rd64-refined/pytorch_model.bin").write_text("")
    (tmp_path / "ade_16shot.yaml").write_text("")
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(tmp_path / "weights"))
    (one,) = checked(partseg, "ade_fewshot", "--strict")
    assert one == {"recipe": "ade_fewshot", "problem": None, "missing": {}, "share": "8 x 1"}


@pytest.mark.training
def test_a_start_from_a_run_is_looked_for(partseg, trained, tmp_path):
    recipe = tmp_path / "mine.yaml"
    for init, missing in (
        (str(trained.run), {}),
        (
            "gone.safetensors",
            {"weights": f"gone.safetensors is no checkpoint; train it, see `partseg recipes show {recipe}`"},
        ),
        (
            str(tmp_path / "data"),
            {
                "weights": f"{tmp_path / 'data'}: no checkpoint in it; name a .safetensors file or the folder of a "
                "training run, and bring published weights here with `partseg weights import`"
            },
        ),
    ):
        (tmp_path / "data").mkdir(exist_ok=True)
        recipe.write_text(load_recipe("tiny", [*tiny(trained.data), f"model.init={init}"]).to_yaml())
        assert checked(partseg, str(recipe))[0]["missing"] == missing


def test_what_is_missing_is_a_note_and_with_strict_an_error(partseg, tmp_path):
    plain, strict = (partseg("recipes", "check", "tiny", "pascal_zeroshot", *words) for words in ([], ["--strict"]))
    assert plain.code == 0
    assert plain.err.splitlines() == [
        f"tiny, pascal_zeroshot: {tmp_path / 'data/pascal-part-116'} is no prepared dataset; see `partseg prepare "
        "pascal-part-116 --explain`",
        "pascal_zeroshot: CIDAS/clipseg-rd64-refined is not on this machine; run `hf download "
        "CIDAS/clipseg-rd64-refined`",
    ]
    assert strict.code == 3
    assert strict.err == (plain.err + "error: --strict: nothing may be missing, got 2 of 2 recipes that lack some\n")
    assert re.search(r"│ tiny +│ good +│ missing │ there +│ there +│ 1 x 4 ", plain.out)


def test_a_broken_recipe_ends_with_exit_2(partseg, tmp_path):
    shutil.copy(packaged("recipes") / "tiny.yaml", tmp_path / "odd.yaml")
    text = (tmp_path / "odd.yaml").read_text().replace("iterations: 400", "iterations: 0")
    (tmp_path / "odd.yaml").write_text(text)
    one = partseg("recipes", "check", "odd.yaml", "tiny")
    assert (one.code, one.err.splitlines()[-1]) == (2, "error: odd.yaml: train.iterations must be >= 1, got 0")
    assert re.search(r"│ odd.yaml +│ fails ", one.out)
    two = partseg("recipes", "check", "odd.yaml", "gone", "tiny", "--json")
    assert two.code == 2
    assert [item["problem"] is None for item in json.loads(two.out)["checked"]] == [False, False, True]
    assert two.err.splitlines()[0] == "odd.yaml: train.iterations must be >= 1, got 0"
    assert two.err.splitlines()[-1] == ("error: 2 of 3 recipes cannot be trained; fix them, or see --gpus")


def test_the_batch_has_to_divide_over_the_processes(partseg):
    assert [one["share"] for one in checked(partseg, "pascal_zeroshot", "tiny", "--gpus", "4")] == ["2 x 1", "1 x 1"]
    ended = partseg("recipes", "check", "tiny", "pascal_zeroshot", "--gpus", "8")
    assert (ended.code, ended.err.splitlines()[-1]) == (
        2,
        "error: tiny: train.batch_size must be divisible by the number of processes, got 4 over 8; use 4 processes, "
        "or another training with train.batch_size=8",
    )


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "share", "accumulate"),
    [
        (8, 1, 1, (8, 1), 8),
        (8, 8, 2, (4, 4), 1),
        (8, 4, 4, (2, 2), 1),
        (24, 4, 4, (6, 3), 2),  # 4 does not divide 6
        (10, 5, 5, (2, 2), 1),
        (14, 2, 2, (7, 1), 7),
        (8, 2, 8, (1, 1), 1),
    ],
)
def test_the_micro_batch_is_lowered_to_what_divides_a_process_s_share(batch, micro, processes, share, accumulate):
    recipe = load_recipe("tiny", [f"train.batch_size={batch}", f"train.micro_batch_size={micro}"])
    layout = check_batch(recipe, processes, "here")
    assert (layout.share, layout.micro) == share
    assert (layout.batch, layout.accumulate, layout.group.size) == (batch, accumulate, processes)


@pytest.mark.parametrize(
    ("name", "overrides", "processes", "message"),
    [
        (
            "tiny",
            ["train.batch_size=12"],
            5,
            "here: train.batch_size must be divisible by the number of processes, got 12 over 5; use 4 processes, or "
            "another training with train.batch_size=15",
        ),
        (
            "tiny",
            ["loss.loss_mean=batch"],
            2,
            "here: loss.loss_mean batch pools the whole batch in one process, got 2; use loss.loss_mean=image, or one "
            "process",
        ),
        ("nano_clip", [], 2, "here: a recipe of task captions trains in one process, got 2; use one"),
    ],
)
def test_what_cannot_be_shared_is_refused(name, overrides, processes, message):
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        check_batch(load_any_recipe(name, overrides), processes, "here")


def test_what_stays_in_one_process_needs_no_sharing():
    assert check_batch(load_recipe("tiny", ["loss.loss_mean=batch"]), 1, "here") == Layout(4, 4, SINGLE_PROCESS)
    assert check_batch(load_any_recipe("nano_clip"), 1, "here") == Layout(128, 128, SINGLE_PROCESS)

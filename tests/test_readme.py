"""The README's promises that a machine can check."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from partseg_cli.cli.app import app
from partseg_cli.config.recipe import find_recipe, load_recipe
from partseg_cli.data.manifest import load_manifests
from partseg_cli.pipeline.recipes import packaged_recipes

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
COMMANDS = [line for line in SHELL if line.startswith("partseg ")]


def test_there_are_two_set_up_commands_and_those_of_a_data_set_and_of_weights():
    assert len([line for line in SHELL if line.startswith("python3 -m venv")]) == 2
    told = [
        "predict",
        "prepare",
        "inspect",
        "split",
        "train",
        "evaluate",
        "predict",
        *["prepare"] * 8,
        "prepare",
        "train",
        "train",
        "evaluate",
        "prepare",
        "train",
        "train",
        "train",
    ]
    told += ["weights pack", *["split"] * 5]
    told += ["recipes list", "recipes show", "recipes copy", "recipes check", *["train"] * 3, "launch slurm"]
    told += ["export"]
    told += ["weights import", "weights verify", "evaluate"]
    told += ["evaluate", "evaluate", "compare"]
    told += ["bench train", "bench predict", "bench data"]
    assert [
        " ".join(line.split()[1 : 1 + len(words.split())]) for line, words in zip(COMMANDS, told, strict=True)
    ] == told


def test_the_first_command_ends_with_the_demo_and_the_second_with_all_checks():
    first, second = (line for line in SHELL if line.startswith("python3 -m venv"))
    assert first.endswith(" && partseg demo")
    assert second.endswith(" && bash .ci/check")
    assert (PROJECT / ".ci/check").is_file()


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_is_one_that_the_tool_understands(line):
    command, words = get_command(app), shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    assert not command.make_context(command.name, words).args


def test_the_command_for_several_machines_trains():
    (words,) = re.findall(r"^torchrun .*?-m partseg_cli (train .*?)$", README, re.DOTALL | re.MULTILINE)
    train = get_command(app).commands["train"]
    assert not train.make_context("train", shlex.split(words)[1:]).args


def test_the_recipes_that_are_named_exist():
    named = set(re.findall(r"recipes/(\w+)\.yaml", README))
    assert named == {
        "pascal_zeroshot",
        "pascal_clipseg",
        "ade_zeroshot",
        "tiny",
        "cartoon",
        "cartoon_clipseg",
        "nano_clip",
        "nano_start",
    }
    table = README.split("\n## Recipes\n")[1].split("\n\nA recipe")[0]
    packaged = {path.stem for path in packaged_recipes()}
    assert set(re.findall(r"`(\w+)` \|", table)) == packaged - named | {
        "pascal_zeroshot",
        "pascal_clipseg",
        "ade_zeroshot",
    }
    for name in named:
        assert find_recipe(name).is_file()


def test_the_switch_table_tells_the_defaults():
    values = load_recipe("pascal_zeroshot").to_dict()
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| `(\w+)` \|", README, re.MULTILINE)
    assert len(rows) == 9
    for section, key, default in rows:
        assert values[section][key] == default


def test_every_key_that_is_set_in_the_text_exists():
    values = load_recipe("pascal_zeroshot").to_dict()
    for section, key in re.findall(r"\b(data|model|loss|train)\.(\w+)=", README):
        assert key in values[section]


def test_the_dataset_table_has_the_counts_of_the_manifests_as_the_list_shows_them(partseg):
    listed = partseg("prepare", "--list").out
    counted = 0
    for manifest in load_manifests():
        found = re.search(rf"^\| `{manifest.name}` \|.*$", README, re.MULTILINE)
        words = manifest.vocabulary
        counts = {"objects": len(words.objects), "pairs": len(words.pairs)}
        row = re.sub(r"[^\w,-]+", " ", re.search(rf"{manifest.name}.*", listed)[0]).split()
        assert row[1:3] == [str(counts["objects"]), str(counts["pairs"])]
        for number, what in re.findall(r"(\d+) (objects|pairs)", found[0] if found else ""):
            assert int(number) == counts[what], f"{manifest.name}: {what}"
            counted += 1
        for number in re.findall(r"\((\d+) in all\)", found[0] if found else ""):
            assert int(number) == len(manifest.objects)
            counted += 1
    assert counted == 5

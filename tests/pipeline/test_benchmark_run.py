"""The README's script of a benchmark run: the very text, on drawn scenes, and its three sets."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from partseg_cli.config.recipe import load_recipe

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
(SCRIPT,) = re.findall(r"^```bash\n(#!/usr/bin/env bash\n.*?)^```$", README, re.DOTALL | re.MULTILINE)
BASH = shutil.which("bash") or pytest.skip("there is no bash", allow_module_level=True)

ASK = """printf '%s\\0' "$@" > {0}/words
cat {0}/answer
exit "$(< {0}/code)"
"""
"""Stands for `partseg` in a script: hands its words to this process, which has torch loaded, and takes the answer."""
END = """{0} {1} "$@"; echo $? > {2}/ended; printf END > {2}/words"""


class Script:
    """Runs the script; each `partseg` in it is handed to a function."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[list[str]] = []
        for name in ("words", "answer"):
            os.mkfifo(folder / name)
        for name, text in (("partseg", f"#!{BASH}\n{ASK.format(folder)}"), ("benchmark.sh", SCRIPT)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def run(self, answer: Callable[[list[str]], tuple[int, str]], *words: str, **variables: str) -> int:
        """Give the exit code of the script."""
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        command = END.format(BASH, self.folder / "benchmark.sh", self.folder)
        process = subprocess.Popen(
            [BASH, "-c", command, "benchmark", *words],
            env={**os.environ, **variables, "PATH": path},
            start_new_session=True,
        )
        try:
            while (asked := (self.folder / "words").read_text()) != "END":
                self.calls.append(asked.split("\0")[:-1])
                code, text = answer(self.calls[-1])
                (self.folder / "code").write_text(str(code))
                (self.folder / "answer").write_text(text)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # it would wait for an answer for ever
            raise
        finally:
            process.wait()
        return int((self.folder / "ended").read_text())


@pytest.fixture
def script(tmp_path, monkeypatch) -> Script:
    (tmp_path / "script").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("OUT", "PREPARE", "CHANGE", "DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PARTSEG_DATA", "data")
    return Script(tmp_path / "script")


@pytest.mark.training
def test_the_script_runs_on_drawn_scenes_and_ends_with_a_comparison(script, partseg, tmp_path):
    def answer(words: list[str]) -> tuple[int, str]:
        ended = partseg(*words)
        assert ended.code == 0, ended.err
        return 0, ended.out

    few = "train.iterations=2 train.batch_size=2 model.image_size=48"
    options = {"PREPARE": "--images 20 --size 64", "CHANGE": few, "DEVICES": "--device cpu"}
    assert script.run(answer, "cartoon-part", "cartoon", "cartoon_clipseg", **options) == 0
    assert [words[0] for words in script.calls] == [
        *("prepare", "split"),
        *("train", "evaluate", "evaluate") * 2,
        *("compare", "compare"),
    ]
    out = tmp_path / "benchmark"
    for protocol in ("pred-all", "oracle-obj"):
        means = []
        for recipe in ("cartoon", "cartoon_clipseg"):
            result = json.loads((out / f"{recipe}-{protocol}.json").read_text())
            assert (result["protocol"], result["dataset"], result["split"]) == (protocol, "cartoon-part", "val")
            assert result["model"] == load_recipe(recipe).model.name
            assert result["pixels"] > 0
            means.append(result["mIoU"])
        compared = json.loads((out / f"cartoon-part-{protocol}" / "compare.json").read_text())
        assert compared["means"]["mIoU"]["seen"]["difference"] == pytest.approx(means[0]["seen"] - means[1]["seen"])
    for recipe in ("cartoon", "cartoon_clipseg"):
        kept = yaml.safe_load((out / recipe / "recipe.yaml").read_text())
        assert (kept["train"]["iterations"], kept["data"]["split"]) == (2, "benchmark/cartoon-part-split.yaml")


def test_without_words_it_runs_the_three_sets_with_both_models(script):
    assert script.run(lambda words: (0, "")) == 0
    assert [words[1] for words in script.calls if words[0] == "prepare"] == [
        *("pascal-part-116", "ade20k-part-234", "partimagenet")
    ]
    trained = [(words[1], words[2]) for words in script.calls if words[0] == "train"]
    assert len(trained) == 6
    for recipe, split in trained:
        loaded = load_recipe(recipe, [split])
        assert split == f"data.split=benchmark/{loaded.data.dataset}-split.yaml"
        assert loaded.model.name == ("clipseg" if recipe.endswith("_clipseg") else "partclipseg")


@pytest.mark.parametrize("verb", ["prepare", "split", "train", "evaluate", "compare"])
def test_a_step_that_fails_ends_it(verb, script):
    assert script.run(lambda words: (3 if words[0] == verb else 0, ""), "cartoon-part", "cartoon", "tiny") == 3
    assert [words[0] for words in script.calls].index(verb) == len(script.calls) - 1

"""The page of a training run: whole by itself, right in its figures, harmless whatever names there are."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from page_elements import EVIL, Elements
from PIL import Image
from test_curve_plots import curves
from test_evaluation_page import compared

from partseg_cli.data.splits.split import load_split, published_split
from partseg_cli.data.store import Store
from partseg_cli.inference.segmenter import load_segmenter
from partseg_cli.pipeline.train import update_report
from partseg_cli.reports.curves import Curves, Score
from partseg_cli.reports.training_page import TrainingInfo, training_page, write_training_page
from partseg_cli.runtime.devices import InferenceConfig

SCORES = (
    Score(200, "oracle-obj", {"seen": 40.0, "unseen": 20.25, "harmonic": 27.0}),
    Score(400, "oracle-obj", {"seen": 41.0, "unseen": None, "harmonic": None}),
)


def noted(name: str = "set", protocol: str = "oracle-obj") -> tuple[TrainingInfo, Curves]:
    notes = TrainingInfo(name, 800, 8, f"train: {name}", f"partseg train {name}", {name: name, "val images": 1234})
    scores = tuple(Score(score.step, protocol, score.miou) for score in SCORES)
    return notes, curves(np.geomspace(60, 0.1, 400), scores, object_part=np.ones(400), part=[5.0])


def full_page(name: str = "set") -> str:
    return training_page(*noted(name, name), [compared(name, problem=name)])


def test_the_page_is_whole_and_names_nothing_outside_itself():
    text = full_page()
    elements = Elements(text)
    assert elements.open == []
    for tag, attributes in elements.found:
        assert tag not in {"link", "iframe", "object", "embed", "base", "script", "a"}
        assert (attributes.get("src") or "data:image/png").startswith("data:image/")
        assert not {"href", "srcset", "action"} & set(attributes)
        assert (attributes.get("xlink:href") or "#").startswith("#")
        assert not [key for key in attributes if key.startswith("on")]
    assert {url for url in re.findall(r"url\((.{11})", text) if not url.startswith("#")} == {"data:image/"}
    assert not re.search(r"https?:|//[a-z]|@import|<script", text)
    assert not re.search(r"\$\w|\$\{", text)
    (policy,) = [meta["content"] for meta in elements.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src" not in policy


def test_every_name_is_escaped_wherever_it_stands():
    text, plain = full_page(EVIL), full_page()
    tags, usual = (re.findall(r"<(\w+)", page) for page in (text, plain))
    assert tags == usual
    assert "<script" not in text
    assert "</script" not in text
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in text


def test_it_says_where_the_run_stands():
    text = full_page()
    assert "step 400 of 800 (50 %); 0:00:00 of training and evaluation" in text
    assert 'style="--v:50.0%"' in text
    assert "<dt>val images</dt><dd>1,234</dd>" in text
    assert "<pre>partseg train set</pre>" in text
    assert "<td>200</td><td>set</td><td>40.00</td><td>20.25</td><td>27.00</td>" in text
    assert "<td>400</td><td>set</td><td>41.00</td><td>-</td><td>-</td>" in text
    assert "<span>mIoU seen, set, step 400</span><b>41.00</b>" in text


def test_curves_show_their_values_under_the_mouse_and_their_ends_in_words():
    text = full_page()
    assert len(re.findall("<svg ", text)) == 5
    assert "<title>step 1\neach step: 60\nexponential mean of 8 steps: 60</title>" in text
    assert "<title>step 200\nseen: 40\nunseen: 20.25\nharmonic: 27</title>" in text
    assert 'aria-label="mIoU on val, percent: seen 40 at step 200, 41 at step 400; unseen 20.25 at step 200' in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(set(ids)) == len(ids)


def test_a_run_without_a_step_has_a_page_too():
    text = training_page(TrainingInfo("new"), Curves({}, *[curves([]).lr] * 3))
    assert "No step is logged yet." in text
    assert "None yet." in text
    assert "No image is shown." in text
    assert "step 0" in text


@pytest.fixture
def run(trained, tmp_path):
    folder = shutil.copytree(trained.run, tmp_path / "run")
    (folder / "val.jsonl").write_text(json.dumps({"step": 2, "protocol": "pred-all", "mIoU": {"seen": 12.5}}) + "\n")
    store = Store.open(trained.data)
    return folder, store, load_split(store, str(trained.data / "split.yaml"))


def opened(folder):
    return load_segmenter(folder, InferenceConfig(torch.device("cpu")))[0]


@pytest.mark.page
def test_a_run_folder_gets_its_page_with_predictions_and_its_picture(run):
    folder, store, split = run
    update_report(folder, opened(folder), store, split, images=2)
    with Image.open(folder / "loss.png") as picture:
        assert picture.size == (1200, 800)
    text = (folder / "run.html").read_text(encoding="utf-8")
    assert len(re.findall('<article class="image"', text)) == 2
    shown = re.findall(r"<h4>(\S+) <b>", text)
    assert set(shown) <= set(split.val)
    assert "step 2 of 2 (100 %)" in text
    assert "<td>2</td><td>pred-all</td><td>12.50</td>" in text
    assert "<dt>training images</dt>" in text
    assert "micro_batch_size: 2" in text


@pytest.mark.page
def test_the_model_is_left_as_it_was(run):
    folder, store, split = run
    model = opened(folder)
    model.model.train()
    model.model.clip.eval()
    before = [module.training for module in model.model.modules()]
    drawn = torch.get_rng_state()
    update_report(folder, model, store, split, images=1)
    assert [module.training for module in model.model.modules()] == before
    assert torch.equal(torch.get_rng_state(), drawn)


def test_without_a_model_there_are_curves_alone(run):
    folder, store, split = run
    page, _ = write_training_page(folder, store=store, split=split)
    text = page.read_text(encoding="utf-8")
    assert "<svg" in text
    assert "No image is shown." in text


@pytest.mark.page
def test_a_photo_that_cannot_be_read_is_shown_as_such(run, tmp_path):
    folder, store, split = run
    data = shutil.copytree(store.folder, tmp_path / "data")
    for photo in (data / "images").iterdir():
        photo.write_bytes(b"no photo")
    broken = Store.open(data)
    update_report(folder, opened(folder), broken, split, images=1)
    assert len(re.findall('<p class="problem">', (folder / "run.html").read_text(encoding="utf-8"))) == 1


def test_an_empty_folder_gets_a_page_too(tmp_path, small_store):
    page, picture = write_training_page(tmp_path, store=small_store, split=published_split(small_store))
    assert "No step is logged yet." in page.read_text(encoding="utf-8")
    assert picture.is_file()

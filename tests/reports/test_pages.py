"""Every page against names that are HTML: they are shown as text, and nothing else than the page's script runs."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jinja2 import UndefinedError
from page_elements import Elements
from small_result import BOUNDS, small_result
from test_curve_plots import curves
from test_dataset_page import document as dataset_document
from test_dataset_page import sample
from test_evaluation_page import compared

from partseg_cli.evaluation.rules import GROUPS
from partseg_cli.pipeline import demo as demo_story
from partseg_cli.reports.curves import Score
from partseg_cli.reports.dataset_page import dataset_page
from partseg_cli.reports.evaluation_page import evaluation_page
from partseg_cli.reports.figures import PredictionCard
from partseg_cli.reports.pages import TEMPLATES, render_page, text
from partseg_cli.reports.training_page import TrainingInfo, training_page
from partseg_cli.vocabulary import Pair, Vocabulary

SCRIPT = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"
HARMLESS = "zebra"

Page = Callable[[str], str]


def poisoned(value: Any, evil: str) -> Any:
    """Return a document with `evil` in front of every text; keys stay."""
    if isinstance(value, dict):
        return {key: poisoned(each, evil) for key, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each, evil) for each in value]
    return f"{evil}{value}" if isinstance(value, str) else value


def card(evil: str) -> PredictionCard:
    plain = compared(evil, problem=evil)
    entries = tuple(replace(e, object=evil, part=evil, name=f"{evil}'s {evil}") for e in plain.entries)
    return replace(plain, split=evil, entries=entries)


def evaluation(evil: str) -> str:
    small = small_result()
    pairs = tuple(Pair(f"{evil}{pair.object}", f"{evil}{pair.part}", pair.is_seen) for pair in small.vocabulary.pairs)
    document = poisoned(small.document(BOUNDS), evil)
    document |= {evil: evil, "classes_without_pixels": [evil], "checkpoint": evil, "predictions": evil}
    document |= {"model": evil, "recipe": evil, "versions": {evil: evil}}
    return evaluation_page(document, Vocabulary(pairs), small.table, [card(evil)], [card(evil)])


def training(evil: str) -> str:
    info = TrainingInfo(evil, 800, 8, f"name: {evil}", f"partseg train {evil}", {evil: evil, "versions": evil})
    scores = (Score(200, evil, {evil: 40.0}), Score(400, f"{evil}2", {evil: None, "seen": 9.0}))
    return training_page(info, curves(np.geomspace(60, 0.1, 400), scores, **{evil: np.ones(400)}), [card(evil)])


def dataset(evil: str) -> str:
    document = poisoned(dataset_document(), evil)
    example = {"split": evil, "image_id": evil, "text": evil}
    document["suspicious"] = [{"kind": evil, "what": evil, "count": 2, "examples": [example]}]
    for row in (*document["objects"], *document["pairs"]):
        row["splits"] = {evil: {"images": 1, "instances": 2, "parts": 3, "pixels": 4}}
    document["splits"] = {evil: {evil: 4}}
    document["absent"] = {evil: {"objects": [evil], "pairs": [evil]}}
    return dataset_page(document, [sample(evil, evil, problem=evil)])


def demo(evil: str) -> str:
    return render_page(
        "demo_page",
        title=evil,
        about=evil,
        command=evil,
        query=[evil],
        preview=evil,
        predictions=evil,
        groups=GROUPS,
        scores=[(evil, evil, "1", "2", "3")],
        protocol=evil,
        classes=[(evil, "seen", "1")],
    )


PAGES = {"evaluation_page": evaluation, "training_page": training, "dataset_page": dataset, "demo_page": demo}


def test_every_page_is_tested():
    shared = {"base", "macros"}
    assert {path.stem for path in TEMPLATES.glob("*.html")} - shared == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_script_in_any_name_is_shown_as_text(name):
    page, plain = PAGES[name](SCRIPT), PAGES[name](HARMLESS)
    assert SCRIPT not in page
    assert page.count(ESCAPED) == page.count("alert(1)") == plain.count(HARMLESS) > 0
    assert page.count("<script") == page.count("</script") == (TEMPLATES / f"{name}.js").exists()
    assert [tag for tag, _ in Elements(page).found] == [tag for tag, _ in Elements(plain).found]


@pytest.mark.parametrize("name", PAGES)
def test_quotes_in_any_name_end_no_attribute(name):
    evil = "\"' onload='x' \""
    found, plain = Elements(PAGES[name](evil)).found, Elements(PAGES[name](HARMLESS)).found
    assert [(tag, list(attributes)) for tag, attributes in found] == [
        (tag, list(attributes)) for tag, attributes in plain
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_forbids_all_but_its_own_script_and_data(name):
    page = PAGES[name](HARMLESS)
    (policy,) = [meta["content"] for meta in Elements(page).all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")
    assert policy.endswith("base-uri 'none'; form-action 'none'")
    assert ("script-src 'sha256-" in policy) == (TEMPLATES / f"{name}.js").exists()
    assert not re.search(r"https?:|{{|{%|{#", page)


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError, match=r"^'title' is undefined$"):
        render_page("demo_page")


def test_a_whole_number_gets_separators_and_nothing_else():
    assert [text(value) for value in (1234567, 12.5, "1234", True, None)] == [
        "1,234,567",
        "12.5",
        "1234",
        "True",
        "None",
    ]


def test_the_demo_escapes_what_it_shows(tmp_path):
    from PIL import Image

    from partseg_cli.pipeline.evaluate import EvaluateResult

    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    small = small_result(SCRIPT, SCRIPT)
    result = EvaluateResult(tmp_path, small.result, small.about, small.table, None)
    page = demo_story._page(SCRIPT, [result], [result], tmp_path / "a.png", tmp_path / "a.png")
    assert SCRIPT not in page
    assert page.count(ESCAPED) >= 4
    assert page.count("data:image/png;base64,") == 2

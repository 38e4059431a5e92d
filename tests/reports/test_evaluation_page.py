"""The page of a result: whole by itself, right in its figures, and harmless whatever names there are."""

import base64
import hashlib
import io
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from page_elements import EVIL, Elements
from PIL import Image
from small_result import BOUNDS, small_result

from partseg_cli.evaluation.counts import ConfusionTable
from partseg_cli.io.label_maps import palette
from partseg_cli.reports.error_analysis import ImageScore
from partseg_cli.reports.evaluation_page import evaluation_page
from partseg_cli.reports.figures import LegendEntry, PredictionCard, draw_prediction
from partseg_cli.reports.pages import TEMPLATES

PICTURE = "data:image/png;base64,AAAA"
SMALL = small_result()
SCORE = ImageScore("one", 12.5, {0: 50.0}, 8)


def compared(name: str = "one", **fields: object) -> PredictionCard:
    words = (
        LegendEntry(name, "ear", f"{name}'s ear", True, (255, 0, 16)),
        LegendEntry("dog", "ear", "dog's ear", False, (0, 0, 9)),
    )
    score = replace(SCORE, image_id=name)
    return PredictionCard("val", (500, 375), score, PICTURE, PICTURE, PICTURE, words, (50.0, None), **fields)


def full_page(name: str = "cat", about: str = "set") -> str:
    small = small_result(name, about)
    images = [compared(name, problem=name)]
    return evaluation_page(small.document(BOUNDS), small.vocabulary, small.table, images, images)


def test_the_page_is_whole_and_names_nothing_outside_itself():
    text = full_page()
    elements = Elements(text)
    assert elements.open == []
    for tag, attributes in elements.found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert (attributes.get("src") or PICTURE).startswith("data:image/")
        assert re.fullmatch("#[a-z]+", attributes.get("href") or "#x")
    assert set(re.findall(r"url\((.{11})", text)) == {"data:image/"}
    assert not re.search(r"https?:|//[a-z]|@import|\bfetch\b|XMLHttpRequest", text)
    assert not re.search(r"\$\w|\$\{", text)
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {link["href"].removeprefix("#") for link in elements.all("a")} <= set(ids)


def test_the_policy_of_the_page_lets_its_own_script_run_and_no_other():
    text = full_page()
    (policy,) = [meta["content"] for meta in Elements(text).all("meta") if "http-equiv" in meta]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_every_name_is_escaped_wherever_it_stands():
    text, plain = full_page(EVIL, EVIL), full_page("set", "set")
    tags, usual = ([tag for tag, _ in Elements(page).found] for page in (text, plain))
    assert tags == usual
    assert text.count("</script") == 1
    assert not [key for _, attributes in Elements(text).found for key in attributes if key.startswith("on")]
    objects = [row["data-object"] for row in Elements(text).all("tr") if "data-object" in row]
    assert sorted(objects) == sorted([EVIL, EVIL, EVIL, "dog"])
    assert {"value": EVIL} in Elements(text).all("option")


def test_means_stand_with_their_intervals():
    text = full_page()
    assert "<b>63.89</b><span>[40.12, 60.50]</span>" in text
    assert '<th scope="row">recall</th><td>68.75 <span class="dim">[0.00, 100.00]</span></td>' in text
    assert "95 % intervals by bootstrap over images" in text


def test_without_intervals_none_are_spoken_of():
    text = evaluation_page(SMALL.document(), SMALL.vocabulary, SMALL.table)
    assert "<b>63.89</b><span>&nbsp;</span>" in text
    assert "bootstrap" not in text
    assert "No image is shown." in text


def test_rules_stand_side_by_side_and_the_own_one_is_marked():
    text = full_page()
    assert text.count('<tr class="own"><th scope="row">ref-v2 (used here)</th>') == 1
    assert (
        '<th scope="row">ovparts</th><td>48.15</td><td>50.00</td><td>49.06</td>'
        "<td>63.89</td><td>40.00</td><td>49.20</td><td>4</td><td>1</td>"
    ) in text


def test_the_round_trip_says_that_it_stands_alone():
    small = small_result(rule="ref-bug")
    text = evaluation_page(small.document(), small.vocabulary, None)
    assert "The rule ref-bug has counts of its own; no other rule can be computed from them." in text
    assert 'id="pairs"' not in text


def test_classes_come_from_the_best_to_the_worst_with_those_without_a_score_last():
    text = full_page()
    table = text[text.index('id="classes"') :].split("</table>")[0]
    assert re.findall(r'<tr data-object="(\w+)" data-seen="(\w+)"( data-absent)?><th scope="row">([^<]+)', table) == [
        ("cat", "seen", "", "cat&#39;s ear"),
        ("cat", "seen", "", "cat&#39;s head"),
        ("dog", "unseen", "", "dog&#39;s ear"),
        ("cat", "seen", " data-absent", "cat&#39;s tail"),
    ]
    assert '<td class="bar unseen" data-value="40.0000" style="--v:40.0%">40.00</td>' in table
    assert re.findall(r'data-value="[^"]+">([+-][\d.]+)<', table) == ["+37.78", "+37.78"]


def test_sizes_tell_their_bounds():
    text = full_page()
    for words in ("below 1,024 px", "1,024 to 9,215 px", "9,216 px and more"):
        assert text.count(f'<span class="dim">{words}</span>') == 1


def test_confusions_tell_what_the_parts_share():
    text = full_page()
    listed = text[text.index('id="pairs"') :].split("</table>")[0]
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td><td data-value="(\d+)">', listed)
    assert rows == [
        ("cat&#39;s ear", "dog&#39;s ear", "part", "1"),
        ("cat&#39;s head", "cat&#39;s ear", "object", "1"),
        ("dog&#39;s ear", "cat&#39;s tail", "neither", "1"),
    ]


def test_a_row_of_the_matrix_adds_up_to_all_labelled_pixels():
    text = full_page()
    rows = re.findall(r"<tr>(.*?)</tr>", text[text.index('class="heat"') :].split("</table>")[0])[1:]
    cells = [[int(share) for share in re.findall(r"--v:(\d+)%", row)] for row in rows]
    assert cells == [[88, 12], [25, 50, 25], [50, 25, 25], []]
    assert '<td class="right" style="--v:50%">50</td>' in rows[1]


def test_a_perfect_result_has_no_confusion():
    table = ConfusionTable(4)
    sample = small_result().table.samples[0]
    hit = np.array([0, 6])
    table.add("one", replace(sample, cells=hit, pixels=np.array([4, 4])))
    assert "No part is predicted as another one." in evaluation_page(SMALL.document(), SMALL.vocabulary, table)


def test_details_list_what_has_no_other_place():
    text = evaluation_page(
        {**SMALL.document(), "data_hash": "ab12", "step": 20_000, "kind": None}, SMALL.vocabulary, None
    )
    assert "<dt>data hash</dt><dd>ab12</dd>" in text
    assert "<dt>step</dt><dd>20,000</dd>" in text
    assert "<dt>kind</dt>" not in text
    assert re.search(r"<dt>python</dt><dd>3\.", text)


def test_every_picture_has_words_for_it_and_every_control_a_name():
    elements = Elements(full_page())
    assert [image["alt"] for image in elements.all("img")] == ["labelled parts of cat", "predicted parts of cat"] * 2
    assert [pane["aria-label"] for pane in elements.all("div") if pane.get("role") == "img"] == ["image cat"] * 2
    assert len(elements.all("label")) == len(elements.all("select")) + len(elements.all("input"))
    assert all(
        div["tabindex"] == "0" and div["aria-label"] for div in elements.all("div") if div.get("role") == "region"
    )
    assert elements.all("html") == [{"lang": "en"}]


def test_words_of_an_image_tell_their_own_score():
    text = full_page()
    assert "<h4>cat <b>12.50</b>" in text
    assert '<i style="background:#ff0010"></i>cat&#39;s ear <span class="dim">50.0</span></li>' in text
    assert (
        '<li data-seen="unseen"><i style="background:#000009"></i>dog&#39;s ear <span class="dim">not labelled' in text
    )


# ---- pictures


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGBA"))


def test_an_image_shows_both_maps_in_the_same_colours(small_data, tmp_path):
    store = small_data.write(tmp_path)
    record = store.records("train")[3]  # cat's ear and head, fox's ear and tail
    flat = record.pair_map().astype(np.int64)
    labels = np.where(flat == 65535, -1, flat)
    prediction = np.where(labels == 0, 2, labels)
    found = draw_prediction(store, "train", record, prediction, store.info.vocabulary, SCORE)
    assert (found.split, found.size, found.problem) == ("train", (record.width, record.height), "")
    present = [0, 1, 2, 4, 5]
    assert [word.name for word in found.entries] == [store.info.vocabulary.pairs[index].name for index in present]
    assert found.ious == (50.0, None, None, None, None)
    colours = palette(len(present))
    for layer, expected in ((found.labelled, labels), (found.predicted, prediction)):
        shown = pixels(layer)
        inner = (shown[..., :3] != 255).any(-1) & (shown[..., 3] > 0)
        assert inner.any()
        assert (shown[inner][:, :3] == colours[np.searchsorted(present, expected[inner])]).all()
        assert (shown[..., 3][expected < 0] == 0).any()


def test_pictures_of_an_image_stay_below_the_limit(small_data, tmp_path):
    store = small_data.write(tmp_path)
    record = store.records("train")[3]
    prediction = np.random.default_rng(0).integers(-1, 6, (record.height, record.width))
    found = draw_prediction(store, "train", record, prediction, store.info.vocabulary, SCORE, limit=6_000)
    assert len(found.image) + len(found.labelled) + len(found.predicted) <= 6_000


def test_a_prediction_of_another_size_is_refused(small_data, tmp_path):
    store = small_data.write(tmp_path)
    record = store.records("train")[3]
    size = record.height, record.width
    wrong = re.escape(f"prediction must be of size {size}, got (2, 3)")
    with pytest.raises(ValueError, match=f"^{wrong}$"):
        draw_prediction(store, "train", record, np.zeros((2, 3), np.int64), store.info.vocabulary, SCORE)


def test_the_script_is_javascript():
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not there")
    subprocess.run([node, "--check", TEMPLATES / "evaluation_page.js"], check=True)

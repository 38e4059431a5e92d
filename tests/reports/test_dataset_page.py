"""The page: whole by itself, and harmless whatever names a dataset has."""

import base64
import hashlib
import re
import shutil
import subprocess

import pytest
from page_elements import EVIL, Elements

from partseg_cli.reports.dataset_page import dataset_page
from partseg_cli.reports.figures import LegendEntry, SampleCard
from partseg_cli.reports.pages import TEMPLATES

PICTURE = "data:image/png;base64,AAAA"


def counts(images: int) -> dict:
    return {"train": {"images": images, "instances": 2, "parts": 3, "pixels": 1_234_567}}


def document(name: str = "set", findings: list[dict] | None = None) -> dict:
    bins = [{"label": "4 to 15 px", "parts": 3}, {"label": "16 to 63 px", "parts": 1_200}]
    return {
        "dataset": name,
        "licence": name,
        "homepage": name,
        "splits": {"train": {"images": 4, "images_without_parts": 1, "shared_pixels": 5}},
        "objects": [{"object": name, "seen": True, "has_parts": True, "splits": counts(4)}],
        "pairs": [{"name": f"{name}'s ear", "object": name, "part": "ear", "seen": False, "splits": counts(4)}],
        "absent": {"train": {"objects": [name], "pairs": []}},
        "sizes": {"coco": bins, "pixels": bins, "percent_of_photo": []},
        "overlap": {"shared_pixels": {"what": "shared", "pixels": 5, "percent": 12.3456}},
        "suspicious": findings or [],
    }


def sample(name: str = "photo", split: str = "train", **fields: object) -> SampleCard:
    words = (
        LegendEntry(f"{name} cat", f"{name} ear", f"{name} cat's ear", False, (255, 0, 16)),
        LegendEntry(f"{name} cat", f"{name} head", f"{name} cat's head", True, None),
        LegendEntry(f"{name} boat", "", f"{name} boat", True, None),
    )
    values = {"size": (500, 375), "shown": (480, 360), "image": PICTURE, "parts": PICTURE, "entries": words, **fields}
    return SampleCard(image_id=name, split=split, **values)


def test_the_page_is_whole_and_names_nothing_outside_itself():
    text = dataset_page(document(), [sample("a"), sample("b")])
    elements = Elements(text)
    assert elements.open == []
    assert text.startswith("<!DOCTYPE html>")
    for tag, attributes in elements.found:
        assert tag not in {"link", "iframe", "object", "embed", "base", "a"}
        for key in ("src", "href", "srcset", "action"):
            assert (attributes.get(key) or PICTURE).startswith("data:image/")
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\bfetch\b|XMLHttpRequest", text)
    assert not re.search(r"\$\w|\$\{", text)
    assert len({a["id"] for _, a in elements.found if "id" in a}) == len([1 for _, a in elements.found if "id" in a])


def test_the_policy_of_the_page_lets_its_own_script_run_and_no_other():
    text = dataset_page(document(), [])
    (policy,) = [meta["content"] for meta in Elements(text).all("meta") if "http-equiv" in meta]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_every_name_is_escaped_wherever_it_stands():
    case = {"split": EVIL, "image_id": EVIL, "text": EVIL}
    finding = {"kind": "same_mask", "what": EVIL, "count": 1, "examples": [case]}
    evil = sample(EVIL, EVIL, problem=EVIL)
    text, plain = (
        dataset_page(document(EVIL, [finding]), [evil]),
        dataset_page(document(findings=[finding | {"what": "w"}]), [sample()]),
    )
    elements, usual = Elements(text), Elements(plain)
    assert [tag for tag, _ in elements.found if tag != "p"] == [tag for tag, _ in usual.found if tag != "p"]
    assert text.count("</script") == 1
    assert not [key for _, attributes in elements.found for key in attributes if key.startswith("on")]
    (title,) = re.findall("<title>(.*?)</title>", text)
    assert title == (
        "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt; &#34;it&#39;s&#34; &amp; &#39;that&#39; "
        "$title ${script} &lt;!-- --&gt; é 猫"
    )
    (card,) = elements.all("article")
    assert card["data-split"] == EVIL
    assert next(word["data-object"] for word in elements.all("li") if "data-object" in word) == f"{EVIL} cat"
    assert {"value": f"{EVIL} ear"} in elements.all("option")


def test_words_carry_what_the_filters_ask_for():
    elements = Elements(dataset_page(document(), [sample("a"), sample("b", "val")]))
    assert [card["data-split"] for card in elements.all("article")] == ["train", "val"]
    words = [word for word in elements.all("li") if "data-object" in word]
    assert words[0] == {"data-object": "a cat", "data-part": "a ear", "data-seen": "unseen"}
    assert words[2] == {"data-object": "a boat", "data-part": "", "data-seen": "seen"}
    values = [option["value"] for option in elements.all("option")]
    assert values == [
        *("", "a boat", "a cat", "b boat", "b cat"),
        *("", "a ear", "a head", "b ear", "b head"),
        *("", "seen", "unseen"),
        *("", "train", "val"),
    ]


def test_words_without_a_colour_say_why():
    text = dataset_page(document(), [sample("a")])
    assert '<i style="background:#ff0010"></i>a cat&#39;s ear</li>' in text
    assert ">a cat&#39;s head (covered)</li>" in text
    assert ">a boat (no part)</li>" in text


def test_every_picture_has_words_for_it_and_every_control_a_name():
    elements = Elements(dataset_page(document(), [sample("a")]))
    assert [image["alt"] for image in elements.all("img")] == [
        "image a",
        "its parts: a cat's ear, a cat's head, a boat",
    ]
    assert all(image["width"] == "480" and image["height"] == "360" for image in elements.all("img"))
    controls = elements.all("select") + [i for i in elements.all("input") if i["type"] != "hidden"]
    assert len(elements.all("label")) == len(controls)
    assert [b.get("aria-label") for b in elements.all("button") if b["type"] == "button"] == ["hide parts"]
    assert elements.all("html") == [{"lang": "en"}]
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in elements.all("svg"))


def test_figures_stand_on_the_page():
    text = dataset_page(
        document(
            findings=[
                {
                    "kind": "k",
                    "what": "odd",
                    "count": 12,
                    "examples": [{"split": "val", "image_id": "x", "text": "is empty"}],
                }
            ]
        ),
        [],
    )
    assert "<tr><td>images without parts</td><td>1</td></tr>" in text
    assert "<tr><td>shared</td><td>5</td><td>12.35</td></tr>" in text
    assert "<td>set&#39;s ear</td><td>unseen</td><td>4</td><td>2</td><td>3</td><td>1,234,567</td>" in text
    assert "<summary>12 x odd</summary><ul><li>val x: is empty</li></ul>" in text
    assert "... and 11 more" in text
    assert "<summary>train: 1 objects</summary><p>set</p>" in text


def test_a_bar_is_as_long_as_its_share_of_the_largest():
    elements = Elements(dataset_page(document(), []))
    widths = [float(bar["width"]) for bar in elements.all("rect")]
    assert widths == [0.5, 200.0] * 2
    assert elements.all("svg")[0]["aria-label"] == "4 to 15 px: 3, 16 to 63 px: 1,200"
    assert elements.all("svg")[2]["aria-label"] == "no part"


def test_a_data_set_in_which_nothing_is_odd_is_told_so():
    assert "No issue found." in dataset_page(document(), [])


def test_the_script_is_javascript():
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not there")
    subprocess.run([node, "--check", TEMPLATES / "dataset_page.js"], check=True)

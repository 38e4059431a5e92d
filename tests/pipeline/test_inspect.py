"""`partseg inspect` as a whole: what it prints, what it leaves in its folder, and that a rerun leaves the same."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from partseg_cli.data.record import Record
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.errors import DataError
from partseg_cli.pipeline.inspect import SAMPLE_SIZE, inspect
from partseg_cli.pipeline.prepare import prepare
from partseg_cli.vocabulary import Pair, Vocabulary

FILES = ["contact_sheet.png", "figures.json", "index.html"]


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_writes_figures_a_page_and_a_contact_sheet(small_store, tmp_path):
    done = inspect(str(small_store.folder), out=tmp_path / "out", samples=12)
    assert done.folder == tmp_path / "out"
    assert sorted(done.files) == names(done.folder) == FILES
    assert json.loads((done.folder / "figures.json").read_text(encoding="utf-8")) == done.document
    assert done.document["splits"]["train"]["images"] == 8
    assert len(done.document["samples"]) == 12
    assert (done.folder / "index.html").read_text(encoding="utf-8").count("<article") == 12
    with Image.open(done.folder / "contact_sheet.png") as sheet:
        assert sheet.width == 5 * (440 + 14) + 14
        assert 3 * 14 < sheet.height <= 3 * (440 + 14) + 14


def test_the_same_store_gives_the_same_bytes(small_data, tmp_path):
    for name in ("one", "two"):
        small_data.write(tmp_path / name)
        inspect(str(tmp_path / name), out=tmp_path / f"out {name}")
    for name in FILES:
        assert (tmp_path / "out one" / name).read_bytes() == (tmp_path / "out two" / name).read_bytes()


def test_every_class_is_on_a_sample_where_there_is_room(small_store, tmp_path):
    document = inspect(str(small_store.folder), out=tmp_path, samples=4).document
    chosen = {(row["split"], row["image_id"]) for row in document["samples"]}
    shown = set()
    for split in small_store.splits:
        for record in small_store.records(split):
            if (split, record.image_id) in chosen:
                shown |= {thing.category for thing in record.objects}
    assert len(chosen) == 4
    assert shown == {0, 1, 2, 3}


def test_one_split_alone_is_inspected(small_store, tmp_path):
    document = inspect(str(small_store.folder), split="val", out=tmp_path).document
    assert list(document["splits"]) == ["val"]
    assert {row["split"] for row in document["samples"]} == {"val"}
    assert list(document["pairs"][0]["splits"]) == ["val"]


def test_an_unknown_split_is_refused(small_store, tmp_path):
    with pytest.raises(DataError) as error:
        inspect(str(small_store.folder), split="test", out=tmp_path / "out")
    assert str(error.value) == f"{small_store.folder}: split must be one of train, val, got 'test'"
    assert not (tmp_path / "out").exists()


def test_without_samples_there_is_no_contact_sheet_and_no_old_one_stays(small_store, tmp_path):
    inspect(str(small_store.folder), out=tmp_path)
    done = inspect(str(small_store.folder), out=tmp_path, samples=0)
    assert sorted(done.files) == names(tmp_path) == ["figures.json", "index.html"]
    assert done.document["samples"] == []


def test_an_empty_store_can_be_looked_at(small_data, tmp_path):
    with StoreWriter(tmp_path / "store", small_data.info, ("train", "val")):
        pass
    done = inspect(str(tmp_path / "store"), out=tmp_path / "out")
    assert [finding["count"] for finding in done.document["suspicious"]] == [2]
    assert names(done.folder) == ["figures.json", "index.html"]


def test_missing_images_are_reported_and_drawn_grey(small_data, tmp_path):
    small_data.write(tmp_path / "store")
    shutil.rmtree(tmp_path / "store/images")
    done = inspect(str(tmp_path / "store"), out=tmp_path / "out")
    (finding,) = done.document["suspicious"]
    assert (finding["kind"], finding["count"]) == ("missing_photo", 12)
    assert (done.folder / "index.html").read_text(encoding="utf-8").count('class="problem"') == 12


def test_names_that_look_like_html_are_harmless(small_data, tmp_path):
    evil = "</script><b onclick='x'>\"cat\""
    pairs = Vocabulary((Pair(evil, evil),))
    info = DatasetInfo(evil.replace("/", ""), "images", (evil,), pairs, evil, evil)
    record: Record = small_data.records["train"][0]
    store_folder = tmp_path / "store"
    objects = tuple(replace(thing, category=0) for thing in record.objects)
    parts = tuple(replace(part, pair=0, raw=evil) for part in (*record.parts, record.parts[0]))
    with StoreWriter(store_folder, info, ("train",)) as writer:
        writer.add("train", replace(record, image_id=evil, objects=objects, parts=parts))
    done = inspect(str(store_folder), out=tmp_path / "out")
    text = (done.folder / "index.html").read_text(encoding="utf-8")
    assert text.count("</script") == 1
    assert "<b onclick" not in text
    assert "&lt;/script&gt;&lt;b onclick=&#39;x&#39;&gt;&#34;cat&#34;" in text


def test_the_page_stays_small(small_data, tmp_path):
    rng = np.random.default_rng(0)
    store = small_data.write(tmp_path / "store")
    for split in store.splits:
        for record in store.records(split):
            noise = rng.integers(0, 256, (record.height, record.width, 3), dtype=np.uint8)
            Image.fromarray(noise).save(store.image_path(record))
    done = inspect(str(store.folder), out=tmp_path / "out", samples=12)
    assert (done.folder / "index.html").stat().st_size < 12 * (SAMPLE_SIZE + 2_000) + 40_000


def test_a_name_below_the_data_folder_will_do_and_runs_are_numbered(small_data, tmp_path, monkeypatch, partseg):
    monkeypatch.chdir(tmp_path)
    small_data.write(tmp_path / "data/small")
    for number in (1, 2):
        done = partseg("inspect", "small", "--samples", "2")
        assert (done.code, names(tmp_path / f"runs/inspect/small-{number}")) == (0, FILES)
        assert done.err.endswith(f"runs/inspect/small-{number}: index.html, contact_sheet.png, figures.json\n")


def test_tables_go_to_stdout_and_what_is_odd_to_stderr(small_data, tmp_path, partseg):
    store = small_data.write(tmp_path / "store")
    store.image_path(store.records("val")[1]).unlink()
    done = partseg("inspect", store.folder, "--out", tmp_path / "out")
    assert done.code == 0
    for title in ("object-specific parts", "objects", "share of the image", "COCO's bounds", "overlap", "small"):
        assert title in done.out
    assert "█" in done.out
    assert done.err.splitlines()[-2:] == [
        "worth a look: 1 x missing image, such as val photo_09: No such file or directory",
        f"{tmp_path / 'out'}: index.html, contact_sheet.png, figures.json",
    ]


def test_absent_classes_are_named_on_stderr(small_store, tmp_path, partseg):
    only_boat = small_store.records("train")[5]
    with StoreWriter(tmp_path / "store", small_store.info, ("train", "val")) as writer:
        writer.add("train", only_boat)
    done = partseg("inspect", tmp_path / "store", "--out", tmp_path / "out", "--samples", 0)
    assert done.err.splitlines()[:2] == [
        "train: 3 objects absent: cat, dog, fox",
        "train: 6 pairs absent: cat's ear, cat's head, dog's head, dog's tail, fox's ear, fox's tail",
    ]


def test_json_is_one_document_on_stdout(small_store, tmp_path, partseg):
    done = partseg("inspect", small_store.folder, "--out", tmp_path / "out", "--json")
    assert done.code == 0
    assert json.loads(done.out) == json.loads((tmp_path / "out/figures.json").read_text(encoding="utf-8"))
    assert list(json.loads(done.out)) == [
        *("dataset", "licence", "homepage", "splits", "objects", "pairs", "absent", "unseen_objects"),
        *("sizes", "overlap", "suspicious", "samples"),
    ]


def test_brackets_in_a_name_stay_in_the_table(small_data, tmp_path, partseg):
    info = DatasetInfo("[b]set", "images", ("[red]cat",), Vocabulary((Pair("[red]cat", "[/]ear"),)))
    record = small_data.records["train"][0]
    with StoreWriter(tmp_path / "store", info, ("train",)) as writer:
        objects = tuple(replace(thing, category=0) for thing in record.objects)
        writer.add("train", replace(record, objects=objects, parts=tuple(replace(p, pair=0) for p in record.parts)))
    done = partseg("inspect", tmp_path / "store", "--out", tmp_path / "out")
    assert "[red]cat's [/]ear" in done.out
    assert "[b]set" in done.out


@pytest.mark.process
def test_bars_are_plain_where_the_terminal_knows_no_blocks(small_store, tmp_path):
    program = [sys.executable, "-m", "partseg_cli", "inspect", small_store.folder, "--out", tmp_path, "--samples", "0"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=ascii_only)
    assert "##" in done.stdout


def test_a_data_set_that_is_not_there_ends_with_its_own_code(tmp_path, partseg):
    done = partseg("inspect", tmp_path / "nothing", "--out", tmp_path / "out")
    assert (done.code, done.out) == (3, "")
    assert "got nothing there" in done.err


def test_real_pascal_images_show_what_was_measured_on_them(samples, tmp_path):
    prepare("pascal-part-116", source=samples / "pascal_part", out=tmp_path / "store")
    document = inspect(str(tmp_path / "store"), out=tmp_path / "out", samples=5).document
    assert Store.open(tmp_path / "store").splits == tuple(document["splits"])
    assert document["overlap"]["shared_pixels"]["pixels"] == 154_314
    assert round(document["overlap"]["shared_pixels"]["percent"], 1) == 19.7
    assert document["overlap"]["object_part_pixels"]["pixels"] == 784_269
    assert document["suspicious"] == []

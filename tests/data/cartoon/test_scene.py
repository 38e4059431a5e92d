import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from partseg_cli.data.cartoon.pen import Canvas, Pen, box
from partseg_cli.data.cartoon.scene import FIGURES, Scene, convert, draw_scene, find_objects
from partseg_cli.data.cartoon.scenery import HIDDEN, hide_some, relight
from partseg_cli.data.converters.conversion import Converted
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter, iterate
from partseg_cli.errors import UsageError

MANIFEST = load_manifest("cartoon-part")


@cache
def scenes(count: int) -> list[Scene]:
    return [draw_scene(seed=5, index=index, size=96) for index in range(count)]


def drawn_data(folder: Path, *, images: int, seed: int = 3, size: int = 64) -> list[Converted]:
    return list(convert(folder, MANIFEST, images=images, seed=seed, size=size).outcomes)


def photos(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def pen_on(canvas: Canvas, name: str) -> Pen:
    return Pen(canvas, name, foot=(0, 20), unit=1, tilt=0, is_flipped=False)


def test_same_seed_gives_the_same_bytes_and_records(tmp_path):
    first, second = (drawn_data(tmp_path / name, images=6) for name in "ab")
    assert first == second
    assert len(photos(tmp_path / "a")) == 6
    assert photos(tmp_path / "a") == photos(tmp_path / "b")


def test_another_seed_gives_another_world():
    images = [np.asarray(draw_scene(seed=seed, index=0, size=64).image) for seed in (1, 2)]
    assert (images[0] != images[1]).mean() > 0.5


def test_an_image_does_not_depend_on_how_many_are_drawn(tmp_path):
    few, many = drawn_data(tmp_path / "few", images=3), drawn_data(tmp_path / "many", images=7)
    assert few == many[:3]
    assert photos(tmp_path / "few").items() < photos(tmp_path / "many").items()


def test_nothing_is_drawn_before_it_is_asked_for(tmp_path):
    conversion = convert(tmp_path, MANIFEST, images=9, seed=0, size=64)
    assert (conversion.image_root, conversion.found, photos(tmp_path)) == ("images", 9, {})
    next(conversion.outcomes)
    assert list(photos(tmp_path)) == ["images/cartoon_00000.png"]


def test_a_record_names_its_image_its_origin_and_its_split(tmp_path):
    outcomes = drawn_data(tmp_path, images=10, seed=8)
    assert [outcome.split for outcome in outcomes] == ["train", "train", "train", "train", "val"] * 2
    record = outcomes[7].record
    assert (record.image_id, record.file_name) == ("cartoon_00007", "cartoon_00007.png")
    assert record.source == "cartoon seed 8 image 7"
    assert [thing.id for thing in record.objects] == list(range(1, 1 + len(record.objects)))
    assert {part.raw for part in record.parts} == {MANIFEST.vocabulary.pairs[part.pair].part for part in record.parts}


def test_records_hold_what_was_drawn(tmp_path):
    for index, outcome in enumerate(drawn_data(tmp_path, images=6, seed=2, size=72)):
        scene, record = draw_scene(seed=2, index=index, size=72), outcome.record
        assert [MANIFEST.objects[thing.category] for thing in record.objects] == [drawn.name for drawn in scene.objects]
        for thing, drawn in zip(record.objects, scene.objects, strict=True):
            parts = [part for part in record.parts if part.object == thing.id]
            pairs = [MANIFEST.vocabulary.pairs[part.pair] for part in parts]
            assert [(pair.object, pair.part) for pair in pairs] == [(drawn.name, name) for name, _ in drawn.parts]
            np.testing.assert_array_equal(thing.mask.decode(72, 72), drawn.mask)
            for part, (_, mask) in zip(parts, drawn.parts, strict=True):
                np.testing.assert_array_equal(part.mask.decode(72, 72), mask)


def test_every_part_shows_and_lies_inside_its_object():
    for scene in scenes(60):
        for drawn in scene.objects:
            for name, mask in drawn.parts:
                assert mask.any(), (drawn.name, name)
                assert not (mask & ~drawn.mask).any(), (drawn.name, name)


def test_objects_never_share_a_pixel():
    crowds = [scene for scene in scenes(60) if len(scene.objects) > 1]
    assert len(crowds) > 10
    for scene in crowds:
        assert sum(drawn.mask.astype(int) for drawn in scene.objects).max() == 1


def test_parts_of_one_object_overlap_only_where_one_contains_the_other():
    for scene in scenes(60):
        for drawn in scene.objects:
            for index, (_, lower) in enumerate(drawn.parts):
                for _, upper in drawn.parts[index + 1 :]:
                    shared = (lower & upper).sum()
                    assert shared in (0, upper.sum())


def test_eyes_and_muzzles_lie_in_heads_and_doors_in_sides():
    inside = Counter()
    for scene in scenes(60):
        for drawn in scene.objects:
            whole = {name: np.any([m for n, m in drawn.parts if n == name], axis=0) for name, _ in drawn.parts}
            for small, large in (("eye", "head"), ("muzzle", "head"), ("door", "side")):
                if small in whole:
                    assert not (whole[small] & ~whole[large]).any()
                    inside[small] += 1
    assert min(inside[name] for name in ("eye", "muzzle", "door")) > 5


def test_an_object_in_front_takes_the_pixels_of_the_one_behind():
    canvas = Canvas(Image.new("RGB", (20, 20)))
    behind = pen_on(canvas, "cat")
    head = behind.part("head", box(2, 2, 12, 12), (200, 0, 0))
    eye = behind.feature("eye", box(8, 5, 10, 7), (0, 200, 0), on=head)
    ear = behind.feature("ear", box(2, 10, 6, 14), (0, 0, 200), on=behind.object)
    alone = canvas.masks()
    assert (alone[head] & alone[eye]).sum() == alone[eye].sum() > 0
    assert not (alone[head] & alone[ear]).any()
    in_front = pen_on(canvas, "dog")
    in_front.part("torso", box(9, 0, 15, 9), (0, 200, 0))
    masks = canvas.masks()
    cover = masks[in_front.object]
    for number in (behind.object, head, eye, ear):
        np.testing.assert_array_equal(masks[number], alone[number] & ~cover)
    assert 0 < masks[eye].sum() < alone[eye].sum()


def test_what_is_wholly_hidden_is_not_there():
    canvas = Canvas(Image.new("RGB", (20, 20)))
    for name, left, right in (("bird", 6, 9), ("cat", 2, 16), ("dog", 4, 12)):
        pen = pen_on(canvas, name)
        pen.part("tail", box(5, 5, 10, 8), (200, 0, 0))
        pen.part("torso", box(left, 2, right, 12), (200, 0, 0))
    objects = [(drawn.name, [part for part, _ in drawn.parts]) for drawn in find_objects(canvas)]
    assert objects == [("cat", ["torso"]), ("dog", ["torso"])]


def test_masks_are_exact_at_the_middle_of_each_pixel():
    canvas = Canvas(Image.new("RGB", (20, 20)))
    pen = pen_on(canvas, "car")
    side = pen.feature("side", box(3, 2, 11, 7), (255, 255, 255), on=pen.object)
    expected = np.zeros((20, 20), bool)
    expected[13:18, 3:11] = True
    np.testing.assert_array_equal(canvas.masks()[side], expected)
    image = np.asarray(canvas.image())[..., 0]
    assert (image[expected] == 255).all()
    assert (image[~expected] < 128).all()


# ---- what stands in front


def hidden_canvases(count: int) -> list[tuple[Canvas, tuple, int]]:
    """Give canvases with a cat that fills the picture, what was found before, and how many pieces came in front."""
    found = []
    for seed in range(count):
        canvas = Canvas(Image.new("RGB", (48, 48)))
        pen = pen_on(canvas, "cat")
        pen.part("torso", box(0, -28, 48, 20), (200, 0, 0))
        pen.part("head", box(4, -26, 30, 0), (0, 200, 0))
        before, pieces = find_objects(canvas), len(canvas.pieces)
        hide_some(canvas, np.random.default_rng(seed), 48)
        found.append((canvas, before, len(canvas.pieces) - pieces))
    return found


def test_what_hides_others_is_no_object_and_takes_their_pixels():
    hidden = [(canvas, before) for canvas, before, pieces in hidden_canvases(100) if pieces]
    assert hidden
    for canvas, (before,) in hidden:
        (after,) = find_objects(canvas)
        assert (after.name, [name for name, _ in after.parts]) == ("cat", ["torso", "head"])
        assert after.mask.sum() < before.mask.sum()
        assert not (after.mask & ~before.mask).any()
        gone = before.mask & ~after.mask
        for (_, one), (_, other) in zip(before.parts, after.parts, strict=True):
            np.testing.assert_array_equal(other, one & ~gone)


def test_something_stands_in_front_of_some_scenes_and_looks_different_each_time():
    canvases = hidden_canvases(200)
    assert np.mean([pieces > 0 for *_, pieces in canvases]) == pytest.approx(HIDDEN, abs=0.1)
    pictures = {canvas.image().tobytes() for canvas, _, pieces in canvases if pieces}
    assert len(pictures) == sum(pieces > 0 for *_, pieces in canvases)


def test_where_nothing_stands_in_front_the_scene_is_left_alone():
    for canvas, before, pieces in hidden_canvases(40):
        if not pieces:
            (one,), (other,) = before, find_objects(canvas)
            np.testing.assert_array_equal(one.mask, other.mask)


def test_an_object_that_is_wholly_hidden_by_something_nameless_is_not_there():
    canvas = Canvas(Image.new("RGB", (20, 20)))
    pen_on(canvas, "cat").part("tail", box(5, 5, 10, 8), (200, 0, 0))
    assert [drawn.name for drawn in find_objects(canvas)] == ["cat"]
    pen_on(canvas, "").part("", box(0, 0, 19, 19), (0, 200, 0))
    assert find_objects(canvas) == ()


# ---- light


def test_light_changes_colours_of_the_whole_picture_alike():
    grey = np.arange(256, dtype=np.uint8)
    picture = Image.fromarray(np.stack([grey] * 3, axis=-1)[None].repeat(2, axis=0))
    for seed in range(30):
        lit = np.asarray(relight(picture, np.random.default_rng(seed))).astype(int)
        assert lit.shape == (2, 256, 3)
        np.testing.assert_array_equal(lit[0], lit[1])
        assert np.diff(lit[0], axis=0).min() >= 0  # what was brighter still is
        assert np.abs(lit[0] - grey[:, None]).max() <= 0.23 * 255 + 9  # 0.82 * 0.94, and the shift


def test_light_differs_from_seed_to_seed_and_is_the_same_for_one():
    picture = draw_scene(seed=1, index=0, size=64).image
    lit = [np.asarray(relight(picture, np.random.default_rng(seed))) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(lit[0], lit[1])
    assert (lit[0] != lit[2]).mean() > 0.5


def test_manifest_and_figures_name_the_same_objects():
    assert list(MANIFEST.objects) == list(MANIFEST.parts) == list(FIGURES)


def test_every_pair_of_the_manifest_occurs_in_200_images_and_nothing_else_does():
    drawn = {(thing.name, part) for scene in scenes(200) for thing in scene.objects for part, _ in thing.parts}
    assert drawn == {(pair.object, pair.part) for pair in MANIFEST.vocabulary.pairs}


def test_unseen_objects_are_the_published_ones_that_are_drawn():
    assert MANIFEST.vocabulary.unseen_objects == ("bird", "car", "dog", "motorbike", "sheep")


def test_objects_and_parts_of_pascal_part_116_have_its_names_here():
    assert len(FIGURES) == 16
    pascal = load_manifest("pascal-part-116").vocabulary
    assert set(FIGURES) <= set(pascal.objects)
    assert set(MANIFEST.vocabulary.unseen_objects) == set(pascal.unseen_objects) & set(FIGURES)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_train_and_val_of_80_images_hold_every_object(tmp_path, seed):
    found = {"train": set(), "val": set()}
    for outcome in drawn_data(tmp_path, images=80, seed=seed):
        found[outcome.split] |= {MANIFEST.objects[thing.category] for thing in outcome.record.objects}
    assert found == {"train": set(FIGURES), "val": set(FIGURES)}


def test_scenes_hold_one_to_three_objects():
    assert set(Counter(len(scene.objects) for scene in scenes(60))) == {1, 2, 3}


@pytest.mark.parametrize("size", [64, 96, 128, 200])
def test_images_and_masks_have_the_size_asked_for(tmp_path, size):
    (outcome,) = drawn_data(tmp_path, images=1, size=size)
    record = outcome.record
    assert (record.width, record.height) == (size, size)
    with Image.open(tmp_path / "images" / record.file_name) as image:
        assert (image.size, image.mode, image.format) == ((size, size), "RGB", "PNG")
    x, y, width, height = np.max([thing.mask.bbox for thing in record.objects], axis=0)
    assert size / 4 < max(width, height) <= size
    assert max(x, y) < size


def test_a_scene_looks_alike_at_every_size():
    small, large = (draw_scene(seed=4, index=1, size=size) for size in (64, 192))
    enlarged = np.asarray(small.image.resize((192, 192)), float)
    assert np.abs(enlarged - np.asarray(large.image)).mean() < 15
    for one, other in zip(small.objects, large.objects, strict=True):
        assert one.name == other.name
        assert one.mask.mean() == pytest.approx(other.mask.mean(), rel=0.1)


def test_the_store_gives_back_the_flat_maps_of_the_topmost_parts(tmp_path):
    outcomes = drawn_data(tmp_path, images=10)
    info = DatasetInfo(MANIFEST.name, "images", MANIFEST.objects, MANIFEST.vocabulary)
    with StoreWriter(tmp_path, info, ["train", "val"]) as writer:
        for outcome in outcomes:
            writer.add(outcome.split, outcome.record)
    store = Store.open(tmp_path)
    names = [(pair.object, pair.part) for pair in store.info.vocabulary.pairs]
    for split, record in iterate(store):
        index = int(record.image_id.split("_")[1])
        assert split == ("val" if index % 5 == 4 else "train")
        topmost = np.full((64, 64), NONE, np.uint16)
        for thing in draw_scene(seed=3, index=index, size=64).objects:
            for name, mask in thing.parts:
                topmost[mask] = names.index((thing.name, name))
        assert (topmost != NONE).any()
        np.testing.assert_array_equal(record.pair_map(), topmost)
        assert store.image_path(record).is_file()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"images": 0}, "cartoon: images must be >= 1, got 0; draw at least one"),
        ({"seed": -1}, "cartoon: seed must be >= 0, got -1; choose another"),
        ({"size": 63}, "cartoon: size must be from 64 to 1024 pixels, got 63; 128 is a good choice"),
        ({"size": 1025}, "cartoon: size must be from 64 to 1024 pixels, got 1025; 128 is a good choice"),
    ],
)
def test_bad_values_are_refused_before_anything_is_drawn(tmp_path, values, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        convert(tmp_path, MANIFEST, **{"images": 1, "seed": 0, "size": 64, **values})
    assert photos(tmp_path) == {}

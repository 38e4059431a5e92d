import re

import numpy as np
import pytest
from PIL import Image

from partseg_cli.data.converters.cityscapes_parts import IdDigits, IdRuns, read_ids
from partseg_cli.data.converters.conversion import InvalidAnnotationError
from partseg_cli.data.rle import Mask


@pytest.mark.parametrize(
    ("number", "exists", "digits"),
    [
        (0, True, (0, 0, 0)),
        (7, True, (7, 7, 0)),
        (26, True, (26, 26, 0)),
        (33, True, (33, 33, 0)),
        (7001, True, (7, 7001, 0)),
        (26000, True, (26, 26000, 0)),
        (26999, True, (26, 26999, 0)),
        (700102, True, (7, 7001, 2)),
        (2600000, True, (26, 26000, 0)),
        (2600302, True, (26, 26003, 2)),
        (3399999, True, (33, 33999, 99)),
    ],
)
def test_digits_are_class_instance_and_part(number, exists, digits):
    found = IdDigits.of(np.array([number]))
    assert found.exists.tolist() == [exists]
    assert (found.classes[0], found.objects[0], found.parts[0]) == digits


@pytest.mark.parametrize(
    "number", [-1, -26001, 34, 99, 100, 260, 999, 34000, 99999, 3400001, 9999999, 26000001, 2**31 - 1]
)
def test_other_numbers_are_no_ids(number):
    found = IdDigits.of(np.array([number]))
    assert (found.exists.tolist(), found.classes.tolist(), found.parts.tolist()) == ([False], [0], [0])


def test_digits_are_put_together_again_for_every_class_instance_and_part():
    classes, instances, parts = np.meshgrid([1, 9, 10, 24, 33], [0, 7, 45, 999], [0, 1, 5, 99])
    found = IdDigits.of((classes * 10**5 + instances * 100 + parts).ravel())
    assert found.exists.all()
    np.testing.assert_array_equal(found.classes, classes.ravel())
    np.testing.assert_array_equal(found.objects, (classes * 1000 + instances).ravel())
    np.testing.assert_array_equal(found.parts, parts.ravel())


@pytest.mark.parametrize("seed", range(50))
def test_masks_of_runs_are_those_of_pixels(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, rng.integers(1, 6), rng.integers(1, 30, 2))
    runs = IdRuns.of(labels)
    for wanted in ([0], [1, 3], [0, 1, 2, 3, 4], [9]):
        pixels = np.isin(labels, wanted)
        chosen = np.isin(runs.ids, wanted)
        assert runs.mask(chosen) == Mask.encode(pixels)
        assert runs.pixels(chosen) == pixels.sum()


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_ids_of_32_bits_come_back_as_written(tmp_path, compression):
    ids = np.random.default_rng(0).integers(-(2**31), 2**31 - 1, (5, 9)).astype(np.int32)
    Image.fromarray(ids).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_ids(tmp_path / "a.tif"), ids)


def defect(path) -> tuple[str, str]:
    with pytest.raises(InvalidAnnotationError) as caught:
        read_ids(path)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(("dtype", "mode"), [(np.uint8, "L"), (np.uint16, "I;16"), (np.float32, "F")])
def test_pixels_of_another_kind_are_a_defect(tmp_path, dtype, mode):
    Image.fromarray(np.ones((5, 9), dtype)).save(tmp_path / "a.tif")
    assert defect(tmp_path / "a.tif") == (
        "ids cannot be read",
        f"a.tif: must be 32-bit integers (mode I), got mode {mode}",
    )


def test_what_is_no_tiff_or_not_whole_is_a_defect(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    reason, detail = defect(path)
    assert reason == "ids cannot be read"
    assert re.fullmatch(r"a\.tif: must be an image \(.*\), got a git-lfs pointer; get or convert it again", detail)
    Image.new("L", (9, 5)).save(path, format="PNG")
    assert defect(path) == ("ids cannot be read", "a.tif: cannot identify image file 'a.tif'")
    Image.fromarray(np.ones((50, 90), np.int32)).save(path, compression="tiff_lzw")
    path.write_bytes(path.read_bytes()[:60])
    assert defect(path)[0] == "ids cannot be read"


def test_ids_of_a_missing_file_are_a_defect(tmp_path):
    message = "a.tif: must be a readable image, got No such file or directory; check the path"
    assert defect(tmp_path / "a.tif") == ("ids cannot be read", message)

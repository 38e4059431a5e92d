"""Which pixels an evaluation counts: with models whose logits are known, with a trained one, and with maps at hand."""

import dataclasses

import numpy as np
import pytest
import torch
from command_line import Trained
from label_maps import count_maps, flat, spec_of, table_of
from PIL import Image
from torch import Tensor

from partseg_cli.data.loading.transforms import image_to_tensor
from partseg_cli.data.record import Instance, Part, Record, RecordKey
from partseg_cli.data.rle import NONE, Mask
from partseg_cli.data.store import Store
from partseg_cli.evaluation.counts import FIELDS, ConfusionCounts, ConfusionTable
from partseg_cli.evaluation.evaluator import ImageCounts, Model, evaluate_images
from partseg_cli.evaluation.rules import RULES, class_pixels, score
from partseg_cli.evaluation.samples import SampleConfig
from partseg_cli.evaluation.spec import EvalSubset, LabelMaps
from partseg_cli.inference.protocols import oracle_obj, pred_all
from partseg_cli.inference.segmenter import load_segmenter
from partseg_cli.runtime.devices import InferenceConfig
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Vocabulary

KINDS = ("object", "image", "instance")
FOX = [False] * 4 + [True] * 2
PUBLISHED_BOUNDARY = FIELDS.index("map_tp")
"""The first field of the published boundary; no other follows."""


class Likes(torch.nn.Module):
    """Scores pairs and objects by their place in the vocabulary, the last ones highest, the background lowest."""

    def forward(self, images: Tensor, vocabulary: Vocabulary) -> Logits:
        def rising(number: int) -> Tensor:
            values = torch.tensor([*range(number), -9.0])
            return values[None, :, None, None].expand(len(images), -1, 8, 8)

        return Logits(rising(len(vocabulary.pairs)), rising(len(vocabulary.objects)), None, None)


class Looks(torch.nn.Module):
    """Gives each channel random weights for the photo's colours: every pixel is decided on its own."""

    def forward(self, images: Tensor, vocabulary: Vocabulary) -> Logits:
        weights = torch.randn(len(vocabulary.pairs) + len(vocabulary.objects) + 2, 3, generator=torch.manual_seed(5))
        planes = 3 * torch.einsum("kc, bchw -> bkhw", weights, images)
        pairs = len(vocabulary.pairs) + 1
        return Logits(planes[:, :pairs], planes[:, pairs:])


def object_map(store: Store, photo: Record) -> Tensor:
    """Objects as labelled, in the numbering of the vocabulary; those without pairs are none."""
    objects = store.info.vocabulary.objects
    numbers = [objects.index(name) if name in objects else -1 for name in store.info.objects]
    labels = photo.object_map().astype("int64")
    return torch.tensor([*numbers, -1])[np.where(labels == NONE, -1, labels)]


def images(
    store: Store,
    model: Model | None = None,
    *,
    keys: list[RecordKey] | None = None,
    protocol: str = "pred-all",
    config: SampleConfig | None = None,
    image_size: int = 32,
    batch: int = 1,
    scored: list[bool] | None = None,
    objects: LabelMaps | None = None,
) -> list[ImageCounts]:
    """Count the predictions of a model, by default for all images of a store."""
    keys, spec = store.record_keys() if keys is None else keys, spec_of(store, protocol, config)
    subsets = [EvalSubset(keys[start : start + batch], scored) for start in range(0, len(keys), batch)]
    return [
        counts
        for subset in subsets
        for counts in evaluate_images(model or Looks(), spec, subset, image_size=image_size, objects=objects)
    ]


def table(found: list[ImageCounts], classes: int) -> ConfusionTable:
    made = ConfusionTable(classes)
    for counted in found:
        for sample in counted.samples:
            made.add(counted.image_id, sample)
    return made


def totals(store: Store, found: list[ImageCounts]) -> np.ndarray:
    return table(found, len(store.info.vocabulary.pairs)).totals()


def equal(one: ConfusionCounts, other: ConfusionCounts) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def all_equal(one: list[ImageCounts], other: list[ImageCounts]) -> bool:
    return all(
        a.image_id == b.image_id
        and torch.equal(a.prediction, b.prediction)
        and len(a.samples) == len(b.samples)
        and all(equal(*both) for both in zip(a.samples, b.samples, strict=True))
        for a, b in zip(one, other, strict=True)
    )


# ---- maps that are there already


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", RULES)
def test_the_labelled_maps_themselves_are_perfect(small_store, kind, rule):
    words = small_store.info.vocabulary
    found = count_maps(flat, small_store, SampleConfig(kind))
    scores = score(totals(small_store, found), rule, "pred-all", words.is_seen)
    for metric in ("mIoU", "recall", "precision", "pixel_accuracy", "boundary_iou"):
        assert [float(mean) for mean in scores.means[metric].values()] == pytest.approx([100] * 3), metric
    assert scores.iou.tolist() == [100] * len(words.pairs)


def test_maps_count_as_the_model_that_they_came_from(small_store):
    by_model = images(small_store, config=SampleConfig("image"))
    saved = {photo.image_id: photo.prediction for photo in by_model}
    again = count_maps(lambda photo: saved[photo.image_id], small_store, SampleConfig("image"))
    assert all_equal(by_model, again)


def test_photos_are_counted_in_the_order_of_keys_with_their_own_size(small_store):
    keys = small_store.record_keys()[::-1]
    found = count_maps(flat, small_store, keys=keys)
    records = [small_store[key] for key in keys]
    assert [counted.image_id for counted in found] == [record.image_id for record in records]
    assert [tuple(counted.prediction.shape) for counted in found] == [(r.height, r.width) for r in records]


def test_a_photo_without_a_labelled_part_has_no_sample(small_store):
    boat = next(counted for counted in images(small_store) if counted.image_id == "photo_05")
    assert boat.samples == ()
    assert (boat.prediction == -1).all()


def test_the_order_of_photos_does_not_matter_to_the_counts(small_store):
    keys = small_store.record_keys()
    forth, back = images(small_store, keys=keys, batch=4), images(small_store, keys=keys[::-1], batch=4)
    assert all_equal(forth, back[::-1])
    classes = len(small_store.info.vocabulary.pairs)
    (names, one), (names_back, other) = table(forth, classes).by_image(), table(back, classes).by_image()
    assert names == names_back
    assert (one != other).nnz == 0


# ---- protocols


def logits_of(store: Store, model: torch.nn.Module, photo: Record) -> Logits:
    with torch.inference_mode():
        return model(image_to_tensor(store.read_image(photo), 32)[None], store.info.vocabulary)


def records(store: Store) -> list[Record]:
    return [store[key] for key in store.record_keys()]


def test_pred_all_is_decided_once_and_counted_everywhere(small_store):
    words = small_store.info.vocabulary
    for photo, counted in zip(records(small_store), images(small_store, config=SampleConfig("image")), strict=True):
        if counted.samples:
            logits = logits_of(small_store, Looks(), photo)
            expected = pred_all(logits, words, (photo.height, photo.width)).pairs.labels
            assert torch.equal(counted.prediction, expected)
            (wanted,) = table_of([(expected.numpy(), flat(photo).numpy())], len(words.pairs)).samples
            assert equal(counted.samples[0], wanted)


def test_oracle_obj_of_the_kind_object_is_one_decision_for_each_object_cut_to_its_labels(small_store):
    words = small_store.info.vocabulary
    for photo, counted in zip(records(small_store), images(small_store, protocol="oracle-obj"), strict=True):
        size, logits = (photo.height, photo.width), logits_of(small_store, Looks(), photo)
        owners = torch.tensor([*words.object_of, -1])[flat(photo)]
        expected = torch.full(size, -1)
        for owner in range(len(words.objects)):
            expected = torch.where(owners == owner, oracle_obj(logits, words, size, [owner]), expected)
        assert torch.equal(counted.prediction, expected)


def test_oracle_obj_of_the_kind_image_lets_the_parts_of_all_its_objects_compete(small_store):
    words = small_store.info.vocabulary
    found = images(small_store, protocol="oracle-obj", config=SampleConfig("image"))
    for photo, counted in zip(records(small_store), found, strict=True):
        shown = {words.object_of[pair] for pair in flat(photo).unique().tolist() if pair >= 0}
        if shown:
            expected = oracle_obj(logits_of(small_store, Looks(), photo), words, (photo.height, photo.width), shown)
            assert torch.equal(counted.prediction, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_oracle_obj_never_predicts_a_part_of_an_object_that_is_not_told(small_store, kind):
    words = small_store.info.vocabulary
    found = images(small_store, Likes(), protocol="oracle-obj", config=SampleConfig(kind))
    for photo, counted in zip(records(small_store), found, strict=True):
        shown = {small_store.info.objects[thing.category] for thing in photo.objects}
        assert {words.pairs[pair].object for pair in counted.prediction.unique().tolist() if pair >= 0} <= shown


def test_pred_obj_with_the_labelled_objects_is_oracle_obj_at_the_labelled_pixels(small_store):
    maps = {photo.image_id: object_map(small_store, photo) for photo in records(small_store)}
    oracle_object = images(small_store, protocol="pred-obj", objects=lambda photo: maps[photo.image_id])
    oracle = images(small_store, protocol="oracle-obj")
    compared = 0
    for photo, one, other in zip(records(small_store), oracle_object, oracle, strict=True):
        labels = flat(photo)
        same = (labels >= 0) & (
            maps[photo.image_id] == torch.tensor([*small_store.info.vocabulary.object_of, -1])[labels]
        )
        assert torch.equal(one.prediction[same], other.prediction[same])
        compared += int(same.sum())
    assert compared == sum(int((flat(photo) >= 0).sum()) for photo in records(small_store))


def test_pred_obj_without_any_object_predicts_nothing(small_store):
    nothing = images(
        small_store, protocol="pred-obj", objects=lambda photo: torch.full((photo.height, photo.width), -1)
    )
    assert all((counted.prediction == -1).all() for counted in nothing)
    counts = totals(small_store, nothing)
    np.testing.assert_array_equal(class_pixels(counts, "missed"), class_pixels(counts, "target"))


def test_pred_obj_needs_maps_of_objects(small_store):
    with pytest.raises(ValueError, match=r"^pred-obj needs maps of objects, got none$"):
        images(small_store, protocol="pred-obj")


# ---- what counts


@pytest.mark.parametrize("protocol", ["pred-all", "oracle-obj"])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_of_other_pairs_do_not_count(small_store, protocol, kind):
    options = {
        "protocol": protocol,
        "config": SampleConfig(kind),
        "keys": small_store.record_keys(["photo_03", "photo_04"]),
    }
    whole = totals(small_store, images(small_store, Likes(), **options))
    part = totals(small_store, images(small_store, Likes(), **options, scored=FOX))
    assert class_pixels(part, "target")[:4].sum() == 0
    np.testing.assert_array_equal(class_pixels(part, "target")[4:], class_pixels(whole, "target")[4:])
    assert (class_pixels(whole, "target")[[0, 2, 4]] > 0).all()


def test_scoring_every_pair_is_the_same_as_leaving_the_choice_out(small_store):
    assert all_equal(images(small_store), images(small_store, scored=[True] * 6))


def test_a_photo_without_a_pair_that_is_scored_counts_nothing(small_store):
    (counted,) = images(small_store, keys=small_store.record_keys(["photo_07"]), scored=FOX)
    assert counted.samples == ()


@pytest.mark.parametrize("rest", ["ignore", "not_exhaustive"])
def test_a_guess_where_nothing_is_known_is_no_mistake_under_full(rest, small_data, tmp_path):
    pixels = np.zeros((20, 30), bool)
    pixels[:, :12] = True
    photo = Record(
        "photo", "photo.png", 30, 20, "by hand",
        (Instance(1, 1, Mask.encode(np.ones_like(pixels))),),
        (Part(1, 1, "head", 1, Mask.encode(pixels)),),
    )  # fmt: skip
    unsure = {"ignore": Mask.encode(~pixels), "not_exhaustive": (1,)}[rest]
    photos = {"photo.png": Image.new("RGB", (30, 20))}
    found = {}
    for name, made in (("known", photo), ("unsure", dataclasses.replace(photo, **{rest: unsure}))):
        store = small_data._replace(records={"val": [made]}, photos=photos).write(tmp_path / name)
        maps = count_maps(lambda record: torch.full((20, 30), 1), store)
        found[name] = score(totals(store, maps), "full", "pred-all", store.info.vocabulary.is_seen).iou[1]
    assert found == {"known": pytest.approx(100 * 12 / 30), "unsure": 100}


def test_the_published_boundary_is_of_each_object_of_a_photo_by_itself(small_data, tmp_path):
    """Published samples are object classes: what lies beyond an object is none there, also its neighbour."""
    left, right = np.zeros((2, 20, 30), bool)
    left[2:18, 3:15], right[2:18, 15:26] = True, True
    things = (Instance(1, 1, Mask.encode(left)), Instance(2, 2, Mask.encode(right)))
    parts = (Part(1, 1, "head", 1, Mask.encode(left)), Part(2, 2, "head", 1, Mask.encode(right)))
    photo = Record("photo", "photo.png", 30, 20, "by hand", things, parts)
    store = small_data._replace(records={"val": [photo]}, photos={"photo.png": Image.new("RGB", (30, 20))}).write(
        tmp_path / "two"
    )
    words = store.info.vocabulary
    guess = torch.arange(600).view(20, 30) * 7 % 6
    (counted,) = count_maps(lambda record: guess, store)
    alone = [(guess.numpy(), np.where(flat(photo) == pair, pair, -1)) for pair in (1, 2)]
    wanted, found = table_of(alone, len(words.pairs)).totals(), totals(store, [counted])
    np.testing.assert_array_equal(found[:, PUBLISHED_BOUNDARY:], wanted[:, PUBLISHED_BOUNDARY:])
    whole = table_of([(guess.numpy(), flat(photo).numpy())], len(words.pairs)).totals()
    np.testing.assert_array_equal(found[:, :PUBLISHED_BOUNDARY], whole[:, :PUBLISHED_BOUNDARY])
    assert not np.array_equal(found[:, PUBLISHED_BOUNDARY:], whole[:, PUBLISHED_BOUNDARY:])


# ---- a trained model


def test_photos_in_one_forward_pass_or_each_in_its_own_give_the_same_counts(trained: Trained):
    store = Store.open(trained.data)
    model, _ = load_segmenter(trained.run, InferenceConfig(torch.device("cpu")))
    keys = store.record_keys()[:10]
    for protocol in ("pred-all", "oracle-obj"):
        options = {"keys": keys, "protocol": protocol, "image_size": 48}
        single, four = (images(store, model, **options, batch=batch) for batch in (1, 4))
        assert all_equal(single, four)
        assert sum(len(counted.samples) for counted in single) > 5


def test_the_last_group_may_be_smaller(small_store):
    assert all_equal(images(small_store, batch=5), images(small_store, batch=12))

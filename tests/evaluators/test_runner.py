"""Which pixels an evaluation counts, with a model that predicts the same everywhere."""

import dataclasses

import pytest
import torch

from partseg_cli.data.splits import Split, published_split, select
from partseg_cli.data.store import Store
from partseg_cli.devices import Compute
from partseg_cli.evaluators.runner import Result, count_images
from partseg_cli.pipeline.evaluate import score
from partseg_cli.pipeline.models import Opened
from partseg_cli.recipe import load_recipe
from partseg_cli.records import Logits
from partseg_cli.vocabulary import Vocabulary


class Likes(torch.nn.Module):
    """Scores pairs and objects by their place in the vocabulary, the last ones highest, the background lowest."""

    def forward(self, images: torch.Tensor, vocabulary: Vocabulary) -> Logits:
        def rising(number: int) -> torch.Tensor:
            values = torch.tensor([*range(number), -9.0])
            return values[None, :, None, None].expand(len(images), -1, 8, 8)

        return Logits(rising(len(vocabulary.pairs)), rising(len(vocabulary.objects)), None, None)


def counted(store: Store, ids: list[str], **options) -> torch.Tensor:
    choices = {"protocol": "pred-all", "per_image": False, "image_size": 32, **options}
    images = count_images(Likes(), store, select(store, ids), store.info.vocabulary, **choices)
    return torch.stack(list(images)).sum(0)


FOX = [False] * 4 + [True] * 2


@pytest.mark.parametrize("protocol", ["pred-all", "oracle-obj"])
@pytest.mark.parametrize("per_image", [False, True])
def test_pixels_of_other_pairs_do_not_count(small_store, protocol, per_image):
    options = {"protocol": protocol, "per_image": per_image}
    whole = counted(small_store, ["photo_03", "photo_04"], **options)
    part = counted(small_store, ["photo_03", "photo_04"], **options, scored=FOX)
    assert part[:, :4].sum() == 0
    assert part[:, 4:6].sum() == whole[:, 4:6].sum() > 0
    assert whole[:, :4].sum() > 0


def test_scoring_every_pair_is_the_same_as_leaving_the_choice_out(small_store):
    assert torch.equal(
        counted(small_store, ["photo_03", "photo_08"]),
        counted(small_store, ["photo_03", "photo_08"], scored=[True] * 6),
    )


def test_a_photo_without_a_pair_that_is_scored_counts_nothing(small_store):
    assert counted(small_store, ["photo_07"], scored=FOX)[:, :6].sum() == 0


def scored(store: Store, split: Split, name: str = "val", protocol: str = "oracle-obj") -> Result:
    model = Opened(Likes(), load_recipe("tiny").model, Compute(torch.device("cpu")))
    return score(model, store, split, protocol, name)


def pixels(result: Result) -> dict[str, int]:
    return {row["name"]: row["target_pixels"] for row in result.per_class}


def test_a_test_may_take_the_unseen_objects_of_training_images(small_store):
    plain = published_split(small_store)
    wider = dataclasses.replace(plain, val_unseen=("photo_02", "photo_03", "photo_04"))
    before, after = pixels(scored(small_store, plain)), pixels(scored(small_store, wider))
    for name in ("cat's ear", "cat's head", "dog's head", "dog's tail"):
        assert after[name] == before[name] > 0
    train = pixels(scored(small_store, dataclasses.replace(plain, train=wider.val_unseen), "train"))
    for name in ("fox's ear", "fox's tail"):
        assert after[name] == before[name] + train[name] > before[name]


def test_training_images_are_scored_as_a_whole_when_they_are_asked_for(small_store):
    plain = published_split(small_store)
    wider = dataclasses.replace(plain, val_unseen=("photo_02", "photo_03"))
    assert scored(small_store, plain, "train") == scored(small_store, wider, "train")


def test_pairs_of_one_object_may_be_seen_and_unseen(small_store):
    split = dataclasses.replace(published_split(small_store), unseen_objects=(), unseen_parts=("ear",))
    result = scored(small_store, split)
    assert [row["seen"] for row in result.per_class] == [False, True, True, True, False, True]
    for group, flag in (("seen", True), ("unseen", False)):
        values = [row["recall"] for row in result.per_class if row["seen"] is flag]
        assert result.recall[group] == pytest.approx(sum(values) / len(values))

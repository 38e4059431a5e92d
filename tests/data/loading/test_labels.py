"""Vocabulary of a training step: the objects that a batch shows, and negatives."""

import pytest
import torch

from partseg_cli.data.loading.labels import NegativeSampling
from partseg_cli.structures import Batch, Labels
from partseg_cli.vocabulary import Pair, Vocabulary

WORDS = Vocabulary(tuple(Pair(*name.split()) for name in ("cat ear", "cat head", "dog head", "fox tail", "owl wing")))


def batch(pairs: list[list[int]], objects: list[list[int]], name: str = "a") -> Batch:
    planes = (torch.tensor([rows]) for rows in (pairs, objects))
    labels = Labels(*planes, torch.tensor([[[value < 0 for value in row] for row in objects]]))
    return Batch(torch.zeros(1, 3, 2, 3), labels, (name,))


def sampling(negatives: int, seed: int = 0) -> NegativeSampling:
    return NegativeSampling(WORDS, negatives, seed)


DOG = batch([[2, -1, -1], [-1, 2, -1]], [[1, 1, -1], [1, 1, -1]])


def test_without_negatives_only_the_objects_that_a_batch_shows_are_chosen():
    assert sampling(0).choose(DOG).objects == ("dog",)


def test_an_object_shows_by_its_mask_or_by_its_part_alone():
    assert sampling(0).choose(batch([[-1, -1, -1]] * 2, [[0, -1, 3], [-1] * 3])).objects == ("cat", "owl")
    assert sampling(0).choose(batch([[4, -1, 0]] * 2, [[-1] * 3] * 2)).objects == ("cat", "owl")


@pytest.mark.parametrize(("negative", "objects"), [(1, 2), (2, 3), (3, 4), (9, 4)])
def test_that_many_negative_objects_are_chosen_besides(negative, objects):
    chosen = sampling(negative).choose(DOG)
    assert len(chosen.objects) == objects
    assert "dog" in chosen.objects
    assert set(chosen.pairs) == {pair for pair in WORDS.pairs if pair.object in chosen.objects}


def test_the_negatives_follow_from_seed_and_images_alone():
    images = [DOG._replace(image_ids=(f"photo {number}",)) for number in range(20)]
    drawn = [[sampling(1, seed).choose(image).objects for image in images] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 3


def test_labels_keep_their_names_in_the_new_indices():
    labels = batch([[4, 3, -1], [2, 0, 1]], [[3, 2, -1], [1, 0, 0]]).labels
    chosen = Vocabulary(tuple(pair for pair in WORDS.pairs if pair.object in {"fox", "owl", "cat"}))
    moved = sampling(0).reindex(labels, chosen)
    assert moved.pairs.tolist() == [[[3, 2, -1], [-1, 0, 1]]]
    assert moved.objects.tolist() == [[[2, 1, -1], [-1, 0, 0]]]
    assert torch.equal(moved.background, labels.background)

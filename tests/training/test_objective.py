"""Which words a training step asks for."""

import pytest
import torch

from partseg_cli.config.recipe import load_recipe
from partseg_cli.data.splits.split import published_split
from partseg_cli.models.builder import init_model
from partseg_cli.pipeline.train import training_set
from partseg_cli.structures import Batch, Labels
from partseg_cli.training.objective import FewObjects, objective
from partseg_cli.vocabulary import Pair, Vocabulary

WORDS = Vocabulary(tuple(Pair(*name.split()) for name in ("cat ear", "cat head", "dog head", "fox tail", "owl wing")))


def batch(pairs: list[list[int]], objects: list[list[int]], name: str = "a") -> Batch:
    planes = (torch.tensor([rows]) for rows in (pairs, objects))
    labels = Labels(*planes, torch.tensor([[[value < 0 for value in row] for row in objects]]))
    return Batch(torch.zeros(1, 3, 2, 3), labels, (name,))


def few(absent: int, seed: int = 0) -> FewObjects:
    return FewObjects(lambda vocabulary: lambda batch: {}, WORDS, absent, seed)


DOG = batch([[2, -1, -1], [-1, 2, -1]], [[1, 1, -1], [1, 1, -1]])


def test_without_absent_objects_only_those_that_show_are_asked_for():
    assert few(0).choose(DOG).objects == ("dog",)


def test_an_object_shows_by_its_mask_or_by_its_part_alone():
    assert few(0).choose(batch([[-1, -1, -1]] * 2, [[0, -1, 3], [-1] * 3])).objects == ("cat", "owl")
    assert few(0).choose(batch([[4, -1, 0]] * 2, [[-1] * 3] * 2)).objects == ("cat", "owl")


@pytest.mark.parametrize(("absent", "objects"), [(1, 2), (2, 3), (3, 4), (9, 4)])
def test_so_many_absent_objects_are_asked_for_besides(absent, objects):
    chosen = few(absent).choose(DOG)
    assert len(chosen.objects) == objects
    assert "dog" in chosen.objects
    assert set(chosen.pairs) == {pair for pair in WORDS.pairs if pair.object in chosen.objects}


def test_the_absent_ones_follow_from_seed_and_images_alone():
    images = [DOG._replace(image_ids=(f"photo {number}",)) for number in range(20)]
    drawn = [[few(1, seed).choose(image).objects for image in images] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 3


def test_labels_keep_their_names_in_the_new_numbering():
    labels = batch([[4, 3, -1], [2, 0, 1]], [[3, 2, -1], [1, 0, 0]]).labels
    chosen = Vocabulary(tuple(pair for pair in WORDS.pairs if pair.object in {"fox", "owl", "cat"}))
    moved = few(0).renumber(labels, chosen)
    assert moved.pairs.tolist() == [[[3, 2, -1], [-1, 0, 1]]]
    assert moved.objects.tolist() == [[[2, 1, -1], [-1, 0, 0]]]
    assert torch.equal(moved.outside, labels.outside)


@pytest.mark.parametrize("name", ["cartoon", "cartoon_clipseg"])
def test_with_all_objects_asked_for_the_terms_are_those_of_the_whole_vocabulary(cartoon_store, one_thread, name):
    recipe = load_recipe(name, ["model.init=random"])
    everything = load_recipe(name, ["model.init=random", "train.negative_objects=11"])
    whole = load_recipe(name, ["model.init=random", "train.negative_objects=null"])
    split = published_split(cartoon_store)
    words = split.vocabulary(cartoon_store)
    torch.manual_seed(0)
    model = init_model(recipe.model)
    one = training_set(recipe, cartoon_store, split)[3]
    terms = [
        objective(model, each, words.seen(), torch.device("cpu"), "fp32")(one) for each in (whole, everything, recipe)
    ]
    assert terms[0].keys() == terms[1].keys() == terms[2].keys()
    for term in terms[0]:
        torch.testing.assert_close(terms[0][term], terms[1][term])
    assert terms[0]["total"] != terms[2]["total"]

"""Vocabulary of a training step."""

from dataclasses import asdict

import pytest
import torch

from partseg_cli.config.recipe import load_recipe
from partseg_cli.data.splits.split import published_split
from partseg_cli.models.builder import init_model
from partseg_cli.pipeline.train_setup import build_part_dataset, build_part_objective


@pytest.mark.parametrize("name", ["cartoon", "cartoon_clipseg"])
def test_with_all_objects_asked_for_the_terms_are_those_of_the_whole_vocabulary(cartoon_store, name):
    recipe = load_recipe(name, ["model.init=random"])
    everything = load_recipe(name, ["model.init=random", "train.negative_objects=11"])
    whole = load_recipe(name, ["model.init=random", "train.negative_objects=null"])
    split = published_split(cartoon_store)
    words = split.vocabulary(cartoon_store)
    torch.manual_seed(0)
    model = init_model(**asdict(recipe.model))
    one = build_part_dataset(recipe, cartoon_store, split)[3]
    terms = [
        build_part_objective(each, model, words.seen(), torch.device("cpu"), "fp32")(one)
        for each in (whole, everything, recipe)
    ]
    assert terms[0].keys() == terms[1].keys() == terms[2].keys()
    for term in terms[0]:
        torch.testing.assert_close(terms[0][term], terms[1][term])
    assert terms[0]["total"] != terms[2]["total"]

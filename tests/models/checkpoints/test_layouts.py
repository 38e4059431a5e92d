"""Layouts of published files: which one it is, what its names mean, what does not fit."""

import json

import pytest
import torch

from partseg_cli.models.checkpoints.layouts import LAYOUTS, from_published, match_tensors, our_name, recognise

PARTCLIPSEG, OVPARTS = LAYOUTS["partclipseg"], LAYOUTS["ovparts-clipseg"]
HUGGINGFACE, TIMOJL = LAYOUTS["clipseg-rd64-refined"], LAYOUTS["timojl-clipseg"]


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["partclipseg_model.clip.logit_scale"], "partclipseg"),
        (["clip.logit_scale", "decoder.film_mul.bias", "decoder.cond_film_mul.bias"], "partclipseg"),
        (["decoder.part_obj_mlp.0.bias", "visual_adapter.fc.0.weight"], "partclipseg"),
        (["clipseg_model.clip.logit_scale"], "ovparts-clipseg"),
        (["decoder.film_mul.bias", "visual_adapter.fc.0.weight"], "ovparts-clipseg"),
        (["clip.logit_scale", "decoder.film_mul.bias"], "clipseg-rd64-refined"),
        (["film_mul.bias", "blocks.0.norm1.bias"], "timojl-clipseg"),
        (["visual.conv1.weight", "logit_scale"], None),
        (["module.partclipseg_model.clip.logit_scale"], None),
        ([], None),
    ],
)
def test_a_layout_is_told_by_its_prefix_or_by_what_only_it_has(names, layout):
    found = recognise(names)
    assert (found and found.name) == layout


def test_every_published_name_but_the_unused_ones_has_another_name_here(reference):
    names = json.loads((reference / "partclipseg_state_dict_shapes.json").read_text())
    ours = {name: our_name(name) for name in names}
    assert len(set(ours.values())) == len(names) == 484
    kept = [name for name, our in ours.items() if name == our]
    assert sorted(kept) == [
        *(f"decoder.reduces.{i}.{kind}" for i in range(3) for kind in ("bias", "weight")),
        "text_adapter.fc.0.weight",
        "text_adapter.fc.2.weight",
        "tunable_linear.weight",
    ]


def thirds(*widths: int) -> dict[str, torch.Tensor]:
    """Weights of a query, key and value layer of the decoder, each with its own number."""
    names = [f"decoder.layers.1.self_attn.{third}_proj.weight" for third in "qkv"]
    return {name: torch.full((width, 4), float(i)) for i, (name, width) in enumerate(zip(names, widths, strict=True))}


def test_thirds_are_joined_in_the_order_query_key_value_whatever_the_order_of_the_file():
    tensors = thirds(2, 2, 2)
    ours = from_published(dict(reversed(tensors.items())))
    assert ours["decoder.layers.1.in_proj.weight"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_projections_are_turned():
    drawn = torch.rand(3, 5)
    assert torch.equal(from_published({"clip.visual_projection.weight": drawn})["clip.clip.visual.proj"], drawn.T)


WANTED = {"decoder.layers.1.in_proj.weight": (6, 4), "decoder.film.mul.bias": (5,), "clip.clip.text_projection": (3, 2)}
FILE = thirds(2, 2, 2) | {"decoder.film_mul.bias": torch.ones(5), "clip.text_projection.weight": torch.rand(2, 3)}


def test_a_whole_file_leaves_nothing_open():
    coverage = match_tensors(HUGGINGFACE, FILE, WANTED)
    assert coverage.is_whole
    assert (coverage.used, coverage.complaint()) == (5, "")
    assert {name: tuple(value.shape) for name, value in coverage.tensors.items()} == WANTED


@pytest.mark.parametrize("prefix", ["", "clipseg_model."])
def test_a_prefix_is_there_or_not(prefix):
    assert match_tensors(OVPARTS, {prefix + name: value for name, value in FILE.items()}, WANTED).is_whole


def test_a_name_without_the_prefix_that_the_others_have_is_unknown():
    file = {f"clipseg_model.{name}": value for name, value in FILE.items()} | {"decoder.film_add.bias": torch.ones(5)}
    assert match_tensors(OVPARTS, file, WANTED | {"decoder.film.add.bias": (5,)}).unknown == ["decoder.film_add.bias"]


def test_half_precision_becomes_float32():
    coverage = match_tensors(HUGGINGFACE, {name: value.half() for name, value in FILE.items()}, WANTED)
    assert {value.dtype for value in coverage.tensors.values()} == {torch.float32}


def test_what_is_not_needed_is_left_out_with_its_reason():
    file = FILE | {"clip.text_model.embeddings.position_ids": torch.arange(7), "tunable_linear.weight": torch.ones(2)}
    coverage = match_tensors(PARTCLIPSEG, file, WANTED)
    assert coverage.is_whole
    assert coverage.ignored == {
        "clip.text_model.embeddings.position_ids": "consecutive numbers, not weights",
        "tunable_linear.weight": "the published code never reads it",
    }


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"decoder.film_mul.bias": None}, "1 missing: decoder.film.mul.bias"),
        ({"decoder.layers.1.self_attn.k_proj.weight": None}, "1 missing: decoder.layers.1.in_proj.weight"),
        (
            {"decoder.layers.1.self_attn.k_proj.weight": torch.ones(1, 4)},
            "1 wrong: decoder.layers.1.self_attn.k_proj.weight must be (2, 4), got (1, 4); "
            "1 missing: decoder.layers.1.in_proj.weight",
        ),
        (
            {"clip.text_projection.weight": torch.ones(3, 2)},
            "1 wrong: clip.text_projection.weight must be (2, 3), got (3, 2); 1 missing: clip.clip.text_projection",
        ),
        (
            {"decoder.film_mul.bias": torch.ones(5, dtype=torch.long)},
            "1 wrong: decoder.film_mul.bias must hold floats, got torch.int64; 1 missing: decoder.film.mul.bias",
        ),
        ({"decoder.film_pow.bias": torch.ones(5)}, "1 unknown: decoder.film_pow.bias"),
        ({f"extra.{i}": torch.ones(1) for i in range(5)}, "5 unknown: extra.0, extra.1, extra.2 and 2 more"),
    ],
)
def test_what_does_not_fit_is_named(change, complaint):
    file = {name: value for name, value in (FILE | change).items() if value is not None}
    coverage = match_tensors(HUGGINGFACE, file, WANTED)
    assert not coverage.is_whole
    assert coverage.complaint() == complaint
    assert set(coverage.tensors) == set(WANTED) - set(coverage.missing)


def test_the_decoder_of_timojl_has_names_of_its_own():
    given = ("film_add.weight", "blocks.2.self_attn.in_proj_bias", "blocks.0.linear2.weight", "trans_conv.4.bias")
    ours = (
        "decoder.film.add.weight",
        "decoder.layers.2.in_proj.bias",
        "decoder.layers.0.fc2.weight",
        "head.layers.4.bias",
    )
    assert tuple(our_name(name, TIMOJL) for name in given) == ours

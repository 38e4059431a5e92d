"""Agreement with plain functions that share no code with the package, on a machine without the published figures.

make_small_golden.py holds those functions, draws weights, photo and labels, and was itself compared with what the
published code computes. test_golden.py compares the package with that directly, where the figures are at hand.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from make_small_golden import (
    AS_IN_THE_PAPER,
    AS_PUBLISHED,
    BACKGROUND_WEIGHT,
    CONTEXT,
    FILE,
    SEEN,
    SIDE,
    SMALL,
    TOLD,
    VOCABULARY,
    WORDS,
    Switches,
    Words,
    draw_batch,
    draw_photo,
    draw_weights,
)

from partseg_cli.data.loading.transforms import image_to_tensor
from partseg_cli.inference.protocols import oracle_obj, pred_all
from partseg_cli.models.backbones import Backbone
from partseg_cli.models.checkpoints.layouts import from_published, our_name
from partseg_cli.models.partclipseg.model import PartCLIPSeg
from partseg_cli.models.partclipseg.objective import PartCLIPSegLoss
from partseg_cli.structures import Labels
from partseg_cli.vocabulary import Pair, Vocabulary

SWITCHES = {"published": AS_PUBLISHED, "paper": AS_IN_THE_PAPER}
TERMS = {"separation": "separation_hard"}
"""Terms that have another name in the package."""


def vocabulary(words: Words) -> Vocabulary:
    return Vocabulary(tuple(Pair(*pair) for pair in words.pairs))


def build(text_index: str) -> PartCLIPSeg:
    vision = {"image_size": SMALL.table * SMALL.patch, "layers": SMALL.layers, "width": SMALL.width}
    text = {"width": SMALL.text_width, "heads": SMALL.text_heads, "layers": SMALL.text_layers}
    backbone = Backbone(
        open_clip={
            "embed_dim": SMALL.embed,
            "quick_gelu": True,
            "vision_cfg": vision | {"head_width": SMALL.width // SMALL.heads, "patch_size": SMALL.patch},
            "text_cfg": text | {"context_length": CONTEXT, "vocab_size": VOCABULARY},
        },
        layers=SMALL.taps,
        width=SMALL.decoder_width,
        heads=SMALL.decoder_heads,
        mlp=SMALL.decoder_mlp,
        strides=SMALL.strides,
    )
    model = PartCLIPSeg(backbone, object_text_index=text_index, background_embedding="frozen", trainable="published")
    model.load_state_dict(from_published(draw_weights(SMALL)))
    return model.eval()


def loss(switches: Switches, gamma: float) -> PartCLIPSegLoss:
    words = vocabulary(SEEN)
    return PartCLIPSegLoss(
        torch.tensor(words.part_of),
        torch.tensor(words.object_of),
        lambda_obj=switches.lambda_obj,
        lambda_part=switches.lambda_part,
        lambda_sep=switches.lambda_sep,
        lambda_enh=switches.lambda_enh,
        gamma=gamma,
        tau=0.05,
        background_weight=BACKGROUND_WEIGHT,
        mask_mean=switches.mask_mean,
        separation="hard",
        parts_per_object=switches.parts_per_object,
        loss_mean=switches.loss_mean,
    )


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FILE) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def inference() -> SimpleNamespace:
    """What the package gives for the drawn photo."""
    model, photo = build("published"), draw_photo()
    with torch.no_grad():
        logits = model(image_to_tensor(photo, SIDE)[None], vocabulary(WORDS), for_loss=True)
        text = model.clip.text_embeddings(vocabulary(WORDS).prompts)
    return SimpleNamespace(logits=logits, text=text, size=(photo.height, photo.width))


@pytest.fixture(scope="module", params=SWITCHES)
def training(request) -> SimpleNamespace:
    """What the package gives for the drawn batch."""
    switches = SWITCHES[request.param]
    images, pairs, objects = draw_batch()
    model, labels = build(switches.text_index), Labels(pairs, objects, objects < 0)
    logits = model(images.float(), vocabulary(SEEN), for_loss=True)
    terms = loss(switches, switches.gamma)(logits, labels)
    low = loss(switches, 0.1)(logits, labels)["separation_hard"]
    return SimpleNamespace(case=request.param, model=model, terms=terms, low=low)


def worst(ours: torch.Tensor, theirs: np.ndarray) -> float:
    """The largest difference, as a share of the largest magnitude."""
    expected = torch.from_numpy(theirs)
    assert ours.shape == expected.shape
    return float((ours - expected).abs().max() / expected.abs().max())


def test_the_file_is_small_and_whole(golden):
    assert FILE.stat().st_size < 500_000
    assert all(np.isfinite(values).all() for values in golden.values() if values.dtype.kind == "f")


def test_the_case_exercises_what_it_is_made_for(golden):
    """Guards the comparisons below: both sides of the published index, every label, every term, vanished parts."""
    words = vocabulary(WORDS)
    assert min(words.object_of) < len(words.parts) <= max(vocabulary(SEEN).object_of)
    assert set(np.unique(golden["pred_all_label_map"])) == set(range(len(words.pairs) + 1))
    _, pairs, objects = draw_batch()
    ear = SEEN.pairs.index(("cat", "ear"))
    assert (pairs[0] == ear).any()
    assert not (pairs[0, :: SMALL.patch, :: SMALL.patch] == ear).any()
    assert [bool((plane < 0).any()) for plane in objects] == [True, False, True, True, True]
    assert [bool((plane >= 0).any()) for plane in objects] == [True, True, True, True, False]
    assert [bool((plane >= 0).any()) for plane in pairs] == [True, True, True, False, False]
    for case in SWITCHES:
        figures = [golden[f"{case}_{name}"] for name in ("separation", "separation_gamma_0.1", "enhancement")]
        assert all(0.01 < float(figure) < 0.99 for figure in figures)
        assert figures[0] != figures[1]


def test_text_embeddings_agree(inference, golden):
    assert worst(inference.text, golden["text_embeddings"]) < 1e-5


def test_logits_agree(inference, golden):
    logits = inference.logits
    guidance = torch.cat([logits.parts, logits.objects], dim=1)[0, :, ::5, ::5]
    assert worst(guidance, golden["guidance_logits_s5"]) < 1e-4
    assert worst(logits.pairs[0, :, ::5, ::5], golden["pair_logits_s5"]) < 1e-4


def test_label_maps_agree(inference, golden):
    words = vocabulary(WORDS)
    free = pred_all(inference.logits, words, inference.size).pairs.labels
    free = torch.where(free < 0, len(words.pairs), free).numpy()
    assert free.shape == golden["pred_all_label_map"].shape
    assert (free == golden["pred_all_label_map"]).mean() >= 0.999
    told = oracle_obj(inference.logits, words, inference.size, [words.objects.index(name) for name in TOLD]).numpy()
    assert (told == golden["oracle_obj_label_map"]).mean() >= 0.999


def test_losses_agree(training, golden):
    for name in ("object_part", "object", "part", "separation", "enhancement", "total"):
        expected = float(golden[f"{training.case}_{name}"])
        assert training.terms[TERMS.get(name, name)].item() == pytest.approx(expected, rel=1e-4), name
    assert training.low.item() == pytest.approx(float(golden[f"{training.case}_separation_gamma_0.1"]), rel=1e-4)


@pytest.mark.parametrize("term", ["total", "enhancement"])
def test_gradients_agree(training, golden, term):
    parameters = dict(training.model.named_parameters())
    trained = {name: value for name, value in parameters.items() if value.requires_grad}
    slopes = torch.autograd.grad(training.terms[term], list(trained.values()), retain_graph=True, allow_unused=True)
    found = dict(zip(trained, slopes, strict=True))
    expected = dict(zip(golden["gradient_names"], golden[f"{training.case}_{term}_gradients"], strict=True))
    assert {our_name(name).partition(":")[0] for name in expected} == trained.keys()
    largest = max(expected.values())
    for name, norm in expected.items():
        ours, _, third = our_name(name).partition(":")
        slope = torch.zeros_like(trained[ours]) if found[ours] is None else found[ours]
        slope = slope.chunk(3)["qkv".index(third)] if third else slope
        assert float(slope.norm()) == pytest.approx(norm, rel=1e-3, abs=1e-6 * largest), name

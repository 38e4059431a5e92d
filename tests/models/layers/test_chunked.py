"""Chunks of prompts and groups of images: the same results, in bounded memory."""

import pytest
import torch
from torch import Tensor

from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.clipseg.model import CLIPSeg, Decoder
from partseg_cli.models.layers.chunked import default_chunk, map_chunks
from partseg_cli.models.partclipseg.model import PartCLIPSeg
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Pair, Vocabulary

NAMES = ("dog head", "cat head", "cat ear", "bus wheel", "dog tail")
WORDS = Vocabulary(tuple(Pair(*name.split()) for name in NAMES))  # 4 parts, 3 objects: 8 prompts, 6 pairs
IMAGES = torch.linspace(-2, 2, 3 * 3 * 32 * 40, dtype=torch.float64).reshape(3, 3, 32, 40).sin()
CHUNKS = (1, 2, 5, 99, None)


def partclipseg() -> PartCLIPSeg:
    torch.manual_seed(0)
    switches = {"object_text_index": "paper", "background_embedding": "learned", "trainable": "published"}
    return PartCLIPSeg(BACKBONES["tiny"], **switches).double().eval()


def planes(logits: Logits) -> list[Tensor]:
    return [logits.pairs, logits.objects, logits.parts, *logits.attention]


def gradients(model: PartCLIPSeg, *, recompute: bool = False) -> tuple[list[Tensor], dict[str, Tensor]]:
    """What the model gives losses, and the gradient of a number that depends on all of it."""
    model.zero_grad()
    given = planes(model(IMAGES, WORDS, for_loss=True, activation_checkpointing=recompute))
    sum((index + 1) * plane.square().mean() + plane.sin().mean() for index, plane in enumerate(given)).backward()
    return given, {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


# ---- the function


def weighted(x: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """Two tensors of different shapes for some prompts."""
    part = x[:, rows]
    return part.square().cumsum(2), part.exp().sum((2, 3))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 100])
def test_chunks_of_any_size_are_joined_to_the_whole(size, recompute):
    x = torch.randn(2, 6, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = weighted(x, slice(None))
    for keeps_graph in (True, False):
        with torch.set_grad_enabled(keeps_graph):
            found = map_chunks(lambda rows: weighted(x, rows), 6, size, activation_checkpointing=recompute)
        assert [tensor.shape for tensor in found] == [(2, 6, 4, 3), (2, 6)]
        for one, other in zip(found, whole, strict=True):
            assert torch.allclose(one, other, rtol=1e-14)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("size", [1, 4, 6])
def test_gradients_do_not_depend_on_the_chunks(size, recompute):
    x = torch.randn(2, 6, 4, 3, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(sum(t.sin().sum() for t in weighted(x, slice(None))), x)
    given = map_chunks(lambda rows: weighted(x, rows), 6, size, activation_checkpointing=recompute)
    (found,) = torch.autograd.grad(sum(t.sin().sum() for t in given), x)
    assert torch.allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(("size", "expected"), [(1, [1] * 6), (4, [4, 2]), (6, [6]), (9, [6])])
def test_every_prompt_is_computed_once(size, expected):
    counts = []

    def count(rows: slice) -> tuple[Tensor]:
        counts.append(len(range(6)[rows]))
        return (torch.zeros(1, counts[-1]),)

    map_chunks(count, 6, size)
    assert counts == expected


def test_recomputing_computes_every_chunk_twice_and_only_for_gradients():
    x, calls = torch.ones(1, 5, requires_grad=True), []

    def square(rows: slice) -> tuple[Tensor]:
        calls.append(rows.start)
        return (x[:, rows].square(),)

    (found,) = map_chunks(square, 5, 2, activation_checkpointing=True)
    assert calls == [0, 2, 4]
    found.sum().backward()
    assert sorted(calls) == [0, 0, 2, 2, 4, 4]
    assert torch.equal(x.grad, torch.full((1, 5), 2.0))


@pytest.mark.parametrize(
    ("images", "device", "expected"),
    [
        (1, "cpu", 4),
        (3, "cpu", 1),
        (100, "cpu", 1),
        (8, "meta", 67),
    ],
)
def test_more_images_mean_fewer_prompts_at_once(images, device, expected):
    assert default_chunk(torch.empty(images, 3, 8, 8, device=device), 485 * 2048) == expected


def test_narrower_layers_mean_more_prompts_at_once():
    assert default_chunk(torch.empty(1, 3, 8, 8), 145 * 128) == 225


# ---- the models


@pytest.mark.parametrize("chunk", CHUNKS)
def test_logits_do_not_depend_on_the_chunk(chunk):
    model = partclipseg()
    with torch.no_grad():
        model.prompt_chunk = 8
        whole = planes(model(IMAGES, WORDS, for_loss=True))
        model.prompt_chunk = chunk
        for one, other in zip(planes(model(IMAGES, WORDS, for_loss=True)), whole, strict=True):
            assert torch.allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_float32_logits_agree_to_a_millionth_whatever_the_chunk(chunk):
    model = partclipseg().float()
    with torch.no_grad():
        model.prompt_chunk = 8
        whole = planes(model(IMAGES.float(), WORDS, for_loss=True))
        model.prompt_chunk = chunk
        for one, other in zip(planes(model(IMAGES.float(), WORDS, for_loss=True)), whole, strict=True):
            assert float((one - other).abs().max()) <= 1e-6 * float(other.abs().max())


@pytest.mark.parametrize(("chunk", "recompute"), [(1, False), (5, False), (None, True), (3, True), (99, True)])
def test_losses_and_gradients_depend_neither_on_the_chunk_nor_on_recomputing(chunk, recompute):
    model = partclipseg()
    model.prompt_chunk = 8
    expected, slopes = gradients(model)
    model.prompt_chunk = chunk
    given, found = gradients(model, recompute=recompute)
    for one, other in zip(given, expected, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)
    assert found.keys() == slopes.keys()
    for name, slope in slopes.items():
        assert slope.abs().max() > 0, name
        assert torch.allclose(found[name], slope, rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("chunk", [1, 3])
def test_the_decoder_never_sees_more_prompts_than_the_chunk(chunk, monkeypatch):
    model, seen = partclipseg(), []
    model.prompt_chunk = chunk
    decode = Decoder.forward
    monkeypatch.setattr(Decoder, "forward", lambda self, taps, text: seen.append(len(text)) or decode(self, taps, text))
    with torch.no_grad():
        model(IMAGES, WORDS)
    assert max(seen) == chunk
    assert sum(seen) == len(WORDS.prompts) + 1


def test_a_batch_gives_what_its_images_give_alone():
    model = partclipseg()
    with torch.no_grad():
        together = model(IMAGES, WORDS, for_loss=True)
        for index in range(3):
            alone = model(IMAGES[index : index + 1], WORDS, for_loss=True)
            for one, other in zip(planes(together.image(index)), planes(alone), strict=True):
                assert torch.allclose(one, other, rtol=0, atol=1e-12)


def test_clipseg_depends_neither_on_the_chunk_nor_on_the_batch():
    torch.manual_seed(0)
    model = CLIPSeg(BACKBONES["tiny"], visual_adapter=True, background_embedding="none", trainable="published")
    words = Vocabulary(WORDS.pairs, ("bird",))
    model.double().eval()
    with torch.no_grad():
        whole = model(IMAGES, words)
        for chunk in CHUNKS:
            model.prompt_chunk = chunk
            for index in range(3):
                alone = model(IMAGES[index : index + 1], words)
                assert torch.allclose(alone.pairs[0], whole.pairs[index], rtol=0, atol=1e-12)
                assert torch.allclose(alone.objects[0], whole.objects[index], rtol=0, atol=1e-12)

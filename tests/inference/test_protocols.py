"""Protocols against plain versions that enlarge and mask the whole stack of planes, as the published code does."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from partseg_cli.inference import protocols as inference
from partseg_cli.inference.protocols import oracle_obj, pred_all, segment_parts, upsampled_argmax
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Pair, Vocabulary

# 5 pairs of 3 objects and 4 parts, objects out of order, so that a swapped index shows
NAMES = ("dog head", "cat ear", "bus wheel", "cat head", "dog tail")
WORDS = Vocabulary(tuple(Pair(*name.split()) for name in NAMES))
K, O = 5, 3  # noqa: E741 - objects, as in the paper
LOW = (5, 7)
SIZES = [(11, 17), (5, 7), (3, 2), (40, 9)]
SURE = 30.0  # its float32 sigmoid is exactly 1


def draw_logits(seed: int, *, spread: float = 4, gate: bool = True) -> Logits:
    generator = torch.Generator().manual_seed(seed)
    pairs = spread * torch.randn(1, K + 1, *LOW, generator=generator)
    objects = spread * torch.randn(1, O + 1, *LOW, generator=generator)
    return Logits(pairs, objects if gate else None)


def scores(planes: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(planes.float(), size=size, mode="bilinear", align_corners=False).sigmoid()[0]


def plain_pred_all(logits: Logits, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Pair labels, their scores, object labels; the background is the last index."""
    pairs, objects = scores(logits.pairs, size), scores(logits.objects, size)
    gate = F.one_hot(objects.argmax(0), O + 1).permute(2, 0, 1)
    masks = torch.stack([gate[WORDS.objects.index(pair.object)] for pair in WORDS.pairs] + [gate[-1]])
    best = (pairs * masks).max(0)
    return (pairs * masks).argmax(0), best.values, objects.argmax(0)


def plain_oracle_obj(logits: Logits, size: tuple[int, int], objects: list[int]) -> Tensor:
    kept = torch.tensor([WORDS.objects.index(pair.object) in objects for pair in WORDS.pairs])
    return (scores(logits.pairs, size)[:-1] * kept[:, None, None]).argmax(0)


def background_to_none(labels: Tensor, background: int) -> Tensor:
    return torch.where(labels == background, -1, labels)


def planes(*rows: list[float]) -> Tensor:
    """Logits of channels on a strip of pixels."""
    return torch.tensor(rows, dtype=torch.float32)[None, :, None, :]


# ---- against the plain versions


@pytest.mark.parametrize("size", SIZES)
def test_pred_all_agrees_with_masking_the_whole_stack(size):
    for seed in range(5):
        logits = draw_logits(seed)
        labels, best, gate = plain_pred_all(logits, size)
        decision = pred_all(logits, WORDS, size)
        assert decision.objects is not None
        assert torch.equal(decision.objects.labels, background_to_none(gate, O))
        assert torch.equal(decision.pairs.labels, background_to_none(labels, K))
        inside = labels != K
        torch.testing.assert_close(decision.pairs.scores, torch.where(inside, best, 0), rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("objects", [[0], [1], [2], [0, 2], [0, 1, 2]])
def test_oracle_obj_agrees_with_masking_the_whole_stack(size, objects):
    for seed in range(3):
        logits = draw_logits(seed)
        labels = oracle_obj(logits, WORDS, size, objects)
        assert torch.equal(labels, plain_oracle_obj(logits, size, objects))
        assert {WORDS.object_of[label] for label in labels.unique().tolist()} <= set(objects)


@pytest.mark.parametrize("size", SIZES)
def test_without_a_gate_all_pairs_and_the_background_compete(size):
    logits = draw_logits(1, gate=False)
    decision = pred_all(logits, WORDS, size)
    assert decision.objects is None
    labels = background_to_none(scores(logits.pairs, size).argmax(0), K)
    assert torch.equal(decision.pairs.labels, labels)
    assert (decision.pairs.scores[labels < 0] == 0).all()
    assert (decision.pairs.scores[labels >= 0] > 0).all()


def test_half_precision_logits_are_enlarged_in_single_precision():
    exact = draw_logits(2)
    half = Logits(exact.pairs.bfloat16(), exact.objects.bfloat16())
    labels, _, _ = plain_pred_all(half, (11, 17))
    assert torch.equal(pred_all(half, WORDS, (11, 17)).pairs.labels, background_to_none(labels, K))
    assert pred_all(half, WORDS, (11, 17)).pairs.scores.dtype == torch.float32


def test_saturated_planes_agree_with_the_plain_version_too():
    logits = draw_logits(3, spread=60)
    tied = (scores(logits.pairs, (11, 17)) == 1).sum(0) > 1
    assert tied.any()
    labels, _, _ = plain_pred_all(logits, (11, 17))
    certain = labels != 0  # where no score of the gate's object is above 0 the plain version says 0, see below
    got = pred_all(logits, WORDS, (11, 17)).pairs.labels
    assert torch.equal(got[certain], background_to_none(labels, K)[certain])


# ---- the strongest channel against argmax over the whole stack


def draw_planes(kind: str, channels: int = 11, height: int = 33, width: int = 26) -> Tensor:
    generator = torch.Generator().manual_seed(channels)
    noise = torch.randn(1, channels, height, width, generator=generator)
    coarse = torch.randn(1, channels, 4, 3, generator=generator)
    return {
        "smooth": 6 * F.interpolate(coarse, size=(height, width), mode="bilinear") + 0.1 * noise,
        "patches": 6 * F.interpolate(coarse, size=(height, width)) * noise[:, :, :1],
        "noise": noise,
        "saturated": 40 * noise,
        "whole numbers": (10 * noise).round(),
        "all equal": torch.full_like(noise, -3.7),
        "extreme": 100 * noise.sign(),
        "twins": noise[:, torch.arange(channels) // 2],
    }[kind]


KINDS = ["smooth", "patches", "noise", "saturated", "whole numbers", "all equal", "extreme", "twins"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(83, 97), (33, 26), (45, 26), (17, 50), (5, 4), (1, 60), (1, 1)])
def test_the_strongest_channel_is_the_first_that_argmax_over_the_stack_finds(kind, size):
    for channels in (1, 2, 11):
        drawn = draw_planes(kind, channels)
        best, choice = scores(drawn, size), upsampled_argmax(drawn[0], size)
        assert torch.equal(choice.labels, best.argmax(0))
        torch.testing.assert_close(choice.scores, best.amax(0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["saturated", "all equal", "extreme", "twins"])
def test_these_kinds_have_ties_for_the_first_place(kind):
    best = scores(draw_planes(kind), (83, 97))
    assert ((best == best.amax(0)).sum(0) > 1).float().mean() > 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(83, 97), (17, 50), (5, 4)])
def test_the_parts_of_the_gate_are_those_of_masking_the_whole_stack(kind, size):
    logits = Logits(draw_planes(kind, K + 1), draw_planes("smooth", O + 1))
    gate = scores(logits.objects, size).argmax(0)
    inside = torch.stack([gate == owner for owner in WORDS.object_of])
    masked = scores(logits.pairs, size)[:-1].masked_fill(~inside, -1)
    pairs = pred_all(logits, WORDS, size).pairs
    assert torch.equal(pairs.labels, torch.where(gate == O, -1, masked.argmax(0)))
    torch.testing.assert_close(pairs.scores, masked.amax(0).clamp(min=0), rtol=0, atol=1e-6)


def test_more_channels_than_a_byte_counts_keep_their_numbers():
    drawn = draw_planes("noise", 300, 6, 5)
    labels = upsampled_argmax(drawn[0], (7, 9)).labels
    assert torch.equal(labels, scores(drawn, (7, 9)).argmax(0))
    assert labels.max() > 255


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_once", [1, 5])
def test_planes_that_are_enlarged_in_turns_give_the_same(kind, at_once, monkeypatch):
    size = (83, 97)
    drawn, logits = draw_planes(kind), Logits(draw_planes(kind, K + 1), draw_planes("smooth", O + 1))
    whole, decision = upsampled_argmax(drawn[0], size), pred_all(logits, WORDS, size)
    monkeypatch.setattr(inference, "SCORES_AT_ONCE", at_once * size[0] * size[1])
    assert torch.equal(upsampled_argmax(drawn[0], size).labels, whole.labels)
    assert torch.equal(pred_all(logits, WORDS, size).pairs.labels, decision.pairs.labels)


def test_logits_may_still_have_a_graph_and_stay_as_they_are():
    logits = Logits(draw_planes("noise", K + 1).requires_grad_(), draw_planes("smooth", O + 1).requires_grad_())
    before = logits.pairs.detach().clone()
    decision = pred_all(logits, WORDS, (33, 26))  # no enlarging: nothing is copied on the way
    assert not decision.pairs.scores.requires_grad
    assert torch.equal(logits.pairs, before)


# ---- by hand


def test_the_gate_decides_before_the_pairs():
    # pixels: cat by a hair although a dog's part is surest; dog; background although a pair is sure
    objects = planes([-3, -3, -3], [1.1, -2, 0], [1.0, 2, 0], [0, 0, 0.5])  # bus, cat, dog, background
    pairs = planes([9, -5, 9], [-4, 9, 9], [9, 9, 9], [-3, 9, 9], [8, -4, 9], [9, 9, -9])
    decision = pred_all(Logits(pairs, objects), WORDS, (1, 3))
    assert decision.objects.labels.tolist() == [[1, 2, -1]]
    assert decision.pairs.labels.tolist() == [[3, 4, -1]]  # cat's head, dog's tail, none
    assert decision.pairs.scores[0].tolist() == pytest.approx([1 / (1 + 2.718281828**3), 1 / (1 + 2.718281828**4), 0])


def test_of_saturated_pairs_the_first_wins_even_if_a_later_logit_is_larger():
    objects = planes([0], [0], [9], [0])
    pairs = planes([SURE], [0], [0], [0], [SURE + 10], [0])
    assert pred_all(Logits(pairs, objects), WORDS, (1, 1)).pairs.labels.tolist() == [[0]]
    assert oracle_obj(Logits(pairs), WORDS, (1, 1), [2]).tolist() == [[0]]


def test_of_saturated_objects_the_first_wins_and_the_background_last():
    pairs = planes([0], [0], [0], [0], [0], [0])
    objects = planes([SURE], [SURE + 1], [SURE + 2], [SURE + 3])
    decision = pred_all(Logits(pairs, objects), WORDS, (1, 1))
    assert (decision.objects.labels.tolist(), decision.pairs.labels.tolist()) == ([[0]], [[2]])


def test_a_gated_pixel_gets_a_part_of_its_object_even_where_its_scores_vanish():
    objects = planes([0], [9], [0], [0])
    pairs = planes([9], [-200], [9], [-200], [9], [9])
    decision = pred_all(Logits(pairs, objects), WORDS, (1, 1))
    assert decision.pairs.labels.tolist() == [[1]]
    assert decision.pairs.scores.tolist() == [[0]]


def test_a_gate_on_an_object_without_pairs_leaves_the_pair_open():
    words = Vocabulary((Pair("cat", "ear"),), ("apple",))
    decision = pred_all(Logits(planes([9], [0]), planes([9], [0], [0])), words, (1, 1))
    assert (decision.objects.labels.tolist(), decision.pairs.labels.tolist()) == ([[0]], [[-1]])
    assert (decision.pairs.scores.tolist(), decision.objects.scores.item() > 0.99) == ([[0]], True)


def test_a_vocabulary_of_bare_objects_alone_is_decided_by_the_gate():
    words = Vocabulary((), ("cat", "apple"))
    decision = pred_all(Logits(planes([3, 3]), planes([9, 0], [0, 0], [0, 9])), words, (1, 2))
    assert decision.objects.labels.tolist() == [[0, -1]]
    assert decision.pairs.labels.tolist() == [[-1, -1]]


def test_oracle_obj_without_any_object_gives_none():
    assert oracle_obj(draw_logits(0), WORDS, (3, 4), []).tolist() == [[-1] * 4] * 3


def test_strongest_without_any_plane_gives_none():
    choice = upsampled_argmax(torch.zeros(0, 2, 3), (4, 5))
    assert torch.equal(choice.labels, torch.full((4, 5), -1))
    assert torch.equal(choice.scores, torch.zeros(4, 5))


# ---- the parts of objects that are told


def told_objects(seed: int, size: tuple[int, int]) -> Tensor:
    return torch.randint(-1, O, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES)
def test_parts_of_told_objects_agree_with_masking_the_whole_stack_pixel_by_pixel(size):
    for seed in range(4):
        logits, told = draw_logits(seed), told_objects(seed, size)
        allowed = torch.stack([told == owner for owner in WORDS.object_of])
        expected = scores(logits.pairs, size)[:-1].masked_fill(~allowed, -1).argmax(0)
        assert torch.equal(segment_parts(logits, WORDS, told), torch.where(told < 0, -1, expected))


@pytest.mark.parametrize("size", SIZES)
def test_parts_of_the_models_own_gate_are_pred_all(size):
    logits = draw_logits(6)
    decision = pred_all(logits, WORDS, size)
    assert decision.objects is not None
    assert torch.equal(segment_parts(logits, WORDS, decision.objects.labels), decision.pairs.labels)


@pytest.mark.parametrize("owner", range(O))
def test_parts_of_one_object_told_everywhere_are_oracle_obj(owner):
    logits = draw_logits(7)
    told = torch.full((11, 17), owner)
    assert torch.equal(segment_parts(logits, WORDS, told), oracle_obj(logits, WORDS, (11, 17), [owner]))


def test_parts_of_told_objects_ask_neither_the_gate_nor_the_background():
    logits, told = draw_logits(8), told_objects(8, (11, 17))
    louder = logits.pairs.clone()
    louder[:, -1] += 100
    assert torch.equal(segment_parts(logits, WORDS, told), segment_parts(Logits(louder), WORDS, told))


def test_a_told_pixel_gets_a_part_of_its_object_even_where_its_scores_vanish():
    pairs = planes([9], [-200], [9], [-200], [9], [9])
    assert segment_parts(Logits(pairs), WORDS, torch.tensor([[1]])).tolist() == [[1]]


def test_where_no_object_or_one_without_pairs_is_told_there_is_no_part():
    words = Vocabulary((Pair("cat", "ear"),), ("apple",))
    pairs = planes([9, 9, 9], [0, 0, 0])
    assert segment_parts(Logits(pairs), words, torch.tensor([[0, 1, -1]])).tolist() == [[-1, 0, -1]]


# ---- properties


def test_permuting_the_pairs_permutes_the_result():
    order = [3, 0, 4, 2, 1]
    words = Vocabulary(tuple(WORDS.pairs[i] for i in order))
    logits = draw_logits(4)
    permuted = Logits(logits.pairs[:, [*order, K]], logits.objects)
    before, after = (
        pred_all(logits, WORDS, (11, 17)).pairs.labels,
        pred_all(permuted, words, (11, 17)).pairs.labels,
    )
    assert torch.equal(torch.tensor([*order, -1])[after], before)


def test_the_pair_background_changes_nothing_where_there_is_a_gate():
    logits = draw_logits(5)
    louder = logits.pairs.clone()
    louder[:, -1] += 100
    assert torch.equal(
        pred_all(logits, WORDS, (11, 17)).pairs.labels,
        pred_all(Logits(louder, logits.objects), WORDS, (11, 17)).pairs.labels,
    )

"""The engine against steps written out by hand, on a stand-in model of a few convolutions in float64."""

import copy
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from partseg_cli.errors import PartsegError
from partseg_cli.models.partclipseg.objective import PartCLIPSegLoss
from partseg_cli.runtime.process_group import ProcessGroup
from partseg_cli.structures import Batch, Labels, Logits
from partseg_cli.training.engine import Engine, NotFiniteError
from partseg_cli.training.loggers import Step
from partseg_cli.training.objective import Objective
from partseg_cli.training.optimizer import poly_schedule

PART_OF, OBJECT_OF = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 1])  # 4 pairs, 3 parts, 2 objects
HEIGHT, WIDTH = 6, 9


class Tiny(nn.Module):
    """Logits of pairs, objects and parts straight from the pixels; `unused` is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs, self.objects, self.parts = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.unused = nn.Conv2d(3, 3, 1).requires_grad_(False)

    def forward(self, images: Tensor) -> Logits:
        mixed = images + self.unused(images)
        return Logits(self.pairs(mixed), self.objects(mixed), self.parts(mixed))


def init_model() -> Tiny:
    torch.manual_seed(0)
    return Tiny().double()


def draw(count: int, seed: int = 1) -> Batch:
    """Images with very different numbers of labelled pixels, so that pooling them would show."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    pairs = torch.randint(0, 4, (count, HEIGHT, WIDTH), generator=generator)
    shown = torch.rand(count, HEIGHT, WIDTH, generator=generator) < torch.linspace(0.05, 0.9, count)[:, None, None]
    pairs = pairs.masked_fill(~shown, -1)
    objects = torch.where(pairs >= 0, OBJECT_OF[pairs.clamp(min=0)], -1)
    return Batch(images, Labels(pairs, objects, objects < 0), tuple(f"photo {seed}.{i}" for i in range(count)))


def cut(batch: Batch, size: int) -> Iterator[Batch]:
    for start in range(0, len(batch.images), size):
        rows = slice(start, start + size)
        yield Batch(batch.images[rows], Labels(*(plane[rows] for plane in batch.labels)), batch.image_ids[rows])


def part_loss(loss_mean: str = "image") -> PartCLIPSegLoss:
    weights = {"lambda_obj": 0.7, "lambda_part": 0.4, "lambda_sep": 0.0, "lambda_enh": 0.0, "background_weight": 0.05}
    switches = {"mask_mean": "paper", "separation": "soft", "parts_per_object": "own", "loss_mean": loss_mean}
    return PartCLIPSegLoss(PART_OF, OBJECT_OF, **weights, **switches, gamma=0.3, tau=0.05)


def build_engine(
    model: Tiny,
    *,
    loss: Callable | None = None,
    accumulate: int = 1,
    clip_grad_norm: float = 1e9,
    lr: float = 0.5,
    precision: str = "fp32",
) -> Engine:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    term_loss = loss or part_loss()
    objective = Objective(
        lambda batch: model(batch.images),
        lambda logits, batch: term_loss(logits, batch.labels),
        torch.device("cpu"),
        precision,
    )
    return Engine(
        network=model,
        objective=objective,
        optimizer=optimizer,
        schedule=poly_schedule(optimizer, iterations=10, power=0.9),
        accumulate=accumulate,
        clip_grad_norm=clip_grad_norm,
        device=torch.device("cpu"),
        precision=precision,
    )


def run(engine: Engine, batches: list[Batch], last: int, first: int = 1) -> list[Step]:
    return list(engine.steps(iter(batches), first=first, last=last))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


# ---- accumulation


def after_one_step(micro: int, loss_mean: str = "image") -> tuple[dict[str, Tensor], Step]:
    model, batch = init_model(), draw(4)
    engine = build_engine(model, loss=part_loss(loss_mean), accumulate=4 // micro, clip_grad_norm=0.05)
    (step,) = run(engine, list(cut(batch, micro)), last=1)
    return weights(model), step


@pytest.mark.parametrize("micro", [1, 2])
def test_micro_batches_give_the_same_step_as_the_whole_batch(micro):
    (parts, step), (whole, reference) = after_one_step(micro), after_one_step(4)
    for name, value in parts.items():
        torch.testing.assert_close(value, whole[name], rtol=1e-6, atol=1e-9)
    assert step.grad_norm == pytest.approx(reference.grad_norm, rel=1e-6)
    assert step.losses == pytest.approx(reference.losses, rel=1e-6)


def test_a_pooled_loss_would_not_give_the_same_step():
    (parts, _), (whole, _) = after_one_step(1, "batch"), after_one_step(4, "batch")
    assert (parts["pairs.weight"] - whole["pairs.weight"]).abs().max() > 1e-5


# ---- one step by hand


def test_a_step_is_what_it_is_by_hand():
    model, other, batches = init_model(), init_model(), [draw(2, seed) for seed in (1, 2, 3, 4)]
    engine = build_engine(model, accumulate=2, clip_grad_norm=0.02, lr=0.5)
    steps = run(engine, batches, last=2)
    trained = [p for p in other.parameters() if p.requires_grad]
    for number in (0, 1):
        terms = [part_loss()(other(batch.images), batch.labels) for batch in batches[2 * number : 2 * number + 2]]
        gradients = torch.autograd.grad((terms[0]["total"] + terms[1]["total"]) / 2, trained)
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        lr = 0.5 * (1 - number / 10) ** 0.9
        with torch.no_grad():
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter -= lr * gradient * min(1, 0.02 / norm)
        assert norm > 0.02
        assert (steps[number].number, steps[number].lr) == (number + 1, pytest.approx(lr))
        assert steps[number].grad_norm == pytest.approx(norm, rel=1e-5)
        means = {name: (terms[0][name].item() + terms[1][name].item()) / 2 for name in terms[0]}
        assert steps[number].losses == pytest.approx(means, rel=1e-5)
    for name, value in weights(model).items():
        torch.testing.assert_close(value, weights(other)[name], rtol=1e-4, atol=1e-8)


def test_a_small_gradient_is_not_enlarged():
    model = init_model()
    before = weights(model)
    (step,) = run(build_engine(model, clip_grad_norm=1e3, lr=1e-3), [draw(2)], last=1)
    moved = math.sqrt(sum(float(((weights(model)[name] - before[name]) ** 2).sum()) for name in before))
    assert moved == pytest.approx(1e-3 * step.grad_norm, rel=1e-4)


def test_a_clipped_step_is_as_long_as_the_limit():
    model = init_model()
    before = weights(model)
    (step,) = run(build_engine(model, clip_grad_norm=0.01, lr=1.0), [draw(2)], last=1)
    moved = math.sqrt(sum(float(((weights(model)[name] - before[name]) ** 2).sum()) for name in before))
    assert step.grad_norm > 0.01
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_frozen_parameters_stay_and_all_others_move():
    model = init_model()
    before = weights(model)
    run(build_engine(model), [draw(2, seed) for seed in range(3)], last=3)
    changed = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    assert changed == {f"{layer}.{kind}" for layer in ("pairs", "objects", "parts") for kind in ("weight", "bias")}


def test_steps_are_done_when_they_are_asked_for_and_numbered_from_the_first():
    model = init_model()
    engine = build_engine(model)
    steps = engine.steps(iter([draw(2, seed) for seed in range(3)]), first=4, last=6)
    before = weights(model)
    numbers = []
    for step in steps:
        numbers.append(step.number)
        after = weights(model)
        assert not torch.equal(after["pairs.weight"], before["pairs.weight"])
        before = after
    assert numbers == [4, 5, 6]


def test_every_step_sets_training_mode():
    model = init_model().eval()
    for _ in build_engine(model).steps(iter([draw(1), draw(1)]), first=1, last=2):
        assert model.training
        model.eval()  # as an evaluation between two steps does


def test_the_loss_falls():
    batch = draw(4)
    totals = [step.losses["total"] for step in run(build_engine(init_model(), lr=0.3), [batch] * 8, last=8)]
    assert all(later < earlier for earlier, later in pairwise(totals))


# ---- what is not finite


class Breaking:
    """An objective with one term that breaks at its `at`-th call."""

    def __init__(self, term: str, value: float, at: int) -> None:
        self.term, self.value, self.at, self.calls = term, value, at, 0

    def __call__(self, logits: Logits, labels: Labels) -> dict[str, Tensor]:
        self.calls += 1
        terms = part_loss()(logits, labels)
        if self.calls == self.at:
            terms[self.term] = terms[self.term] * self.value
            terms["total"] = terms["total"] + terms[self.term]
        return terms


@pytest.mark.parametrize("term", ["object", "part"])
@pytest.mark.parametrize(("value", "got"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_a_loss_that_is_not_finite_stops_naming_step_term_and_images(term, value, got):
    model = init_model()
    engine = build_engine(model, loss=Breaking(term, value, at=6), accumulate=2)
    steps = engine.steps(iter([draw(2, seed) for seed in range(8)]), first=1, last=4)
    next(steps), next(steps)
    before = weights(model)
    message = (
        f"step 3: the loss term {term} must be finite, got {got} on images photo 5.0, photo 5.1; "
        "lower train.lr or use train.precision=fp32"
    )
    with pytest.raises(PartsegError, match=f"^{re.escape(message)}$") as caught:
        next(steps)
    assert caught.value.exit_code == 1
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


class FlatRoot(torch.autograd.Function):
    """A finite value whose gradient is infinite, as the root of 0."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.sum() * 0

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return torch.full((1, 5, HEIGHT, WIDTH), math.inf, dtype=torch.float64)


def test_a_gradient_that_is_not_finite_stops_before_it_spoils_the_weights():
    model = init_model()
    before = weights(model)
    engine = build_engine(model, loss=lambda logits, labels: {"total": FlatRoot.apply(logits.pairs)})
    with pytest.raises(PartsegError, match=r"^step 1: .*gradient"):
        run(engine, [draw(1)], last=1)
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


# ---- precision and state


@pytest.mark.parametrize(("precision", "kind"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_bf16_computes_the_model_in_half_precision_and_the_loss_in_full(precision, kind):
    model = init_model().float()
    seen = []

    def loss(logits: Logits, labels: Labels) -> dict[str, Tensor]:
        seen.append((logits.pairs.dtype, torch.is_autocast_enabled("cpu")))
        return part_loss()(logits, labels)

    batch = draw(2)
    (step,) = run(build_engine(model, loss=loss, precision=precision), [batch._replace(images=batch.images.float())], 1)
    assert seen == [(kind, False)]
    assert math.isfinite(step.losses["total"])
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_a_run_goes_on_from_its_state_as_if_it_had_not_stopped():
    batches = [draw(2, seed) for seed in range(6)]
    whole, first, second = init_model(), init_model(), init_model()
    whole_steps = run(build_engine(whole), batches, last=6)
    engine = build_engine(first)
    run(engine, batches[:3], last=3)
    state = {"step": 3, **engine.state_dict()}
    resumed = build_engine(second)
    second.load_state_dict(first.state_dict())
    resumed.optimizer.load_state_dict(state["optimizer"])
    resumed.schedule.load_state_dict(state["schedule"])
    steps = run(resumed, batches[3:], first=state["step"] + 1, last=6)
    assert steps == whole_steps[3:]
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(whole).items())


def test_the_state_of_fp16_comes_back_too():
    batches = [draw(2, seed)._replace(images=draw(2, seed).images.float()) for seed in range(4)]
    whole, first, second = (init_model().float() for _ in range(3))
    whole_engine = build_engine(whole, precision="fp16")
    run(whole_engine, batches, last=4)
    engine = build_engine(first, precision="fp16")
    run(engine, batches[:2], last=2)
    state = copy.deepcopy(engine.state_dict())
    resumed = build_engine(second, precision="fp16")
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(state)
    assert resumed.scaler.is_enabled()
    assert resumed.scaler.get_scale() == engine.scaler.get_scale()
    run(resumed, batches[2:], first=3, last=4)
    assert resumed.scaler.state_dict() == whole_engine.scaler.state_dict()
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(whole).items())


class Noisy(Tiny):
    """Draws anew in each forward pass."""

    def forward(self, images: Tensor) -> Logits:
        return super().forward(images + torch.randn_like(images))


def test_what_a_step_draws_follows_its_number_whatever_went_before():
    def build() -> Noisy:
        torch.manual_seed(0)
        return Noisy().double()

    batches = [draw(2, seed) for seed in range(4)]
    whole, second = build(), build()
    steps = run(build_engine(whole), batches, last=2)
    second.load_state_dict(whole.state_dict())
    torch.rand(7)  # as an evaluation may draw
    again, expected = (run(build_engine(model), batches[2:], first=3, last=4) for model in (second, whole))
    assert again == expected
    assert steps[0].losses != steps[1].losses


# ---- several processes


@dataclass(frozen=True)
class WithOther(ProcessGroup):
    """A group whose other process gives these means, and these complaints."""

    other: float = 0.0
    complaints: tuple[tuple[str, float, tuple[str, ...]], ...] = ()

    def mean(self, values: Tensor) -> Tensor:
        return (values + self.other) / 2

    def gather(self, value: list) -> list:
        return [value, list(self.complaints)]


def test_losses_are_means_over_the_group():
    (alone,) = run(build_engine(init_model()), [draw(2)], last=1)
    (step,) = run(replace(build_engine(init_model()), group=WithOther(0, 2, other=1.0)), [draw(2)], last=1)
    assert step.losses == pytest.approx({name: (value + 1) / 2 for name, value in alone.losses.items()})


def test_a_wish_to_stop_of_any_process_reaches_all():
    engines = [build_engine(init_model()) for _ in range(3)]
    asked = replace(engines[1], is_stop_requested=lambda: True)
    other = replace(engines[2], group=WithOther(0, 2, other=1.0))
    assert [run(engine, [draw(2)], last=1)[0].is_stop for engine in (engines[0], asked, other)] == [False, True, True]


def test_a_loss_that_breaks_elsewhere_is_named_here():
    group = WithOther(0, 2, other=math.nan, complaints=(("part", math.nan, ("their photo",)),))
    message = r"^step 1: the loss term part must be finite, got nan on images their photo; lower train.lr or "
    with pytest.raises(NotFiniteError, match=message):
        run(replace(build_engine(init_model()), group=group), [draw(2)], last=1)

"""Time is counted once, for the innermost section, and what was watched is left as it was."""

from types import SimpleNamespace

import pytest
import torch

from partseg_cli.runtime import profiling
from partseg_cli.runtime.profiling import (
    Hook,
    SectionTime,
    Stopwatch,
    busy_percent,
    covered_length,
    percentages,
    section_times,
    waiter,
)


class Clock:
    """Stands still, but for what a test lets go by."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now

    def work(self, seconds=1.0):
        self.now += seconds
        return seconds


class Thing:
    """Something to watch."""

    def __init__(self, clock):
        self.clock = clock

    def run(self, seconds):
        return self.clock.work(seconds)

    def __call__(self, seconds):
        return self.clock.work(seconds)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(profiling, "time", clock)
    return clock


def test_a_section_inside_another_takes_its_time_from_it(clock):
    watch = Stopwatch(("outer", "inner", "rest"))
    with watch.running():
        clock.work(1)
        with watch.section("outer"):
            clock.work(2)
            with watch.section("inner"):
                clock.work(4)
            clock.work(8)
        clock.work(16)
    clock.work(32)
    assert watch.seconds == {"outer": 10, "inner": 4, "rest": 17}


def test_a_stopwatch_that_does_not_run_counts_nothing(clock):
    watch = Stopwatch(("data", "rest"))
    with watch.section("data"):
        clock.work()
    assert [*watch.each([1, 2], "data")] == [1, 2]
    assert watch.seconds == {"data": 0, "rest": 0}


def test_waiting_for_items_counts_and_working_with_them_does_not(clock):
    watch = Stopwatch(("data", "rest"))

    def items():
        for seconds in (1, 2):
            clock.work(seconds)
            yield seconds
        clock.work(4)

    with watch.running():
        for _ in watch.each(items(), "data"):
            clock.work(10)
    assert watch.seconds == {"data": 7, "rest": 20}


def test_functions_of_objects_classes_and_modules_are_watched(clock):
    thing, module = Thing(clock), SimpleNamespace(work=clock.work)
    watch = Stopwatch(("method", "call", "function", "rest"))
    hooks = (Hook(thing, "run", "method"), Hook(Thing, "__call__", "call"), Hook(module, "work", "function"))
    with watch.running(hooks):
        assert (thing.run(1), thing(2), module.work(seconds=4)) == (1, 2, 4)
    assert watch.seconds == {"method": 1, "call": 2, "function": 4, "rest": 0}


def test_what_was_watched_is_as_before_also_after_an_error(clock):
    thing, module = Thing(clock), SimpleNamespace(work=clock.work)
    call, function = vars(Thing)["__call__"], module.work
    watch = Stopwatch(("a", "rest"))
    hooks = (Hook(thing, "run", "a"), Hook(Thing, "__call__", "a"), Hook(module, "work", "a"))
    with pytest.raises(TypeError), watch.running(hooks):
        thing.run("no number")
    assert vars(thing) == {"clock": clock}
    assert vars(Thing)["__call__"] is call
    assert module.work == function
    thing.run(1)
    assert watch.seconds["a"] == 0


def test_a_name_that_is_not_there_is_an_error_and_leaves_the_others_alone(clock):
    thing = Thing(clock)
    with (
        pytest.raises(AttributeError, match="walk"),
        Stopwatch(("a", "rest")).running((Hook(thing, "run", "a"), Hook(thing, "walk", "a"))),
    ):
        pass
    assert vars(thing) == {"clock": clock}


def test_the_device_is_waited_for_at_both_ends_of_a_section(clock):
    waits = []
    watch = Stopwatch(("a", "rest"), lambda: waits.append(clock.work(1)))
    with watch.section("a"):
        pass
    assert waits == []
    with watch.running(), watch.section("a"):
        clock.work(5)
    assert len(waits) == 4
    assert watch.seconds == {"a": 6, "rest": 2}


@pytest.mark.parametrize(
    "values", [[1.0], [1, 1, 1, 0], [0.05] * 7, [1e-9, 1, 3], [2, 3, 5, 7, 11, 13], [1 / 3, 2 / 3]]
)
def test_percentages_add_to_100_and_are_off_by_less_than_a_tenth(values):
    shares = percentages(values)
    assert sum(round(10 * share) for share in shares) == 1000
    assert all(abs(share - 100 * value / sum(values)) < 0.1 for share, value in zip(shares, values, strict=True))


def test_parts_are_milliseconds_of_a_round():
    assert section_times({"a": 3.0, "b": 1.0}, 4) == (SectionTime("a", 750, 75), SectionTime("b", 250, 25))


def test_a_cpu_has_no_busy_share_and_nothing_to_wait_for():
    device = torch.device("cpu")
    assert busy_percent(device, lambda: pytest.fail("nothing is measured")) is None
    waiter(device)()


@pytest.mark.parametrize(
    ("spans", "length"),
    [([], 0), ([(0, 3)], 3), ([(4, 6), (0, 3)], 5), ([(0, 3), (2, 5)], 5), ([(0, 9), (1, 2), (8, 12), (3, 3)], 12)],
)
def test_time_that_two_kernels_share_counts_once(spans, length):
    assert covered_length(spans) == length


def test_sections_are_ranges_of_the_profiler():
    watch = Stopwatch(("decoder", "rest"))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler, watch.running():
        for _ in range(3):
            with watch.section("decoder"):
                torch.ones(4).sum()
    assert {event.key: event.count for event in profiler.key_averages()}["decoder"] == 3

"""How training looks while it runs: on a terminal, and off one."""

import io
import re

import pytest
from rich.console import Console

from partseg_cli.cli.live import BARS, Curve, TrainProgress
from partseg_cli.training.loggers import Step, Validation


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def step(number: int, total: float = 2.0) -> Step:
    return Step(number, 0.001, {"object_part": total / 2, "total": total, "odd": 3.0}, 1.5)


class Shown:
    """Steps of half a second, and what was shown of them."""

    def __init__(self, iterations: int, *, is_terminal: bool, seconds: float = 0.5, **options) -> None:
        self.file, self.clock, self.seconds = io.StringIO(), Clock(), seconds
        console = Console(force_terminal=is_terminal, file=self.file, width=100, color_system=None, _environ={})
        self.steps = TrainProgress(iterations, console=console, clock=self.clock, **options)

    def do(self, first: int, last: int) -> str:
        for number in range(first, last + 1):
            self.clock.now += self.seconds
            self.steps(step(number, 8 / number))
        return self.text

    @property
    def text(self) -> str:
        return self.file.getvalue()


def pictures(text: str) -> list[str]:
    """Give the bars' lines, one for each picture of the live view."""
    return re.findall(r"train .*left", text)


def test_a_terminal_shows_progress_rate_time_left_and_the_terms_of_the_loss():
    shown = Shown(400, is_terminal=True, images=8)
    with shown.steps:
        text = shown.do(1, 100)
    assert re.search(r"train 100/400 .* 25 % +16 images/s +0:02:30 left", text)
    assert "lr 0.001   gradient 1.5" in text
    last = text[text.rindex("train 100/400") :]
    assert re.search(rf"total +0\.0800 +0\.\d{{4}} +[{BARS}]{{20,48}}", last)
    assert re.search(r"obj-part +0\.0400 +0\.\d{4}", last)
    assert re.search(r"odd +3\.0000 +3\.0000", last)


def test_pictures_are_drawn_four_times_a_second_at_most():
    shown = Shown(1000, is_terminal=True, seconds=0.01)
    with shown.steps:
        shown.do(1, 101)
    drawn = {line.split()[1] for line in pictures(shown.text)}
    assert drawn == {"1/1,000", "26/1,000", "51/1,000", "76/1,000", "101/1,000"}


def test_notes_and_scores_stay_above_the_view_and_the_last_score_in_it():
    shown = Shown(10, is_terminal=True)
    with shown.steps as steps:
        shown.do(1, 2)
        steps.note("wrote [b]cat[/b] :cat:")
        steps.validated(Validation(2, "oracle-obj", {"seen": 40.125, "unseen": None}, "seen"))
        shown.do(3, 3)
    assert "wrote [b]cat[/b] :cat:\n" in shown.text
    assert "step 2: val oracle-obj mIoU seen 40.12 unseen -\n" in shown.text
    last = shown.text[shown.text.rindex("train 3/10") :]
    assert "val oracle-obj mIoU seen 40.12 unseen -" in last


def test_the_view_ends_with_the_last_step_so_that_others_may_draw():
    shown = Shown(3, is_terminal=True)
    with shown.steps as steps:
        shown.do(1, 3)
        assert shown.text.endswith("\x1b[?25h")
        steps.validated(Validation(3, "pred-all", {"seen": 1.0}, "seen"))
        assert shown.text.endswith("step 3: val pred-all mIoU seen 1.00\n")


def test_the_view_ends_when_training_fails():
    shown = Shown(9, is_terminal=True)

    def fail() -> None:
        with shown.steps:
            shown.do(1, 1)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert shown.text.count("\x1b[?25l") == shown.text.count("\x1b[?25h") == 1


def test_off_a_terminal_there_are_twenty_plain_lines():
    shown = Shown(400, is_terminal=False, images=8)
    with shown.steps:
        shown.do(1, 400)
    lines = shown.text.splitlines()
    assert len(lines) == 20
    assert lines[0] == (
        "step 20/400 lr 1.00e-03 total 0.4000 obj-part 0.2000 odd 3.0000 grad 1.5 16 images/s, 0:03:10 left"
    )
    assert lines[-1].startswith("step 400/400 lr")
    assert lines[-1].endswith("grad 1.5 16 images/s")
    assert "\x1b" not in shown.text


def test_off_a_terminal_slow_steps_have_a_line_a_minute():
    shown = Shown(1000, is_terminal=False, seconds=25)
    with shown.steps:
        shown.do(1, 10)
    assert [line.split()[1] for line in shown.text.splitlines()] == ["3/1000", "6/1000", "9/1000"]


def test_an_evaluation_takes_time_from_what_is_left_and_not_from_the_rate():
    shown = Shown(40, is_terminal=False, seconds=1, images=4)
    with shown.steps as steps:
        shown.do(1, 11)
        shown.clock.now += 100
        steps.validated(Validation(11, "oracle-obj", {"seen": 1.0}, "seen"))
        shown.do(12, 20)
    assert shown.text.splitlines()[-1].endswith("4 images/s, 0:02:05 left")


def test_a_run_that_goes_on_begins_where_it_was():
    shown = Shown(100, is_terminal=True, images=2)
    shown.steps.resume(60)
    assert shown.steps.tasks[0].completed == 60
    with shown.steps:
        shown.do(61, 70)
    assert re.search(r"train 70/100 .* 70 % +4 images/s +0:00:15 left", shown.text)


def test_without_images_steps_are_counted():
    shown = Shown(4, is_terminal=False)
    with shown.steps:
        shown.do(1, 4)
    assert "2 steps/s" in shown.text


def test_an_ascii_terminal_gets_ascii_bars():
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    steps = TrainProgress(4, console=Console(force_terminal=True, file=file, width=90, _environ={}), clock=Clock())
    with steps:
        for number in range(1, 5):
            steps(step(number, number))
    file.flush()
    assert "_-+#" in file.buffer.getvalue().decode("ascii")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {}])
def test_no_color_is_obeyed(environment):
    file = io.StringIO()
    steps = TrainProgress(
        4, console=Console(force_terminal=True, file=file, _environ={"TERM": "xterm-256color", **environment})
    )
    with steps:
        steps(step(1))
        steps.validated(Validation(1, "pred-all", {"seen": 1.0}, "seen"))
        steps(step(4))
    assert bool(re.search(r"\x1b\[(\d+;)*3\dm", file.getvalue())) == (not environment)


def test_by_default_lines_go_to_stderr_and_stdout_stays_clean(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with TrainProgress(2) as steps:
        steps(step(1))
        steps.note("a note")
        steps(step(2))
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 3
    assert "a note\n" in err


def test_a_curve_shows_the_whole_run_in_few_bars():
    curve = Curve()
    for number in range(1000):
        curve.add(float(number))
    assert 20 <= len(curve.bars) < 48
    assert curve.bars == sorted(curve.bars)
    assert curve.sparkline(BARS)[0] == BARS[0]
    assert curve.sparkline(BARS)[-1] == BARS[-1]
    assert 940 < curve.mean < 960


def test_a_value_that_is_not_finite_is_told_and_not_drawn():
    curve = Curve()
    assert curve.sparkline(BARS) == ""
    for value in (1.0, float("nan"), float("inf")):
        curve.add(value)
    assert curve.last == float("inf")
    assert (curve.mean, curve.bars) == (1.0, [1.0])
    assert curve.sparkline(BARS) == BARS[0]

"""How training looks while it runs: a live view on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table

    from partseg_cli.training.loop import Step

SHORT = {
    "total": "total",
    "object_part": "obj-part",
    "object": "object",
    "part": "part",
    "separation": "sep",
    "separation_hard": "sep-hard",
    "enhancement": "enh",
}
LINES = 20
"""Of a run, off a terminal."""
QUIET = 60.0
"""Seconds after which there is a line anyway."""
PAUSE, COSTS = 0.25, 50
"""From one picture of the live view to the next, at least: seconds, and times what a picture takes."""
MEMORY, YOUNG = 50, 4
"""Steps over which a running mean is exponential, and its start: the share of value n is at least 4 / (3 + n)."""
BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-~=+*#"
"""Of a sparkline; the second ones where the terminal knows ASCII alone."""
LONGEST, WIDE, TOWERS = 48, 20, 16
"""Of a sparkline: bars that it never has; ratio of its ends from which it is logarithmic; of how many one may tower."""


@dataclass
class Trace:
    """One value over a run: the last one, the running mean, and all of it in few bars, each the mean of equal parts."""

    now: float = 0.0
    mean: float = 0.0
    count: int = 0
    bars: list[float] = field(default_factory=list)
    each: int = 1
    waiting: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """Take the next value; one that is not finite (a gradient's norm in fp16) is only the last one."""
        self.now = value
        if not math.isfinite(value):
            return
        self.count += 1
        self.mean += max(1 / MEMORY, YOUNG / (YOUNG - 1 + self.count)) * (value - self.mean)
        self.waiting.append(value)
        if len(self.waiting) == self.each:
            self.bars.append(sum(self.waiting) / self.each)
            self.waiting.clear()
        if len(self.bars) == LONGEST:
            self.bars = [(a + b) / 2 for a, b in zip(self.bars[::2], self.bars[1::2], strict=True)]
            self.each *= 2

    def line(self, marks: str) -> str:
        """Draw the bars between their lowest and their highest value; few that tower above the others touch the top."""
        if not self.bars:
            return ""
        ordered = sorted(self.bars)
        low, high = ordered[0], ordered[-1 - len(ordered) // TOWERS]
        is_log = 0 < low * WIDE < high
        low, high = (math.log(low), math.log(high)) if is_log else (low, high)
        heights = [((math.log(bar) if is_log else bar) - low) / ((high - low) or 1.0) for bar in self.bars]
        return "".join(marks[min(len(marks) - 1, int(height * len(marks)))] for height in heights)


@dataclass
class Pace:
    """How fast steps are, apart from evaluations, and how long the rest takes, with them."""

    clock: Callable[[], float]
    seconds: Trace = field(default_factory=Trace)
    first: float | None = None
    last: float = 0.0
    steps: int = 0

    def step(self) -> float:
        """Note that a step is done, and give the time; the first one, which warms things up, sets the clock."""
        now = self.clock()
        if self.first is None:
            self.first = now
        else:
            self.steps += 1
            self.seconds.add(now - self.last)
        self.last = now
        return now

    def resume(self) -> None:
        """Note that something else than a step has taken the time until now."""
        self.last = self.clock()

    def left(self, steps: int) -> str:
        """Give the time that so many steps will take, in words."""
        if self.first is None or not self.steps:
            return "-:--:--"
        seconds = round(steps * (self.last - self.first) / self.steps)
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    def rate(self, images: int) -> str:
        """Give images per second, or steps where the images of a step are not known."""
        if not self.seconds.mean:
            return ""
        return f"{(images or 1) / self.seconds.mean:.3g} {'images' if images else 'steps'}/s"


class Steps:
    """Shows training on stderr; used as a context and called with every step.

    Args:
        iterations: steps of the whole run.
        images: of a step; 0 = not known.
        first: steps that were done before.
        console: where it is shown; None: stderr.
        clock: seconds from some moment on.
    """

    def __init__(
        self,
        iterations: int,
        images: int = 0,
        first: int = 0,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.iterations, self.images, self.done = iterations, images, first
        self.console = console or _stderr()
        self.pace = Pace(clock)
        self.traces: dict[str, Trace] = {}
        self.last: Step | None = None
        self.scored = ""
        self._live: Live | None = None
        self._shown, self._pause = clock(), PAUSE

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def __call__(self, step: Step) -> None:
        """Show one step."""
        now = self.pace.step()
        self.last, self.done = step, step.number
        for name, value in step.losses.items():
            self.traces.setdefault(name, Trace()).add(value)
        is_last = step.number >= self.iterations
        if self.console.is_interactive:
            if is_last or self._live is None or now - self._shown >= self._pause:
                self._refresh(now)
            if is_last:
                self._stop()
        elif is_last or step.number % max(1, self.iterations // LINES) == 0 or now - self._shown >= QUIET:
            self._shown = now
            self.note(self._line(step))

    def score(self, step: int, protocol: str, miou: Mapping[str, float | None]) -> None:
        """Show an evaluation on val."""
        self.pace.resume()
        means = " ".join(f"{group} {'-' if mean is None else f'{mean:.2f}'}" for group, mean in miou.items())
        self.scored = f"val {protocol} mIoU {means}"
        self.note(f"step {step}: {self.scored}")

    def note(self, text: str) -> None:
        """Show a line that stays, above the live view."""
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _line(self, step: Step) -> str:
        losses = " ".join(f"{SHORT.get(name, name)} {step.losses[name]:.4f}" for name in self._names())
        left = f", {self.pace.left(self.iterations - step.number)} left" if step.number < self.iterations else ""
        rate = f" {self.pace.rate(self.images)}{left}" if self.pace.steps else ""
        return f"step {step.number}/{self.iterations} lr {step.lr:.2e} {losses} grad {step.grad_norm:.3g}{rate}"

    def _names(self) -> list[str]:
        """Give the terms, the known ones first."""
        return [name for name in SHORT if name in self.traces] + [name for name in self.traces if name not in SHORT]

    def _refresh(self, now: float) -> None:
        if self._live is None:
            from rich.live import Live

            # stdout is the command's own: what is printed there must not land here.
            self._live = Live(console=self.console, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        self._live.update(self.view(), refresh=True)
        self._shown = self.pace.clock()
        self._pause = max(PAUSE, COSTS * (self._shown - now))

    def _stop(self) -> None:
        if self._live is not None:
            self._live.update(self.view(), refresh=True)
            self._live.stop()
            self._live = None

    def view(self) -> Group:
        """Give the picture of now: a bar, what a step does, the terms of the loss, the last evaluation."""
        from rich.console import Group
        from rich.text import Text

        step = self.last
        told = f"lr {step.lr:.3g}   gradient {step.grad_norm:.3g}" if step else ""
        scored = [Text(self.scored, style="green")] if self.scored else []
        return Group(self._bar(), Text(told, style="dim"), self._terms(), *scored)

    def _bar(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(no_wrap=True)
        row.add_column(ratio=1)
        for _ in range(3):
            row.add_column(no_wrap=True, justify="right")
        share = f"{100 * self.done / self.iterations:.0f} %" if self.iterations else ""
        left = f"{self.pace.left(self.iterations - self.done)} left"
        bar = ProgressBar(total=self.iterations, completed=self.done)
        row.add_row(f"train {self.done:,}/{self.iterations:,}", bar, share, self.pace.rate(self.images), left)
        return row

    def _terms(self) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("loss")
        for name in ("now", "mean"):
            table.add_column(name, justify="right", min_width=9)
        table.add_column("", no_wrap=True, style="cyan")
        marks = PLAIN_BARS if self.console.options.ascii_only else BARS
        for name in self._names():
            trace = self.traces[name]
            bars = trace.line(marks) if name == "total" else ""
            table.add_row(SHORT.get(name, name), f"{trace.now:.4f}", f"{trace.mean:.4f}", bars)
        return table


def _stderr() -> Console:
    """Give a console on stderr; FORCE_COLOR makes it colourful, but only a terminal makes it live."""
    from rich.console import Console

    return Console(stderr=True, force_interactive=None if sys.stderr.isatty() else False)

"""Progress of training on stderr: a live view on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from partseg_cli.training.loggers import Step, Validation

SHORT = {
    "total": "total",
    "object_part": "obj-part",
    "object": "object",
    "part": "part",
    "separation": "sep",
    "separation_hard": "sep-hard",
    "enhancement": "enh",
}
LINES, QUIET = 20, 60.0
"""Off a terminal: lines of a whole run, and seconds after which a line is due anyway."""
PAUSE, COST = 0.25, 50
"""Least time between two refreshes on a terminal: seconds, and multiple of the time that a refresh takes."""
MEMORY, YOUNG = 50, 4
"""Steps over which a running mean is exponential, and its start: the weight of value n is at least 4 / (3 + n)."""
BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-~=+*#"
MAX_BARS, LOG_RATIO, OUTLIERS = 48, 20, 16
"""Limits of a sparkline: bars; ratio of its ends from which it is logarithmic; of how many bars one may be cut off."""


@dataclass
class Curve:
    """One value over a run: last value, running mean, and a few bars that are means of equal parts of the run."""

    last: float = 0.0
    mean: float = 0.0
    count: int = 0
    bars: list[float] = field(default_factory=list)
    bar_width: int = 1
    rest: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """Add the next value; one that is not finite (a gradient's norm in fp16) is only the last one."""
        self.last = value
        if not math.isfinite(value):
            return
        self.count += 1
        self.mean += max(1 / MEMORY, YOUNG / (YOUNG - 1 + self.count)) * (value - self.mean)
        self.rest.append(value)
        if len(self.rest) == self.bar_width:
            self.bars.append(sum(self.rest) / self.bar_width)
            self.rest.clear()
        if len(self.bars) == MAX_BARS:
            self.bars = [(a + b) / 2 for a, b in zip(self.bars[::2], self.bars[1::2], strict=True)]
            self.bar_width *= 2

    def sparkline(self, marks: str) -> str:
        """Draw the bars between their lowest and highest value; the few highest are cut off."""
        if not self.bars:
            return ""
        ordered = sorted(self.bars)
        low, high = ordered[0], ordered[-1 - len(ordered) // OUTLIERS]
        scale = math.log if 0 < low * LOG_RATIO < high else float
        unit = (scale(high) - scale(low)) or 1.0
        heights = [(scale(bar) - scale(low)) / unit for bar in self.bars]
        return "".join(marks[min(len(marks) - 1, int(height * len(marks)))] for height in heights)


class TrainProgress(Progress):
    """Progress of training, used as a context and called with every step.

    Args:
        iterations: Steps of the whole run.
        images: Images of a step; 0: unknown, steps are counted.
        console: Console of the view; None: stderr.
        clock: Time in seconds.
    """

    def __init__(
        self,
        iterations: int,
        images: int = 0,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.images, self.curves, self.seconds = images, dict[str, Curve](), Curve()
        self.step: Step | None = None
        self.scores = ""
        # FORCE_COLOR makes the console colourful, but only a terminal makes it live.
        console = console or Console(stderr=True, force_interactive=None if sys.stderr.isatty() else False)
        super().__init__(
            TextColumn("train {task.completed:,.0f}/{task.total:,.0f}"),
            BarColumn(None),
            TextColumn("{task.percentage:.0f} %"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            auto_refresh=False,
            speed_estimate_period=math.inf,
            redirect_stdout=False,  # stdout is the command's own
            get_time=clock,
            expand=True,
            disable=not console.is_interactive,
        )
        self.add_task("train", total=iterations, rate="")
        (self._steps,) = self.tasks
        self._last = self._shown = clock()
        self._pause = PAUSE

    def __enter__(self) -> TrainProgress:
        return self  # the view starts with the first step

    def resume(self, step: int) -> None:
        """Continue the count after a step of an earlier process."""
        self.reset(self._steps.id, completed=step)

    def __call__(self, step: Step) -> None:
        """Show a step."""
        now = self.get_time()
        if self.step is not None:  # the first step, which warms up, only starts the clock
            self.seconds.add(now - self._last)
        self.step, self._last = step, now
        for name, value in step.losses.items():
            self.curves.setdefault(name, Curve()).add(value)
        if self.seconds.mean:
            rate = f"{(self.images or 1) / self.seconds.mean:.3g} {'images' if self.images else 'steps'}/s"
            self.update(self._steps.id, rate=rate)
        self.update(self._steps.id, completed=step.number)
        total = int(self._steps.total or 0)
        is_last, is_first = step.number >= total, not self.live.is_started
        if self.disable:
            if is_last or step.number % max(1, total // LINES) == 0 or now - self._shown >= QUIET:
                self._shown = now
                self.note(self._line(step))
        elif is_last or is_first or now - self._shown >= self._pause:
            self.start()
            self.refresh()
            self._shown = self.get_time()
            self._pause = max(PAUSE, COST * (self._shown - now))
        if is_last:
            self.stop()

    def validated(self, validation: Validation) -> None:
        """Show a validation; its time counts for what is left, not for the rate."""
        self._last = self.get_time()
        means = " ".join(f"{name} {'-' if mean is None else f'{mean:.2f}'}" for name, mean in validation.miou.items())
        self.scores = f"val {validation.protocol} mIoU {means}"
        self.note(f"step {validation.step}: {self.scores}")

    def note(self, text: str) -> None:
        """Print a line that stays, above the live view."""
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _line(self, step: Step) -> str:
        losses = " ".join(f"{name} {curve.last:.4f}" for name, curve in self._named_curves())
        rate = f" {self._steps.fields['rate']}" if self._steps.fields["rate"] else ""
        if self._steps.remaining and self._steps.speed:
            seconds = round(self._steps.remaining / self._steps.speed)
            rate += f", {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
        return f"step {step.number}/{self._steps.total:.0f} lr {step.lr:.2e} {losses} grad {step.grad_norm:.3g}{rate}"

    def _named_curves(self) -> Iterator[tuple[str, Curve]]:
        """Yield the loss terms by their short names, the known ones first."""
        for name in [*SHORT, *(self.curves.keys() - SHORT.keys())]:
            if name in self.curves:
                yield SHORT.get(name, name), self.curves[name]

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the lines of the view: bar, learning rate and gradient, loss terms, last evaluation."""
        yield self.make_tasks_table(self.tasks)
        if self.step is None:
            return
        yield Text(f"lr {self.step.lr:.3g}   gradient {self.step.grad_norm:.3g}", style="dim")
        marks = ASCII_BARS if self.console.options.ascii_only else BARS
        table = Table("loss", box=SIMPLE_HEAD, pad_edge=False)
        for name in ("now", "mean"):
            table.add_column(name, justify="right", min_width=9)
        table.add_column("", no_wrap=True, style="cyan")
        for name, curve in self._named_curves():
            line = curve.sparkline(marks) if name == "total" else ""
            table.add_row(name, f"{curve.last:.4f}", f"{curve.mean:.4f}", line)
        yield table
        if self.scores:
            yield Text(self.scores, style="green")

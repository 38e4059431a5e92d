"""A training run as one HTML page that needs nothing else: curves, evaluations, predictions, recipe.

Every name is escaped where it enters the page, and the page's own policy lets no script run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from partseg_cli.reports.curves.history import Curves, Score, smoothed
from partseg_cli.reports.curves.panels import panels
from partseg_cli.reports.curves.svg import figure
from partseg_cli.reports.evaluation_page import image_card
from partseg_cli.reports.html import fill, table, text
from partseg_cli.reports.prediction_cards import PredictionCard
from partseg_cli.reports.results import percent


@dataclass(frozen=True)
class RunNotes:
    """What a run folder says of the run beside its curves.

    Attributes:
        title: names the run.
        iterations: steps that it is to have; 0 = unknown.
        batch_size: images of a step; 0 = unknown.
        recipe: as YAML.
        command: that started it.
        facts: of machine, data and time, by name.
    """

    title: str
    iterations: int = 0
    batch_size: int = 0
    recipe: str = ""
    command: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


def run_page(notes: RunNotes, curves: Curves, images: Sequence[PredictionCard] = ()) -> str:
    """Give the page.

    Args:
        notes: of the run.
        curves: so far.
        images: predictions to show.
    """
    cards = "".join(
        f'<div class="card"><span>{escape(name)}</span><b>{said}</b></div>' for name, said in _cards(curves)
    )
    shown = "".join(map(figure, panels(curves).values()))
    values = {
        "title": escape(notes.title),
        "about": escape(_stand(notes, curves)),
        "percent": f"{100 * _share(notes, curves):.1f}",
        "cards": cards,
        "curves": shown or "<p>No step was noted yet.</p>",
        "scores": _scores(curves.scores),
        "images": _images(images),
        "command": escape(notes.command),
        "recipe": escape(notes.recipe),
        "facts": "".join(f"<dt>{escape(name)}</dt><dd>{text(value)}</dd>" for name, value in notes.facts.items()),
    }
    return fill("training_page", values)


def _share(notes: RunNotes, curves: Curves) -> float:
    return min(1.0, curves.last / notes.iterations) if notes.iterations else 0.0


def _stand(notes: RunNotes, curves: Curves) -> str:
    """Say how far the run is, and how fast it was."""
    done = f"step {curves.last:,}"
    if notes.iterations:
        done += f" of {notes.iterations:,} ({100 * _share(notes, curves):.0f} %)"
    if len(curves.seconds):
        done += f"; {clock(curves.elapsed)} of training and evaluation"
    if curves.pace and notes.batch_size:
        done += f"; {notes.batch_size / curves.pace:.3g} images per second"
    return done


def clock(seconds: float) -> str:
    """Give hours, minutes and seconds.

    >>> clock(3671.5)
    '1:01:11'
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _cards(curves: Curves) -> list[tuple[str, str]]:
    """Give what one wants to know first: the running mean of the loss, and the last evaluation."""
    cards = []
    if total := curves.terms.get("total"):
        cards.append(("total loss, running mean", f"{smoothed(total).values[-1]:.4g}"))
    if curves.scores:
        last = curves.scores[-1]
        cards += [(f"mIoU {group}, {last.protocol}, step {last.step:,}", percent(v)) for group, v in last.miou.items()]
    return cards


def _scores(scores: Sequence[Score]) -> str:
    if not scores:
        return "<p>None yet.</p>"
    groups = list(dict.fromkeys(group for score in scores for group in score.miou))
    rows = ((score.step, score.protocol, *(percent(score.miou.get(group)) for group in groups)) for score in scores)
    return f'<div class="scroll">{table(("step", "protocol", *(f"mIoU {group}" for group in groups)), rows)}</div>'


def _images(images: Sequence[PredictionCard]) -> str:
    if not images:
        return "<p>No photo is shown.</p>"
    told = (
        "With the mean IoU of the parts that are labelled in the photo, and beside each part its own. Unseen parts are "
        "in italics. Rest the mouse on a picture to see the photo alone."
    )
    return f'<p class="dim">{told}</p><div class="grid">{"".join(map(image_card, images))}</div>'

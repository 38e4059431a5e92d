"""Which part is taken for which, as HTML: what becomes of labelled pixels, the worst classes as a matrix, a list."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Int

from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.reports.error_analysis import FATES, Confusion, fates, largest_confusions, most_confused
from partseg_cli.reports.html import bar, number, scroll, sortable
from partseg_cli.vocabulary import Vocabulary

LISTED, SHOWN = 40, 14
"""Confusions by pixels, and as many by share; classes of the matrix."""


def confusion_section(table: ConfusionTable, vocabulary: Vocabulary) -> str:
    """Give what becomes of labelled pixels, the worst classes as a matrix, and a list that can be sorted."""
    matrix = table.confusion()
    confusions = largest_confusions(matrix, LISTED)
    blocks = [_fates(matrix, vocabulary)]
    if confusions:
        heat = _matrix(matrix, vocabulary, most_confused(confusions, SHOWN))
        blocks += [
            f'<h3>The most confused parts</h3><div class="scroll">{heat}</div>',
            f"<h3>The largest confusions</h3>{scroll('The largest confusions', _listed(confusions, vocabulary))}",
        ]
    else:
        blocks.append("<p>No part was taken for another.</p>")
    return "\n".join(blocks)


def _fates(matrix: Int[np.ndarray, "K1 K1"], vocabulary: Vocabulary) -> str:
    found, seen = fates(matrix, vocabulary), np.array(vocabulary.is_seen)
    columns = [("seen", found[seen].sum(0)), ("unseen", found[~seen].sum(0))]
    rows = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(bar(100 * int(of[index]) / int(of.sum()) if of.sum() else None, group) for group, of in columns)
        + "</tr>"
        for index, name in enumerate(FATES)
    )
    head = '<th scope="col">labelled pixels are predicted as</th><th scope="col">seen</th><th scope="col">unseen</th>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _matrix(matrix: Int[np.ndarray, "K1 K1"], vocabulary: Vocabulary, classes: Sequence[int]) -> str:
    """Give the shares of the labelled pixels of each class: a row adds up to 100 %."""
    names = [vocabulary.pairs[index].name for index in classes]
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in [*names, "other parts", "nothing"])
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{_row(matrix[:, index], classes, place)}</tr>'
        for place, (index, name) in enumerate(zip(classes, names, strict=True))
    )
    corner = '<th scope="col">labelled \\ predicted, %</th>'
    return f'<table class="heat"><thead><tr>{corner}{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(column: Int[np.ndarray, "K1"], classes: Sequence[int], place: int) -> str:
    """Give the cells of one labelled class; `place` is its own."""
    total, inside = int(column.sum()), column[list(classes)]
    values = [*inside.tolist(), total - int(inside.sum()) - int(column[-1]), int(column[-1])]
    return "".join(_cell(100 * value / total if total else 0, index == place) for index, value in enumerate(values))


def _cell(share: float, is_right: bool) -> str:
    if not share:
        return "<td></td>"
    shown = f"{share:.0f}" if share >= 1 else "&lt;1"
    return f'<td class="{"right" if is_right else "wrong"}" style="--v:{share:.0f}%">{shown}</td>'


def _listed(confusions: Sequence[Confusion], vocabulary: Vocabulary) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(vocabulary.pairs[one.labelled].name)}</th>'
        f"<td>{escape(vocabulary.pairs[one.predicted].name)}</td><td>{_kind(one, vocabulary)}</td>"
        f"{number(one.pixels, ',')}{bar(one.share, 'loss')}</tr>\n"
        for one in confusions
    )
    names = ("labelled", "predicted", "same", "pixels", "% of the labelled part")
    return sortable("pairs", names, rows, sorted_by="pixels")


def _kind(one: Confusion, vocabulary: Vocabulary) -> str:
    labelled, predicted = vocabulary.pairs[one.labelled], vocabulary.pairs[one.predicted]
    if labelled.object == predicted.object:
        return "object"
    return "part" if labelled.part == predicted.part else "neither"

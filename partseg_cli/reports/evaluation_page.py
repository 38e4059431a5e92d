"""A result as one HTML page that needs nothing else: no network, no other file.

Every name is escaped where it enters the page, and the page's own policy lets no script but its own run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.metrics import SIZES
from partseg_cli.evaluation.rules import GROUPS, RULES
from partseg_cli.reports.confusions import confusion_section
from partseg_cli.reports.html import bar, fill, number, options, sortable, swatch, text
from partseg_cli.reports.prediction_cards import PredictionCard
from partseg_cli.reports.results import NAMES, interval, percent
from partseg_cli.vocabulary import Vocabulary

BARS = {
    "iou": "IoU",
    "recall": "recall",
    "precision": "precision",
    "boundary_iou": "Boundary IoU",
    "over": "over-seg.",
    "under": "under-seg.",
}
"""Columns of the table of classes that are drawn as bars, in percent."""
OWN = ' class="own"'
SAID = {"dataset", "split", "protocol", "rule", "intervals", "rules", "sizes", "per_class", "versions", *NAMES}
"""Keys of the document that have a place of their own."""


def page(
    document: Mapping[str, Any],
    vocabulary: Vocabulary,
    table: ConfusionTable | None,
    worst: Sequence[PredictionCard] = (),
    best: Sequence[PredictionCard] = (),
) -> str:
    """Give the page.

    Args:
        document: the result, as results.json holds it.
        vocabulary: the pairs, in the order of the document's classes, with the seen flags of the test.
        table: the counts of every sample; None leaves the confusion of parts out.
        worst: images to show, the worst first.
        best: images to show, the best first.
    """
    values = {
        "title": escape(f"{document['dataset']}, {document['split']}: {document['protocol']}"),
        "about": escape(_about(document)),
        "headline": _headline(document),
        "means": _means(document),
        "rules": _rules(document["rules"], document["rule"]),
        "sizes": _sizes(document["sizes"]),
        "objects": options(pair.object for pair in vocabulary.pairs),
        "classes": _classes(document["per_class"], vocabulary),
        "confusions": "" if table is None else confusion_section(table, vocabulary),
        "images": _images(worst, best),
        "details": _details(document),
    }
    return fill("evaluation_page", values)


def _about(document: Mapping[str, Any]) -> str:
    rule = document["rule"]
    tells = f" ({RULES[rule].tells})" if rule in RULES else ""
    what = document.get("checkpoint") or document.get("predictions") or ""
    return (
        f"{what}{'; ' if what else ''}protocol {document['protocol']}, rule {rule}{tells}; "
        f"{document['pixels']:,} labelled pixels in {document['samples_counted']:,} samples"
    )


def _headline(document: Mapping[str, Any]) -> str:
    return "".join(
        f'<div class="card"><span>mIoU {group}</span><b>{percent(document["mIoU"][group])}</b>'
        f"<span>{interval(document['intervals'], 'mIoU', group) or '&nbsp;'}</span></div>"
        for group in GROUPS
    )


def _means(document: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(
            f"<td>{percent(document[metric][group])}"
            f' <span class="dim">{interval(document["intervals"], metric, group)}</span></td>'
            for group in GROUPS
        )
        + "</tr>"
        for metric, name in NAMES.items()
    )
    note = "95 % intervals by bootstrap over images in brackets. " if document["intervals"] else ""
    return (
        f"{_head('percent', GROUPS)}{rows}</tbody></table><p class='dim'>{note}- means that no class can be scored.</p>"
    )


def _rules(rules: Mapping[str, Any], own: str) -> str:
    """Give the means by every rule; the result's own is marked."""
    if not rules:
        return f"<p>The rule {escape(own)} has counts of its own; no other rule can be taken from them.</p>"
    metrics = ("mIoU", "boundary_iou")
    above = "".join(f'<th scope="colgroup" colspan="3">{NAMES[metric]}</th>' for metric in metrics)
    below = "".join(f'<th scope="col">{name}</th>' for name in GROUPS * len(metrics))
    single = "".join(
        f'<th scope="col" rowspan="2">{name}</th>' for name in ("classes", "at 0", "pixels", "what counts")
    )
    rows = "".join(
        f"<tr{OWN if name == own else ''}>"
        f'<th scope="row">{escape(name)}{" (used here)" if name == own else ""}</th>'
        + "".join(f"<td>{percent(rule['means'][metric][group])}</td>" for metric in metrics for group in GROUPS)
        + f"<td>{rule['classes_counted']:,}</td><td>{rule['classes_at_zero']:,}</td>"
        + f"<td>{rule['pixels']:,}</td>"
        + f'<td class="words">{escape(RULES[name].tells)}</td></tr>'
        for name, rule in rules.items()
    )
    head = f'<tr><th scope="col" rowspan="2">rule</th>{above}{single}</tr><tr>{below}</tr>'
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _sizes(sizes: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)} <span class="dim">{_bounds(*SIZES[name])}</span></th>'
        + "".join(bar(means[group], group) for group in GROUPS)
        + "</tr>"
        for name, means in sizes.items()
    )
    return f"{_head('size of a part in its image', GROUPS)}{rows}</tbody></table>"


def _bounds(low: int, high: int) -> str:
    if low <= 1:
        return f"below {high:,} px"
    return f"{low:,} px and more" if high > max(low for low, _ in SIZES.values()) else f"{low:,} to {high - 1:,} px"


def _head(first: str, names: Iterable[str]) -> str:
    return (
        f'<table><thead><tr><th scope="col">{escape(first)}</th>'
        + "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
        + "</tr></thead><tbody>"
    )


def _classes(classes: Sequence[Mapping[str, Any]], vocabulary: Vocabulary) -> str:
    """Give the table of classes, which the page's script sorts and filters."""
    gaps = part_gaps(classes, vocabulary)
    names = ["object-specific part", "training", *BARS.values(), "seen - unseen", "labelled px", "predicted px"]
    order = sorted(range(len(classes)), key=lambda index: _falling(classes[index]["iou"]))
    rows = "".join(
        f'<tr data-object="{escape(pair.object)}" data-seen="{_training(pair.is_seen)}"'
        f"{'' if row['target_pixels'] else ' data-absent'}>"
        f'<th scope="row">{escape(row["name"])}</th><td>{_training(pair.is_seen)}</td>'
        + "".join(bar(row[key], _colour(key, pair.is_seen)) for key in BARS)
        + number(gaps[index], "+.2f")
        + number(row["target_pixels"], ",")
        + number(row["predicted_pixels"], ",")
        + "</tr>\n"
        for index, row, pair in ((index, classes[index], vocabulary.pairs[index]) for index in order)
    )
    return sortable("classes", names, rows, sorted_by="IoU")


def _training(is_seen: bool) -> str:
    return "seen" if is_seen else "unseen"


def _colour(key: str, is_seen: bool) -> str:
    return "loss" if key in {"over", "under"} else _training(is_seen)


def _falling(value: float | None) -> float:
    """Give a key by which the largest comes first and None last."""
    return 1.0 if value is None else -value


def part_gaps(classes: Sequence[Mapping[str, Any]], vocabulary: Vocabulary) -> list[float | None]:
    """Give for each class the mean IoU of its generalised part over seen pairs minus that over unseen ones.

    None where the part has no IoU on one side.
    """
    found: dict[tuple[int, bool], list[float]] = {}
    for row, part, is_seen in zip(classes, vocabulary.part_of, vocabulary.is_seen, strict=True):
        if row["iou"] is not None:
            found.setdefault((part, is_seen), []).append(row["iou"])
    means = {key: sum(values) / len(values) for key, values in found.items()}
    sides = ((means.get((part, True)), means.get((part, False))) for part in vocabulary.part_of)
    return [None if seen is None or unseen is None else seen - unseen for seen, unseen in sides]


def _images(worst: Sequence[PredictionCard], best: Sequence[PredictionCard]) -> str:
    if not (worst or best):
        return "<p>No image is shown.</p>"
    return "".join(
        f"<h3>{title} images</h3><div class='grid'>{''.join(map(image_card, images))}</div>"
        for title, images in (("Worst", worst), ("Best", best))
        if images
    )


def image_card(image: PredictionCard) -> str:
    """Give one image: the photo, what is labelled, what was predicted, and the words for it."""
    width, height = image.size
    name = escape(image.score.image_id)
    shape = f'class="pane" style="aspect-ratio:{width}/{height}"'
    layers = (("labelled", image.labelled), ("predicted", image.predicted))
    panes = "".join(
        f'<figure><div {shape}><img src="{layer}" loading="lazy" alt="{what} parts of {name}"></div>'
        f"<figcaption>{what}</figcaption></figure>"
        for what, layer in layers
    )
    problem = f'<p class="problem">{escape(image.problem)}</p>' if image.problem else ""
    words = "".join(
        f'<li data-seen="{_training(word.is_seen)}">{swatch(word.colour or ())}{escape(word.name)} '
        f'<span class="dim">{"not labelled" if iou is None else f"{iou:.1f}"}</span></li>'
        for word, iou in zip(image.words, image.ious, strict=True)
    )
    return (
        f'<article class="image" style="--photo:url({image.photo})"><h4>{name} <b>{image.score.mean:.2f}</b> '
        f'<span class="dim">{escape(image.split)}, {width} x {height} px</span></h4><div class="panes">'
        f'<figure><div {shape} role="img" aria-label="photo {name}"></div><figcaption>photo</figcaption></figure>'
        f'{panes}</div>{problem}<ul class="words">{words}</ul></article>'
    )


def _details(document: Mapping[str, Any]) -> str:
    """List what else the document says of the result, and the versions."""
    plain = {key: value for key, value in document.items() if key not in SAID and value is not None}
    listed = {**{key.replace("_", " "): value for key, value in plain.items()}, **document["versions"]}
    words = ((key, ", ".join(value) if isinstance(value, list) else value) for key, value in listed.items())
    return "".join(f"<dt>{escape(key)}</dt><dd>{text(value)}</dd>" for key, value in words)

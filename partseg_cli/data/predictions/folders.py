"""Folders of label PNGs that this tool wrote: `partseg export --to png` and `partseg predict`; labels go by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from partseg_cli.data.exporters.common import unique_names
from partseg_cli.data.exporters.png import LABELS
from partseg_cli.data.predictions.label_maps import LabelFile, label_pictures
from partseg_cli.data.predictions.labels import Classes, Legend, Words
from partseg_cli.data.predictions.matching import Photos, Predictions, Wanted, assign, walk
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError
from partseg_cli.io.files import check_links, read_json

EXPORT_AGAIN = "export it again: partseg export --to png"
PREDICT_AGAIN = "predict it again: partseg predict"
PREDICTED = "_labels.png"
"""Ends the label PNGs of `partseg predict`; the JSON beside has the rest of the name."""


def is_export(source: Path) -> bool:
    """Tell an export by its list of labels and its folders of maps."""
    return (source / LABELS).is_file() and any((source / what).is_dir() for what in ("pairs", "objects"))


def open_export(source: Path, store: Store, images: Sequence[Wanted], classes: Classes) -> Predictions:
    """Open the maps of an export, which may list pairs and objects in another order than the store.

    Raises:
        DataError: it lacks maps or words, or has unknown words.
    """
    path, folder = source / LABELS, source / classes.what
    check_links(source, [path, folder], ())
    value = read_json(path, EXPORT_AGAIN)
    rows = value.get(classes.what) if isinstance(value, dict) else None
    legend = classes.legend_of(path, _words(path, classes.what, rows, EXPORT_AGAIN))
    if not folder.is_dir():
        raise DataError(f"{source}: must hold the folder {classes.what}, got none; {EXPORT_AGAIN}")
    photos = Photos(images, _exported_names(store, images))
    found = [name for name in walk(folder) if name.lower().endswith(".png")]
    files, extra = assign(folder, ((name, photos.named(name[:-4])) for name in found), images)
    pictures = {image: LabelFile(folder / name, legend) for image, name in files.items()}
    return label_pictures("label PNGs of partseg export", images, pictures, extra)


def _exported_names(store: Store, images: Sequence[Wanted]) -> dict[str, str]:
    """Give the name that an export gives each map, by image id."""
    names = {split: unique_names(store.records(split)) for split in dict.fromkeys(image.split for image in images)}
    return {image.image_id: f"{image.split}/{names[image.split][image.number]}" for image in images}


def predicted(names: Sequence[str]) -> dict[str, str]:
    """Give the label PNGs among files that `partseg predict` wrote, and the JSON of each."""
    known = set(names)
    beside = {name: f"{name.removesuffix(PREDICTED)}.json" for name in names if name.endswith(PREDICTED)}
    return {name: json for name, json in beside.items() if json in known}


def open_predicted(
    source: Path, found: dict[str, str], photos: Photos, images: Sequence[Wanted], classes: Classes
) -> Predictions:
    """Open label PNGs, given with the JSON of each, that `partseg predict` wrote with the words of the data set.

    Raises:
        DataError: a photo lacks its prediction, a JSON is broken, or words are missing or unknown.
    """
    named, legends = [], {}
    known: dict[tuple[Words, ...], Legend] = {}
    for name, beside in found.items():
        path = source / beside
        photo, words = _document(path)
        image = photos.at(photo)
        named.append((name, image))
        if image is not None:
            known[words] = known.get(words) or classes.legend_of(path, words)
            legends[name] = known[words]
    files, extra = assign(source, named, images)
    pictures = {image: LabelFile(source / name, legends[name]) for image, name in files.items()}
    return label_pictures("label PNGs of partseg predict", images, pictures, extra)


def _document(path: Path) -> tuple[str, tuple[Words, ...]]:
    """Give the photo and the words of a prediction."""
    value = read_json(path, PREDICT_AGAIN)
    photo = value.get("image") if isinstance(value, dict) else None
    if not isinstance(photo, str):
        raise DataError(f"{path}: image must be the path of a photo, got {photo!r}; {PREDICT_AGAIN}")
    return photo, _words(path, "classes", value.get("classes"), PREDICT_AGAIN)


def _words(path: Path, key: str, rows: Any, advice: str) -> tuple[Words, ...]:  # noqa: ANN401 - whatever JSON can hold
    """Read a list of words, in which each says its place."""
    found = [_word(row, place) for place, row in enumerate(rows)] if isinstance(rows, list) else []
    words = tuple(entry for entry in found if entry is not None)
    if not words or len(words) < len(found):
        got = rows[found.index(None)] if words or found else rows
        raise DataError(
            f"{path}: {key} must be a list of words in the order of their index, from 0, got {got!r:.80}; {advice}"
        )
    return words


def _word(row: Any, place: int) -> Words | None:  # noqa: ANN401
    """Read an object {name} or {object}, a pair {object, part} or a bare part {part}; None if it is none of them."""
    if not isinstance(row, dict) or row.get("index") != place:
        return None
    name, part = row.get("object", row.get("name")), row.get("part")
    is_read = all(isinstance(text, str | None) for text in (name, part)) and (name or part)
    return (name or "", part) if is_read else None

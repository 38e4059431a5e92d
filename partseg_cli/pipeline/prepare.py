"""`partseg prepare`: original annotations -> a store, with a report and a picture."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from partseg_cli.data import cartoon, pascal_part
from partseg_cli.data.conversion import Conversion, Converted, Skipped
from partseg_cli.data.images import open_photo
from partseg_cli.data.manifest import Manifest, load_manifest
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.errors import DataError
from partseg_cli.files import whole_file, write_json
from partseg_cli.overlay import colour, contact_sheet, palette, save_picture, with_legend
from partseg_cli.pipeline.progress import Track, silent
from partseg_cli.places import data_folder

COPIED = "images"
PREVIEW = "preview.png"


@dataclass(frozen=True)
class Drawing:
    """How a drawn data set is to be: number of images, seed and size in pixels."""

    images: int = 200
    seed: int = 0
    size: int = 128


@dataclass(frozen=True)
class Prepared:
    """What a conversion did.

    Attributes:
        folder: of the store.
        name: of the data set.
        found: annotations in the source.
        converted: images of each split.
        expected: images of each split of a whole copy; empty where there is no such number.
        skipped: what did not come into the store.
    """

    folder: Path
    name: str
    found: int
    converted: dict[str, int]
    expected: dict[str, int]
    skipped: tuple[Skipped, ...]

    def reasons(self) -> Counter[str]:
        """Count what was skipped by reason."""
        return Counter(item.reason for item in self.skipped)

    def to_json(self) -> dict[str, Any]:
        """Give the content of `report.json`."""
        return {
            "name": self.name,
            "found": self.found,
            "converted": self.converted,
            "expected": self.expected,
            "skipped": [vars(item) for item in self.skipped],
        }


def prepare(
    name: str,
    *,
    source: Path | None = None,
    out: Path | None = None,
    strict: bool = False,
    copy_images: bool = False,
    preview: int = 0,
    drawing: Drawing | None = None,
    track: Track = silent,
) -> Prepared:
    """Convert the data set `name` into a store.

    Args:
        name: of a packaged manifest.
        source: folder of the original files; default `$PARTSEG_DATA/raw/<name>`.
        out: folder of the store; default `$PARTSEG_DATA/<name>`.
        strict: whether one broken file fails the whole conversion.
        copy_images: whether photos are copied into the store, instead of being read where they are.
        preview: number of converted images on `preview.png`; 0 = no picture.
        drawing: for a data set that is drawn.
        track: shows progress.

    Raises:
        DataError: the source is missing or of another kind, nothing could be converted, or `strict` found a defect.
    """
    manifest = load_manifest(name)
    folder = out or data_folder() / name
    conversion = _open(manifest, source or data_folder() / "raw" / name, folder, drawing or Drawing())
    info = DatasetInfo(
        name=name,
        image_root=COPIED if copy_images else conversion.image_root,
        objects=manifest.objects,
        vocabulary=manifest.vocabulary,
        licence=manifest.licence,
        homepage=manifest.homepage,
    )
    converted, skipped = Counter({"train": 0, "val": 0}), []
    with StoreWriter(folder, info, tuple(converted)) as writer:
        for outcome in track(conversion.outcomes, f"prepare {name}", conversion.found):
            if isinstance(outcome, Converted):
                if copy_images:
                    _copy(folder / conversion.image_root, folder / COPIED, outcome.record)
                writer.add(outcome.split, outcome.record)
                converted[outcome.split] += 1
            else:
                skipped.append(outcome)
        _check(name, conversion, converted, skipped, strict)
    prepared = Prepared(folder, name, conversion.found, dict(converted), manifest.expected, tuple(skipped))
    write_json(folder / "report.json", prepared.to_json())
    (folder / PREVIEW).unlink(missing_ok=True)
    if preview:
        draw_preview(Store.open(folder), preview)
    return prepared


def _open(manifest: Manifest, source: Path, folder: Path, drawing: Drawing) -> Conversion:
    """Start the converter that belongs to the manifest."""
    if manifest.name == "cartoon-part":
        return cartoon.convert(folder, manifest, images=drawing.images, seed=drawing.seed, size=drawing.size)
    if manifest.name == "pascal-part-116":
        return pascal_part.convert(source, manifest)
    raise DataError(f"{manifest.name}: has no converter in this version")


def _copy(before: Path, after: Path, record: Record) -> None:
    """Copy one photo into the store; a drawn one is there already."""
    if before == after:
        return
    with whole_file(after / record.file_name) as temporary:
        shutil.copyfile(before / record.file_name, temporary)


def _check(name: str, conversion: Conversion, converted: Counter[str], skipped: list[Skipped], strict: bool) -> None:
    defects = [item for item in skipped if item.is_defect]
    if strict and defects:
        first = defects[0]
        raise DataError(
            f"{name}: --strict allows no broken file, got {len(defects)}, first {first.item}: {first.reason} "
            f"({first.detail}); mend the source, or leave --strict out to skip them"
        )
    if not sum(converted.values()):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in Counter(s.reason for s in skipped).items())
        raise DataError(f"{name}: at least one image must convert, got none of {conversion.found} ({reasons})")


def draw_preview(store: Store, count: int) -> Path:
    """Draw `preview.png` into the store: photos, evenly chosen, with their parts in colour."""
    places = [(split, index) for split in store.splits for index in range(len(store.records(split)))]
    chosen = [places[i * len(places) // min(count, len(places))] for i in range(min(count, len(places)))]
    path = store.folder / PREVIEW
    save_picture(path, contact_sheet([_tile(store, store.records(split)[index]) for split, index in chosen]))
    return path


def _tile(store: Store, record: Record) -> Image.Image:
    labels = record.flat_pairs().astype("int64")
    labels[labels == NONE] = -1
    photo = open_photo(store.photo(record), upright=False)
    present = np.unique(labels[labels >= 0])
    colours = palette(len(present))
    rows = np.where(labels >= 0, np.searchsorted(present, labels), -1)
    words = [store.info.vocabulary.pairs[index].name for index in present]
    entries = [(fill.tolist(), word) for fill, word in zip(colours, words, strict=True)]
    return with_legend(colour(photo, rows, colours), entries, record.image_id)

"""`partseg prepare`: original annotations -> a store, with a report and a picture."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from partseg_cli.data import ade20k_part, cartoon, coco, pascal_part
from partseg_cli.data.conversion import Conversion, Converted, Skipped
from partseg_cli.data.images import open_photo
from partseg_cli.data.manifest import Manifest, load_manifest, manifest_names
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter, image_root
from partseg_cli.errors import DataError, UsageError
from partseg_cli.files import whole_file, write_json
from partseg_cli.overlay import colour, contact_sheet, palette, save_picture, with_legend
from partseg_cli.pipeline.progress import Track, silent
from partseg_cli.places import data_folder

COPIED = "images"
PREVIEW = "preview.png"
OWN = "coco"
"""Stands where the name of a published data set does, for a user's own set."""

CONVERTERS: dict[str, Callable[[Path, Manifest], Conversion]] = {
    "ade20k-part-234": ade20k_part.convert,
    "pascal-part-116": pascal_part.convert,
}
"""What reads the original release of the data set of a manifest."""


@dataclass(frozen=True)
class Drawing:
    """How a drawn data set is to be: number of images, seed and size in pixels."""

    images: int = 200
    seed: int = 0
    size: int = 128


@dataclass(frozen=True)
class OwnSet:
    """What is to be known of a user's own set; see `coco.convert`."""

    annotations: tuple[Path, ...] = ()
    splits: tuple[str, ...] = ()
    object_name: str | None = None


@dataclass(frozen=True)
class Plan:
    """A conversion about to run.

    Attributes:
        folder: of the store to be.
        info: what the store says of itself.
        conversion: gives its records.
        expected: images of each split of a whole copy; empty where there is no such number.
    """

    folder: Path
    info: DatasetInfo
    conversion: Conversion
    expected: dict[str, int]


@dataclass(frozen=True)
class Prepared:
    """What a conversion did.

    Attributes:
        folder: of the store.
        name: of the data set.
        found: annotated images in the source.
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
    own: OwnSet | None = None,
    track: Track = silent,
) -> Prepared:
    """Convert the data set `name` into a store.

    Args:
        name: of a packaged manifest, or "coco".
        source: folder of the original files; default `$PARTSEG_DATA/raw/<name>`; "coco" needs one.
        out: folder of the store; default `$PARTSEG_DATA/<name>`, where a user's own set is called as its folder.
        strict: whether one broken file fails the whole conversion.
        copy_images: whether photos are copied into the store, instead of being read where they are.
        preview: number of converted images on `preview.png`; 0 = no picture.
        drawing: for a data set that is drawn.
        own: for "coco".
        track: shows progress.

    Raises:
        UsageError: `own` is given for another data set, or does not fit the source.
        DataError: the source is missing or of another kind, nothing could be converted, or `strict` found a defect.
    """
    if name == OWN:
        plan = _plan_own(source, out, own or OwnSet())
    elif own not in (None, OwnSet()):
        raise UsageError(f"--annotations, --as and --object belong to partseg prepare coco, got {name}; leave them out")
    else:
        plan = _plan(load_manifest(name), source, out, drawing or Drawing())
    prepared = _convert(plan, strict=strict, copy_images=copy_images, track=track)
    write_json(plan.folder / "report.json", prepared.to_json())
    (plan.folder / PREVIEW).unlink(missing_ok=True)
    if preview:
        draw_preview(Store.open(plan.folder), preview)
    return prepared


def _convert(plan: Plan, *, strict: bool, copy_images: bool, track: Track) -> Prepared:
    """Write the store."""
    folder, conversion, name = plan.folder, plan.conversion, plan.info.name
    info = replace(plan.info, image_root=COPIED) if copy_images else plan.info
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
    return Prepared(folder, name, conversion.found, dict(converted), plan.expected, tuple(skipped))


def _plan(manifest: Manifest, source: Path | None, out: Path | None, drawing: Drawing) -> Plan:
    """Start the converter that belongs to the manifest."""
    source, folder = source or data_folder() / "raw" / manifest.name, out or data_folder() / manifest.name
    if manifest.name == "cartoon-part":
        conversion = cartoon.convert(folder, manifest, images=drawing.images, seed=drawing.seed, size=drawing.size)
    elif manifest.name in CONVERTERS:
        conversion = CONVERTERS[manifest.name](source, manifest)
    else:
        raise DataError(f"{manifest.name}: has no converter in this version")
    info = DatasetInfo(
        name=manifest.name,
        image_root=conversion.image_root,
        objects=manifest.objects,
        vocabulary=manifest.vocabulary,
        licence=manifest.licence,
        homepage=manifest.homepage,
    )
    return Plan(folder, info, conversion, manifest.expected)


def _plan_own(source: Path | None, out: Path | None, own: OwnSet) -> Plan:
    """Start to convert a user's own set; it is called as its folder, and says itself what it holds."""
    if source is None:
        raise UsageError("prepare coco needs the folder of your set, got none; write partseg prepare coco DIR")
    name = Path(image_root(source)).name
    if name in manifest_names() or not name:
        raise DataError(
            f"{source}: the folder's name becomes the set's, and must be none of a published set, got {name!r}; "
            "rename the folder"
        )
    found = coco.convert(source, annotations=own.annotations, splits=own.splits, object_name=own.object_name)
    info = DatasetInfo(name, found.conversion.image_root, found.objects, found.vocabulary, "the user's own")
    return Plan(out or data_folder() / name, info, found.conversion, {})


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

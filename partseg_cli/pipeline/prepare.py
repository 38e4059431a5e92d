"""`partseg prepare`: original annotations to a store, with a report and a preview."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from partseg_cli import __version__
from partseg_cli.data.converters.conversion import (
    Conversion,
    Converted,
    Outcome,
    Skipped,
    SourceImage,
    outcome_from_json,
    outcome_to_json,
)
from partseg_cli.data.converters.plan import (
    OWN,
    ConversionPlan,
    plan_coco_conversion,
    plan_published_conversion,
)
from partseg_cli.data.converters.plan import CartoonOptions as CartoonOptions
from partseg_cli.data.converters.plan import CocoOptions as CocoOptions
from partseg_cli.data.manifest import Manifest, load_manifest
from partseg_cli.data.manifest import load_manifests as load_manifests
from partseg_cli.data.quality.conversion_report import ConversionStats, CountCheck, audit, to_json
from partseg_cli.data.record import Record
from partseg_cli.data.store import Store, StoreWriter, check_store_folder
from partseg_cli.errors import DataError, UsageError
from partseg_cli.io.atomic import atomic_write, write_json
from partseg_cli.io.journal import Journal, clear_journals
from partseg_cli.io.label_maps import write_png
from partseg_cli.io.paths import data_dir
from partseg_cli.reports.figures import draw_tile
from partseg_cli.reports.overlay import contact_sheet
from partseg_cli.runtime.pool import Track, in_order, silent, usable_cores

STORED = 3130
"""Bytes of the masks of an image with 2 objects and 10 parts at 500x375, as measured; for manifests without a size."""
COPIED = "images"
PREVIEW = "preview.png"
SAME_NAME = "another image has the same name"


@dataclass(frozen=True)
class PrepareResult:
    """Result of a conversion.

    Attributes:
        folder: Folder of the store.
        name: Name of the dataset.
        found: Number of annotated images in the source.
        converted: Number of images of each split.
        expected: Number of images of each split of a complete copy; empty if unknown.
        turned: Number of images rotated by EXIF orientation to match their masks.
        lines: Counts compared with the expected ones.
        notes: Oddities that explain differences.
        skipped: Images and annotations that are not in the store.
        resumed: Number of images that an interrupted run had converted.
    """

    folder: Path
    name: str
    found: int
    converted: dict[str, int]
    expected: dict[str, int]
    turned: int
    lines: tuple[CountCheck, ...]
    notes: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    resumed: int

    def reasons(self) -> Counter[str]:
        """Count what was skipped by reason."""
        return Counter(item.reason for item in self.skipped)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `report.json`, the same for the same source after any interruption."""
        return {
            "name": self.name,
            "found": self.found,
            "converted": self.converted,
            "expected": self.expected,
            "turned": self.turned,
            "compared": to_json(self.lines),
            "notes": list(self.notes),
            "skipped": [vars(item) for item in self.skipped],
        }


@dataclass(frozen=True)
class ConvertTask:
    """Work of a process on one item: conversion, and a copy of the image if requested."""

    conversion: Conversion
    allow_resize: bool
    copy_to: Path | None

    def __call__(self, item: SourceImage) -> list[Outcome]:
        """Return the outcomes of the item."""
        outcomes = self.conversion.outcomes_of(item, allow_resize=self.allow_resize)
        if self.copy_to is not None:
            for outcome in outcomes:
                if isinstance(outcome, Converted):
                    _copy(self.conversion.image_folder, self.copy_to, outcome.record)
        return outcomes


def prepare(
    name: str,
    *,
    source: Path | None = None,
    out: Path | None = None,
    strict: bool = False,
    copy_images: bool = False,
    allow_resize: bool = False,
    split_list: Path | None = None,
    preview: int = 0,
    workers: int | None = 1,
    drawing: CartoonOptions | None = None,
    overwrite: bool = False,
    own: CocoOptions | None = None,
    track: Track = silent,
    log: Callable[[str], None] = lambda line: None,
) -> PrepareResult:
    """Convert a dataset into a store; a run that was stopped resumes.

    Args:
        name: Name of a packaged manifest, or "coco".
        source: Folder of the original files; default `$PARTSEG_DATA/raw/<name>`; required for "coco".
        out: Folder of the store; default `$PARTSEG_DATA/<name>`.
        strict: Whether one broken file fails the whole conversion.
        copy_images: Whether images are copied into the store; otherwise they are read from the source.
        allow_resize: Whether masks of another size than their image are scaled to it; otherwise it is skipped.
        split_list: List of the images of val in place of the manifest's: a text file, or an OV-PARTS repack.
        preview: Number of converted images in `preview.png`; 0 for no preview.
        workers: Largest number of processes, None for one per core. More than one needs a guarded main module, see
            `multiprocessing`.
        drawing: Options of a drawn dataset.
        overwrite: Whether a drawn dataset may replace another one.
        own: Options of "coco".
        track: Progress display.
        log: Callback for one-line status messages.

    Raises:
        UsageError: An option belongs to another dataset, or does not fit the source.
        DataError: The source is missing or of another kind, nothing could be converted, or `strict` found a defect.
    """
    workers = usable_cores() if workers is None else workers
    if workers < 1:
        raise UsageError(f"--workers must be >= 1, got {workers}")
    if name == OWN:
        if split_list is not None:
            raise UsageError("--split-list is for sets whose val is a list, got coco; name the files with --as")
        plan = plan_coco_conversion(source, out, own or CocoOptions())
    elif own not in (None, CocoOptions()):
        raise UsageError(f"--annotations, --as and --object belong to partseg prepare coco, got {name}; leave them out")
    else:
        plan = plan_published_conversion(name, source, out, drawing=drawing or CartoonOptions(), split_list=split_list)
    if isinstance(plan.options, CartoonOptions):
        _make_room(plan, overwrite)
    copy_to = plan.folder / COPIED if copy_images else None
    prepared = _run(plan, ConvertTask(_light(plan.conversion), allow_resize, copy_to), strict, workers, track, log)
    write_json(plan.folder / "report.json", prepared.to_json())
    (plan.folder / PREVIEW).unlink(missing_ok=True)
    if preview:
        draw_preview(Store.open(plan.folder), preview)
    return prepared


def _make_room(plan: ConversionPlan, overwrite: bool) -> None:
    """Remove a drawn dataset that is replaced; an incomplete one is resumed.

    Raises:
        DataError: The folder holds something else.
        UsageError: A complete dataset is there, and `overwrite` is not set.
    """
    check_store_folder(plan.folder, plan.info.name)
    whole = plan.folder / "dataset.json"
    if whole.exists() and not overwrite:
        raise UsageError(
            f"--out must not hold a drawn set already, got {plan.folder}; replace it with --overwrite, or name another"
        )
    if whole.exists():
        for name in (PREVIEW, "report.json", "dataset.json"):
            (plan.folder / name).unlink(missing_ok=True)
        shutil.rmtree(plan.conversion.image_folder, ignore_errors=True)


def _run(
    plan: ConversionPlan, work: ConvertTask, strict: bool, workers: int, track: Track, log: Callable[[str], None]
) -> PrepareResult:
    """Convert the remaining items into the journal, then write the store from it."""
    conversion = plan.conversion
    check_store_folder(plan.folder, plan.info.name)
    with Journal(plan.folder, _about(plan, work)) as journal:
        stamps = [item.stamp for item in conversion.items]
        done = {number for number, (stamp, _) in journal.items() if [stamp] == stamps[number : number + 1]}
        if done:
            log(f"going on with a run that was stopped: {len(done):,} of {conversion.found:,} images are done")
        numbers = [number for number in range(conversion.found) if number not in done]
        items = [conversion.items[number] for number in numbers]
        results = track(in_order(work, items, workers), f"prepare {plan.info.name}", len(items))
        for number, outcomes in zip(numbers, results, strict=True):
            # The user may fix a defect outside the stamped files, such as in the image: it is tried again.
            is_final = not any(isinstance(outcome, Skipped) and outcome.is_defect for outcome in outcomes)
            values = [outcome_to_json(outcome) for outcome in outcomes]
            journal.add(number, [stamps[number] if is_final else None, values], is_final=is_final)
        prepared = _write(plan, work, journal, strict, len(done))
    clear_journals(plan.folder)
    return prepared


def _write(plan: ConversionPlan, work: ConvertTask, journal: Journal, strict: bool, resumed: int) -> PrepareResult:
    """Write the store from the journal."""
    conversion, manifest = plan.conversion, plan.manifest
    info = replace(plan.info, image_root=COPIED) if work.copy_to else plan.info
    tally = ConversionStats(Counter(dict.fromkeys(conversion.splits, 0)), skipped=list(conversion.left_out))
    names: dict[str, str] = {}
    with StoreWriter(plan.folder, info, conversion.splits) as writer:
        for number, item in enumerate(conversion.items):
            for value in journal[number][1]:
                outcome = _unique(item, outcome_from_json(value), names)
                tally.add(outcome)
                if isinstance(outcome, Converted):
                    writer.add(outcome.split, outcome.record)
        _check(info.name, conversion.found, tally, strict)
    lines = tuple(audit(tally, conversion, info.vocabulary, manifest))
    differs = any(line.difference for line in lines)
    return PrepareResult(
        folder=plan.folder,
        name=info.name,
        found=conversion.found,
        converted=dict(tally.images),
        expected=manifest.expected if manifest else {},
        turned=tally.turned,
        lines=lines,
        notes=(*conversion.notes, *(manifest.notes if manifest and differs else ())),
        skipped=tuple(tally.skipped),
        resumed=resumed,
    )


def _light(conversion: Conversion) -> Conversion:
    """Return a conversion without its items, for other processes."""
    return replace(conversion, items=(), left_out=(), lists=(), notes=())


def _about(plan: ConversionPlan, work: ConvertTask) -> dict[str, Any]:
    """Return everything that decides the outcome of an item besides its files."""
    return {
        "version": __version__,
        "info": plan.info.to_json(),
        "photos": os.path.abspath(plan.conversion.image_folder),  # noqa: PTH100 - resolve() would follow links
        "manifest": asdict(plan.manifest) if plan.manifest else None,
        "asked": repr(plan.options),
        "allow_resize": work.allow_resize,
        "copied": work.copy_to is not None,
    }


def _unique(item: SourceImage, outcome: Outcome, names: dict[str, str]) -> Outcome:
    """Return the outcome, or a defect if another image has the same id."""
    if isinstance(outcome, Skipped) or names.setdefault(outcome.record.image_id, item.name) == item.name:
        return outcome
    return Skipped(item.name, SAME_NAME, is_defect=True, detail=names[outcome.record.image_id])


def _copy(before: Path, after: Path, record: Record) -> None:
    """Copy one image into the store, unless it was drawn there."""
    if before == after:
        return
    with atomic_write(after / record.file_name) as temporary:
        shutil.copyfile(before / record.file_name, temporary)


def _check(name: str, found: int, tally: ConversionStats, strict: bool) -> None:
    defects = [item for item in tally.skipped if item.is_defect]
    if strict and defects:
        first = defects[0]
        raise DataError(
            f"{name}: --strict allows no broken file, got {len(defects)}, first {first.item}: {first.reason} "
            f"({first.detail}); fix the source, or leave --strict out to skip them: what is converted is kept"
        )
    if not tally.images.total():
        reasons = ", ".join(f"{reason}: {count}" for reason, count in Counter(s.reason for s in tally.skipped).items())
        raise DataError(f"{name}: at least one image must convert, got none of {found} ({reasons})")


def describe_dataset(name: str) -> list[tuple[str, str]]:
    """Describe a published dataset: rows of a heading and a text, in the order in which a user needs them.

    Raises:
        DataError: there is no such dataset.
    """
    manifest = load_manifest(name)
    vocabulary = manifest.vocabulary
    images = ", ".join(f"{split} {count:,}" for split, count in manifest.expected.items()) or "no published count"
    whole = f"; {manifest.annotated:,} annotated in all of it" if manifest.annotated else ""
    seen = sum(vocabulary.is_seen)
    unseen = ", ".join(vocabulary.unseen_objects) or "none"
    rows = [("what", manifest.title), ("home page", manifest.homepage), ("licence", manifest.licence)]
    rows += [("get", manifest.source)]
    for archive in manifest.archives:
        known = [f"{key} {archive[key]}" for key in ("size", "sha256") if key in archive]
        rows.append(("archive", "; ".join([f"{archive['name']}: {archive['what']}", *known])))
    rows += [
        ("put it into", f"{data_dir() / 'raw' / name}, or name its folder with --source"),
        ("becomes", f"{data_dir() / name}, or --out"),
        ("needs on disk", _describe_disk(manifest)),
        ("images", images + whole),
        ("objects", f"{len(manifest.objects)}, {len(vocabulary.objects)} of them with parts; unseen: {unseen}"),
        ("pairs", f"{len(vocabulary.pairs)}: {seen} seen, {len(vocabulary.pairs) - seen} unseen"),
    ]
    return rows + [("note", note) for note in manifest.notes]


def _describe_disk(manifest: Manifest) -> str:
    images = sum(manifest.expected.values()) or manifest.annotated
    size = manifest.stored or STORED
    store = f"about {max(1, round(images * size / 1e6)):,} MB" if images else f"about {size / 1e3:.0f} kB an image"
    return f"{store} for the masks; the images are read from the source (with --copy-images, their size is added)"


def draw_preview(store: Store, count: int) -> Path:
    """Write `preview.png` into the store: evenly chosen images with coloured parts."""
    keys = store.record_keys()
    chosen = [keys[i * len(keys) // min(count, len(keys))] for i in range(min(count, len(keys)))]
    path = store.folder / PREVIEW
    write_png(path, contact_sheet([draw_tile(store, key.split, store[key]) for key in chosen]))
    return path

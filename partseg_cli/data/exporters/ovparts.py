"""Writes a store as a repack of OV-PARTS, on which their code and PartCLIPSeg's run.

Two layouts exist. Both hold photos and label maps of pairs; one tells the objects by label maps (8 bits), the other by
a JSON of instances (16 bits), and tests on the unseen objects of train too. Label maps are flat: where parts overlap,
the store's order of painting decides. `classes.json` tells the order of all ids, which the published code has built in.

The published code replaces words in whole paths (`part`, `images`, `jpg`): export to a folder whose path has none of
them above the repack's own folder.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import UInt16
from PIL import Image

from partseg_cli.data.converters.ovparts.repack import ADE, OBJECTS, PARTS, PASCAL, PHOTOS, Layout, object_order
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.io.atomic import atomic_write, write_text
from partseg_cli.io.images import turn_of

CLASSES = "classes.json"
LABEL_COUNT = "{folder}_obj_label_count.json"
"""Beside the folders of part maps: file name of each -> ids of the objects in its photo."""
ROOT = "datasets"
"""Where the published code looks for data sets unless told; its few-shot lists hold whole paths from there."""
QUALITY = 95
"""Of photos that must be saved anew; Pillow calls more a waste."""


def layout_of(info: DatasetInfo) -> Layout:
    """Give the layout whose published test is the data set's own."""
    return ADE if info.test == "val+train-unseen" else PASCAL


def export(store: Store, folder: Path, splits: Sequence[str], layout: Layout | None = None) -> Iterator[Path]:
    """Write the repack of a store into `folder`, and give each file when it is there.

    Photos are hard links where the disk allows it, else copies; one that is no JPEG, or that its EXIF orientation would
    turn away from its masks, is saved anew.

    Args:
        store: the prepared data set.
        folder: files of a former export in it are written over.
        splits: of the store.
        layout: default that of `layout_of`.

    Raises:
        DataError: a photo is missing, broken, or not as it was prepared.
        PartsegError: the disk refuses.
    """
    tree = Tree.of(store, folder, layout or layout_of(store.info))
    yield write_compact(folder / CLASSES, tree.classes())
    photos: dict[str, str] = {}
    for split in splits:
        index = Index(split)
        for record in store.records(split):
            stem = index.free_stem(record)
            photos[record.image_id] = f"{tree.layout.folder_of(split)}/{stem}.jpg"
            yield from tree.write_image(index, record, stem)
        yield tree.write_index(index)
    yield from tree.write_lists(photos)


@dataclass
class Index:
    """What is told of a whole split, by stem.

    Attributes:
        split: its name.
        sizes: width and height of each image.
        objects: published ids of the objects in each label map of objects.
        instances: annotations of each image without ids.
    """

    split: str
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    objects: dict[str, list[int]] = field(default_factory=dict)
    instances: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def free_stem(self, record: Record) -> str:
        """Give the name of the record's photo without folder and suffix, with a number if the split has it already."""
        plain = stem = PurePosixPath(record.file_name).stem
        number = 1
        while stem in self.sizes:
            number += 1
            stem = f"{plain}_{number}"
        self.sizes[stem] = (record.width, record.height)
        return stem


@dataclass(frozen=True)
class Tree:
    """A repack to be.

    Attributes:
        store: the prepared data set.
        folder: of the repack.
        layout: how it is laid out.
        bits: of its label maps.
        ids: index of an object -> published id, `rle.NONE` stays.
    """

    store: Store
    folder: Path
    layout: Layout
    bits: int
    ids: UInt16[np.ndarray, "65536"]

    @classmethod
    def of(cls, store: Store, folder: Path, layout: Layout) -> Tree:
        """Start a tree; label maps have 16 bits where 8 do not suffice."""
        names = store.info.objects
        order = object_order(names)
        ids = np.full(NONE + 1, NONE, np.uint16)
        ids[: len(names)] = [order.index(name) for name in names]
        largest = max(len(names), len(store.info.vocabulary.pairs))
        return cls(store, folder, layout, 16 if largest > 255 else layout.bits, ids)

    @property
    def ignore(self) -> int:
        """The value of pixels without a label."""
        return int(2**self.bits - 1)

    def classes(self) -> dict[str, Any]:
        """Give the content of `classes.json`."""
        info = self.store.info
        named = zip(info.vocabulary.pairs, info.vocabulary.to_json(), strict=True)
        pairs = [{"id": number, "name": pair.name, **row} for number, (pair, row) in enumerate(named)]
        objects = [{"id": number, "name": name} for number, name in enumerate(object_order(info.objects))]
        return {"name": info.name, "ignore": self.ignore, "objects": objects, "pairs": pairs}

    def write_image(self, index: Index, record: Record, stem: str) -> Iterator[Path]:
        """Write photo and label maps of one image, and note what the index needs."""
        folder = self.layout.folder_of(index.split)
        yield write_photo(self.store, record, self.folder / PHOTOS / folder / f"{stem}.jpg")
        yield self._write_labels(record.pair_map(), PARTS, folder, stem)
        if self.layout.instances:
            index.instances[stem] = [
                self._annotation(record, number) for number, instance in enumerate(record.objects) if instance.mask.area
            ]
            return
        objects = np.take(self.ids, record.object_map())
        index.objects[stem] = [int(value) for value in np.unique(objects) if value != NONE]
        yield self._write_labels(objects, OBJECTS, folder, stem)

    def write_index(self, index: Index) -> Path:
        """Write what the published code reads of a whole split, sorted by stem."""
        if self.layout.instances:
            path = self.folder / self.layout.instances.format(split=index.split)
            return write_compact(path, self._instances(index))
        path = self.folder / PARTS / LABEL_COUNT.format(folder=self.layout.folder_of(index.split))
        return write_compact(path, {f"{stem}.png": index.objects[stem] for stem in sorted(index.objects)})

    def write_lists(self, photos: dict[str, str]) -> Iterator[Path]:
        """Write the store's lists of images, as whole paths below the folder that the published code looks into.

        Args:
            photos: image id -> path below the folder of photos, of all that were written.
        """
        for name, ids in self.store.info.lists:
            rows = [{"file_name": f"{ROOT}/{self.layout.root}/{PHOTOS}/{photos[id]}"} for id in ids if id in photos]
            if rows:
                yield write_compact(self.folder / f"{name}.json", rows)

    def _write_labels(self, labels: UInt16[np.ndarray, "H W"], kind: str, folder: str, stem: str) -> Path:
        path = self.folder / kind / folder / f"{stem}.png"
        values = np.where(labels == NONE, self.ignore, labels).astype(f"uint{self.bits}")
        with atomic_write(path) as temporary:
            Image.fromarray(values).save(temporary, format="PNG")
        return path

    def _annotation(self, record: Record, number: int) -> dict[str, Any]:
        instance = record.objects[number]
        return {
            "category_id": int(self.ids[instance.category]),
            "iscrowd": 0,
            "bbox": list(instance.mask.bbox),
            "area": instance.mask.area,
            "segmentation": {"size": [record.height, record.width], "counts": instance.mask.rle},
        }

    def _instances(self, index: Index) -> dict[str, Any]:
        """Give the COCO file of a split; images and annotations are numbered from 1."""
        stems = sorted(index.sizes)
        images = [
            {"id": number, "file_name": f"{stem}.jpg", "width": index.sizes[stem][0], "height": index.sizes[stem][1]}
            for number, stem in enumerate(stems, start=1)
        ]
        rows = [(image, row) for image, stem in enumerate(stems, start=1) for row in index.instances[stem]]
        annotations = [{"id": number, "image_id": image, **row} for number, (image, row) in enumerate(rows, start=1)]
        return {"images": images, "annotations": annotations, "categories": self.classes()["objects"]}


def write_compact(path: Path, value: Any) -> Path:  # noqa: ANN401 - whatever JSON can hold
    """Write `value` as JSON in one line, and give the path."""
    write_text(path, json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    return path


def write_photo(store: Store, record: Record, path: Path) -> Path:
    """Write the photo of a record as a JPEG that every reader shows as its masks lie.

    Raises:
        DataError: it is missing, broken, or of another size than the record.
    """
    source = store.image_path(record)
    with atomic_write(path) as temporary:
        if not record.upright and is_plain_jpeg(source, (record.width, record.height)):
            _link_or_copy(source, temporary)
        else:
            store.read_image(record).save(temporary, format="JPEG", quality=QUALITY, subsampling=0)
    return path


def is_plain_jpeg(path: Path, size: tuple[int, int]) -> bool:
    """Tell whether a file is a JPEG of this size (width, height) that no EXIF orientation turns."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("JPEG",)) as image:
            return image.size == size and turn_of(path) is None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _link_or_copy(source: Path, path: Path) -> None:
    path.unlink()
    try:
        os.link(source.resolve(), path)
    except OSError:
        shutil.copyfile(source, path)

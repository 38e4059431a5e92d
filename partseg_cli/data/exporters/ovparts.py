"""Export to a repack of OV-PARTS, on which its published code and PartCLIPSeg's run.

Two layouts exist. Both hold images and label maps of pairs; objects are label maps (8 bits) in one, and a JSON of
instances (16 bits) in the other, whose test includes the unseen objects of train. Where parts overlap in a label map,
the store's order of painting decides. `classes.json` lists all ids in order, which the published code has built in.

The published code replaces words in whole paths (`part`, `images`, `jpg`): the path of the export folder must not
contain them.
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

from partseg_cli.data.converters.ovparts.repack import ADE, IMAGES, OBJECTS, PARTS, PASCAL, RepackLayout, object_order
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.io.atomic import atomic_write, write_text
from partseg_cli.io.images import turn_of
from partseg_cli.io.label_maps import write_png

CLASSES = "classes.json"
LABEL_COUNT = "{folder}_obj_label_count.json"
"""Index in the folder of part maps: file name of each -> ids of the objects in its image."""
ROOT = "datasets"
"""Default folder of datasets in the published code; its few-shot lists hold whole paths from there."""
QUALITY = 95
"""JPEG quality of images that are saved again; Pillow advises against more."""


def layout_of(info: DatasetInfo) -> RepackLayout:
    """Return the layout whose published test is that of the dataset."""
    return ADE if info.test == "val+train-unseen" else PASCAL


def export(store: Store, folder: Path, splits: Sequence[str], layout: RepackLayout | None = None) -> Iterator[Path]:
    """Write the repack of a store into `folder`, and yield each file once it is written.

    Images are hard links where the disk allows it, else copies. An image is saved again if it is no JPEG, or if its
    EXIF orientation would rotate it away from its masks.

    Args:
        store: Prepared dataset.
        folder: Folder of the repack; files of a former export are overwritten.
        splits: Splits of the store.
        layout: RepackLayout of the repack; default that of `layout_of`.

    Raises:
        DataError: An image is missing, broken, or not as it was prepared.
        PartsegError: The disk refuses.
    """
    repack = RepackWriter.create(store, folder, layout or layout_of(store.info))
    yield write_compact_json(folder / CLASSES, repack.classes())
    images: dict[str, str] = {}
    for split in splits:
        index = SplitIndex(split)
        for record in store.records(split):
            stem = index.add(record)
            images[record.image_id] = f"{repack.layout.folder_of(split)}/{stem}.jpg"
            yield from repack.write_image(index, record, stem)
        yield repack.write_index(index)
    yield from repack.write_lists(images)


@dataclass
class SplitIndex:
    """Entries of the index of a split, by the stem of the image.

    Attributes:
        split: Name of the split.
        sizes: Width and height of each image.
        objects: Published ids of the objects in each label map of objects.
        instances: Annotations of each image, without ids.
    """

    split: str
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    objects: dict[str, list[int]] = field(default_factory=dict)
    instances: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, record: Record) -> str:
        """Add an image and return its stem, with a number if the split has the stem already."""
        plain = stem = PurePosixPath(record.file_name).stem
        number = 1
        while stem in self.sizes:
            number += 1
            stem = f"{plain}_{number}"
        self.sizes[stem] = (record.width, record.height)
        return stem


@dataclass(frozen=True)
class RepackWriter:
    """Writer of the files of a repack.

    Attributes:
        store: Prepared dataset.
        folder: Folder of the repack.
        layout: RepackLayout of the repack.
        bits: Bits of its label maps.
        ids: Index of an object -> published id; `rle.NONE` stays.
    """

    store: Store
    folder: Path
    layout: RepackLayout
    bits: int
    ids: UInt16[np.ndarray, "65536"]

    @classmethod
    def create(cls, store: Store, folder: Path, layout: RepackLayout) -> RepackWriter:
        """Return a writer whose label maps have 16 bits where 8 do not suffice."""
        names = store.info.objects
        order = object_order(names)
        ids = np.full(NONE + 1, NONE, np.uint16)
        ids[: len(names)] = [order.index(name) for name in names]
        largest = max(len(names), len(store.info.vocabulary.pairs))
        return cls(store, folder, layout, 16 if largest > 255 else layout.bits, ids)

    @property
    def void(self) -> int:
        """Value of pixels without a label."""
        return int(2**self.bits - 1)

    def classes(self) -> dict[str, Any]:
        """Return the content of `classes.json`."""
        info = self.store.info
        named = zip(info.vocabulary.pairs, info.vocabulary.to_json(), strict=True)
        pairs = [{"id": number, "name": pair.name, **row} for number, (pair, row) in enumerate(named)]
        objects = [{"id": number, "name": name} for number, name in enumerate(object_order(info.objects))]
        return {"name": info.name, "ignore": self.void, "objects": objects, "pairs": pairs}

    def write_image(self, index: SplitIndex, record: Record, stem: str) -> Iterator[Path]:
        """Write the image and its label maps, and add its objects to the index."""
        folder = self.layout.folder_of(index.split)
        yield write_jpeg(self.store, record, self.folder / IMAGES / folder / f"{stem}.jpg")
        yield self._write_labels(record.pair_map(), PARTS, folder, stem)
        if self.layout.instances:
            index.instances[stem] = [
                {
                    "category_id": int(self.ids[instance.category]),
                    "iscrowd": 0,
                    "bbox": list(instance.mask.bbox),
                    "area": instance.mask.area,
                    "segmentation": {"size": [record.height, record.width], "counts": instance.mask.rle},
                }
                for instance in record.objects
                if instance.mask.area
            ]
            return
        objects = np.take(self.ids, record.object_map())
        index.objects[stem] = [int(value) for value in np.unique(objects) if value != NONE]
        yield self._write_labels(objects, OBJECTS, folder, stem)

    def _write_labels(self, labels: UInt16[np.ndarray, "H W"], kind: str, folder: str, stem: str) -> Path:
        path = self.folder / kind / folder / f"{stem}.png"
        values = np.where(labels == NONE, self.void, labels).astype(f"uint{self.bits}")
        write_png(path, Image.fromarray(values))
        return path

    def write_index(self, index: SplitIndex) -> Path:
        """Write the index of a split that the published code reads, sorted by stem.

        It is a COCO file of instances, whose images and annotations are numbered from 1, or a list of objects.
        """
        if not self.layout.instances:
            path = self.folder / PARTS / LABEL_COUNT.format(folder=self.layout.folder_of(index.split))
            return write_compact_json(path, {f"{stem}.png": index.objects[stem] for stem in sorted(index.objects)})
        stems = list(enumerate(sorted(index.sizes), start=1))
        images = [
            {"id": image, "file_name": f"{stem}.jpg", "width": index.sizes[stem][0], "height": index.sizes[stem][1]}
            for image, stem in stems
        ]
        rows = [(image, row) for image, stem in stems for row in index.instances[stem]]
        annotations = [{"id": number, "image_id": image, **row} for number, (image, row) in enumerate(rows, start=1)]
        value = {"images": images, "annotations": annotations, "categories": self.classes()["objects"]}
        return write_compact_json(self.folder / self.layout.instances.format(split=index.split), value)

    def write_lists(self, images: dict[str, str]) -> Iterator[Path]:
        """Write the store's lists of images, as whole paths below the folder that the published code searches.

        Args:
            images: Image id -> path below the folder of images, of all images that were written.
        """
        for name, ids in self.store.info.lists:
            rows = [{"file_name": f"{ROOT}/{self.layout.root}/{IMAGES}/{images[id]}"} for id in ids if id in images]
            if rows:
                yield write_compact_json(self.folder / f"{name}.json", rows)


def write_compact_json(path: Path, value: Any) -> Path:  # noqa: ANN401 - whatever JSON can hold
    """Write `value` as JSON in one line, and return the path."""
    write_text(path, json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    return path


def write_jpeg(store: Store, record: Record, path: Path) -> Path:
    """Write the image of a record as a JPEG that every reader shows in the orientation of its masks.

    Raises:
        DataError: The image is missing, broken, or of another size than the record.
    """
    source = store.image_path(record)
    with atomic_write(path) as temporary:
        if record.upright or not is_plain_jpeg(source, (record.width, record.height)):
            store.read_image(record).save(temporary, format="JPEG", quality=QUALITY, subsampling=0)
        else:
            temporary.unlink()
            try:
                os.link(source.resolve(), temporary)
            except OSError:
                shutil.copyfile(source, temporary)
    return path


def is_plain_jpeg(path: Path, size: tuple[int, int]) -> bool:
    """Return whether a file is a JPEG of this size (width, height) without a rotation by EXIF orientation."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("JPEG",)) as image:
            return image.size == size and turn_of(path) is None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False

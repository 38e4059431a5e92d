"""Repacks of OV-PARTS: images and flat label maps in folders, as read by their code and PartCLIPSeg's.

A repack holds `images/<folder>/X.jpg` and `annotations_detectron2_part/<folder>/X.png`, a grey PNG whose values are the
published ids of the pairs, and the largest one where there is none. For objects see `RepackLayout`.
Ids of objects are places in the sorted list of their names (`OBJ_CLASS_NAMES` of the published code, in both sets).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt16

from partseg_cli.data.converters.conversion import InvalidAnnotationError, Skipped, read_pixels
from partseg_cli.data.rle import NONE
from partseg_cli.errors import DataError, format_list, one_line
from partseg_cli.io.files import describe_folder, folders_at, list_files
from partseg_cli.io.label_maps import read_label_image

IMAGES = "images"
PARTS = "annotations_detectron2_part"
OBJECTS = "annotations_detectron2_obj"
FEW_SHOT = "train_16shot"
"""The published few-shot list, a `.json` file of `{"file_name": path}` beside the folders."""
MODES = {8: ("L", "P"), 16: ("I;16", "I")}
"""Bits of a label map -> modes that Pillow gives it; of a palette the indices count, as in the published code."""
SUFFIXES = {IMAGES: (".jpg", ".jpeg", ".JPG", ".JPEG"), PARTS: (".png",), OBJECTS: (".png",)}

NO_PART = "no part of the list"
UNLABELLED = "image has no label map"
NOT_LISTED = "few-shot list names an image that is not there"
BROKEN_LIST = "few-shot list cannot be read"
NO_LABELS = "label map is missing"
BROKEN_LABELS = "label map cannot be used"
UNKNOWN_LABEL = "label map has a value outside of the list"


@dataclass(frozen=True)
class RepackLayout:
    """Layout of one of the two repacks.

    Attributes:
        name: Name of the dataset, as in `partseg prepare NAME`.
        root: Folder that the published code reads.
        folders: Name of a folder -> split.
        bits: Bits of the label maps.
        instances: Name of the JSON of object instances of a {split}; None if `OBJECTS` holds maps of objects.
        advice: Advice on an incomplete copy.
    """

    name: str
    root: str
    folders: Mapping[str, str]
    bits: int
    instances: str | None
    advice: str

    @property
    def kinds(self) -> tuple[str, ...]:
        """The folders that hold a file of each image."""
        return (IMAGES, PARTS) if self.instances else (IMAGES, PARTS, OBJECTS)

    def folder_of(self, split: str) -> str:
        """Return the folder of a split; an unpublished split has a folder of its own name."""
        return next((folder for folder, name in self.folders.items() if name == split), split)


PASCAL = RepackLayout(
    name="pascal-part-116",
    root="PascalPart116",
    folders={"train": "train", "val": "val"},
    bits=8,
    instances=None,
    advice="get PascalPart116.tar.gz again (before June 2024 it came without the label maps of val)",
)
ADE = RepackLayout(
    name="ade20k-part-234",
    root="ADE20KPart234",
    folders={"training": "train", "validation": "val"},
    bits=16,
    instances="ade20k_instance_{split}.json",
    advice="unpack ADE20KPart234.tar.gz again",
)


def object_order(names: Sequence[str]) -> list[str]:
    """Return names of objects in the order of their published ids."""
    return sorted(names)


@dataclass(frozen=True)
class RepackImage:
    """Image of a repack.

    Attributes:
        id: Unique id: the stem, after its split if train and val share a stem.
        split: "train" or "val".
        name: Name of its label map of parts, below the source folder.
        labels: Path of its label map of parts.
        file: Path of the image file below the folder of images.
    """

    id: str
    split: str
    name: str
    labels: Path
    file: str


@dataclass(frozen=True)
class Repack:
    """Repack on disk.

    Attributes:
        source: Folder that the user named.
        root: Folder of the repack, `source` or one in it.
        layout: Layout of the repack.
        files: Names of the files by stem, sorted, of each kind and folder.
    """

    source: Path
    root: Path
    layout: RepackLayout
    files: Mapping[tuple[str, str], Mapping[str, str]]

    @classmethod
    def find(cls, source: Path, layout: RepackLayout) -> Repack:
        """Find the repack of this layout in `source`, or one folder down, and check that it is complete.

        Raises:
            DataError: There is none, more than one, another one or an incomplete one, or a link leads out of `source`.
        """
        roots = find_roots(source)
        fitting = [root for root in roots if _layout_of(root) is layout]
        if len(fitting) != 1:
            raise _wrong(source, layout, roots, fitting)
        (root,) = fitting
        places = [(kind, folder) for folder in layout.folders for kind in layout.kinds]
        repack = cls(source, root, layout, {place: _by_stem(source, root, *place) for place in places})
        for kind, folder in places:
            if not repack.files[kind, folder]:
                ending = SUFFIXES[kind][0]
                raise DataError(f"{root}: must hold {kind}/{folder}/*{ending}, got none; {layout.advice}")
        repack.check_bits()
        return repack

    def check_bits(self) -> None:
        """Check the bits of the first whole label map; those of the other repack have other bits.

        Raises:
            DataError: It does not belong to this layout.
        """
        for image in self.images():
            try:
                mode, _ = read_label_image(image.labels)
            except DataError:  # reported when the image is converted
                continue
            bits = next((bits for bits, modes in MODES.items() if mode in modes), self.layout.bits)
            if bits != self.layout.bits:
                raise DataError(
                    f"{self.root}: label maps of {self.layout.name} must have {self.layout.bits} bits, got {bits} "
                    f"in {image.name}; name the folder of that dataset"
                )
            return

    def name(self, path: Path) -> str:
        """Return the name of a file below the source folder."""
        return path.relative_to(self.source).as_posix()

    def images(self) -> list[RepackImage]:
        """Return the images that have a label map of parts, by split and stem."""
        train, val = (self.files[PARTS, folder].keys() for folder in self.layout.folders)
        return [
            RepackImage(
                id=stem if train.isdisjoint(val) else f"{split}/{stem}",
                split=split,
                name=self.name(self.root / PARTS / folder / labels),
                labels=self.root / PARTS / folder / labels,
                file=f"{folder}/{self.files[IMAGES, folder].get(stem, f'{stem}.jpg')}",
            )
            for folder, split in self.layout.folders.items()
            for stem, labels in self.files[PARTS, folder].items()
        ]

    def unlabelled(self) -> Iterator[Skipped]:
        """Yield the images that have no label map of parts."""
        for folder in self.layout.folders:
            for stem, image in self.files[IMAGES, folder].items():
                if stem not in self.files[PARTS, folder]:
                    yield Skipped(self.name(self.root / IMAGES / folder / image), UNLABELLED, is_defect=True)

    def few_shot(self, images: Sequence[RepackImage]) -> tuple[tuple[str, ...], list[Skipped]]:
        """Read the ids of the few-shot list, and its names without an image.

        The list holds absolute paths of the machine that it was made on: only the names of files are compared.
        """
        path = self.root / f"{FEW_SHOT}.json"
        if not path.is_file():
            return (), []
        try:
            rows = json.loads(path.read_text(encoding="utf-8-sig"))
            names = [PurePosixPath(row["file_name"].replace("\\", "/")).name for row in rows]
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            why = f"{type(error).__name__}: {one_line(error)}"
            return (), [Skipped(self.name(path), BROKEN_LIST, is_defect=True, detail=why)]
        ids = {PurePosixPath(image.file).name: image.id for image in images if image.split == "train"}
        names = list(dict.fromkeys(names))
        strange = [Skipped(self.name(path), NOT_LISTED, is_defect=False, detail=name) for name in names]
        return (
            tuple(ids[name] for name in names if name in ids),
            [skipped for skipped in strange if skipped.detail not in ids],
        )


def read_labels(path: Path, bits: int, count: int) -> UInt16[np.ndarray, "H W"]:
    """Read a label map: ids below `count`, `rle.NONE` where the map has its largest value, which is none.

    Raises:
        InvalidAnnotationError: It is missing, broken, no grey PNG of this many bits, or has another value.
    """
    if not path.is_file():
        raise InvalidAnnotationError(NO_LABELS, path.name)
    values = read_pixels(path, MODES[bits], f"grey of {bits} bits", BROKEN_LABELS)
    ignore = 2**bits - 1
    wrong = np.unique(values[(values >= count) & (values != ignore)]).tolist()
    if wrong:
        got = format_list([str(value) for value in wrong])
        raise InvalidAnnotationError(UNKNOWN_LABEL, f"{path.name}: must be 0 to {count - 1} or {ignore}, got {got}")
    labels = values.astype(np.uint16)
    labels[values == ignore] = NONE
    return labels


def is_repack(source: Path) -> bool:
    """Return whether a repack of OV-PARTS is in `source`, or one folder down."""
    return bool(find_roots(source))


def find_roots(source: Path) -> list[Path]:
    """Return the folders of repacks: `source` itself, else those in it."""
    if (source / PARTS).is_dir():
        return [source]
    return [folder.parent for folder in folders_at(source, [f"*/{PARTS}"])]


def val_stems(source: Path) -> list[str]:
    """Return the stems of the val images of the repack below `source`, sorted: a list for `--split-list`.

    Raises:
        DataError: There is no repack, more than one of a kind, or an incomplete one.
    """
    layouts = [_layout_of(root) for root in find_roots(source)]
    repack = Repack.find(source, ADE if layouts == [ADE] else PASCAL)
    return list(repack.files[PARTS, repack.layout.folder_of("val")])


def _by_stem(source: Path, root: Path, kind: str, folder: str) -> dict[str, str]:
    """List the files of one folder of a repack, by stem."""
    names = list_files(source, root / kind / folder)
    return {Path(name).stem: name for name in names if name.endswith(SUFFIXES[kind])}


def _layout_of(root: Path) -> RepackLayout | None:
    """Return the layout by the names of the folders; None if it is neither."""
    for layout in (PASCAL, ADE):
        if any((root / PARTS / folder).is_dir() for folder in layout.folders):
            return layout
    return None


def _wrong(source: Path, layout: RepackLayout, roots: Sequence[Path], fitting: Sequence[Path]) -> DataError:
    """Return the error for a source that is not one repack of this layout."""
    wanted = f"{PARTS}/{' and '.join(layout.folders)}"
    if fitting:
        names = ", ".join(root.name for root in fitting)
        return DataError(f"{source}: must hold one OV-PARTS repack of {layout.name}, got {names}; name one of them")
    other = next((found for root in roots if (found := _layout_of(root))), None)
    if other:
        return DataError(
            f"{source}: must hold the OV-PARTS repack of {layout.name} ({wanted}), got that of {other.name}; "
            f"name another folder, or run partseg prepare {other.name}"
        )
    return DataError(
        f"{source}: must hold the OV-PARTS repack of {layout.name} ({wanted}, there or one folder down), "
        f"got {describe_folder(source)}; {layout.advice}"
    )

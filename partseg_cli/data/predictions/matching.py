"""Images and classes that the names in predictions mean, and the files of a folder matched to images."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from jaxtyping import Int
from torch import Tensor

from partseg_cli.data.record import Record, RecordKey
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.errors import DataError, VocabularyError, format_list, one_line
from partseg_cli.io.files import is_ignored_file, is_inside
from partseg_cli.vocabulary import Pair, Vocabulary, parse_category

NAME_BY = "name each by the path of its image without suffix, or by its stem"

ClassName = tuple[str, str | None]
"""Object and part; None for the object itself, an empty object for a part of any object."""


@dataclass(frozen=True)
class Predictions:
    """Predicted label maps of images; cheap to pickle for other processes.

    Attributes:
        kind: Recognised form, in words.
        read: Number of images with a prediction: all those wanted.
        extra: Files, or images named in a JSON, that belong to none of the images wanted.
        maps: Function that reads the label map of a record at its size: pairs or objects by index, -1 = void. It raises
            a `DataError` if the prediction is broken, or breaks a rule that is costly to check when it is opened.
    """

    kind: str
    read: int
    extra: tuple[str, ...]
    maps: Callable[[Record], Int[Tensor, "H W"]] = field(repr=False)


@dataclass(frozen=True)
class WantedImage:
    """Image that needs a prediction: its key, and what its record says of the file."""

    key: RecordKey
    image_id: str
    file_name: str
    width: int
    height: int

    def names(self) -> tuple[set[str], ...]:
        """Return names of the image with and without suffix: split/path, path, split/stem, and stem."""
        path = PurePosixPath(self.file_name)
        paths = {path.as_posix(), path.with_suffix("").as_posix()}
        stems = {name.rpartition("/")[2] for name in paths}
        below = [{f"{self.key.split}/{name}" for name in names} for names in (paths, stems)]
        return below[0], paths, below[1], stems


def find_wanted(store: Store, keys: Sequence[RecordKey]) -> list[WantedImage]:
    """Return the images of these records, each once."""
    records = ((key, store[key]) for key in dict.fromkeys(keys))
    return [WantedImage(key, one.image_id, one.file_name, one.width, one.height) for key, one in records]


class ImageFinder:
    """Index from names to the images wanted. Where a name of one kind means an image, later kinds do not count."""

    def __init__(self, images: Sequence[WantedImage], names: Mapping[str, str] | None = None) -> None:
        """Index the names of `images`; `names` are further ones by image id, which count before all others."""
        self.by_id = {image.image_id: image for image in images}
        self.by_number: dict[int, list[WantedImage]] = {}
        self.by_name: dict[str, list[WantedImage]] = {}
        names_of = [image.names() for image in images]
        for kind in (3, 2, 1, 0):  # the last to write counts
            found: dict[str, list[WantedImage]] = {}
            for image, own in zip(images, names_of, strict=True):
                for name in own[kind]:
                    found.setdefault(name, []).append(image)
            self.by_name |= found
        self.by_name |= {names[image.image_id]: [image] for image in images} if names else {}
        for image in images:
            stem = PurePosixPath(image.file_name).stem
            if stem.isascii() and stem.isdecimal():
                self.by_number.setdefault(int(stem), []).append(image)

    def find(self, name: str) -> WantedImage | None:
        """Return the image of a name; None if it is not wanted.

        Raises:
            DataError: The name means several images.
        """
        return _only(name, self.by_name.get(name, []))

    def find_path(self, path: str) -> WantedImage | None:
        """Return the image of a path that may begin anywhere: its longest end that means an image counts."""
        parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
        for start in range(len(parts)):
            end = PurePosixPath(*parts[start:])
            image = self.find(end.as_posix()) or self.find(end.with_suffix("").as_posix())
            if image is not None:
                return image
        return None

    def find_id(self, image_id: int | str) -> WantedImage | None:
        """Return the image of an id: the store's own, or COCO's, which numbers images by their stem."""
        if str(image_id) in self.by_id:
            return self.by_id[str(image_id)]
        if isinstance(image_id, int):
            return _only(str(image_id), self.by_number.get(image_id, []))
        return self.find_path(image_id)


def _only(name: str, images: Sequence[WantedImage]) -> WantedImage | None:
    if len(images) > 1:
        raise DataError(
            f"{name}: a name must mean one image, got {format_list([image.file_name for image in images])}; "
            "name it by the path of the image"
        )
    return images[0] if images else None


def list_files(source: Path, below: str = "") -> list[str]:
    """Return the paths of all files below `source`, sorted, with forward slashes; hidden files are left out.

    Raises:
        DataError: A folder cannot be read, or a link leads out of `source`, in a circle, or to a folder.
    """
    try:
        with os.scandir(source / below) as entries:
            found = [entry for entry in entries if not is_ignored_file(entry.name)]
    except OSError as error:
        raise DataError(f"{source / below}: must be a readable folder, got {error.strerror}; check it") from error
    names: list[str] = []
    for entry in found:
        name = f"{below}{entry.name}"
        if entry.is_symlink() and is_inside(source, source / name) and (source / name).is_dir():
            raise DataError(f"{source / name}: must be a folder, got a link to one; copy the files there")
        names += list_files(source, f"{name}/") if entry.is_dir(follow_symlinks=False) else [name]
    return sorted(names)


def match_files(
    source: Path, named: Iterable[tuple[str, WantedImage | None]]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the file of each image by image id, and the files of no image.

    Raises:
        DataError: An image has two files.
    """
    files: dict[str, str] = {}
    extra = []
    for name, image in named:
        if image is None:
            extra.append(name)
        elif files.setdefault(image.image_id, name) != name:
            raise DataError(
                f"{source}: an image must have one prediction, got {files[image.image_id]} and {name} for "
                f"{image.file_name}; remove one"
            )
    return files, tuple(extra)


def check_complete(
    source: Path, images: Collection[WantedImage], found: Collection[str], extra: Sequence[str], advice: str = NAME_BY
) -> None:
    """Raise a `DataError` unless all images are among those found, given by image id."""
    missing = [image.file_name for image in images if image.image_id not in found]
    if missing:
        others = f", and {len(extra)} of no image ({format_list(extra)})" if extra else ""
        raise DataError(
            f"{source}: each of {len(images)} images must have a prediction, got none of {len(missing)} "
            f"({format_list(missing)}){others}; {advice}"
        )


def check_size(item: object, image: WantedImage | Record, got: tuple[int, int]) -> None:
    """Raise a `DataError` unless a prediction has the size of its image, (width, height)."""
    size = (image.width, image.height)
    if got != size:
        swapped = ", swapped" if got == size[::-1] else ""
        raise DataError(
            f"{item}: must be {size[0]}x{size[1]} pixels as {image.file_name} is, got {got[0]}x{got[1]}{swapped}; "
            "predict at the image's own size"
        )


@dataclass(frozen=True)
class PredictionClasses:
    """Classes that a prediction may name: all pairs, or all objects, of a store.

    Attributes:
        kind: "pairs" or "objects".
        dataset: Name of the store.
        names: Object and part of each class, in the order of the store.
        indices: Label that each class is read as, -1 = void.
        ignored: Further names of the store, which are skipped: of objects where pairs are read, and of pairs
            where objects are.
    """

    kind: str
    dataset: str
    names: tuple[ClassName, ...]
    indices: tuple[int, ...]
    ignored: frozenset[str]

    @cached_property
    def by_name(self) -> dict[ClassName, int]:
        """Position of each class."""
        return {name: position for position, name in enumerate(self.names)}

    @cached_property
    def by_spelling(self) -> dict[str, int]:
        """Position of each class, by all usual spellings."""
        return {text: position for position, name in enumerate(self.names) for text in spellings(*name)}

    def find(self, text: str) -> int | None:
        """Return the position of the class "cat's ear", "cat:ear" or "cat"; None if there is none."""
        plain = one_line(text)
        if plain in self.by_spelling:
            return self.by_spelling[plain]
        try:
            word = parse_category(plain)
        except VocabularyError:
            return None
        return None if word.object is None else self.by_name.get((word.object, word.part))


def pair_classes(info: DatasetInfo) -> PredictionClasses:
    """Return the pairs of a store; each is read as its index."""
    names = tuple((pair.object, pair.part) for pair in info.vocabulary.pairs)
    return PredictionClasses("pairs", info.name, names, tuple(range(len(names))), frozenset(info.objects))


def object_classes(info: DatasetInfo, vocabulary: Vocabulary) -> PredictionClasses:
    """Return the objects of a store; each is read as its index in a vocabulary, as void if it is not there."""
    known = {name: index for index, name in enumerate(vocabulary.objects)}
    names = tuple((name, None) for name in info.objects)
    pairs = frozenset(text for pair in info.vocabulary.pairs for text in spellings(pair.object, pair.part))
    return PredictionClasses("objects", info.name, names, tuple(known.get(name, -1) for name in info.objects), pairs)


def spellings(name: str, part: str | None) -> tuple[str, ...]:
    """Return the usual spellings of a pair or an object.

    >>> spellings("cat", "ear"), spellings("cat", None)
    (("cat's ear", 'cat:ear'), ('cat',))
    """
    return (name,) if part is None else (Pair(name, part).name, f"{name}:{part}")

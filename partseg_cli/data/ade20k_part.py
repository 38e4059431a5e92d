"""ADE20K-Part-234: the pairs of 44 objects in the full ADE20K of 2021, with every instance of these objects.

Classes are told by `name_ndx`, never by name. What an annotated thing is, the table of the manifest decides, from the
wholes down: a thing is a part if something that it belongs to, the nearest first, is one of the 44 objects and has it
in the table; it is an object if it is no part, and one of the 44. So

- the window of a car's door is the car's window, on level 2, because a door has no windows in the table;
- a door is a part of its car or cabinet, but an object in a building; the door in a double door is its panel;
- an oven in a cooking stove is a part, its door is the stove's; and the handle of a car's door is nothing: that door is
  no object, and cars have no handles in the table. So nothing is a part twice, and no unseen object (oven) is annotated
  inside a seen one (cooking stove).

How the label maps of OV-PARTS were made is not published beyond the table; its counts of images are in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from partseg_cli.data.ade20k import Release, Thing, mask_size, visible_pixels
from partseg_cli.data.conversion import SIZES_DIFFER, Conversion, Converted, DefectError, Skipped, measure_photo
from partseg_cli.data.images import open_photo
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import image_root

NO_PART = "no part of the 234"
NO_WHOLE = "part belongs to nothing in the annotation"
CIRCLE = "part belongs to itself"
TURNED = "mask fits the photo only as its EXIF data turn it"
SAME_NAME = "another image has the same name"


@dataclass(frozen=True)
class Table:
    """Leads from `name_ndx`, as text, to the indices of the store.

    Attributes:
        categories: of an object -> index into the manifest's objects.
        pairs: index of an object, number of a part -> index into the manifest's pairs.
        parts: all numbers of parts.
    """

    categories: dict[str, int]
    pairs: dict[tuple[int, str], int]
    parts: frozenset[str]

    @classmethod
    def of(cls, manifest: Manifest) -> Table:
        """Give the table that the manifest holds."""
        indices = {name: index for index, name in enumerate(manifest.objects)}
        pairs = {
            (indices[pair.object], code): index
            for index, pair in enumerate(manifest.vocabulary.pairs)
            for code in manifest.raw_codes[pair.object][pair.part]
        }
        categories = {code: indices[name] for code, name in manifest.aliases.items()}
        return cls(categories, pairs, frozenset(code for _, code in pairs))

    def pair(self, whole: Thing, part: Thing) -> int | None:
        """Give the index of the pair, if there is one."""
        category = self.categories.get(whole.code)
        return None if category is None else self.pairs.get((category, part.code))


@dataclass(frozen=True)
class Link:
    """What makes a thing a part: the `id` of its object, and the index of the pair."""

    object: int
    pair: int


def convert(source: Path, manifest: Manifest) -> Conversion:
    """Convert the full ADE20K of 2021 below `source`, lazily, one outcome for each image.

    Raises:
        DataError: `source` is something else.
    """
    release = Release.find(source)
    images = release.images()
    return Conversion(image_root(release.root), len(images), _outcomes(release, images, Table.of(manifest)))


def _outcomes(release: Release, images: Sequence[Path], table: Table) -> Iterator[Converted | Skipped]:
    names: dict[str, str] = {}
    for image in images:
        item = release.item(image)
        try:
            if names.setdefault(image.name, item) != item:
                raise DefectError(SAME_NAME, names[image.name])
            record = convert_image(release, image, table)
        except DefectError as defect:
            yield Skipped(item, defect.reason, is_defect=True, detail=defect.detail)
        else:
            if record is None:
                yield Skipped(item, NO_PART, is_defect=False)
            else:
                yield Converted(release.split(image), record)


def convert_image(release: Release, image: Path, table: Table) -> Record | None:
    """Give the record of one image, or None if no pixel of a pair is seen.

    An object of which nothing is seen stays if one of its parts is.

    Raises:
        DefectError: the annotation, a mask or the photo is broken, or they do not fit.
    """
    things = release.things(image)
    links = find_parts(things, table)
    if not links:
        return None
    photo = release.photo(image)
    size = measure_photo(photo)
    masks = {id: _mask(release, image, things[id], size) for id in links}
    parts = tuple(
        Part(link.object, link.pair, things[id].code, things[id].level, masks[id])
        for id, link in links.items()
        if masks[id].area > 0
    )
    if not parts:
        return None
    objects = tuple(
        Instance(thing.id, table.categories[thing.code], _mask(release, image, thing, size))
        for thing in things.values()
        if thing.code in table.categories and thing.id not in links
    )
    owners = {part.object for part in parts}
    objects = tuple(thing for thing in objects if thing.mask.area > 0 or thing.id in owners)
    name = photo.relative_to(release.root).as_posix()
    return Record(image.name, name, *size, release.item(image), objects, parts)


def find_parts(things: Mapping[int, Thing], table: Table) -> dict[int, Link]:
    """Give the things that are parts of one of the 44 objects, by `id`, in the order of `things`.

    Raises:
        DefectError: something that may be a part has no whole.
    """
    chains = {
        thing.id: find_wholes(thing, things)
        for thing in things.values()
        if thing.whole is not None and thing.code in table.parts
    }
    links: dict[int, Link] = {}
    for id, chain in sorted(chains.items(), key=lambda item: len(item[1])):  # a whole before its parts
        for whole in chain:
            pair = table.pair(whole, things[id])
            if pair is not None and whole.id not in links:
                links[id] = Link(whole.id, pair)
                break
    return {id: links[id] for id in things if id in links}


def find_wholes(thing: Thing, things: Mapping[int, Thing]) -> list[Thing]:
    """Give what a thing is a part of, what that is a part of, and so on.

    Raises:
        DefectError: one of them is missing, or is the thing itself.
    """
    chain = [thing]
    while (whole := chain[-1].whole) is not None:
        if whole not in things:
            raise DefectError(NO_WHOLE, f"object {chain[-1].id} is part of {whole}")
        if things[whole] in chain:
            raise DefectError(CIRCLE, " in ".join(str(link.id) for link in (*chain, things[whole])))
        chain.append(things[whole])
    return chain[1:]


def _mask(release: Release, image: Path, thing: Thing, size: tuple[int, int]) -> Mask:
    """Read the visible pixels of a thing in a photo of this size (width, height)."""
    path = release.mask_path(image, thing)
    found = mask_size(path)
    if found != size:
        detail = "mask {}x{}, photo {}x{}".format(*found, *size)
        is_turned = found == open_photo(release.photo(image), upright=True).size
        raise DefectError(TURNED if is_turned else SIZES_DIFFER, f"{thing.mask}: {detail}")
    return Mask.encode(visible_pixels(path))

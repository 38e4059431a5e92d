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

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from partseg_cli.data.converters.ade20k import Release, Thing, visible_pixels
from partseg_cli.data.converters.conversion import (
    MASKS_DIFFER,
    Conversion,
    Converted,
    InvalidAnnotationError,
    Outcome,
    Skipped,
    SourceImage,
)
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import image_root

NO_PART = "no part of the 234"
NO_WHOLE = "part belongs to nothing in the annotation"
CIRCLE = "part belongs to itself"


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
    items = [
        SourceImage(release.item(image), image, (release.annotation(image), release.mask_folder(image)))
        for image in release.images()
    ]
    return Conversion(
        release.root, items, partial(convert_image, release, Table.of(manifest)), image_root(release.root)
    )


def convert_image(release: Release, table: Table, image: Path) -> list[Outcome]:
    """Give the outcome of one image: a record, unless no pixel of a pair is seen.

    An object of which nothing is seen stays if one of its parts is.

    Raises:
        DefectError: the annotation or a mask is broken, or they do not fit.
    """
    nothing = Skipped(release.item(image), NO_PART, is_defect=False)
    things = release.things(image)
    links = find_parts(things, table)
    objects = [thing for thing in things.values() if thing.code in table.categories and thing.id not in links]
    if not links:
        return [nothing]
    masks = Masks(release, image)
    parts = tuple(
        Part(link.object, link.pair, things[id].code, things[id].level, masks.read(things[id]))
        for id, link in links.items()
    )
    parts = tuple(part for part in parts if part.mask.area > 0)
    if not parts:
        return [nothing]
    instances = [Instance(thing.id, table.categories[thing.code], masks.read(thing)) for thing in objects]
    owners = {part.object for part in parts}
    shown = tuple(thing for thing in instances if thing.mask.area > 0 or thing.id in owners)
    width, height = masks.size
    name = release.photo(image).relative_to(release.root).as_posix()
    record = Record(image.name, name, width, height, release.item(image), shown, parts)
    return [Converted(release.split(image), record)]


@dataclass
class Masks:
    """Reads the masks of one image, which must all be of one size: width and height of the first."""

    release: Release
    image: Path
    size: tuple[int, int] = (0, 0)

    def read(self, thing: Thing) -> Mask:
        """Give the visible pixels of a thing.

        Raises:
            DefectError: its mask is missing, broken or of another size.
        """
        pixels = visible_pixels(self.release.mask_path(self.image, thing))
        found = (pixels.shape[1], pixels.shape[0])
        self.size = found if self.size == (0, 0) else self.size
        if found != self.size:
            raise InvalidAnnotationError(MASKS_DIFFER, "{}: {}x{}, others {}x{}".format(thing.mask, *found, *self.size))
        return Mask.encode(pixels)


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
            raise InvalidAnnotationError(NO_WHOLE, f"object {chain[-1].id} is part of {whole}")
        if things[whole] in chain:
            raise InvalidAnnotationError(CIRCLE, " in ".join(str(link.id) for link in (*chain, things[whole])))
        chain.append(things[whole])
    return chain[1:]

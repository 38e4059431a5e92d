"""ADE20K-Part-234: the pairs of 44 objects in the full ADE20K of 2021, with every instance of these objects.

Classes are read from `name_ndx`, never from names. What an annotation is follows from the table of the manifest, from
the wholes down: it is a part if something that it belongs to, the nearest first, is one of the 44 objects and has it in
the table; it is an object if it is no part, and one of the 44. So

- the window of a car's door is the car's window, on level 2, because a door has no windows in the table;
- a door is a part of its car or cabinet, but an object in a building; the door in a double door is its panel;
- an oven in a cooking stove is a part, its door is the stove's; and the handle of a car's door is nothing: that door is
  no object, and cars have no handles in the table. So nothing is a part twice, and no unseen object (oven) is annotated
  inside a seen one (cooking stove).

How the label maps of OV-PARTS were made is not published beyond the table; its counts of images are in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from partseg_cli.data.converters.ade20k import AnnotatedObject, FullRelease
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


def convert(source: Path, manifest: Manifest) -> Conversion:
    """Convert the full ADE20K of 2021 below `source`, lazily, with one outcome per image.

    Raises:
        DataError: `source` is something else.
    """
    release = FullRelease.find(source)
    # the folder of the masks of an image has the path of the image
    items = [SourceImage(release.item(image), image, (release.annotation(image), image)) for image in release.images()]
    return Conversion(release.root, items, partial(convert_image, release, manifest), image_root(release.root))


def convert_image(release: FullRelease, manifest: Manifest, image: Path) -> list[Outcome]:
    """Return the outcome of one image: a record, unless no pixel of a pair is visible.

    An object of which nothing is visible is kept if one of its parts is visible.

    Raises:
        InvalidAnnotationError: The annotation or a mask is broken, or they do not fit.
    """
    nothing = Skipped(release.item(image), NO_PART, is_defect=False)
    annotated = release.read_annotation(image)
    links = find_parts(annotated, manifest)
    objects = [obj for obj in annotated.values() if obj.code in manifest.alias_indices and obj.id not in links]
    if not links:
        return [nothing]
    sizes: list[tuple[int, ...]] = []

    def read(obj: AnnotatedObject) -> Mask:
        pixels = release.read_mask(image, obj)
        sizes.append(pixels.shape[::-1])
        if sizes[-1] != sizes[0]:
            detail = "{}: {}x{}, others {}x{}".format(obj.mask, *sizes[-1], *sizes[0])
            raise InvalidAnnotationError(MASKS_DIFFER, detail)
        return Mask.encode(pixels)

    parts = tuple(
        Part(owner, pair, annotated[id].code, annotated[id].level, read(annotated[id]))
        for id, (owner, pair) in links.items()
    )
    parts = tuple(part for part in parts if part.mask.area > 0)
    if not parts:
        return [nothing]
    instances = [Instance(obj.id, manifest.alias_indices[obj.code], read(obj)) for obj in objects]
    owners = {part.object for part in parts}
    shown = tuple(instance for instance in instances if instance.mask.area > 0 or instance.id in owners)
    name = release.image_file(image).relative_to(release.root).as_posix()
    width, height = sizes[0]
    record = Record(image.name, name, width, height, release.item(image), shown, parts)
    return [Converted(release.split(image), record)]


def find_parts(annotated: Mapping[int, AnnotatedObject], manifest: Manifest) -> dict[int, tuple[int, int]]:
    """Find the parts of the 44 objects: `id` -> (`id` of the object, index of the pair), in the order of `annotated`.

    Raises:
        InvalidAnnotationError: A possible part has no whole.
    """
    part_codes = {code for _, code in manifest.code_pairs}
    chains = {
        obj.id: find_wholes(obj, annotated)
        for obj in annotated.values()
        if obj.whole is not None and obj.code in part_codes
    }
    links: dict[int, tuple[int, int]] = {}
    for id, chain in sorted(chains.items(), key=lambda item: len(item[1])):  # a whole before its parts
        for whole in chain:
            category = manifest.alias_indices.get(whole.code, -1)
            pair = manifest.code_pairs.get((category, annotated[id].code))
            if pair is not None and whole.id not in links:
                links[id] = whole.id, pair
                break
    return {id: links[id] for id in annotated if id in links}


def find_wholes(obj: AnnotatedObject, annotated: Mapping[int, AnnotatedObject]) -> list[AnnotatedObject]:
    """Return what an object is a part of, what that is a part of, and so on.

    Raises:
        InvalidAnnotationError: One of them is missing, or is the object itself.
    """
    chain = [obj]
    while (whole := chain[-1].whole) is not None:
        if whole not in annotated:
            raise InvalidAnnotationError(NO_WHOLE, f"object {chain[-1].id} is part of {whole}")
        if annotated[whole] in chain:
            raise InvalidAnnotationError(CIRCLE, " in ".join(str(link.id) for link in (*chain, annotated[whole])))
        chain.append(annotated[whole])
    return chain[1:]

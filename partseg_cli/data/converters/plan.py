"""Plan of a conversion: from a dataset's name and a folder of original files to a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from partseg_cli.data.cartoon import scene as cartoon
from partseg_cli.data.converters import ade20k, ade20k_part, cityscapes_parts, paco, pascal_part
from partseg_cli.data.converters.coco import converter as coco
from partseg_cli.data.converters.conversion import Conversion
from partseg_cli.data.converters.ovparts import repack as ovparts
from partseg_cli.data.converters.ovparts.ade20k import convert_ade
from partseg_cli.data.converters.ovparts.pascal import convert_pascal
from partseg_cli.data.converters.partimagenet import converter as partimagenet
from partseg_cli.data.manifest import Manifest, load_manifest, manifest_names
from partseg_cli.data.store import DatasetInfo, image_root
from partseg_cli.errors import DataError, UsageError
from partseg_cli.io.paths import data_dir

OWN = "coco"
"""Name of a user's own set in place of that of a published dataset."""


@dataclass(frozen=True)
class CartoonOptions:
    """Options of the drawn dataset: number of images, seed and size in pixels."""

    images: int = 200
    seed: int = 0
    size: int = 128


@dataclass(frozen=True)
class CocoOptions:
    """Options of a user's own set, see `coco.convert`."""

    annotations: tuple[Path, ...] = ()
    splits: tuple[str, ...] = ()
    object_name: str | None = None


@dataclass(frozen=True)
class ConversionPlan:
    """Conversion that is ready to run, and its store.

    Attributes:
        folder: Folder of the store.
        info: Description of the store.
        conversion: Conversion of the records.
        manifest: Manifest of a published dataset.
        options: Options of a drawn dataset or the user's own; None for other ones.
    """

    folder: Path
    info: DatasetInfo
    conversion: Conversion
    manifest: Manifest | None = None
    options: CartoonOptions | CocoOptions | None = None


Convert = Callable[[Path, Manifest], Conversion]


def _one_of(is_original: Callable[[Path], bool], original: Convert, repack: Convert) -> Convert:
    """Return a converter of both forms of a dataset, which refuses a folder that holds both."""

    def convert(source: Path, manifest: Manifest) -> Conversion:
        if not ovparts.is_repack(source):
            return original(source, manifest)
        if is_original(source):
            raise DataError(
                f"{source}: must hold the original release or the OV-PARTS repack, got both; "
                "name the folder of one of them with --source"
            )
        return repack(source, manifest)

    return convert


CONVERTERS: dict[str, Convert] = {
    "ade20k-part-234": _one_of(ade20k.is_release, ade20k_part.convert, convert_ade),
    "cityscapes-panoptic-parts": cityscapes_parts.convert,
    "paco": paco.convert,
    "partimagenet": partimagenet.convert,
    "pascal-part-116": _one_of(pascal_part.is_release, pascal_part.convert, convert_pascal),
}
"""Name of a dataset -> its converter."""


def plan_published_conversion(
    name: str, source: Path | None, out: Path | None, *, drawing: CartoonOptions, split_list: Path | None = None
) -> ConversionPlan:
    """Plan the conversion of a published or drawn dataset.

    Args:
        name: Name of a packaged manifest.
        source: Folder of the original files; default `$PARTSEG_DATA/raw/<name>`.
        out: Folder of the store; default `$PARTSEG_DATA/<name>`.
        drawing: Options of a drawn dataset.
        split_list: List of the images of val in place of the manifest's: a text file, or an OV-PARTS repack.

    Raises:
        UsageError: `drawing` is outside its rules, or `split_list` is given for a set without such a list.
        DataError: There is no such dataset, or the source is missing or of another kind.
    """
    manifest = load_manifest(name)
    if split_list is not None:
        manifest = _with_list(manifest, split_list)
    source, folder = source or data_dir() / "raw" / manifest.name, out or data_dir() / manifest.name
    if manifest.name in CONVERTERS:
        conversion = CONVERTERS[manifest.name](source, manifest)
    else:
        conversion = cartoon.convert(folder, manifest, images=drawing.images, seed=drawing.seed, size=drawing.size)
    info = DatasetInfo(
        name=manifest.name,
        image_root=conversion.image_root,
        objects=manifest.objects,
        vocabulary=manifest.vocabulary,
        licence=manifest.licence,
        homepage=manifest.homepage,
        lists=conversion.lists,
        test=manifest.test,
        sample=manifest.sample,
    )
    return ConversionPlan(folder, info, conversion, manifest, None if manifest.name in CONVERTERS else drawing)


def plan_coco_conversion(source: Path | None, out: Path | None, own: CocoOptions) -> ConversionPlan:
    """Plan the conversion of a user's own set, named as its folder, or as the store that it is an export of.

    Raises:
        UsageError: There is no folder, or `own` does not fit it.
        DataError: It has the name of a published set, or is no COCO set.
    """
    if source is None:
        raise UsageError("prepare coco needs the folder of your set, got none; write partseg prepare coco DIR")
    found = coco.convert(source, annotations=own.annotations, splits=own.splits, object_name=own.object_name)
    if found.info is not None:
        info = replace(found.info, image_root=found.conversion.image_root, images=())
        return ConversionPlan(out or data_dir() / info.name, info, found.conversion, options=own)
    name = Path(image_root(source)).name
    if name in manifest_names() or not name:
        raise DataError(
            f"{source}: the folder's name becomes the set's, and must be none of a published set, got {name!r}; "
            "rename the folder"
        )
    info = DatasetInfo(name, found.conversion.image_root, found.objects, found.vocabulary, "the user's own")
    return ConversionPlan(out or data_dir() / name, info, found.conversion, options=own)


def _with_list(manifest: Manifest, split_list: Path) -> Manifest:
    if manifest.val_list is None:
        raise UsageError(f"--split-list is for sets whose val is a list, got {manifest.name}; leave it out")
    named = replace(manifest, val_list=str(split_list.absolute()))
    stems = ovparts.val_stems(split_list) if split_list.is_dir() else named.val_stems()
    return replace(named, val_images=tuple(sorted(stems)))

"""Label maps that any model wrote, of pairs or of objects: found, recognised by content, checked, read one at a time.

    label PNGs       <photo>.png, 8 or 16 bits, grey or palette: value = place of the pair; 255, or 65535 in 16 bits, is
                     none, and so is the number of pairs, which is the background of published maps
    score stacks     <photo>.npy or .npz, [K,h,w], or [K+1,h,w] with the background last
    run lengths      one JSON: COCO results, or a COCO set (see `predictions_masks`)
    partseg export   --to png: labels.json beside pairs/ and objects/, matched by name
    partseg predict  its folder: <photo>_labels.png, and <photo>.json with the words, matched by name

<photo> is the path of the photo without its suffix, or its stem alone; both may stand below the name of the split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from partseg_cli.data.predictions.folders import is_export, open_export, open_predicted, predicted
from partseg_cli.data.predictions.label_maps import LabelFile, label_pictures
from partseg_cli.data.predictions.labels import Classes, object_classes, pair_classes
from partseg_cli.data.predictions.masks import open_masks
from partseg_cli.data.predictions.matching import Photos, Predictions, Wanted, check_complete, match, walk, wanted
from partseg_cli.data.predictions.scores import SUFFIXES, open_scores
from partseg_cli.data.record import RecordKey
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, format_list
from partseg_cli.io.files import describe_folder
from partseg_cli.vocabulary import Vocabulary

__all__ = ["Predictions", "open_objects", "open_predictions"]

PICTURES = (".png",)
WANTED = "label PNGs, score stacks (NPY, NPZ), a JSON of run lengths, or what partseg predict or export --to png wrote"


def open_predictions(source: Path, store: Store, keys: Sequence[RecordKey]) -> Predictions:
    """Open predicted pairs; maps hold the index of the pair in the store's vocabulary.

    Args:
        source: a folder, or a JSON file.
        store: the labelled photos.
        keys: those that are to be evaluated.

    Raises:
        DataError: a photo lacks its prediction, or predictions break a rule.
    """
    return _open(source, store, wanted(store, keys), pair_classes(store.info))


def open_objects(source: Path, store: Store, vocabulary: Vocabulary, keys: Sequence[RecordKey]) -> Predictions:
    """Open predicted objects, whose values are places in the store's list of objects, as in `open_predictions`.

    Maps hold the index of the object in `vocabulary`; objects without pairs there are none.
    """
    return _open(source, store, wanted(store, keys), object_classes(store.info, vocabulary))


def _open(source: Path, store: Store, images: Sequence[Wanted], classes: Classes) -> Predictions:
    """Recognise the form by what lies there."""
    photos = Photos(images)
    if source.is_file() and source.suffix.lower() == ".json":
        return open_masks(source, photos, images, classes)
    if not source.is_dir():
        raise DataError(f"{source}: must be a folder or a JSON file, got {describe_folder(source)}; check the path")
    if is_export(source):
        return open_export(source, store, images, classes)
    names = walk(source)
    written = predicted(names)
    if written:
        return open_predicted(source, written, photos, images, classes)
    return _open_files(source, names, photos, images, classes)


def _open_files(
    source: Path, names: Sequence[str], photos: Photos, images: Sequence[Wanted], classes: Classes
) -> Predictions:
    """Open the one form of which the folder holds files of the photos, else of any."""
    forms = {suffixes: _match(source, names, suffixes, photos) for suffixes in (PICTURES, SUFFIXES)}
    used = [suffixes for suffixes, (files, _) in forms.items() if files]
    if len(used) > 1:
        got = " and ".join(f"{len(forms[suffixes][0])} {'/'.join(suffixes)}" for suffixes in used)
        raise DataError(f"{source}: must hold predictions of one form, got {got}; move one of them elsewhere")
    document = None if used else _document(source, names)
    if document is not None:
        return open_masks(source / document, photos, images, classes)
    used = used or [suffixes for suffixes, (_, extra) in forms.items() if extra]
    if not used:
        raise DataError(f"{source}: must hold {WANTED}, got {describe_folder(source)}; name another folder")
    files, extra = forms[used[0]]
    check_complete(source, images, files, extra)
    if used[0] == SUFFIXES:
        return open_scores(source, images, files, extra, classes)
    legend = classes.legend()
    labels = {image: LabelFile(source / name, legend) for image, name in files.items()}
    return label_pictures("label PNGs", images, labels, extra)


def _document(source: Path, names: Sequence[str]) -> str | None:
    """Give the JSON among files, None if there is none."""
    found = [name for name in names if name.lower().endswith(".json")]
    if len(found) > 1:
        raise DataError(
            f"{source}: must hold one JSON of run lengths, got {len(found)} ({format_list(found)}); name it itself"
        )
    return found[0] if found else None


def _match(
    source: Path, names: Sequence[str], suffixes: tuple[str, ...], photos: Photos
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Give the files of these suffixes by image id, and those of no photo."""
    found = [name for name in names if name.lower().endswith(suffixes)]
    return match(source, ((name, photos.named(name[: name.rindex(".")])) for name in found))

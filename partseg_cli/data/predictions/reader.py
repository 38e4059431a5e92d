"""Label maps of pairs or of objects written by any model: recognised by content, checked, and read one at a time.

    label PNGs       <image>.png, 8 or 16 bits, grey or palette: value = index of the pair; 255, or 65535 in 16 bits, is
                     void, and so is the number of pairs, which is the background of published maps
    score stacks     <image>.npy or .npz, [K,h,w], or [K+1,h,w] with the background last
    run lengths      one JSON: COCO results, or a COCO set (see `predictions.run_lengths`)
    partseg export   --to png: labels.json, pairs/ and objects/, matched by name
    partseg predict  its folder: <image>_labels.png, and <image>.json with the classes, matched by name

<image> is the path of the image without its suffix, or its stem alone; both may be below the name of the split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from partseg_cli.data.predictions.label_maps import (
    LabelFile,
    ValueTable,
    find_predicted,
    is_export,
    open_export,
    open_label_files,
    open_predicted,
)
from partseg_cli.data.predictions.matching import (
    ImageFinder,
    PredictionClasses,
    Predictions,
    WantedImage,
    check_complete,
    find_wanted,
    list_files,
    match_files,
    object_classes,
    pair_classes,
)
from partseg_cli.data.predictions.run_lengths import open_run_lengths
from partseg_cli.data.predictions.scores import open_scores
from partseg_cli.data.record import RecordKey
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, format_list
from partseg_cli.io.files import describe_folder
from partseg_cli.vocabulary import Vocabulary

FORMS = "label PNGs, score stacks (NPY, NPZ), a JSON of run lengths, or what partseg predict or export --to png wrote"
PNGS, STACKS = (".png",), (".npy", ".npz")


def open_predictions(source: Path, store: Store, keys: Sequence[RecordKey]) -> Predictions:
    """Open predicted pairs; maps hold the index of the pair in the store's vocabulary.

    Args:
        source: Folder, or JSON file.
        store: Labelled images.
        keys: Records to be evaluated.

    Raises:
        DataError: An image lacks its prediction, or predictions break a rule.
    """
    return _open(source, store, find_wanted(store, keys), pair_classes(store.info))


def open_objects(source: Path, store: Store, vocabulary: Vocabulary, keys: Sequence[RecordKey]) -> Predictions:
    """Open predicted objects, whose values are indices into the store's objects, as in `open_predictions`.

    Maps hold the index of the object in `vocabulary`; objects without pairs are void.
    """
    return _open(source, store, find_wanted(store, keys), object_classes(store.info, vocabulary))


def _open(source: Path, store: Store, images: Sequence[WantedImage], classes: PredictionClasses) -> Predictions:
    """Recognise the form by the content of the folder."""
    finder = ImageFinder(images)
    if source.is_file() and source.suffix.lower() == ".json":
        return open_run_lengths(source, finder, images, classes)
    if not source.is_dir():
        raise DataError(f"{source}: must be a folder or a JSON file, got {describe_folder(source)}; check the path")
    if is_export(source):
        return open_export(source, store, images, classes)
    names = list_files(source)
    predicted = find_predicted(names)
    if predicted:
        return open_predicted(source, predicted, finder, images, classes)
    return _open_files(source, names, finder, images, classes)


def _open_files(
    source: Path, names: Sequence[str], finder: ImageFinder, images: Sequence[WantedImage], classes: PredictionClasses
) -> Predictions:
    """Open the one form of which the folder holds files of the images, else of any."""
    forms = {}
    for suffixes in (PNGS, STACKS):
        found = [name for name in names if name.lower().endswith(suffixes)]
        forms[suffixes] = match_files(source, ((name, finder.find(name[: name.rindex(".")])) for name in found))
    used = [suffixes for suffixes, (files, _) in forms.items() if files]
    if len(used) > 1:
        got = " and ".join(f"{len(forms[suffixes][0])} {'/'.join(suffixes)}" for suffixes in used)
        raise DataError(f"{source}: must hold predictions of one form, got {got}; move one of them elsewhere")
    documents = [name for name in names if name.lower().endswith(".json")]
    if documents and not used:
        if len(documents) > 1:
            got = f"{len(documents)} ({format_list(documents)})"
            raise DataError(f"{source}: must hold one JSON of run lengths, got {got}; name the file itself")
        return open_run_lengths(source / documents[0], finder, images, classes)
    used = used or [suffixes for suffixes, (_, extra) in forms.items() if extra]
    if not used:
        raise DataError(f"{source}: must hold {FORMS}, got {describe_folder(source)}; name another folder")
    files, extra = forms[used[0]]
    check_complete(source, images, files, extra)
    paths = {image_id: source / name for image_id, name in files.items()}
    if used[0] == STACKS:
        return open_scores(images, paths, extra, classes)
    table = ValueTable(classes.kind, classes.indices, has_background=True)
    labels = {image_id: LabelFile(path, table) for image_id, path in paths.items()}
    return open_label_files("label PNGs", images, labels, extra)

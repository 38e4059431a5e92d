"""`partseg predict`: photos and words -> masks, pictures and JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from partseg_cli.data.loading.transforms import image_to_tensor
from partseg_cli.data.manifest import load_manifest, manifest_names
from partseg_cli.data.rle import Mask
from partseg_cli.errors import DataError, PartsegError, VocabularyError
from partseg_cli.inference.protocols import pred_all
from partseg_cli.inference.query import Query, resolve
from partseg_cli.inference.query_terms import read_words
from partseg_cli.io.atomic import write_json
from partseg_cli.io.images import find_photos, open_photo
from partseg_cli.io.label_maps import palette, write_label_map, write_png
from partseg_cli.io.paths import create_run_dir, packaged_weights
from partseg_cli.models.builder import LoadedModel, load_model
from partseg_cli.models.checkpoints.checkpoint import checkpoint_file
from partseg_cli.models.checkpoints.resolver import BUNDLED, find_checkpoint
from partseg_cli.reports.overlay import colour, with_legend
from partseg_cli.runtime.devices import InferenceConfig, memory_watch
from partseg_cli.vocabulary import Pair, QueryTerm, Vocabulary

CARTOON_WARNING = "this model, nano, knows cartoon pictures, not photos"


@dataclass(frozen=True)
class Predictor:
    """A model and a question.

    Attributes:
        model: ready to segment.
        query: the words asked for and what competes with them.
        about: checkpoint and model, for the JSON.
    """

    model: LoadedModel
    query: Query
    about: dict[str, Any]

    @property
    def warning(self) -> str | None:
        """What the user must know of the weights, if anything."""
        warning: str | None = self.about["warning"]
        return warning


class InputImage(NamedTuple):
    """A photo that could be read."""

    path: Path
    picture: Image.Image


class Segmentation(NamedTuple):
    """What was found in a picture.

    Attributes:
        labels: position of each pixel's word, -1 = nothing.
        scores: of the words, in [0, 1].
    """

    labels: Int[Tensor, "H W"]
    scores: Float[Tensor, "H W"]


@dataclass(frozen=True)
class Prediction:
    """One photo, done or failed.

    Attributes:
        photo: as found.
        files: overlay, labels and JSON; empty if it failed.
        document: the content of the JSON.
        error: why it failed.
    """

    photo: Path
    files: tuple[Path, ...] = ()
    document: dict[str, Any] = field(default_factory=dict)
    error: PartsegError | None = None


def open_predictor(
    vocab: Sequence[str],
    *,
    checkpoint: Path | None = None,
    model: str | None = None,
    context: str = "auto",
    compute: InferenceConfig,
    log: Callable[[str], None] = lambda line: None,
) -> Predictor:
    """Read the words, find the weights, and resolve what is asked.

    Args:
        vocab: words, or files of them.
        checkpoint: a file or run folder.
        model: or the name of a checkpoint, see `find_checkpoint`; neither = what is on this machine, else the bundled
            model.
        context: "auto", "none", or a file of pairs: which parts compete silently.
        compute: how to run the model.
        log: Callback for one-line status messages.

    Raises:
        CheckpointError: the weights that are named are not there, or cannot be read.
        VocabularyError: the words are empty, doubled or unreadable, or the model has never seen them.
    """
    words = read_words(vocab)
    path = find_checkpoint(checkpoint, model, log)
    if path is None:
        log(f"no other weights on this machine: the bundled model {BUNDLED} is used")
        path = packaged_weights(BUNDLED)
    opened, known, about = _open(path, compute)
    others = [load_manifest(name).vocabulary for name in manifest_names()]
    query = resolve(words, known, others, _context(context))
    opened.check_words(query.vocabulary)
    return Predictor(opened, query, about)


def predict(predictor: Predictor, photos: Sequence[Path], out: Path | None = None) -> Iterator[Prediction]:
    """Predict photo after photo; a bad one is reported and the others go on.

    Args:
        predictor: model and question.
        photos: files, folders and patterns.
        out: folder for the results; default `runs/predict/photos-N`.
    """
    folder = out
    taken: set[str] = set()
    group: list[InputImage] = []
    for shot in _shots(photos):
        if isinstance(shot, InputImage):
            folder = folder or create_run_dir("predict", "photos")
            group.append(shot)
        if group and (isinstance(shot, Prediction) or len(group) == predictor.model.compute.batch):
            yield from _predict_group(predictor, group, folder, taken)
            group = []
        if isinstance(shot, Prediction):
            yield shot
    if group:
        yield from _predict_group(predictor, group, folder, taken)


def _shots(photos: Sequence[Path]) -> Iterator[InputImage | Prediction]:
    """Open each photo once; one that cannot be read becomes a failed prediction."""
    seen: set[str] = set()
    for path in photos:
        try:
            found = find_photos([path])
        except DataError as error:
            yield Prediction(path, error=error)
            continue
        for photo in found:
            place = os.path.abspath(photo)  # noqa: PTH100 - resolve() would follow links
            if place in seen:
                continue
            seen.add(place)
            try:
                yield InputImage(photo, open_photo(photo, upright=True))
            except DataError as error:
                yield Prediction(photo, error=error)


def _open(path: Path, compute: InferenceConfig) -> tuple[LoadedModel, Vocabulary, dict[str, Any]]:
    """Give a trained or imported model, the words that it knows, and what the JSON says of it."""
    opened, header = load_model(path, compute)
    about = {
        "checkpoint": str(checkpoint_file(path)),
        "model": header.model,
        "step": header.step,
        "licence": header.imported.get("licence"),
        "warning": CARTOON_WARNING if opened.section.backbone == BUNDLED else None,
    }
    return opened, header.vocabulary, about


def _context(text: str) -> str | Vocabulary:
    if text in {"auto", "none"}:
        return text
    return Vocabulary(tuple(_pair(word) for word in read_words([text])))


def _pair(word: QueryTerm) -> Pair:
    if word.object is None or word.part is None:
        raise VocabularyError(
            f'--context: a file of pairs such as "cat\'s ear" is wanted, got {word.text!r}; complete it'
        )
    return Pair(word.object, word.part)


def _free_name(stem: str, taken: set[str]) -> str:
    """Give the stem, or with a number where another photo has it already."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return name


def _predict_group(
    predictor: Predictor, shots: Sequence[InputImage], folder: Path | None, taken: set[str]
) -> Iterator[Prediction]:
    """Predict photos in one forward pass, decide and write one after the other."""
    for shot, (labels, scores) in zip(shots, segment(predictor, [shot.picture for shot in shots]), strict=True):
        yield _write(predictor, shot, labels, scores, (folder or Path()) / _free_name(shot.path.stem, taken))


def segment(predictor: Predictor, pictures: Sequence[Image.Image]) -> Iterator[Segmentation]:
    """Give labels and scores of pictures: one forward pass, then the decision for one after the other.

    Raises:
        OutOfMemoryError: the pass takes too much.
    """
    model, query = predictor.model, predictor.query
    with torch.inference_mode(), memory_watch("lower --batch or --prompt-chunk, or choose another --device"):
        images = torch.stack([image_to_tensor(picture, model.section.image_size) for picture in pictures])
        logits = model(images, query.vocabulary)
    for index, picture in enumerate(pictures):
        with torch.inference_mode():
            decision = pred_all(logits.image(index), query.vocabulary, (picture.height, picture.width))
            labels, scores = (plane.cpu() for plane in query.paint(decision))
        yield Segmentation(labels, scores)


def _write(
    predictor: Predictor, shot: InputImage, labels: Int[Tensor, "H W"], scores: Float[Tensor, "H W"], stem: Path
) -> Prediction:
    """Write one photo's files, whose names begin with `stem`."""
    query, path, photo = predictor.query, shot.path, shot.picture
    classes = tuple(_describe(word, position, labels, scores) for position, word in enumerate(query.words))
    files = tuple(stem.with_name(stem.name + suffix) for suffix in ("_overlay.png", "_labels.png", ".json"))
    colours = palette(len(query.words))
    entries = [(colours[row["index"]].tolist(), _legend(row)) for row in classes]
    write_png(files[0], with_legend(colour(photo, labels.numpy(), colours), entries, path.name))
    write_label_map(files[1], labels.numpy(), len(query.words))
    document = _document(predictor, path, photo.size, classes, labels)
    write_json(files[2], document)
    return Prediction(path, files, document)


def _describe(
    word: QueryTerm, position: int, labels: Int[Tensor, "H W"], scores: Float[Tensor, "H W"]
) -> dict[str, Any]:
    """Give one word's record: pixels, mean score over them (null without any), mask."""
    inside = labels == position
    area = int(inside.sum())
    mask = Mask.encode(inside.numpy())
    return {
        "index": position,
        "word": word.text,
        "object": word.object,
        "part": word.part,
        "area": area,
        "score": round(float(scores[inside].mean()), 6) if area else None,
        "bbox": list(mask.bbox),
        "rle": {"size": list(labels.shape), "counts": mask.rle},
    }


def _legend(row: dict[str, Any]) -> str:
    return f"{row['word']}  {row['score']:.2f}" if row["area"] else f"{row['word']}  (nowhere)"


def _document(
    predictor: Predictor,
    path: Path,
    size: tuple[int, int],
    classes: Sequence[dict[str, Any]],
    labels: Int[Tensor, "H W"],
) -> dict[str, Any]:
    query = predictor.query
    silent = [pair.name for pair, word in zip(query.vocabulary.pairs, query.word_of_pair, strict=True) if word < 0]
    return {
        "image": str(path),
        "width": size[0],
        "height": size[1],
        **predictor.about,
        "classes": list(classes),
        "nothing_area": int((labels < 0).sum()),
        "competing_silently": silent,
        "notes": list(query.notes),
    }

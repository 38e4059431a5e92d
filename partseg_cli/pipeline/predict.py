"""`partseg predict`: photos and words -> masks, pictures and JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn

from partseg_cli.data.images import find_photos, open_photo
from partseg_cli.data.manifest import load_manifest, manifest_names
from partseg_cli.data.rle import Mask
from partseg_cli.data.transforms import photo_tensor
from partseg_cli.devices import choose_device, memory_watch
from partseg_cli.errors import CheckpointError, DataError, PartsegError, VocabularyError
from partseg_cli.files import write_json
from partseg_cli.inference import pred_all
from partseg_cli.model.weights import build_model
from partseg_cli.overlay import colour, palette, save_labels, save_picture, with_legend
from partseg_cli.pipeline.evaluate import open_model
from partseg_cli.places import new_run
from partseg_cli.query import Query, resolve
from partseg_cli.recipe import load_recipe
from partseg_cli.training.checkpoint import checkpoint_file, read_header
from partseg_cli.vocabulary import Pair, Vocabulary, Word, read_words

CACHE = "~/.cache/partseg"
RANDOM_WARNING = "random weights: this picture means nothing"


@dataclass(frozen=True)
class Predictor:
    """A model and a question.

    Attributes:
        model: in evaluation mode.
        query: the words asked for and what competes with them.
        image_size: pixels, the square that the model reads.
        device: where to compute.
        about: checkpoint and model, for the JSON.
    """

    model: nn.Module
    query: Query
    image_size: int
    device: torch.device
    about: dict[str, Any]

    @property
    def is_random(self) -> bool:
        """Whether the weights were never trained."""
        return bool(self.about["random_weights"])


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
    context: str = "auto",
    allow_random: bool = False,
    device: str = "auto",
) -> Predictor:
    """Read the words, find the weights, and resolve what is asked.

    Args:
        vocab: words, or files of them.
        checkpoint: a file or run folder; None = what is on this machine.
        context: "auto", "none", or a file of pairs: which parts compete silently.
        allow_random: whether a tiny random model may stand in where there are no weights.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        CheckpointError: there are no weights.
        VocabularyError: the words are empty, doubled or unreadable.
    """
    words = read_words(vocab)
    where = choose_device(device)
    path = checkpoint or find_checkpoint(required=not allow_random)
    if path is None:
        model, known, header = _random_model(where)
    else:
        model, loaded = open_model(path, where)
        known = loaded.vocabulary
        header = {
            "checkpoint": str(checkpoint_file(path)),
            "model": loaded.model,
            "step": loaded.step,
            "random_weights": False,
        }
    others = [load_manifest(name).vocabulary for name in manifest_names()]
    query = resolve(words, known, others, _context(context))
    return Predictor(model, query, header["model"]["image_size"], where, header)


def predict(predictor: Predictor, photos: Sequence[Path], out: Path | None = None) -> Iterator[Prediction]:
    """Predict photo after photo; a bad one is reported and the others go on.

    Args:
        predictor: model and question.
        photos: files, folders and patterns.
        out: folder for the results; default `runs/predict/photos-N`.
    """
    seen: set[str] = set()
    taken: set[str] = set()
    folder = out
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
                picture = open_photo(photo, upright=True)
            except DataError as error:
                yield Prediction(photo, error=error)
                continue
            folder = folder or new_run("predict", "photos")
            yield _predict_one(predictor, photo, picture, folder / _free_name(photo.stem, taken))


def find_checkpoint(*, required: bool) -> Path | None:
    """Give the one checkpoint in `$PARTSEG_WEIGHTS` (a file, a run or a folder of files), else in the user's cache.

    Raises:
        CheckpointError: there are several to choose from, or none although one is `required`.
    """
    homes = [home for home in (os.environ.get("PARTSEG_WEIGHTS"), CACHE) if home]
    for home in homes:
        found = _checkpoints(Path(home).expanduser())
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise CheckpointError(f"{home}: holds several checkpoints ({names}); choose one with --checkpoint")
        if found:
            return found[0]
    if not required:
        return None
    raise CheckpointError(
        f"predict needs trained PartCLIPSeg weights, got none (looked in {', '.join(homes)}): train some "
        "with `partseg train recipes/pascal_zeroshot.yaml`, or in minutes with `partseg demo`, and pass --checkpoint "
        "RUN_FOLDER; --allow-random tries the command without any"
    )


def _checkpoints(home: Path) -> list[Path]:
    """List the checkpoints of this tool at `home`: itself, or those right in the folder."""
    found = []
    for path in [home, *sorted(home.glob("*.safetensors"))]:
        with suppress(CheckpointError):
            read_header(path)
            found.append(path)
            if path == home:
                break
    return found


def _random_model(device: torch.device) -> tuple[nn.Module, Vocabulary, dict[str, Any]]:
    """Give an untrained tiny model that knows Pascal-Part's words."""
    section = asdict(load_recipe("tiny").model)
    torch.manual_seed(0)
    model = build_model(**section).to(device).eval()
    header = {"checkpoint": None, "model": section, "step": 0, "random_weights": True}
    return model, load_manifest("pascal-part-116").vocabulary, header


def _context(text: str) -> str | Vocabulary:
    if text in {"auto", "none"}:
        return text
    return Vocabulary(tuple(_pair(word) for word in read_words([text])))


def _pair(word: Word) -> Pair:
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


def _predict_one(predictor: Predictor, path: Path, photo: Image.Image, stem: Path) -> Prediction:
    """Predict one photo and write its files, whose names begin with `stem`."""
    query = predictor.query
    with torch.inference_mode(), memory_watch("ask for fewer words, or choose another --device"):
        image = photo_tensor(photo, predictor.image_size)[None].to(predictor.device)
        decision = pred_all(predictor.model(image, query.vocabulary), query.vocabulary, (photo.height, photo.width))
        labels, scores = (plane.cpu() for plane in query.paint(decision))
    classes = tuple(_describe(word, position, labels, scores) for position, word in enumerate(query.words))
    files = tuple(stem.with_name(stem.name + suffix) for suffix in ("_overlay.png", "_labels.png", ".json"))
    colours = palette(len(query.words))
    entries = [(colours[row["index"]].tolist(), _legend(row)) for row in classes]
    title = RANDOM_WARNING if predictor.is_random else path.name
    save_picture(files[0], with_legend(colour(photo, labels.numpy(), colours), entries, title))
    save_labels(files[1], labels.numpy(), len(query.words))
    document = _document(predictor, path, photo.size, classes, labels)
    write_json(files[2], document)
    return Prediction(path, files, document)


def _describe(word: Word, position: int, labels: Int[Tensor, "H W"], scores: Float[Tensor, "H W"]) -> dict[str, Any]:
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

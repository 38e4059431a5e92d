"""Import of published weights: from a file of a known layout to a checkpoint for `predict` and `evaluate`."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from partseg_cli.errors import CheckpointError, UsageError
from partseg_cli.io.hashing import file_digest
from partseg_cli.models.builder import build_from_header
from partseg_cli.models.checkpoints.checkpoint import (
    CheckpointHeader,
    check_finite,
    load_checked,
    read_header,
    save_checkpoint,
)
from partseg_cli.models.checkpoints.hub import HUB_WEIGHTS, find_or_download
from partseg_cli.models.checkpoints.layouts import LAYOUTS, PublishedLayout, TensorMatch, match_tensors, recognise
from partseg_cli.models.checkpoints.readers import check_settings, read_published
from partseg_cli.models.clipseg.model import CLIPSeg
from partseg_cli.models.init_weights import init_clip, init_decoder
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Pair, Vocabulary

PARTIAL_SEED = 0
"""Seed of the random weights that replace missing ones with `--allow-partial`."""

WORDS = Vocabulary((Pair("cat", "ear"), Pair("cat", "tail"), Pair("dog", "ear")))
NUMBERS = 16
STRIDE = 7919
"""Stride of the stored reference logits: a prime of about 22 rows, so that they cover many rows, columns and channels.
"""
TOLERANCE = 1e-3
"""Of the largest magnitude: other machines and torch versions stay far below, another model is far above."""


@dataclass(frozen=True)
class ImportResult:
    """Result of an import.

    Attributes:
        path: Path of the checkpoint.
        sha256: SHA-256 of that file.
        header: Header of the checkpoint.
        match: Tensors of the published file, used and unused.
    """

    path: Path
    sha256: str
    header: CheckpointHeader
    match: TensorMatch

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        header = self.header
        return {
            "checkpoint": str(self.path),
            "sha256": self.sha256,
            "digest": header.digest,
            "model": header.model,
            "dataset": header.dataset,
            "step": header.step,
            **header.imported,
        }


def import_weights(
    path: Path,
    out: Path,
    *,
    dataset: str,
    vocabulary: Vocabulary,
    layout_name: str | None = None,
    allow_partial: bool = False,
) -> ImportResult:
    """Rename published weights, check them, and write a checkpoint.

    Args:
        path: Published file.
        out: Checkpoint to write.
        dataset: Name of the dataset that the weights were trained on.
        vocabulary: Vocabulary of that dataset.
        layout_name: Key of `LAYOUTS`; None recognises the layout by the names in the file.
        allow_partial: Whether random weights may replace missing or wrong ones.

    Raises:
        CheckpointError: The file is broken, of no known layout, does not fit, or holds NaN.
    """
    check_settings(path)
    published = read_published(path)
    recognised = recognise(published.tensors)
    layout = LAYOUTS[layout_name] if layout_name else recognised
    if layout is None:
        known = ", ".join(f"{layout.name} ({layout.prefix or 'no prefix'})" for layout in LAYOUTS.values())
        raise CheckpointError(
            f"{path}: must be of a known layout and prefix, {known}, got names such as "
            f"{next(iter(published.tensors))!r}; if it is one of them, remove what precedes its names"
        )
    with torch.device("meta"):
        model = build_from_header(layout.model)
    wanted = {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if layout.holds_clip or not name.startswith("clip.")
    }
    match = match_tensors(layout, published.tensors, wanted)
    _check_match(path, layout, match, recognised, allow_partial)
    left_out = {*match.ignored, *match.unknown}
    check_finite({name: value for name, value in published.tensors.items() if name not in left_out}, path)
    clip = None if layout.holds_clip else _load_clip(model, path)
    loaded = {name: value for name, value in model.state_dict().items() if not value.is_meta}
    load_checked(model, loaded | _random_weights(layout.model, match.missing) | match.tensors, path)
    size = layout.model["image_size"]
    golden = {"image_size": size, "words": [pair.name for pair in WORDS.pairs], "logits": reference_logits(model, size)}
    record = _origin(path, layout, match, clip) | {"golden": golden}
    recipe = f"import of {layout.name}"
    save_checkpoint(
        out, model, CheckpointHeader(layout.model, vocabulary, dataset, recipe, published.step, imported=record)
    )
    return ImportResult(out, file_digest(out), read_header(out), match)


def find_file(source: str) -> Path:
    """Return the weights file of a path, a folder that holds one, or the name of CLIPSeg's repository.

    Raises:
        CheckpointError: There is none, there are several, or it is already a checkpoint of this tool.
    """
    hub = HUB_WEIGHTS["rd64-refined"]
    path = Path(source).expanduser()
    if path.is_dir():
        path = _only_file(path, hub.files)
    elif not path.exists() and source == hub.repository:
        path = find_or_download(hub, f"the import of {source}")
    if not path.is_file():
        raise CheckpointError(f"{source}: no such file or folder; name a published file, or {hub.repository}")
    try:
        header = read_header(path)
    except CheckpointError:
        return path
    raise CheckpointError(
        f"{path}: is a checkpoint of this tool already ({header.recipe}); pass it to --checkpoint as it is"
    )


def _only_file(folder: Path, preferred: tuple[str, ...]) -> Path:
    for name in preferred:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for kind in ("pth", "pt", "bin", "safetensors") for path in folder.glob(f"*.{kind}"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(f"{folder}: must hold one file of weights, got {names}; name the file itself")
    return found[0]


def check_new_file(out: Path) -> None:
    """Check the path of a checkpoint to write.

    Raises:
        UsageError: It exists, or is no .safetensors file.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"--out must be a file that ends in .safetensors, got {out}")
    if out.exists() or out.is_symlink():
        raise UsageError(
            f"--out must be a new file, got {out}, which is there already; choose another name or remove it"
        )


def _check_match(
    path: Path, layout: PublishedLayout, match: TensorMatch, other: PublishedLayout | None, allow_partial: bool
) -> None:
    if not match.used:
        prefix = f", with the prefix {layout.prefix!r} or bare" if layout.prefix else ""
        looks = f"it looks like {other.name}" if other and other != layout else match.complaint()
        raise CheckpointError(
            f"{path}: must hold tensors of the layout {layout.name}{prefix}, got none that fits ({looks}); name its "
            "own layout with --as, or leave --as out"
        )
    if not match.is_whole and not allow_partial:
        raise CheckpointError(
            f"{path}: does not fit the layout {layout.name} ({match.complaint()}); get the file again, name its own "
            "layout with --as, or let random weights stand in with --allow-partial"
        )


def _load_clip(model: CLIPSeg, decoder: Path) -> Path:
    """Load OpenAI's CLIP in open_clip's layout into the encoders; return its file."""
    path = find_or_download(HUB_WEIGHTS["clip"], f"{decoder}: holds CLIPSeg's decoder alone and")
    check_settings(path)
    tensors = {name: value.float() for name, value in read_published(path).tensors.items()}
    load_checked(model.clip.clip, tensors, path)
    return path


def _random_weights(settings: dict[str, Any], names: list[str]) -> dict[str, Tensor]:
    """Draw the weights `names` of an untrained model, the same ones in each import."""
    if not names:
        return {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(PARTIAL_SEED)
        model = build_from_header(settings)
        init_clip(model.clip)
        init_decoder(model)
    state = model.state_dict()
    return {name: state[name] for name in names}


def _origin(path: Path, layout: PublishedLayout, match: TensorMatch, clip: Path | None) -> dict[str, Any]:
    """Return the record of the weights' origin that the header keeps."""
    record = {
        "format": layout.name,
        "file": path.name,
        "file_sha256": file_digest(path),
        "origin": layout.origin,
        "licence": layout.licence,
        "used": match.used,
        "ignored": dict(Counter(match.ignored.values())),
        "unknown": match.unknown,
        "wrong": match.wrong,
        "missing": match.missing,
    }
    return record if clip is None else record | {"clip": {"file": clip.name, "file_sha256": file_digest(clip)}}


def reference_image(size: int) -> Float[Tensor, "1 3 size size"]:
    """Return a smooth image of waves with values in [-2, 2]."""
    along = torch.arange(size, dtype=torch.float64) / size
    rows, columns = torch.meshgrid(along, along, indexing="ij")
    waves = [
        torch.sin(2 * math.pi * (turns * rows + columns)) + torch.cos(2 * math.pi * (turns * columns - rows))
        for turns in (1, 2, 3)
    ]
    return torch.stack(waves)[None].float()


def reference_logits(model: nn.Module, size: int) -> list[float]:
    """Compute a few logits, of pairs and objects, for an image and prompts that never change.

    The header of an imported checkpoint stores them, so that `partseg weights verify` can compare the model here with
    the one that imported it.
    """
    training = model.training
    model.eval()
    with torch.inference_mode():
        logits: Logits = model(reference_image(size), WORDS)
    model.train(training)
    planes = [logits.pairs] if logits.objects is None else [logits.pairs, logits.objects]
    values = torch.cat([plane.flatten() for plane in planes])
    channels = sum(plane.shape[1] for plane in planes)
    steps = torch.arange(NUMBERS)
    chosen = steps % channels * size * size + steps * STRIDE % (size * size)
    return [float(value) for value in values[chosen]]


def relative_error(expected: list[float], got: list[float]) -> float:
    """Return the largest difference relative to the largest magnitude."""
    largest = max(abs(value) for value in expected)
    return max(abs(a - b) for a, b in zip(expected, got, strict=True)) / max(largest, 1e-12)

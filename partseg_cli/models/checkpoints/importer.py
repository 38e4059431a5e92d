"""`partseg weights import`: a published file -> a checkpoint that `predict` and `evaluate` take."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from partseg_cli.config.recipe import model_to_header
from partseg_cli.config.sections import CLIPSegSection, ModelSection, PartCLIPSegSection
from partseg_cli.data.manifest import load_manifest
from partseg_cli.errors import CheckpointError, UsageError
from partseg_cli.models.builder import build_inference_config, build_model, load_model
from partseg_cli.models.checkpoints.checkpoint import Header, read_header, save_checkpoint
from partseg_cli.models.checkpoints.hub import SOURCES, find_weights
from partseg_cli.models.checkpoints.layouts import LAYOUTS, Layout, TensorMatch, match_tensors, recognise
from partseg_cli.models.checkpoints.pretrained import check_finite, init_pretrained, load_checked
from partseg_cli.models.checkpoints.readers import check_settings, read_published
from partseg_cli.models.checkpoints.reference_logits import golden_record
from partseg_cli.models.clipseg.model import CLIPSeg
from partseg_cli.runtime.devices import memory_watch
from partseg_cli.vocabulary import Vocabulary

CLIPSEG_LICENCE = "not MIT: the README of timojl/clipseg says that the MIT licence of its code excludes the weights"
CLIP_LICENCE = "OpenAI's CLIP, from a repository under MIT (openai/CLIP)"
PARTIAL_SEED = 0
"""Of the weights that stand in for missing ones with `--allow-partial`."""


@dataclass(frozen=True)
class Format:
    """What weights in a layout mean.

    Attributes:
        section: the model, with the switches that the weights were trained with.
        licence: its terms, in a line.
        origin: where such weights come from.
    """

    section: ModelSection
    licence: str
    origin: str


def _clipseg(background: str, *, visual_adapter: bool) -> CLIPSegSection:
    return CLIPSegSection(
        name="clipseg",
        backbone="ViT-B-16-quickgelu",
        init="rd64-refined",
        image_size=352,
        background_embedding=background,  # type: ignore[arg-type]
        trainable="published",
        visual_adapter=visual_adapter,
    )


FORMATS = {
    "partclipseg": Format(
        PartCLIPSegSection(
            name="partclipseg",
            backbone="ViT-B-16-quickgelu",
            init="rd64-refined",
            image_size=352,
            background_embedding="frozen",
            trainable="published",
            object_text_index="published",
        ),
        "terms not stated (the repository's code is MIT); derived from CLIPSeg's weights, which are not under MIT",
        "kaist-cvml/part-clipseg",
    ),
    "ovparts-clipseg": Format(
        _clipseg("frozen", visual_adapter=True),
        "none stated (the repository has no licence); derived from CLIPSeg's weights, which are not under MIT",
        "InternRobotics/OV_PARTS",
    ),
    "clipseg-rd64-refined": Format(
        _clipseg("none", visual_adapter=False), CLIPSEG_LICENCE, SOURCES["rd64-refined"].repository
    ),
    "timojl-clipseg": Format(
        _clipseg("none", visual_adapter=False), f"{CLIPSEG_LICENCE}; CLIP: {CLIP_LICENCE}", "timojl/clipseg"
    ),
}
"""Layout -> what its weights mean."""


@dataclass(frozen=True)
class Imported:
    """A finished import.

    Attributes:
        path: of the checkpoint.
        sha256: of that file.
        header: what the checkpoint says of itself.
        coverage: which tensors of the published file it is made of.
    """

    path: Path
    sha256: str
    header: Header
    coverage: TensorMatch

    def to_json(self) -> dict[str, Any]:
        """Give the report as plain values."""
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
    source: str, out: Path, *, layout: str | None = None, dataset: str = "pascal-part-116", allow_partial: bool = False
) -> Imported:
    """Bring published weights to our names, check them, and write a checkpoint.

    Args:
        source: a file, a folder that holds one, or `CIDAS/clipseg-rd64-refined`.
        out: a new .safetensors file.
        layout: name of the layout, None = told from the names in the file.
        dataset: whose words the weights were trained with.
        allow_partial: whether random weights may stand in for what is missing or wrong.

    Raises:
        CheckpointError: the file is broken, of no known layout, does not fit, or holds NaN.
        DataError: there is no such data set.
        UsageError: `out` is there already, or is no .safetensors file.
    """
    _check_out(out)
    vocabulary = load_manifest(dataset).vocabulary
    path = find_file(source)
    with memory_watch("import on a machine with more memory"):
        return _import(path, out, layout, (dataset, vocabulary), allow_partial)


def _import(path: Path, out: Path, name: str | None, words: tuple[str, Vocabulary], allow_partial: bool) -> Imported:
    check_settings(path)
    published = read_published(path)
    layout = _layout(path, published.tensors, name)
    section = FORMATS[layout.name].section
    with torch.device("meta"):
        model = build_model(section)
    coverage = match_tensors(layout, published.tensors, _wanted(model, layout))
    _check_coverage(path, layout, coverage, recognise(published.tensors), allow_partial)
    left_out = {*coverage.ignored, *coverage.unknown}
    check_finite({name: value for name, value in published.tensors.items() if name not in left_out}, path)
    clip = None if layout.holds_clip else _load_clip(model, path)
    rest = _random_rest(section, coverage.missing)
    loaded = {name: value for name, value in model.state_dict().items() if not value.is_meta}
    load_checked(model, loaded | rest | coverage.tensors, path)
    about = _record(path, layout, coverage, clip) | {"golden": golden_record(model, section.image_size)}
    recipe = f"import of {layout.name}"
    save_checkpoint(
        out, model, Header(model_to_header(section), words[1], words[0], recipe, published.step, imported=about)
    )
    return Imported(out, file_digest(out), read_header(out), coverage)


def _check_out(out: Path) -> None:
    if out.suffix != ".safetensors":
        raise UsageError(f"--out must be a file that ends in .safetensors, got {out}")
    if out.exists() or out.is_symlink():
        raise UsageError(
            f"--out must be a new file, got {out}, which is there already; choose another name or remove it"
        )


def find_file(source: str) -> Path:
    """Give the weights file that `source` means.

    Raises:
        CheckpointError: there is none, there are several, or it is a checkpoint of this tool already.
    """
    hub = SOURCES["rd64-refined"]
    path = Path(source).expanduser()
    if path.is_dir():
        path = _only_file(path)
    elif not path.exists() and source == hub.repository:
        path = find_weights(hub, f"the import of {source}")
    if not path.is_file():
        raise CheckpointError(f"{source}: no such file or folder; name a published file, or {hub.repository}")
    try:
        header = read_header(path)
    except CheckpointError:
        return path
    raise CheckpointError(
        f"{path}: is a checkpoint of this tool already ({header.recipe}); pass it to --checkpoint as it is"
    )


def _only_file(folder: Path) -> Path:
    for name in SOURCES["rd64-refined"].files:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for kind in ("pth", "pt", "bin", "safetensors") for path in folder.glob(f"*.{kind}"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(f"{folder}: must hold one file of weights, got {names}; name the file itself")
    return found[0]


def _layout(path: Path, tensors: Mapping[str, Tensor], name: str | None) -> Layout:
    layout = LAYOUTS[name] if name else recognise(tensors)
    if layout is None:
        known = ", ".join(f"{layout.name} ({layout.prefix or 'no prefix'})" for layout in LAYOUTS.values())
        raise CheckpointError(
            f"{path}: must be of a known layout and prefix, {known}, got names such as {next(iter(tensors))!r}; if it "
            "is one of them, take what stands before its names off"
        )
    return layout


def _wanted(model: CLIPSeg, layout: Layout) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if layout.holds_clip or not name.startswith("clip.")
    }


def _check_coverage(
    path: Path, layout: Layout, coverage: TensorMatch, other: Layout | None, allow_partial: bool
) -> None:
    if not coverage.used:
        prefix = f", with the prefix {layout.prefix!r} or bare" if layout.prefix else ""
        looks = f"it looks like {other.name}" if other and other != layout else coverage.complaint()
        raise CheckpointError(
            f"{path}: must hold tensors of the layout {layout.name}{prefix}, got none that fits ({looks}); name its "
            "own layout with --as, or leave --as out"
        )
    if not coverage.is_whole and not allow_partial:
        raise CheckpointError(
            f"{path}: does not fit the layout {layout.name} ({coverage.complaint()}); get the file again, name its own "
            "layout with --as, or let random weights stand in with --allow-partial"
        )


def _load_clip(model: CLIPSeg, decoder: Path) -> Path:
    """Fill the towers from OpenAI's CLIP in open_clip's layout, and give its file."""
    path = find_weights(SOURCES["clip"], f"{decoder}: holds CLIPSeg's decoder alone and")
    check_settings(path)
    tensors = {name: value.float() for name, value in read_published(path).tensors.items()}
    load_checked(model.clip.clip, tensors, path)
    return path


def _random_rest(section: ModelSection, missing: list[str]) -> dict[str, Tensor]:
    """Give what an untrained model has in place of missing tensors; the same in each import."""
    if not missing:
        return {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(PARTIAL_SEED)
        model = build_model(section)
        init_pretrained(model, "random", section.backbone)
    state = model.state_dict()
    return {name: state[name] for name in missing}


def _record(path: Path, layout: Layout, coverage: TensorMatch, clip: Path | None) -> dict[str, Any]:
    """Give what the header keeps of where the weights come from."""
    record = {
        "format": layout.name,
        "file": path.name,
        "file_sha256": file_digest(path),
        "origin": FORMATS[layout.name].origin,
        "licence": FORMATS[layout.name].licence,
        "used": coverage.used,
        "ignored": dict(Counter(coverage.ignored.values())),
        "unknown": coverage.unknown,
        "wrong": coverage.wrong,
        "missing": coverage.missing,
    }
    return record if clip is None else record | {"clip": {"file": clip.name, "file_sha256": file_digest(clip)}}


def pack(checkpoint: Path, out: Path) -> Path:
    """Write a checkpoint anew, its values in 16 bits.

    Raises:
        CheckpointError: as `load_model`.
        UsageError: `out` is there already, or is no .safetensors file.
    """
    _check_out(out)
    opened, header = load_model(checkpoint, build_inference_config("cpu"))
    save_checkpoint(out, opened.model, header, half=True)
    return out


def file_digest(path: Path) -> str:
    """Give the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Recipes: YAML files read into frozen dataclasses, every key known, typed and checked."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from partseg_cli.errors import RecipeError
from partseg_cli.places import packaged

Section = TypeVar("Section")


def number(at_least: float | None = None, above: float | None = None, at_most: float | None = None) -> Any:  # noqa: ANN401
    """Declare a key that holds a number with bounds."""
    return field(metadata={">=": at_least, ">": above, "<=": at_most})


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """What the model reads."""

    dataset: str
    root: str | None
    split: str
    shortest_edge: int | None = number(at_least=1)
    longest_edge: int = number(at_least=1)
    flip: float = number(at_least=0, at_most=1)
    train_channel_order: Literal["rgb", "bgr"]
    unlabelled_objects: Literal["background", "ignore"]
    workers: int = number(at_least=0)


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """What every model is built from; `name` decides which of the sections below it is."""

    name: str
    backbone: Literal["ViT-B-16-quickgelu", "tiny"]
    init: Literal["rd64-refined", "clip", "random"]
    image_size: int = number(at_least=32)
    background_embedding: str
    trained: Literal["published", "all"]


@dataclass(frozen=True, kw_only=True)
class PartCLIPSegSection(ModelSection):
    """What PartCLIPSeg is built from."""

    name: Literal["partclipseg"]
    background_embedding: Literal["frozen", "learned"]
    object_text_index: Literal["paper", "published"]


@dataclass(frozen=True, kw_only=True)
class CLIPSegSection(ModelSection):
    """What CLIPSeg is built from; the original has neither adapter nor background embedding, OV-PARTS has both."""

    name: Literal["clipseg"]
    background_embedding: Literal["frozen", "learned", "none"]
    visual_adapter: bool


@dataclass(frozen=True, kw_only=True)
class LossSection:
    """What training minimises."""

    lambda_obj: float = number(at_least=0)
    lambda_part: float = number(at_least=0)
    lambda_sep: float = number(at_least=0)
    lambda_enh: float = number(at_least=0)
    gamma: float = number(at_least=0, at_most=1)
    tau: float = number(above=0)
    background_weight: float = number(at_least=0)
    mask_mean: Literal["paper", "published"]
    separation: Literal["soft", "hard"]
    parts_per_object: Literal["own", "image"]
    loss_mean: Literal["image", "batch"]


@dataclass(frozen=True, kw_only=True)
class TrainSection:
    """How training runs."""

    seed: int = number(at_least=0)
    iterations: int = number(at_least=1)
    batch_size: int = number(at_least=1)
    micro_batch: int = number(at_least=1)
    lr: float = number(above=0)
    weight_decay: float = number(at_least=0)
    power: float = number(at_least=0)
    clip_norm: float = number(above=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    recompute_decoder: bool
    save_every: int = number(at_least=1)
    evaluate_every: int = number(at_least=0)
    select: Literal["last", "best"]


@dataclass(frozen=True)
class Recipe:
    """A whole recipe; `name` is its file's stem."""

    name: str
    data: DataSection
    model: ModelSection
    loss: LossSection
    train: TrainSection

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Give the sections as plain values."""
        return {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}

    def to_yaml(self) -> str:
        """Give a file that `load_recipe` reads as this recipe."""
        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False)
        return text


SECTIONS: dict[str, type] = {
    "data": DataSection,
    "model": PartCLIPSegSection,
    "loss": LossSection,
    "train": TrainSection,
}
MODELS: dict[str, type[ModelSection]] = {"partclipseg": PartCLIPSegSection, "clipseg": CLIPSegSection}


def find_recipe(name: str) -> Path:
    """Give the file called `name`, or the packaged recipe of that name.

    Raises:
        RecipeError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    candidate = packaged("recipes") / f"{path.stem}.yaml"
    if candidate.is_file() and str(path.parent) in {".", "recipes"}:
        return candidate
    known = sorted(file.stem for file in packaged("recipes").glob("*.yaml"))
    near = difflib.get_close_matches(path.stem, known, n=1) or known
    raise RecipeError(f"{name}: no such recipe; packaged are {', '.join(known)}: did you mean {near[0]}?")


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe and lay `section.key=value` overrides (YAML values) over it.

    Raises:
        RecipeError: an unknown or missing key, or a value outside its rule.
    """
    path = find_recipe(name)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: is not a readable YAML file ({' '.join(str(error).split())}); mend it") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: must hold the sections {', '.join(SECTIONS)}, got {raw!r}")
    for override in overrides:
        _override(raw, override)
    return parse_recipe(raw, path.stem, str(path))


def parse_recipe(raw: Mapping[str, Any], name: str, where: str) -> Recipe:
    """Check plain values and give the recipe; `where` opens each error message."""
    _check_keys(raw, SECTIONS, "", where)
    sections: dict[str, Any] = {
        key: check_model(raw[key], where) if key == "model" else _section(kind, raw[key], key, where)
        for key, kind in SECTIONS.items()
    }
    recipe = Recipe(name=name, **sections)
    train = recipe.train
    if train.batch_size % train.micro_batch:
        raise RecipeError(
            f"{where}: train.micro_batch must divide train.batch_size {train.batch_size}, got {train.micro_batch}"
        )
    if recipe.loss.loss_mean == "batch" and train.micro_batch != train.batch_size:
        raise RecipeError(
            f"{where}: loss.loss_mean batch pools the whole batch, so train.micro_batch must be "
            f"{train.batch_size}, got {train.micro_batch}"
        )
    if train.select == "best" and train.evaluate_every == 0:
        raise RecipeError(f"{where}: train.select best needs train.evaluate_every >= 1, got 0")
    return recipe


def check_model(raw: Any, where: str) -> ModelSection:  # noqa: ANN401 - whatever a file holds
    """Check a `model` section that stands alone, as in a checkpoint's header.

    Raises:
        RecipeError: as `load_recipe`.
    """
    name = raw.get("name") if isinstance(raw, dict) else None
    if isinstance(raw, dict) and "name" in raw and name not in list(MODELS):
        raise RecipeError(f"{where}: model.name must be one of {', '.join(MODELS)}, got {name!r}")
    return _section(MODELS.get(str(name), PartCLIPSegSection), raw, "model", where)


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    section, dot, name = key.partition(".")
    if not (equals and dot and section and name):
        raise RecipeError(f"override must read section.key=value, got {override!r}; for example train.lr=1e-4")
    if not isinstance(raw.setdefault(section, {}), dict):
        raise RecipeError(f"override {override!r}: {section} must be a section, got {raw[section]!r}")
    try:
        raw[section][name] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"override {override!r}: the value must be YAML, got {text!r}") from error


def _check_keys(raw: Mapping[str, Any], known: Iterable[str], prefix: str, where: str) -> None:
    known = list(known)
    for key in raw:
        if key not in known:
            guess = _guess(str(key), known, prefix)
            advice = f"did you mean {guess}?" if guess else f"known are {', '.join(known)}"
            raise RecipeError(f"{where}: unknown key {prefix}{key}; {advice}")
    for key in known:
        if key not in raw:
            raise RecipeError(f"{where}: needs the key {prefix}{key}; add it (recipes are complete)")


def _guess(key: str, known: list[str], prefix: str) -> str | None:
    """Give the key that was probably meant: the same one of another section, else the nearest here, else anywhere."""
    others = {section: kind for section, kind in SECTIONS.items() if f"{section}." != prefix}
    every = {name.name: section for section, kind in others.items() for name in fields(kind)}
    if key in every:
        return f"{every[key]}.{key}"
    for names in (known, list(every)):
        if near := difflib.get_close_matches(key, names, n=1):
            return prefix + near[0] if names is known else f"{every[near[0]]}.{near[0]}"
    return None


def _section(kind: type[Section], raw: Any, name: str, where: str) -> Section:  # noqa: ANN401 - whatever YAML holds
    if not isinstance(raw, dict):
        raise RecipeError(f"{where}: {name} must be a section of keys, got {raw!r}")
    keys = fields(kind)  # type: ignore[arg-type]
    _check_keys(raw, [key.name for key in keys], f"{name}.", where)
    hints = get_type_hints(kind)
    values = {
        key.name: _value(raw[key.name], hints[key.name], key.metadata, f"{where}: {name}.{key.name}") for key in keys
    }
    return kind(**values)


def _value(value: Any, hint: Any, bounds: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401
    """Check one value against its type and bounds."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise RecipeError(f"{where} must be one of {', '.join(get_args(hint))}, got {value!r}")
        return value
    kinds = get_args(hint) or (hint,)
    if value is None and NoneType in kinds:
        return None
    value = _number(value) if float in kinds else value
    if type(value) not in kinds:
        names = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
        raise RecipeError(f"{where} must be of type {names}, got {value!r}")
    _check_bounds(value, bounds, where)
    return value


def _number(value: Any) -> Any:  # noqa: ANN401
    """Read a float; PyYAML takes 1e-4 for text."""
    if isinstance(value, bool):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _check_bounds(value: Any, bounds: Mapping[str, Any], where: str) -> None:  # noqa: ANN401
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{where} must be finite, got {value:g}")
    holds = {">=": lambda a, b: a >= b, ">": lambda a, b: a > b, "<=": lambda a, b: a <= b}
    for sign, bound in bounds.items():
        if bound is not None and not holds[sign](value, bound):
            raise RecipeError(f"{where} must be {sign} {bound:g}, got {value:g}")

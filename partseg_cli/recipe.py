"""Recipes: YAML files read into frozen dataclasses, every key known, typed and checked."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from partseg_cli.errors import RecipeError
from partseg_cli.places import packaged
from partseg_cli.recipe_sections import (
    CaptionDataSection,
    ClipSection,
    CLIPSegLossSection,
    CLIPSegSection,
    ContrastSection,
    DataSection,
    LossSection,
    ModelSection,
    PartCLIPSegSection,
    PhraseDataSection,
    PhraseLossSection,
    PretrainSection,
    TrainSection,
)

Section = TypeVar("Section")


class AnyRecipe:
    """What all recipes share: a name, that of the file, and sections of plain values."""

    name: str
    task: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Give the sections as plain values, after the task where it is not the usual one."""
        sections = {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}
        return sections if self.task == "parts" else {"task": self.task, **sections}

    def to_yaml(self) -> str:
        """Give a file that `load_any_recipe` reads as this recipe."""
        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False)
        return text


@dataclass(frozen=True)
class Recipe(AnyRecipe):
    """How a model of object-specific parts is trained, and on what it is tested."""

    name: str
    data: DataSection
    model: ModelSection
    loss: LossSection | CLIPSegLossSection
    train: TrainSection
    task = "parts"


@dataclass(frozen=True)
class CaptionRecipe(AnyRecipe):
    """How a CLIP is trained on captioned views."""

    name: str
    data: CaptionDataSection
    model: ClipSection
    loss: ContrastSection
    train: PretrainSection
    task = "captions"


@dataclass(frozen=True)
class PhraseRecipe(AnyRecipe):
    """How a decoder is trained on phrases and masks, as CLIPSeg was on PhraseCut, before it sees any task."""

    name: str
    data: PhraseDataSection
    model: CLIPSegSection
    loss: PhraseLossSection
    train: PretrainSection
    task = "phrases"


SECTIONS = ("data", "model", "loss", "train")
TASKS: dict[str, type[Recipe] | type[CaptionRecipe] | type[PhraseRecipe]] = {
    kind.task: kind for kind in (Recipe, CaptionRecipe, PhraseRecipe)
}
"""What a recipe can be for; `task: parts` may be left out."""
USUAL: dict[str, type] = {"data": DataSection, "model": PartCLIPSegSection, "loss": LossSection, "train": TrainSection}
"""Among whose keys one that was misspelt is looked for."""
MODELS: dict[str, type[ModelSection]] = {"partclipseg": PartCLIPSegSection, "clipseg": CLIPSegSection}
LOSSES: dict[str, type[LossSection] | type[CLIPSegLossSection]] = {
    "partclipseg": LossSection,
    "clipseg": CLIPSegLossSection,
}


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
    """Read a recipe of object-specific parts, see `load_any_recipe`.

    Raises:
        RecipeError: also where it is of another task.
    """
    recipe = load_any_recipe(name, overrides)
    if not isinstance(recipe, Recipe):
        raise RecipeError(
            f"{name}: must train a model of parts, got task {recipe.task}; it is for `partseg train` alone"
        )
    return recipe


def load_any_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe | CaptionRecipe | PhraseRecipe:
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


def parse_recipe(raw: Mapping[str, Any], name: str, where: str) -> Recipe | CaptionRecipe | PhraseRecipe:
    """Check plain values and give the recipe; `where` opens each error message."""
    raw = dict(raw)
    task = raw.pop("task", "parts")
    if task not in list(TASKS):
        raise RecipeError(f"{where}: task must be one of {', '.join(TASKS)}, got {task!r}")
    kind = TASKS[task]
    _check_keys(raw, SECTIONS, "", where)
    kinds, sections = get_type_hints(kind), dict[str, Any]()
    if kind is Recipe:
        sections["model"] = check_model(raw["model"], where)
        kinds["loss"] = LOSSES[sections["model"].name]
    sections |= {key: _section(kinds[key], raw[key], key, where) for key in SECTIONS if key not in sections}
    recipe = kind(name=name, **sections)
    match recipe:
        case Recipe():
            _check_training(recipe, where)
        case CaptionRecipe():
            _check_captions(recipe, where)
    return recipe


def _check_captions(recipe: CaptionRecipe, where: str) -> None:
    """Check what several keys have to fulfil together."""
    data, loss = recipe.data, recipe.loss
    if data.objects + data.parts > 1:
        raise RecipeError(f"{where}: data.objects + data.parts must be <= 1, got {data.objects:g} + {data.parts:g}")
    if loss.scale > loss.max_scale:
        raise RecipeError(f"{where}: loss.scale must be <= loss.max_scale {loss.max_scale:g}, got {loss.scale:g}")


def _check_training(recipe: Recipe, where: str) -> None:
    """Check what several keys have to fulfil together."""
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
    others = {name: kind for name, kind in USUAL.items() if f"{name}." != prefix}
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
    if "choices" in bounds:
        return _choice(value, bounds["choices"], where)
    value = _number(value) if float in kinds else value
    if type(value) not in kinds:
        names = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
        raise RecipeError(f"{where} must be of type {names}, got {value!r}")
    _check_bounds(value, bounds, where)
    return value


def _choice(value: Any, choices: Sequence[str], where: str) -> str:  # noqa: ANN401
    """Check a value that is one of `choices`, or a path."""
    if isinstance(value, str) and (value in choices or "/" in value or value.endswith(".safetensors")):
        return value
    raise RecipeError(f"{where} must be one of {', '.join(choices)}, or the path of a checkpoint, got {value!r}")


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

"""Recipes: YAML files read into frozen dataclasses, every key known, typed and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import yaml

from partseg_cli.config.sections import (
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
from partseg_cli.config.values import check_keys, read_section
from partseg_cli.errors import RecipeError, did_you_mean, one_line
from partseg_cli.io.paths import packaged


class BaseRecipe:
    """Base of all recipes: the stem of the file as name, and sections of plain values."""

    name: str
    task: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the sections as plain values; `task` comes first unless it is the default."""
        sections = {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}
        return sections if self.task == "parts" else {"task": self.task, **sections}

    def to_yaml(self) -> str:
        """Return the YAML text from which `load_any_recipe` reads this recipe again."""
        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False)
        return text


@dataclass(frozen=True)
class Recipe(BaseRecipe):
    """Recipe of a model of object-specific parts."""

    name: str
    data: DataSection
    model: ModelSection
    loss: LossSection | CLIPSegLossSection
    train: TrainSection
    task = "parts"


@dataclass(frozen=True)
class CaptionRecipe(BaseRecipe):
    """Recipe of a CLIP trained on captioned views."""

    name: str
    data: CaptionDataSection
    model: ClipSection
    loss: ContrastSection
    train: PretrainSection
    task = "captions"


@dataclass(frozen=True)
class PhraseRecipe(BaseRecipe):
    """Recipe of a decoder pretrained on phrases and masks, as CLIPSeg was on PhraseCut."""

    name: str
    data: PhraseDataSection
    model: CLIPSegSection
    loss: PhraseLossSection
    train: PretrainSection
    task = "phrases"


AnyRecipe = Recipe | CaptionRecipe | PhraseRecipe
"""Recipe that `partseg train` accepts."""
SECTIONS = ("data", "model", "loss", "train")
TASKS: dict[str, type[Recipe] | type[CaptionRecipe] | type[PhraseRecipe]] = {
    kind.task: kind for kind in (Recipe, CaptionRecipe, PhraseRecipe)
}
"""Task to recipe; `task: parts` is the default."""
MODELS: dict[str, type[ModelSection]] = {"partclipseg": PartCLIPSegSection, "clipseg": CLIPSegSection}
LOSSES: dict[type[ModelSection], type[LossSection] | type[CLIPSegLossSection]] = {
    PartCLIPSegSection: LossSection,
    CLIPSegSection: CLIPSegLossSection,
}


def find_recipe(name: str) -> Path:
    """Return the path `name` if it is a file, else that of the packaged recipe of this name.

    Raises:
        RecipeError: Neither exists.
    """
    path = Path(name)
    if path.is_file():
        return path
    candidate = packaged("recipes") / f"{path.stem}.yaml"
    if candidate.is_file() and str(path.parent) in {".", "recipes"}:
        return candidate
    known = sorted(file.stem for file in packaged("recipes").glob("*.yaml"))
    advice = did_you_mean(path.stem, known, f"did you mean {known[0]}?")
    raise RecipeError(f"{name}: no such recipe; packaged are {', '.join(known)}: {advice}")


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """Load a recipe of object-specific parts, see `load_any_recipe`.

    Raises:
        RecipeError: As `load_any_recipe`, or the recipe is of another task.
    """
    recipe = load_any_recipe(name, overrides)
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{name}: must train a model of parts, got task {recipe.task}; use it with `partseg train`")
    return recipe


def load_any_recipe(name: str, overrides: Iterable[str] = ()) -> AnyRecipe:
    """Load a recipe and apply `section.key=value` overrides with YAML values.

    Raises:
        RecipeError: An unknown, renamed or missing key, or a value outside its bounds.
    """
    path = find_recipe(name)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: invalid YAML ({one_line(error)}); fix the file") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: must hold the sections {', '.join(SECTIONS)}, got {raw!r}")
    for override in overrides:
        _override(raw, override)
    return parse_recipe(raw, path.stem, str(path))


def parse_recipe(raw: Mapping[str, Any], name: str, where: str) -> AnyRecipe:
    """Return the recipe of plain values; `where` starts each error message."""
    raw = dict(raw)
    task = raw.pop("task", "parts")
    if task not in list(TASKS):
        raise RecipeError(f"{where}: task must be one of {', '.join(TASKS)}, got {task!r}")
    kind = TASKS[task]
    kinds = {name: hint for name, hint in get_type_hints(kind).items() if name in SECTIONS}
    if kind is Recipe:
        kinds["model"] = _model_kind(raw.get("model"), where)
        kinds["loss"] = LOSSES[kinds["model"]]
    check_keys(raw, SECTIONS, "", where, kinds)
    recipe = kind(name=name, **{key: read_section(kinds[key], raw[key], key, where, kinds) for key in SECTIONS})
    match recipe:
        case Recipe():
            _check_training(recipe, where)
        case CaptionRecipe():
            _check_captions(recipe, where)
    return recipe


def _check_captions(recipe: CaptionRecipe, where: str) -> None:
    """Check rules that involve several keys."""
    data, loss = recipe.data, recipe.loss
    if data.objects + data.parts > 1:
        raise RecipeError(f"{where}: data.objects + data.parts must be <= 1, got {data.objects:g} + {data.parts:g}")
    if loss.scale > loss.max_scale:
        raise RecipeError(f"{where}: loss.scale must be <= loss.max_scale {loss.max_scale:g}, got {loss.scale:g}")


def _check_training(recipe: Recipe, where: str) -> None:
    """Check rules that involve several keys."""
    train = recipe.train
    if train.batch_size % train.micro_batch_size:
        raise RecipeError(
            f"{where}: train.micro_batch_size must divide train.batch_size {train.batch_size}, "
            f"got {train.micro_batch_size}"
        )
    if recipe.loss.loss_mean == "batch" and train.micro_batch_size != train.batch_size:
        raise RecipeError(
            f"{where}: loss.loss_mean batch pools the whole batch, so train.micro_batch_size must be "
            f"{train.batch_size}, got {train.micro_batch_size}"
        )
    if train.select == "best" and train.eval_interval == 0:
        raise RecipeError(f"{where}: train.select best needs train.eval_interval >= 1, got 0")
    if recipe.data.cache == "features" and (recipe.data.flip > 0 or recipe.model.trainable == "all"):
        raise RecipeError(
            f"{where}: data.cache features needs a frozen image encoder and images without random flips: data.flip 0 "
            f"and model.trainable published or decoder, got {recipe.data.flip:g} and {recipe.model.trainable}"
        )


def model_to_header(model: ModelSection | ClipSection) -> dict[str, Any]:
    """Return a `model` section as checkpoints store it: `trainable` keeps its first name, `trained`."""
    return {"trained" if key == "trainable" else key: value for key, value in dataclasses.asdict(model).items()}


def _model_kind(raw: Any, where: str) -> type[ModelSection]:  # noqa: ANN401 - whatever a file holds
    """Return the dataclass for a `model` section by its name; PartCLIPSeg if absent, which is reported later."""
    if not isinstance(raw, dict) or "name" not in raw:
        return PartCLIPSegSection
    if raw["name"] not in list(MODELS):
        raise RecipeError(f"{where}: model.name must be one of {', '.join(MODELS)}, got {raw['name']!r}")
    return MODELS[raw["name"]]


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

"""Recipes: YAML files read into frozen dataclasses, every key known, typed and checked."""

from __future__ import annotations

import dataclasses
import difflib
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
from partseg_cli.errors import RecipeError
from partseg_cli.io.paths import packaged


class BaseRecipe:
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
class Recipe(BaseRecipe):
    """How a model of object-specific parts is trained, and on what it is tested."""

    name: str
    data: DataSection
    model: ModelSection
    loss: LossSection | CLIPSegLossSection
    train: TrainSection
    task = "parts"


@dataclass(frozen=True)
class CaptionRecipe(BaseRecipe):
    """How a CLIP is trained on captioned views."""

    name: str
    data: CaptionDataSection
    model: ClipSection
    loss: ContrastSection
    train: PretrainSection
    task = "captions"


@dataclass(frozen=True)
class PhraseRecipe(BaseRecipe):
    """How a decoder is trained on phrases and masks, as CLIPSeg was on PhraseCut, before it sees any task."""

    name: str
    data: PhraseDataSection
    model: CLIPSegSection
    loss: PhraseLossSection
    train: PretrainSection
    task = "phrases"


AnyRecipe = Recipe | CaptionRecipe | PhraseRecipe
"""What `partseg train` takes."""
SECTIONS = ("data", "model", "loss", "train")
TASKS: dict[str, type[Recipe] | type[CaptionRecipe] | type[PhraseRecipe]] = {
    kind.task: kind for kind in (Recipe, CaptionRecipe, PhraseRecipe)
}
"""What a recipe can be for; `task: parts` may be left out."""
MODELS: dict[str, type[ModelSection]] = {"partclipseg": PartCLIPSegSection, "clipseg": CLIPSegSection}
LOSSES: dict[type[ModelSection], type[LossSection] | type[CLIPSegLossSection]] = {
    PartCLIPSegSection: LossSection,
    CLIPSegSection: CLIPSegLossSection,
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


def load_any_recipe(name: str, overrides: Iterable[str] = ()) -> AnyRecipe:
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


def parse_recipe(raw: Mapping[str, Any], name: str, where: str) -> AnyRecipe:
    """Check plain values and give the recipe; `where` opens each error message."""
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
    if recipe.data.cache == "taps" and (recipe.data.flip > 0 or recipe.model.trained == "all"):
        raise RecipeError(
            f"{where}: data.cache taps needs a frozen image tower that sees a photo always alike: data.flip 0 and "
            f"model.trained published or decoder, got {recipe.data.flip:g} and {recipe.model.trained}"
        )


def check_model(raw: Any, where: str) -> ModelSection:  # noqa: ANN401 - whatever a file holds
    """Check a `model` section that stands alone, as in a checkpoint's header.

    Raises:
        RecipeError: as `load_recipe`.
    """
    return read_section(_model_kind(raw, where), raw, "model", where, {})


def _model_kind(raw: Any, where: str) -> type[ModelSection]:  # noqa: ANN401 - whatever a file holds
    """Give the type of a `model` section by its name; the usual one where it has none, which is said later."""
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

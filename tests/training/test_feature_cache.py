"""Feature cache: the same losses, and the image encoder runs once per image."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from command_line import tiny

from partseg_cli.config.recipe import load_recipe
from partseg_cli.data.resolver import open_data
from partseg_cli.errors import RecipeError
from partseg_cli.models.builder import init_model
from partseg_cli.models.clip.model import Clip
from partseg_cli.pipeline.train import TrainOptions, train
from partseg_cli.pipeline.train_setup import build_part_dataset, open_feature_cache

STEPS = 2


@pytest.fixture
def settings(trained, tmp_path, monkeypatch) -> list[str]:
    """More images than there are, so that some are seen again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    steps = (f"train.iterations={STEPS}", "train.batch_size=8", "train.micro_batch_size=1")
    return [*tiny(trained.data), *steps, "data.flip=0", "model.image_size=32"]


def losses(settings: list[str], out: Path, cache: str) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []
    options = TrainOptions(out=out, device="cpu", on_step=lambda step: found.append(step.losses))
    train(load_recipe("tiny", [*settings, f"data.cache={cache}"]), options)
    return found


@pytest.mark.training
def test_cached_features_and_images_give_the_same_losses_and_the_encoder_runs_once_per_image(
    settings, tmp_path, monkeypatch
):
    plain = losses(settings, tmp_path / "a", "none")
    seen, tower = [], Clip.image_tokens
    monkeypatch.setattr("partseg_cli.pipeline.train.write_training_page", lambda *args, **kwargs: None)

    def counted(self: Clip, images: torch.Tensor) -> list[torch.Tensor]:
        seen.append(len(images))
        return tower(self, images)

    monkeypatch.setattr(Clip, "image_tokens", counted)
    assert losses(settings, tmp_path / "b", "features") == plain
    first = sum(seen)
    assert first < STEPS * 8
    assert losses(settings, tmp_path / "c", "features") == plain
    assert sum(seen) == first
    assert losses(settings, tmp_path / "d", "images") == plain


def test_other_weights_have_a_cache_of_their_own(settings):
    recipe = load_recipe("tiny", settings)
    store, split = open_data(recipe.data.dataset, root=recipe.data.root, split=recipe.data.split)
    samples = build_part_dataset(recipe, store, split)
    names = set()
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        names.add(open_feature_cache(init_model(**asdict(recipe.model)).clip, samples, "fp32").file.path.name)
    assert len(names) == 2


@pytest.mark.parametrize(
    ("overrides", "got"), [(["data.flip=0.5"], "0.5 and published"), (["model.trainable=all"], "0 and all")]
)
def test_a_tower_that_may_change_or_see_a_photo_otherwise_is_refused(settings, overrides, got):
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny", [*settings, *overrides, "data.cache=features"])
    assert str(caught.value).endswith(
        "data.cache features needs a frozen image encoder and images without random flips: data.flip 0 and "
        f"model.trainable published or decoder, got {got}"
    )

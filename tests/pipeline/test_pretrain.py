"""The three steps to the bundled model, from the command line: captions, phrases, parts, each from the one before."""

import math

import pytest

from partseg_cli.models.checkpoints.checkpoint import checkpoint_file, load_checkpoint

pytestmark = pytest.mark.training

SHORT = ("train.iterations=2", "train.save_interval=1", "train.precision=fp32")


@pytest.fixture(scope="module")
def chain(cartoon_store, tmp_path_factory):
    """Run folders of two steps each, and the tensors that they ended with."""
    from partseg_cli.config.recipe import load_any_recipe
    from partseg_cli.pipeline.train import TrainOptions, train

    folder, root = tmp_path_factory.mktemp("chain"), f"data.root={cartoon_store.folder}"
    steps = (
        ("nano_clip", [*SHORT, "train.batch_size=4"]),
        ("nano_start", [*SHORT, "train.batch_size=2", f"model.init={folder / 'nano_clip'}"]),
        ("cartoon", [*SHORT[:2], "train.batch_size=1", f"model.init={folder / 'nano_start'}"]),
    )
    ended = {}
    for name, overrides in steps:
        losses = []
        done = train(
            load_any_recipe(name, [root, *overrides]),
            TrainOptions(
                out=folder / name,
                device="cpu",
                on_step=lambda step, losses=losses: losses.append(step.losses["total"]),
            ),
        )
        ended[name] = (folder / name, load_checkpoint(checkpoint_file(done.folder))[1], losses)
    return ended


def test_every_step_has_a_finite_loss(chain):
    for _, _, losses in chain.values():
        assert len(losses) == 2
        assert all(math.isfinite(loss) for loss in losses)


def test_the_clip_stays_as_captions_made_it(chain):
    _, clip, _ = chain["nano_clip"]
    for name in ("nano_start", "cartoon"):
        tensors = chain[name][1]
        shared = [key for key in tensors if key.startswith("clip.") and key in clip]
        assert len(shared) > 50
        assert all(tensors[key].equal(clip[key]) for key in shared)


def test_parts_start_from_the_decoder_that_phrases_made(chain):
    start, parts = chain["nano_start"][1], chain["cartoon"][1]
    shared = [key for key in start if key.startswith("decoder.") and key in parts]
    assert shared
    furthest = max(float((start[key] - parts[key]).abs().max()) for key in shared)
    assert 0 < furthest < 0.01  # two steps of AdamW at a learning rate of 1e-3


def test_captions_need_the_size_that_the_backbone_has(partseg, cartoon_store, tmp_path):
    ended = partseg(
        "train", "nano_clip", f"data.root={cartoon_store.folder}", "model.image_size=64", "--out", tmp_path / "run"
    )
    assert ended.code == 2
    assert "model.image_size must be that of nano, 96, got 64" in " ".join(ended.err.split())
    assert not (tmp_path / "run").exists()


def test_a_start_that_is_not_there_ends_the_command(partseg, cartoon_store, tmp_path):
    nowhere = tmp_path / "nowhere"
    ended = partseg(
        "train", "nano_start", f"data.root={cartoon_store.folder}", f"model.init={nowhere}", "--out", tmp_path / "run"
    )
    assert ended.code == 4
    assert nowhere.name in " ".join(ended.err.split())
    assert not (tmp_path / "run").exists()

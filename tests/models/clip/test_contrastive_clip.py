"""CLIP as it is trained: unit vectors of images and captions, a bounded temperature, patches left out in training."""

import pytest
import torch
import torch.nn.functional as F

from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.clip.contrastive import ContrastiveClip, contrastive_loss
from partseg_cli.models.clipseg.model import CLIPSeg

IMAGES = torch.linspace(-2, 2, 2 * 3 * 96 * 96).reshape(2, 3, 96, 96).sin()
CAPTIONS = ("cat", "cat and dog", "license plate")


def contrastive(backbone: str = "nano", **changes: float) -> ContrastiveClip:
    torch.manual_seed(0)
    return ContrastiveClip(BACKBONES[backbone], **({"drop_tokens": 0.65, "scale": 14.3, "max_scale": 100.0} | changes))


@pytest.mark.parametrize("backbone", ["nano", "tiny"])
def test_images_and_captions_get_unit_vectors_in_one_space(backbone):
    with torch.no_grad():
        images, texts = contrastive(backbone).eval()(IMAGES, CAPTIONS)
    assert images.shape == (2, BACKBONES[backbone].open_clip["embed_dim"])
    assert texts.shape == (3, BACKBONES[backbone].open_clip["embed_dim"])
    torch.testing.assert_close(images.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(3))
    assert not torch.allclose(texts[0], texts[1])
    assert not torch.allclose(images[0], images[1])


def test_the_image_vector_is_that_of_open_clip():
    model = contrastive().eval()
    with torch.no_grad():
        expected = F.normalize(model.clip.clip.encode_image(IMAGES), dim=-1)
        torch.testing.assert_close(model.clip.image_embeddings(IMAGES), expected)


def test_the_text_vector_is_that_of_clipseg_normalised():
    model = contrastive().eval()
    with torch.no_grad():
        torch.testing.assert_close(
            model.text_embeddings(CAPTIONS), F.normalize(model.clip.text_embeddings(CAPTIONS), dim=-1)
        )


def test_a_vector_does_not_depend_on_what_else_is_in_the_batch():
    model = contrastive().eval()
    with torch.no_grad():
        images, texts = model(IMAGES, CAPTIONS)
        one, text = model(IMAGES[1:], CAPTIONS[2:])
    torch.testing.assert_close(one, images[1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(text, texts[2:], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("scale", "expected"), [(14.3, 14.3), (100.0, 100.0), (250.0, 100.0)])
def test_the_temperature_starts_as_asked_and_has_a_limit(scale, expected):
    assert contrastive(scale=scale).scale.item() == pytest.approx(expected, rel=1e-5)


def test_a_small_start_of_the_temperature_leaves_other_weights_as_drawn():
    one, other = contrastive(scale=14.3).state_dict(), contrastive(scale=2.0).state_dict()
    assert {name for name in one if not torch.equal(one[name], other[name])} == {"clip.clip.logit_scale"}


# ---- patches left out


def test_patches_are_left_out_anew_in_training_mode_and_never_in_evaluation():
    model = contrastive()
    with torch.no_grad():
        trained = [model.train().clip.image_embeddings(IMAGES) for _ in range(2)]
        evaluated = [model.eval().clip.image_embeddings(IMAGES) for _ in range(2)]
        whole = contrastive(drop_tokens=0).train().clip.image_embeddings(IMAGES)
    assert not torch.allclose(trained[0], trained[1])
    assert torch.equal(evaluated[0], evaluated[1])
    torch.testing.assert_close(evaluated[0], whole)


@pytest.mark.parametrize(("share", "kept"), [(0.0, 144), (0.65, 50), (0.95, 7)])
def test_the_share_of_patches_is_left_out(share, kept):
    model, lengths = contrastive(drop_tokens=share), []
    model.clip.clip.visual.transformer.register_forward_hook(lambda module, given, out: lengths.append(given[0].shape))
    with torch.no_grad():
        model.train().clip.image_embeddings(IMAGES)
        model.eval().clip.image_embeddings(IMAGES)
    assert [shape[1] for shape in lengths] == [1 + kept, 1 + 144]


@pytest.mark.parametrize("is_training", [True, False])
def test_patch_tokens_are_always_whole(is_training):
    """They are what a decoder reads, and have places."""
    clip = contrastive().train(is_training).clip
    with torch.no_grad():
        first, second = clip.image_tokens(IMAGES), clip.image_tokens(IMAGES)
    assert [tokens.shape for tokens in first] == [(2, 1 + 144, 160)] * 3
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


# ---- training


def test_every_weight_that_is_read_has_a_gradient():
    model = contrastive(drop_tokens=0.5).train()
    images, texts = model(IMAGES, CAPTIONS)
    truth = torch.tensor([[True, False, False], [False, True, True]])
    contrastive_loss(images, texts, truth, model.scale).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_beyond_its_limit_the_temperature_is_not_trained():
    model = contrastive(scale=250.0)
    (gradient,) = torch.autograd.grad(model.scale, model.clip.clip.logit_scale)
    assert gradient == 0


def test_a_few_steps_tell_two_images_apart():
    model = contrastive(drop_tokens=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        images, texts = model(IMAGES, CAPTIONS[:2])
        loss = contrastive_loss(images, texts, torch.eye(2, dtype=torch.bool), model.scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_weights_have_the_names_that_they_have_in_clipseg():
    clipseg = CLIPSeg(BACKBONES["nano"], visual_adapter=False, background_embedding="none", trainable="decoder")
    state = clipseg.state_dict()
    ours = {name: value.shape for name, value in contrastive().state_dict().items()}
    assert ours == {name: value.shape for name, value in state.items() if name.startswith("clip.")}

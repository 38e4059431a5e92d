"""Loading published starts from files in the exact published layout."""

from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from partseg_cli.errors import CheckpointError
from partseg_cli.model.published import from_published
from partseg_cli.model.weights import build_model
from partseg_cli.recipe import load_recipe


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A weights folder with CIDAS/clipseg-rd64-refined as Hugging Face's own code writes it, values at random."""
    transformers = pytest.importorskip("transformers", reason="transformers writes the published layout")
    vision = {"patch_size": 16, "image_size": 224}
    config = transformers.CLIPSegConfig(
        vision_config=vision, reduce_dim=64, use_complex_transposed_convolution=True, extract_layers=[3, 6, 9]
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    transformers.CLIPSegForImageSegmentation(config).save_pretrained(folder / "clipseg-rd64-refined")
    return folder


def test_clipseg_weights_start_a_run_and_the_second_stage_copies_the_first(home, monkeypatch):
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(home))
    model = build_model(**asdict(load_recipe("pascal_zeroshot").model))
    given = from_published(load_file(home / "clipseg-rd64-refined/model.safetensors"))
    state = model.state_dict()
    for name, tensor in given.items():
        assert torch.equal(state[name], tensor), name
    for first, second in (("decoder.film.", "pair_film."), ("guidance_head.", "pair_head.")):
        copied = [name for name in state if name.startswith(first)]
        assert copied
        for name in copied:
            assert torch.equal(state[name], state[name.replace(first, second)]), name


def test_weights_cut_off_are_refused(home, monkeypatch, tmp_path):
    whole = home / "clipseg-rd64-refined/model.safetensors"
    cut = tmp_path / "clipseg-rd64-refined/model.safetensors"
    cut.parent.mkdir()
    cut.write_bytes(whole.read_bytes()[:1_000_000])
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(tmp_path))
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: is not a whole safetensors file \(.+\); download it"
    ):
        build_model(**asdict(load_recipe("pascal_zeroshot").model))


def test_weights_without_a_tensor_are_refused(home, monkeypatch, tmp_path):
    tensors = load_file(home / "clipseg-rd64-refined/model.safetensors")
    del tensors["decoder.reduces.1.weight"]
    path = tmp_path / "clipseg-rd64-refined/model.safetensors"
    path.parent.mkdir()
    save_file(tensors, path)
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"decoder\.reduces\.1\.weight must be \(64, 768\), got nothing; these"):
        build_model(**asdict(load_recipe("pascal_zeroshot").model))


def test_published_weights_do_not_fit_the_tiny_backbone():
    section = asdict(load_recipe("tiny").model) | {"init": "rd64-refined"}
    with pytest.raises(CheckpointError, match=r"^model\.init: rd64-refined fits ViT-B-16-quickgelu, got tiny; choose"):
        build_model(**section)

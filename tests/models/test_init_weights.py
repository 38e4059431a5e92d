"""What a training starts from: files in the exact published layouts, or a refusal that names the other starts."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import open_clip
import published_files
import pytest
import torch
from safetensors.torch import save_file

from partseg_cli.config.recipe import CLIPSegSection, load_recipe
from partseg_cli.errors import CheckpointError
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.builder import build_from_header, init_model
from partseg_cli.models.checkpoints.importer import reference_image
from partseg_cli.models.checkpoints.layouts import LAYOUTS
from partseg_cli.models.clipseg.model import CLIPSeg
from partseg_cli.models.init_weights import find_start
from partseg_cli.vocabulary import Pair, Vocabulary

PASCAL = load_recipe("pascal_zeroshot").model
CLIPSEG = CLIPSegSection(
    **{"trainable" if k == "trained" else k: v for k, v in LAYOUTS["clipseg-rd64-refined"].model.items()}
)
CLIPSEG_FILE = "clipseg-rd64-refined/model.safetensors"
CLIP_FILE = "vit_base_patch16_clip_224.openai/open_clip_model.safetensors"


@pytest.fixture
def home(monkeypatch, tmp_path):
    """$PARTSEG_WEIGHTS without a file; the user's and the Hugging Face cache are empty."""
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("partseg_cli.models.checkpoints.hub.try_to_load_from_cache", lambda *_: None)
    yield tmp_path
    published_files.remove_large(tmp_path)


@pytest.fixture
def published(home, monkeypatch):
    """CLIPSeg's and CLIP's files in `home`, values drawn; all models are small: the same names, fewer numbers."""
    monkeypatch.setitem(BACKBONES, "ViT-B-16-quickgelu", BACKBONES["tiny"])
    torch.manual_seed(0)
    drawn = build_from_header(LAYOUTS["clipseg-rd64-refined"].model)
    write(home / CLIPSEG_FILE, published_files.huggingface(drawn.state_dict()))
    write(home / CLIP_FILE, published_files.open_clip(drawn.state_dict()))
    return drawn


def write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def differing(model: CLIPSeg, drawn: CLIPSeg) -> set[str]:
    """Give the first words of the names whose values are not the file's."""
    state, file = model.state_dict(), drawn.state_dict()
    return {name.split(".")[0] for name in state if name not in file or not torch.equal(state[name], file[name])}


def test_clipseg_weights_start_a_run_and_the_second_stage_copies_the_first(published):
    model = init_model(**asdict(PASCAL))
    state = model.state_dict()
    fresh = {"background", "visual_adapter", "compose", "compose_text", "pair_film", "pair_head"}
    assert differing(model, published) == fresh
    for first, second in (("decoder.film.", "pair_film."), ("head.", "pair_head.")):
        copied = [name for name in state if name.startswith(first)]
        assert copied
        for name in copied:
            assert torch.equal(state[name], state[name.replace(first, second)]), name


def test_clip_weights_start_a_run_by_choice(published):
    model = init_model(**asdict(replace(PASCAL, init="clip")))
    assert "clip" not in differing(model, published)
    assert {"decoder", "head"} <= differing(model, published)


def test_clipseg_itself_starts_whole(published):
    assert differing(init_model(**asdict(CLIPSEG)), published) == set()


def test_half_precision_and_a_bin_start_a_run(published, home):
    halves = {name: value.half() for name, value in published_files.huggingface(published.state_dict()).items()}
    (home / CLIPSEG_FILE).unlink()
    torch.save(halves, home / "clipseg-rd64-refined/pytorch_model.bin")
    state, drawn = init_model(**asdict(CLIPSEG)).state_dict(), published.state_dict()
    assert all(value.dtype == torch.float32 for value in state.values())
    assert all(torch.allclose(state[name], drawn[name], rtol=1e-3, atol=1e-6) for name in state)


def test_an_absent_start_names_the_others(home):
    messages = {}
    for init in ("rd64-refined", "clip"):
        with pytest.raises(CheckpointError) as caught:
            find_start(init)
        messages[init] = str(caught.value)
    assert messages["rd64-refined"] == (
        "model.init: rd64-refined needs model.safetensors or pytorch_model.bin of CIDAS/clipseg-rd64-refined, not "
        f"found in {home}/clipseg-rd64-refined, {home}/cache/partseg/clipseg-rd64-refined, the Hugging Face cache or "
        "the hub (HF_HUB_OFFLINE is set); run `hf download CIDAS/clipseg-rd64-refined` where there is a network and "
        "copy the files to $PARTSEG_WEIGHTS/clipseg-rd64-refined, or choose model.init=clip or model.init=random"
    )
    assert messages["clip"].endswith(", or choose model.init=rd64-refined or model.init=random")


@pytest.mark.parametrize(("init", "file"), [("rd64-refined", CLIPSEG_FILE), ("clip", CLIP_FILE)])
def test_an_absent_start_is_no_silent_fall_back(published, home, init, file):
    (home / file).unlink()
    with pytest.raises(CheckpointError, match=rf"^model\.init: {init} needs "):
        init_model(**asdict(replace(PASCAL, init=init)))


def test_weights_cut_off_are_refused(published, home):
    whole = (home / CLIPSEG_FILE).read_bytes()
    (home / CLIPSEG_FILE).write_bytes(whole[:1_000_000])
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: is not a whole safetensors file \(.+\); download it"
    ):
        init_model(**asdict(PASCAL))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"decoder.reduces.1.weight": None}, "1 missing: decoder.reduces.1.weight"),
        ({"visual_adapter.fc.0.weight": torch.ones(2, 2)}, "1 unknown: visual_adapter.fc.0.weight"),
    ],
)
def test_weights_of_another_model_are_refused(published, home, change, what):
    tensors = published_files.huggingface(published.state_dict()) | change
    write(home / CLIPSEG_FILE, {name: value for name, value in tensors.items() if value is not None})
    with pytest.raises(CheckpointError) as caught:
        init_model(**asdict(PASCAL))
    assert str(caught.value) == f"{home}/{CLIPSEG_FILE}: is no clipseg-rd64-refined ({what}); download it again"


def test_a_start_that_is_not_finite_is_refused(published, home):
    tensors = published_files.huggingface(published.state_dict())
    tensors["decoder.film_mul.bias"][3] = torch.nan
    write(home / CLIPSEG_FILE, tensors)
    with pytest.raises(CheckpointError, match=r"decoder\.film\.mul\.bias must be finite, got NaN or infinity"):
        init_model(**asdict(PASCAL))


@pytest.mark.parametrize(
    ("init", "file", "config"),
    [
        ("rd64-refined", Path(CLIPSEG_FILE).with_name("config.json"), {"vision_config": {"hidden_act": "gelu"}}),
        ("clip", Path(CLIP_FILE).with_name("open_clip_config.json"), {"model_cfg": {"quick_gelu": False}}),
    ],
)
def test_a_start_with_another_activation_is_refused(published, home, init, file, config):
    (home / file).write_text(json.dumps(config))
    with pytest.raises(
        CheckpointError, match=r"config\.json: (vision_config|model_cfg)\.\w+ must be .+; weights trained with"
    ):
        init_model(**asdict(replace(PASCAL, init=init)))


def test_published_weights_do_not_fit_the_tiny_backbone():
    section = replace(load_recipe("tiny").model, init="rd64-refined")
    with pytest.raises(CheckpointError, match=r"^model\.init: rd64-refined fits ViT-B-16-quickgelu, got tiny; choose"):
        init_model(**asdict(section))


def test_clipseg_computes_what_transformers_does(home):
    """A random CLIPSeg of full size as Hugging Face's own code writes it."""
    transformers = pytest.importorskip("transformers", reason="transformers writes the published layout")
    config = transformers.CLIPSegConfig(vision_config={"patch_size": 16}, use_complex_transposed_convolution=True)
    torch.manual_seed(0)
    theirs = transformers.CLIPSegForImageSegmentation(config).eval()
    theirs.save_pretrained(home / "clipseg-rd64-refined")
    model = init_model(**asdict(CLIPSEG)).eval()
    words = Vocabulary((Pair("cat", "ear"), Pair("dog", "long tail")))
    image = reference_image(352)
    with torch.no_grad():
        ours = model(image, words).pairs[0]
        tokens = open_clip.tokenize(list(words.pair_prompts))
        expected = theirs(input_ids=tokens, pixel_values=image.repeat(2, 1, 1, 1), interpolate_pos_encoding=True).logits
    assert torch.equal(ours[2], torch.zeros(352, 352))
    assert float((ours[:2] - expected).abs().max()) < 1e-3 * float(expected.abs().max())

"""Published files: what is read, and that nothing in them is run."""

import json
import os
import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from partseg_cli.errors import CheckpointError
from partseg_cli.models.checkpoints.readers import check_settings, read_published

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(3)}


def refused(message: str):
    return pytest.raises(CheckpointError, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize(
    ("saved", "step"),
    [
        (STATE, 0),
        ({"state_dict": STATE, "epoch": 3}, 0),
        ({"model": STATE, "iteration": 4999, "optimizer": {"state": {}}, "scheduler": {"last_epoch": 5000}}, 5000),
        ({"model": STATE, "trainer": {"iteration": 19999, "hooks": {"best": np.float32(0.5)}}}, 20000),
        ({"model": STATE, "iteration": "many"}, 0),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_found_beside_the_state_of_a_training(tmp_path, saved, step, zipped):
    path = tmp_path / "a.pth"
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    published = read_published(path)
    assert published.step == step
    assert list(published.tensors) == list(STATE)
    assert all(torch.equal(published.tensors[name], STATE[name]) for name in STATE)


def test_safetensors_are_read(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors")
    assert torch.equal(read_published(tmp_path / "a.safetensors").tensors["a.weight"], STATE["a.weight"])


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("how", ["zip", "legacy", 2, 5])
def test_code_in_a_file_is_not_run(tmp_path, how):
    path, proof = tmp_path / "a.pth", tmp_path / "proof"
    value = {"model": STATE, "hook": Trap(proof)}
    if isinstance(how, int):
        path.write_bytes(pickle.dumps(value, protocol=how))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(CheckpointError) as caught:
        read_published(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: holds code or objects besides tensors and is not loaded (")
    assert message.endswith("); ask its authors for the tensors alone")
    assert isinstance(how, int) or "io.open" in message
    assert "\n" not in message
    assert not proof.exists()


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_file_of_torch_save_cut_off_is_refused(tmp_path, share):
    path = tmp_path / "a.pth"
    torch.save({"model": {"a": torch.ones(2000)}}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with refused(f"{path}: is cut off at {int(share * len(whole)):,} bytes; download it again"):
        read_published(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q", b"weights"])
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_file_that_is_something_else_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.\w+: is not a whole [\w. ]+ \(.+\); download it again$"):
        read_published(tmp_path / name)


def test_what_is_often_saved_in_place_of_a_download_is_named(tmp_path):
    page, pointer = tmp_path / "page.pth", tmp_path / "pointer.pth"
    page.write_text("\n<!DOCTYPE html><html>Google Drive can't scan this file</html>")
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4100000\n")
    with refused(f"{page}: is a web page, not the weights; open its address in a browser and confirm the download"):
        read_published(page)
    with refused(f"{pointer}: is a pointer of Git LFS, not the weights; run `git lfs pull` where it comes from"):
        read_published(pointer)


@pytest.mark.parametrize(
    ("saved", "what"),
    [
        ([1, 2], "must hold tensors by name, got list"),
        ({}, "must hold tensors by name, got dict"),
        ({"model": STATE | {"b": "text"}}, "b must be a plain tensor, got str"),
        ({"a": torch.ones(2), "note": 3}, "note must be a plain tensor, got int"),
        ({"a": torch.ones(2).to_sparse()}, "a must be a plain tensor, got torch.sparse_coo"),
    ],
)
def test_a_file_without_tensors_by_name_is_refused(tmp_path, saved, what):
    torch.save(saved, tmp_path / "a.pth")
    with refused(f"{tmp_path}/a.pth: {what}; name a file of weights"):
        read_published(tmp_path / "a.pth")


def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    with refused(f"{tmp_path}/none.pth: cannot be read (No such file or directory); name another file"):
        read_published(tmp_path / "none.pth")


QUICK = {"vision_config": {"hidden_act": "quick_gelu", "num_attention_heads": 12}, "text_config": {}}
ADVICE = "weights trained with another setting give wrong masks, so get those of CLIPSeg rd64-refined or OpenAI's CLIP"


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("config.json", QUICK),
        ("config.json", QUICK | {"decoder_hidden_act": "gelu"}),  # transformers' decoder has ReLU whatever it says
        ("config.json", {"architecture": "vit_base_patch16_clip_quickgelu_224"}),
        ("open_clip_config.json", {"model_cfg": {"quick_gelu": True}}),
        ("other.json", {"model_cfg": {}}),
    ],
)
def test_settings_like_ours_or_unknown_ones_pass(tmp_path, name, config):
    (tmp_path / name).write_text(json.dumps(config))
    check_settings(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("name", "config", "what"),
    [
        (
            "config.json",
            QUICK | {"text_config": {"hidden_act": "gelu"}},
            'text_config.hidden_act must be "quick_gelu", got "gelu"',
        ),
        (
            "config.json",
            QUICK | {"vision_config_dict": {"hidden_act": "gelu_new"}},
            'vision_config_dict.hidden_act must be "quick_gelu", got "gelu_new"',
        ),
        ("config.json", QUICK | {"extract_layers": [1, 2, 3]}, "extract_layers must be [3, 6, 9], got [1, 2, 3]"),
        ("open_clip_config.json", {"model_cfg": {}}, "model_cfg.quick_gelu must be true, got false"),
    ],
)
def test_another_activation_or_tap_is_refused(tmp_path, name, config, what):
    (tmp_path / name).write_text(json.dumps(config))
    with refused(f"{tmp_path}/{name}: {what}; {ADVICE}"):
        check_settings(tmp_path / "a.pth")


@pytest.mark.parametrize("text", ["{", "[1]", "3", '{"vision_config": 3}'])
def test_a_broken_configuration_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(
        CheckpointError, match=r"config\.json: must be a JSON object \(.+\); get it again or remove it$"
    ):
        check_settings(tmp_path / "a.pth")


def test_a_system_call_in_a_file_is_named_and_not_run(tmp_path):
    class Call:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'proof'}",)

    torch.save({"model": STATE, "hook": Call()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError) as caught:
        read_published(tmp_path / "a.pth")
    assert str(caught.value) == (
        f"{tmp_path / 'a.pth'}: holds code or objects besides tensors and is not loaded ({os.name}.system); ask its "
        "authors for the tensors alone"
    )
    assert not (tmp_path / "proof").exists()


def test_arrays_of_numpy_beside_the_weights_do_no_harm(tmp_path):
    torch.save({"model": STATE, "trainer": {"history": np.arange(3.0), "best": np.float64(2)}}, tmp_path / "a.pth")
    assert set(read_published(tmp_path / "a.pth").tensors) == set(STATE)


@pytest.mark.parametrize(("suffix", "what"), [("jpg", "JPEG image"), ("png", "PNG image")])
def test_a_picture_is_told_from_weights(tmp_path, suffix, what):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (9, 7)).save(path)
    path = path.rename(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=rf"a\.pth: is a {what}, not weights; name a file of weights$"):
        read_published(path)

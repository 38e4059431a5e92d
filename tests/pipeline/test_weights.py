"""`partseg weights`: import of each published layout, what is refused, list and verify; no network, no real weights."""

import importlib.util
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import published_files
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from partseg_cli.cli.weights import LayoutName
from partseg_cli.data.loading.transforms import image_to_tensor
from partseg_cli.data.manifest import load_manifest
from partseg_cli.io.hashing import file_digest
from partseg_cli.models.builder import build_from_header, load_model
from partseg_cli.models.checkpoints.importer import reference_image, relative_error
from partseg_cli.models.checkpoints.layouts import LAYOUTS
from partseg_cli.pipeline.weights import list_weights, verify_weights

PREFIX = {"partclipseg": "partclipseg_model.", "ovparts-clipseg": "clipseg_model."}


@pytest.fixture
def small(monkeypatch):
    """Let each format mean a model with the tiny backbone: the same names, 500 times fewer numbers."""
    for name, layout in LAYOUTS.items():
        model = layout.model | {"backbone": "tiny", "image_size": 48}
        monkeypatch.setitem(LAYOUTS, name, replace(layout, model=model))


def state_of(name: str) -> dict[str, Tensor]:
    """Draw the weights of the model that a format means."""
    torch.manual_seed(3)
    return build_from_header(LAYOUTS[name].model).state_dict()


def published(name: str, **changes: object) -> dict[str, Tensor]:
    """Give drawn weights by their published names, with prefix; a change of None takes a tensor out."""
    state = state_of(name)
    named = published_files.timojl(state) if name == "timojl-clipseg" else published_files.huggingface(state)
    named = {key: value for key, value in (named | changes).items() if value is not None}
    return {PREFIX.get(name, "") + key: value for key, value in named.items()}


def written(path: Path, tensors: dict[str, Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    elif path.suffix == ".bin":
        torch.save(tensors, path)
    else:
        torch.save({"model": tensors, "trainer": {"iteration": 4999, "optimizer": {"state": {}}}}, path)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch, small):
    """An empty folder to work in, which is also $PARTSEG_WEIGHTS; the user's cache is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("partseg_cli.models.checkpoints.hub.try_to_load_from_cache", lambda *_: None)
    yield tmp_path
    published_files.remove_large(tmp_path)


# ---- which weights a command means


def test_a_name_means_the_checkpoint_in_a_weights_folder(here, partseg, trained):
    path = written(here / "voc.pth", published("partclipseg"))
    assert partseg("weights", "import", path, "--out", here / "home/voc.safetensors").code == 0
    assert partseg("weights", "import", path, "--out", here / "home/ade.safetensors").code == 0
    words = ("predict", trained.photos[0], "--vocab", "cat's ear", "--device", "cpu", "--json")
    ended = partseg(*words, "--model", "voc")
    (document,) = json.loads(ended.out)["predictions"]
    assert document["checkpoint"] == str(here / "home/voc.safetensors")
    assert document["licence"] == LAYOUTS["partclipseg"].licence
    homes = f"{here / 'home'}, {here / 'cache/partseg'}"
    assert partseg(*words, "--model", "city") == (
        4,
        "",
        f"error: --model must name a checkpoint in {homes} (ade, voc) or be nano or clipseg-rd64-refined, got "
        "'city'; or pass a file to --checkpoint\n",
    )
    assert partseg(*words) == (
        4,
        "",
        f"error: {here / 'home'}: holds several checkpoints (ade.safetensors, voc.safetensors); choose one with "
        "--checkpoint or --model\n",
    )
    assert partseg(*words, "--model", "voc", "--checkpoint", "ade").err == (
        "error: --checkpoint and --model: give one of them, got ade and voc\n"
    )


def test_clipseg_on_this_machine_is_imported_once_and_needs_no_name(here, partseg, trained):
    written(here / "home/clipseg-rd64-refined/model.safetensors", published("clipseg-rd64-refined"))
    words = ("predict", trained.photos[0], "--vocab", "cat's ear", "--device", "cpu", "--json")
    for choice in ((), ("--model", "clipseg-rd64-refined")):
        ended = partseg(*words, *choice)
        (document,) = json.loads(ended.out)["predictions"]
        assert document["checkpoint"] == str(here / "cache/partseg/clipseg-rd64-refined.safetensors")
        assert document["model"]["name"] == "clipseg"
        assert document["licence"].startswith("not MIT")
    first = (here / "cache/partseg/clipseg-rd64-refined.safetensors").stat().st_mtime_ns
    assert partseg(*words).code == 0
    assert (here / "cache/partseg/clipseg-rd64-refined.safetensors").stat().st_mtime_ns == first


def test_clipseg_that_is_newer_than_its_copy_is_imported_anew(here, partseg, trained):
    source = here / "home/clipseg-rd64-refined/model.safetensors"
    words = ("predict", trained.photos[0], "--vocab", "cat's ear", "--device", "cpu", "--json")
    written(source, published("clipseg-rd64-refined"))
    told = partseg(*words).err
    copy = here / "cache/partseg/clipseg-rd64-refined.safetensors"
    assert told.startswith(f"{source}: copied to {copy}, not MIT")
    before = load_file(copy)
    written(source, published("clipseg-rd64-refined", **{"decoder.film_mul.bias": torch.ones(64)}))
    os.utime(source, (copy.stat().st_mtime + 5,) * 2)
    assert "copied to" in partseg(*words, "--model", "clipseg-rd64-refined").err
    after = load_file(copy)
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["decoder.film.mul.bias"]


def test_a_checkpoint_edited_under_its_old_header_gets_its_own_text(here, partseg):
    path = written(here / "voc.pth", published("partclipseg"))
    assert partseg("weights", "import", path, "--out", "a.safetensors").code == 0
    with safe_open(here / "a.safetensors", framework="pt") as file:
        header = file.metadata()
    first = load_model(here / "a.safetensors")[0]
    edited = {
        name: value * 2 if name.endswith("token_embedding.weight") else value
        for name, value in load_file(here / "a.safetensors").items()
    }
    with torch.inference_mode():
        old = first.text(("cat",))
        save_file(edited, here / "a.safetensors", header)
        new = load_model(here / "a.safetensors")[0].text(("cat",))
    assert not torch.allclose(old[0], new[0])


def test_clipseg_of_a_former_version_is_imported_anew(here, partseg, trained):
    written(here / "home/clipseg-rd64-refined/model.safetensors", published("clipseg-rd64-refined"))
    written(here / "cache/partseg/clipseg-rd64-refined.safetensors", {"old": torch.zeros(2)})
    ended = partseg("predict", trained.photos[0], "--vocab", "cat", "--device", "cpu", "--json")
    assert ended.code == 0, ended.err


# ---- what an import gives


def clip_beside(folder: Path) -> None:
    """Put CLIP where `model.init=clip` finds it."""
    path = folder / "home/vit_base_patch16_clip_224.openai/open_clip_model.safetensors"
    written(path, published_files.open_clip(state_of("timojl-clipseg")))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("partclipseg", "voc.pth"),
        ("ovparts-clipseg", "voc.pth"),
        ("clipseg-rd64-refined", "model.safetensors"),
        ("clipseg-rd64-refined", "pytorch_model.bin"),
        ("timojl-clipseg", "rd64-uni-refined.pth"),
    ],
)
def test_each_layout_is_told_and_gives_the_weights_back(here, partseg, name, file):
    if name == "timojl-clipseg":
        clip_beside(here)
    path = written(here / file, published(name))
    ended = partseg("weights", "import", path, "--out", "new.safetensors", "--json")
    assert (ended.code, ended.err) == (0, "")
    report = json.loads(ended.out)
    assert report["format"] == name
    assert report["step"] == (5000 if file.endswith(".pth") else 0)
    assert (report["missing"], report["unknown"], report["wrong"]) == ([], [], {})
    assert report["sha256"] == file_digest(here / "new.safetensors")
    assert report["file_sha256"] == file_digest(path)
    loaded, state = load_file(here / "new.safetensors"), state_of(name)
    assert set(loaded) == set(state)
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("name", ["partclipseg", "ovparts-clipseg", "clipseg-rd64-refined"])
def test_a_bare_state_dict_is_told_by_its_names(here, partseg, name):
    bare = {key.removeprefix(PREFIX.get(name, "")): value for key, value in published(name).items()}
    torch.save(bare, here / "bare.pth")
    ended = partseg("weights", "import", "bare.pth", "--out", "new.safetensors", "--json")
    assert json.loads(ended.out)["format"] == name


def test_the_model_has_the_switches_that_its_weights_were_trained_with(here, partseg):
    models = {}
    for name in ("partclipseg", "ovparts-clipseg", "clipseg-rd64-refined"):
        written(here / f"{name}.pth", published(name))
        assert partseg("weights", "import", f"{name}.pth", "--out", f"{name}.safetensors").code == 0
        models[name] = load_model(here / f"{name}.safetensors")[0]
    assert models["partclipseg"].object_text_index == "published"
    assert models["ovparts-clipseg"].visual_adapter.down.weight.shape == (24, 96)
    assert models["ovparts-clipseg"].background is not None
    assert models["clipseg-rd64-refined"].background is None


def test_half_precision_is_imported_as_float32(here, partseg):
    written(here / "half.pth", {key: value.half() for key, value in published("partclipseg").items()})
    assert partseg("weights", "import", "half.pth", "--out", "new.safetensors").code == 0
    assert {value.dtype for value in load_file(here / "new.safetensors").values()} == {torch.float32}


def test_the_same_file_gives_the_same_bytes(here, partseg):
    written(here / "voc.pth", published("partclipseg"))
    for out in ("a.safetensors", "b.safetensors"):
        assert partseg("weights", "import", "voc.pth", "--out", out).code == 0
    assert (here / "a.safetensors").read_bytes() == (here / "b.safetensors").read_bytes()


def test_the_report_says_what_was_used_and_what_is_next(here, partseg):
    extra = {
        "clip.text_model.embeddings.position_ids": torch.arange(77)[None],
        "text_adapter.fc.0.weight": torch.full((2, 2), torch.nan),  # read by nobody, so not checked
        "tunable_linear.weight": torch.ones(2),
    }
    written(here / "voc.pth", published("partclipseg", **extra))
    ended = partseg("weights", "import", "voc.pth", "--out", "new.safetensors")
    text = " ".join(re.sub(r"[│─┌┐└┘]", " ", ended.out).split())
    assert ended.code == 0
    for said in (
        "voc.pth: partclipseg",
        f"used {len(published('partclipseg'))} tensors",
        "ignored 1, consecutive numbers, not weights: partclipseg_model.clip.text_model.embeddings.position_ids",
        "ignored 1, the published code multiplies its output by 0: partclipseg_model.text_adapter.fc.0.weight",
        "ignored 1, the published code never reads it: partclipseg_model.tunable_linear.weight",
        "missing 0 tensors",
        "background_embedding frozen, object_text_index published",
        "words 116 pairs of pascal-part-116 (--dataset)",
        "licence terms not stated (the repository's code is MIT); derived from CLIPSeg's weights, which are not under",
        file_digest(here / "voc.pth"),
        file_digest(here / "new.safetensors"),
    ):
        assert said in text
    assert text.endswith("new.safetensors")
    assert ended.err == ('next: partseg predict photo.jpg --vocab "cat\'s ear" --checkpoint new.safetensors\n')


@pytest.mark.parametrize("name", ["partclipseg", "clipseg-rd64-refined"])
def test_predict_and_evaluate_take_an_imported_file_with_any_words(here, partseg, trained, name):
    written(here / "voc.pth", published(name))
    assert partseg("weights", "import", "voc.pth", "--out", "new.safetensors").code == 0
    words = ("--vocab", "unicorn's horn", "--vocab", "cat's ear", "--checkpoint", "new.safetensors", "--json")
    ended = partseg("predict", trained.photos[0], *words)
    assert ended.code == 0
    data = ("data.dataset=cartoon-part", f"data.root={trained.data}", f"data.split={trained.data / 'split.yaml'}")
    ended = partseg("evaluate", "tiny", *data, "--checkpoint", "new.safetensors", "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["step"] == 5000


def test_the_data_set_decides_which_words_predict_knows(here, partseg):
    written(here / "voc.pth", published("partclipseg"))
    assert partseg("weights", "import", "voc.pth", "--out", "a.safetensors", "--dataset", "cartoon-part").code == 0
    header = load_model(here / "a.safetensors")[1]
    assert header.dataset == "cartoon-part"
    assert header.vocabulary == load_manifest("cartoon-part").vocabulary


def test_the_command_knows_every_layout():
    assert [name.value for name in LayoutName] == list(LAYOUTS)


# ---- where the file is


def test_a_folder_stands_for_the_file_in_it(here, partseg):
    written(here / "hf/model.safetensors", published("clipseg-rd64-refined"))
    written(here / "hf/pytorch_model.bin", published("clipseg-rd64-refined"))
    ended = partseg("weights", "import", "hf", "--out", "new.safetensors", "--json")
    assert json.loads(ended.out)["file"] == "model.safetensors"


def test_the_name_on_the_hub_stands_for_the_file_on_this_machine(here, partseg):
    written(here / "home/clipseg-rd64-refined/pytorch_model.bin", published("clipseg-rd64-refined"))
    ended = partseg("weights", "import", "CIDAS/clipseg-rd64-refined", "--out", "new.safetensors", "--json")
    assert json.loads(ended.out)["file"] == "pytorch_model.bin"


# ---- what is refused


@pytest.fixture
def refused(here, partseg):
    """Give `refused(file, *options)`: the message of an import that ends with exit 4 and writes nothing."""

    def run(file: object, *options: str, code: int = 4) -> str:
        ended = partseg("weights", "import", file, "--out", "out/new.safetensors", *options)
        assert (ended.code, ended.out) == (code, ""), ended
        assert not (here / "out").exists()
        (line,) = ended.err.splitlines()
        return line.removeprefix("error: ")

    return run


GET_AGAIN = "get the file again, name its own layout with --as, or let random weights stand in with --allow-partial"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"clip.text_model.embeddings.token_embedding.weight": torch.ones(30_000, 24)},
            "1 wrong: partclipseg_model.clip.text_model.embeddings.token_embedding.weight must be (49408, 24), got "
            "(30000, 24); 1 missing: clip.clip.token_embedding.weight",
        ),
        (
            {"decoder.film_mul.weight": None, "decoder.layers.2.self_attn.q_proj.bias": None},
            "2 missing: decoder.film.mul.weight, decoder.layers.2.in_proj.bias",
        ),
        ({"decoder.more.weight": torch.ones(2)}, "1 unknown: partclipseg_model.decoder.more.weight"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(here, refused, changes, what):
    path = written(here / "voc.pth", published("partclipseg", **changes))
    assert refused(path) == f"{path}: does not fit the layout partclipseg ({what}); {GET_AGAIN}"


def test_partial_weights_are_taken_on_demand_the_same_each_time(here, partseg):
    changes = {"decoder.film_mul.weight": None, "decoder.more.weight": torch.ones(2)}
    written(here / "voc.pth", published("partclipseg", **changes))
    for out in ("a.safetensors", "b.safetensors"):
        ended = partseg("weights", "import", "voc.pth", "--out", out, "--allow-partial")
        assert ended.code == 0
        assert "missing tensors are replaced by random ones: masks may be meaningless" in ended.err
    assert (here / "a.safetensors").read_bytes() == (here / "b.safetensors").read_bytes()
    imported = load_model(here / "a.safetensors")[1].imported
    assert imported["missing"] == ["decoder.film.mul.weight"]
    assert "1 tensors are random" in " ".join(partseg("weights", "verify", "a.safetensors").out.split())
    assert imported["unknown"] == ["partclipseg_model.decoder.more.weight"]
    loaded, state = load_file(here / "a.safetensors"), state_of("partclipseg")
    assert [key for key in state if not torch.equal(loaded[key], state[key])] == ["decoder.film.mul.weight"]


@pytest.mark.parametrize("options", [(), ("--allow-partial",)])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_value_that_is_not_finite_is_refused(here, refused, options, value):
    bad = torch.zeros(64)
    bad[5] = value
    path = written(here / "voc.pth", published("partclipseg", **{"decoder.film_add.bias": bad}))
    name = "partclipseg_model.decoder.film_add.bias"
    assert refused(path, *options) == f"{path}: {name} must be finite, got NaN or infinity; get the file again"


def test_another_prefix_is_refused(here, refused):
    named = {f"module.{key}": value for key, value in published("partclipseg").items()}
    path = written(here / "voc.pth", named)
    assert refused(path) == (
        f"{path}: must be of a known layout and prefix, partclipseg (partclipseg_model.), ovparts-clipseg "
        "(clipseg_model.), clipseg-rd64-refined (no prefix), timojl-clipseg (no prefix), got names such as "
        f"{next(iter(named))!r}; if it is one of them, remove what precedes its names"
    )
    assert refused(path, "--as", "partclipseg", "--allow-partial").startswith(
        f"{path}: must hold tensors of the layout partclipseg, with the prefix 'partclipseg_model.' or bare, got none "
    )


def test_a_layout_that_is_not_the_files_is_refused(here, refused):
    path = written(here / "voc.pth", published("ovparts-clipseg"))
    message = refused(path, "--as", "clipseg-rd64-refined")
    assert message == (
        f"{path}: must hold tensors of the layout clipseg-rd64-refined, got none that fits (it looks like "
        "ovparts-clipseg); name its own layout with --as, or leave --as out"
    )
    bare = {key.removeprefix("clipseg_model."): value for key, value in published("ovparts-clipseg").items()}
    path = written(here / "bare.pth", bare)
    assert refused(path, "--as", "clipseg-rd64-refined") == (
        f"{path}: does not fit the layout clipseg-rd64-refined (3 unknown: "
        f"visual_adapter.fc.0.weight, visual_adapter.fc.2.weight, non_object_embedding); {GET_AGAIN}"
    )


def test_another_activation_is_refused(here, refused):
    path = written(here / "hf/model.safetensors", published("clipseg-rd64-refined"))
    (here / "hf/config.json").write_text(json.dumps({"text_config": {"hidden_act": "gelu"}}))
    assert refused(path).startswith(f'{here}/hf/config.json: text_config.hidden_act must be "quick_gelu", got "gelu"; ')


def test_the_activation_of_the_clip_below_a_decoder_is_checked(here, refused):
    clip_beside(here)
    config = here / "home/vit_base_patch16_clip_224.openai/open_clip_config.json"
    config.write_text(json.dumps({"model_cfg": {"embed_dim": 512}}))
    path = written(here / "rd64.pth", published("timojl-clipseg"))
    assert refused(path).startswith(f"{config}: model_cfg.quick_gelu must be true, got false; ")


def test_a_decoder_without_clip_on_this_machine_is_refused(here, refused):
    path = written(here / "rd64.pth", published("timojl-clipseg"))
    assert refused(path) == (
        f"{path}: holds CLIPSeg's decoder alone and needs open_clip_model.safetensors or open_clip_pytorch_model.bin "
        f"of timm/vit_base_patch16_clip_224.openai, not found in {here}/home/vit_base_patch16_clip_224.openai, "
        f"{here}/cache/partseg/vit_base_patch16_clip_224.openai, the Hugging Face cache or the hub (HF_HUB_OFFLINE is "
        "set); run `hf download timm/vit_base_patch16_clip_224.openai` where there is a network and copy the files to "
        "$PARTSEG_WEIGHTS/vit_base_patch16_clip_224.openai"
    )


def test_the_hub_without_a_network_is_refused(here, refused):
    message = refused("CIDAS/clipseg-rd64-refined")
    assert message.startswith("the import of CIDAS/clipseg-rd64-refined needs model.safetensors or pytorch_model.bin ")
    assert list(here.rglob("*.safetensors")) == []


def test_a_file_cut_off_is_refused(here, refused):
    path = written(here / "voc.pth", published("partclipseg"))
    path.write_bytes(path.read_bytes()[:1_000_000])
    assert refused(path) == f"{path}: is cut off at 1,000,000 bytes; download it again"


def test_a_source_that_is_not_there_is_refused(refused):
    message = "voc.pth: no such file or folder; name a published file, or CIDAS/clipseg-rd64-refined"
    assert refused("voc.pth") == message


@pytest.mark.parametrize("files", [(), ("a.pth", "b.pth")])
def test_a_folder_without_one_file_of_weights_is_refused(here, refused, files):
    (here / "many").mkdir()
    for file in files:
        (here / "many" / file).write_bytes(b"")
    got = ", ".join(files) or "none"
    assert refused("many") == f"many: must hold one file of weights, got {got}; name the file itself"


def test_a_checkpoint_of_this_tool_is_refused(trained, refused):
    path = trained.run / "checkpoints/last.safetensors"
    assert refused(path) == f"{path}: is a checkpoint of this tool already (tiny); pass it to --checkpoint as it is"


def test_a_data_set_that_is_not_there_is_refused(here, refused):
    path = written(here / "voc.pth", published("partclipseg"))
    assert refused(path, "--dataset", "zoo", code=3).startswith("dataset must be one of ")


def test_an_existing_file_stays_as_it_is(here, partseg):
    written(here / "voc.pth", published("partclipseg"))
    (here / "old.safetensors").write_bytes(b"precious")
    ended = partseg("weights", "import", "voc.pth", "--out", "old.safetensors")
    message = "--out must be a new file, got old.safetensors, which is there already; choose another name or remove it"
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {message}\n")
    assert (here / "old.safetensors").read_bytes() == b"precious"
    ended = partseg("weights", "import", "voc.pth", "--out", "new.pth")
    assert (ended.code, ended.err) == (2, "error: --out must be a file that ends in .safetensors, got new.pth\n")


def test_a_full_disk_leaves_nothing_behind(here, partseg, file_size_limit):
    written(here / "voc.pth", published("partclipseg"))
    with file_size_limit(100_000):
        ended = partseg("weights", "import", "voc.pth", "--out", "new.safetensors")
    assert ended.code == 1
    assert sorted(path.name for path in here.iterdir()) == ["voc.pth"]


def test_predict_sends_a_published_file_to_import(here, partseg, trained):
    written(here / "voc.pth", published("partclipseg"))
    ended = partseg("predict", trained.photos[0], "--vocab", "cat", "--checkpoint", "voc.pth")
    assert ended.code == 4
    assert ended.err.endswith("; bring it here with `partseg weights import`\n")


# ---- list and verify


@pytest.fixture
def imported(here, partseg) -> Path:
    written(here / "voc.pth", published("partclipseg"))
    assert partseg("weights", "import", "voc.pth", "--out", "home/voc.safetensors").code == 0
    return here / "home/voc.safetensors"


def test_a_machine_without_weights_is_told_how_to_get_some(here, partseg):
    ended = partseg("weights", "list")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == (
        "no weights in $PARTSEG_WEIGHTS, the user's cache or the Hugging Face cache; get some with `hf download "
        "CIDAS/clipseg-rd64-refined`, or `partseg weights import FILE --out NEW.safetensors`\n"
    )
    assert json.loads(partseg("weights", "list", "--json").out) == {"weights": []}
    ended = partseg("weights", "verify")
    assert (ended.code, ended.err) == (
        4,
        "error: no checkpoint to verify, got none on this machine; name a file, or see `weights list`\n",
    )


def test_list_shows_what_is_there_with_digest_and_licence(imported, here, partseg, trained):
    written(here / "home/other.pth", {"a": torch.ones(2)})
    start = written(here / "home/clipseg-rd64-refined/model.safetensors", published("clipseg-rd64-refined"))
    (here / "cache/partseg").mkdir(parents=True)
    own = here / "cache/partseg/own.safetensors"
    own.write_bytes((trained.run / "checkpoints/last.safetensors").read_bytes())
    found = json.loads(partseg("weights", "list", "--json").out)["weights"]
    assert [(entry["name"], entry["format"], entry["path"]) for entry in found] == [
        ("other.pth", "not imported", str(here / "home/other.pth")),
        ("voc.safetensors", "partclipseg", str(imported)),
        ("own.safetensors", "trained partclipseg, step 2", str(own)),
        ("CIDAS/clipseg-rd64-refined", "start: model.init=rd64-refined", str(start)),
    ]
    for entry in found:
        assert entry["bytes"] == Path(entry["path"]).stat().st_size
        assert entry["sha256"] == file_digest(Path(entry["path"]))
    assert found[1]["licence"] == LAYOUTS["partclipseg"].licence
    assert "no published weights are in it" in found[2]["licence"]
    assert found[3]["licence"].startswith("not MIT: ")
    table = partseg("weights", "list").out
    assert all(entry["sha256"][:12] in table and entry["path"] in table for entry in found)


def test_weights_home_may_be_a_run_or_a_file(trained, monkeypatch, partseg):
    file = trained.run / "checkpoints/last.safetensors"
    for home in (trained.run, file):
        monkeypatch.setenv("PARTSEG_WEIGHTS", str(home))
        assert [entry.path for entry in list_weights() if entry.is_checkpoint] == [file]


def test_whole_checkpoints_are_verified(imported, trained, partseg):
    ended = partseg("weights", "verify", imported, trained.run, "--json")
    assert ended.code == 0
    first, second = json.loads(ended.out)["verified"]
    assert (first["format"], first["problem"]) == ("partclipseg", None)
    assert 0 <= first["drift"] < 1e-5
    assert (second["drift"], second["problem"]) == (None, None)
    assert "none stored" in partseg("weights", "verify", trained.run).out


def test_verify_without_a_name_looks_at_all_that_list_shows(imported, partseg):
    found = json.loads(partseg("weights", "verify", "--json").out)["verified"]
    assert [one["path"] for one in found] == [str(imported)]


def rewritten(path: Path, tensors: dict[str, Tensor], **about: object) -> Path:
    """Write the checkpoint again with other tensors, and another header where `about` says so."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["partseg"])
    save_file(tensors, path, {"partseg": json.dumps(header | about)})
    return path


def test_a_changed_tensor_fails_the_digest(imported, partseg):
    tensors = load_file(imported)
    tensors["background"][0, 3] += 1e-3
    ended = partseg("weights", "verify", rewritten(imported, tensors))
    assert ended.code == 4
    pattern = (
        rf"error: {re.escape(str(imported))}: the SHA-256 of its tensors must be \w{{64}}, got \w{{64}}; the file was "
        r"changed after it was written, get or import it again\n"
    )
    assert re.fullmatch(pattern, ended.err)
    assert "fails" in ended.out


def test_other_logits_fail_the_golden_check(imported, partseg):
    with safe_open(imported, framework="pt") as file:
        record = json.loads(file.metadata()["partseg"])["imported"]
    largest = max(map(abs, record["golden"]["logits"]))
    record["golden"]["logits"][3] += 0.002 * largest
    ended = partseg("weights", "verify", rewritten(imported, load_file(imported), imported=record))
    assert ended.code == 4
    assert re.fullmatch(
        rf"error: {re.escape(str(imported))}: reference logits must agree to 0\.001 of the largest magnitude, got "
        r"0\.002; the model here computes something else than the one that imported it\n",
        ended.err,
    )


@pytest.mark.parametrize("golden", [{}, {"logits": [1.0], "image_size": 48}, {"logits": ["a"] * 16, "image_size": 48}])
def test_broken_golden_logits_are_named(imported, partseg, golden):
    ended = partseg("weights", "verify", rewritten(imported, load_file(imported), imported={"golden": golden}))
    assert ended.code == 4
    assert f"{imported}: its reference logits are broken (" in ended.err


def test_several_failures_are_all_named(imported, here, partseg):
    ended = partseg("weights", "verify", "none.safetensors", imported, "gone.safetensors")
    assert ended.code == 4
    assert ended.err == (
        "none.safetensors: no such checkpoint; name a .safetensors file or the folder of a training run\n"
        "gone.safetensors: no such checkpoint; name a .safetensors file or the folder of a training run\n"
        "error: 2 of 3 checkpoints fail; get or import them again\n"
    )


def test_the_golden_picture_never_changes():
    image = reference_image(48)
    assert image.shape == (1, 3, 48, 48)
    assert float(image.abs().max()) <= 2
    assert image[0, :, 5, 17].tolist() == pytest.approx([0.2588190, -1.1760368, 0.0999004], abs=1e-6)
    assert relative_error([2.0, -4.0], [2.0, -3.0]) == 0.25


# ---- weights of full size


@pytest.fixture
def large(tmp_path):
    """A folder for files of 600 MB."""
    yield tmp_path
    published_files.remove_large(tmp_path)


def test_the_authors_file_computes_what_the_published_code_does(reference, large, partseg):
    """Golden weights in the authors' layout, imported, opened with their switches, against the published logits."""
    spec = importlib.util.spec_from_file_location("golden_weights", reference / "golden_weights.py")
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)
    drawn = {
        f"partclipseg_model.{name}": torch.from_numpy(np.array(v)) for name, v in golden.golden_state_dict().items()
    }
    written(large / "partclipseg_voc_oracle.pth", drawn)
    del drawn
    out = large / "new.safetensors"
    ended = partseg("weights", "import", large / "partclipseg_voc_oracle.pth", "--out", out, "--json")
    assert (json.loads(ended.out)["used"], json.loads(ended.out)["step"]) == (479, 5000)
    model, header = load_model(out)
    image = image_to_tensor(Image.open(reference / "image.png").convert("RGB"), 352)[None]
    with torch.no_grad(), np.load(reference / "inference.npz") as published_logits:
        ours = model(image, header.vocabulary).pairs[0, :, ::16, ::16]
        theirs = torch.from_numpy(published_logits["object_part_logits_s16"])
    assert float((ours - theirs).abs().max()) < 1e-3 * float(theirs.abs().max())


# packing


def test_a_packed_checkpoint_takes_half_the_space_and_gives_nearly_the_same_logits(partseg, trained, tmp_path):
    ended = partseg("weights", "pack", trained.run, "--out", tmp_path / "small.safetensors")
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'small.safetensors'}\n")
    whole = trained.run / "checkpoints/last.safetensors"
    assert (tmp_path / "small.safetensors").stat().st_size < 0.55 * whole.stat().st_size
    models, headers = zip(  # noqa: B905 - two pairs
        *(load_model(path) for path in (whole, tmp_path / "small.safetensors"))
    )
    assert replace(headers[1], digest="") == replace(headers[0], digest="")
    image = image_to_tensor(Image.open(trained.photos[0]).convert("RGB"), 48)[None]
    with torch.inference_mode():
        one, other = (model(image, headers[0].vocabulary).pairs for model in models)
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0, atol=2e-3 * float(one.abs().max()))


def test_a_packed_checkpoint_can_be_verified_and_packed_again_to_the_same_weights(partseg, trained, tmp_path):
    for source, name in ((trained.run, "a"), (tmp_path / "a.safetensors", "b")):
        assert partseg("weights", "pack", source, "--out", tmp_path / f"{name}.safetensors").code == 0
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert partseg("weights", "verify", tmp_path / "a.safetensors").code == 0


def test_packing_never_writes_over_a_file(partseg, trained, tmp_path):
    (tmp_path / "a.safetensors").write_text("mine")
    ended = partseg("weights", "pack", trained.run, "--out", tmp_path / "a.safetensors")
    assert ended.code == 2
    assert "--out must be a new file, got" in ended.err
    assert (tmp_path / "a.safetensors").read_text() == "mine"


@pytest.mark.parametrize("name", ["nano", "nano-start"])
def test_the_bundled_weights_are_whole(name):
    from partseg_cli.io.paths import packaged_weights

    (verified,) = verify_weights([packaged_weights(name)])
    assert verified.problem is None
    assert packaged_weights(name).stat().st_size < 4e6

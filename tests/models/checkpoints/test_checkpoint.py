"""Checkpoints: what is written is read, what is broken or foreign is refused, and nothing in a file is run."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from partseg_cli.errors import CheckpointError, PartsegError
from partseg_cli.models.checkpoints.checkpoint import (
    FORMAT,
    CheckpointHeader,
    checkpoint_file,
    load_checked,
    load_checkpoint,
    read_header,
    save_checkpoint,
    weights_digest,
)
from partseg_cli.vocabulary import Pair, Vocabulary

WORDS = Vocabulary((Pair("cat", "ear"), Pair("Köter", "head", is_seen=False)))
HEADER = CheckpointHeader({"name": "partclipseg", "image_size": 96, "trained": "all"}, WORDS, "pets", "tiny", 40)

ADVICE = "name one that `partseg train` or `partseg weights import` wrote"


def small_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2, bias=False))
    model.register_buffer("turned", torch.arange(6.0).view(2, 3).T)  # not contiguous
    return model


def refused(message: str, kind: type[PartsegError] = CheckpointError):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, small_model(), HEADER)
    return path


# ---- weights and header


def test_weights_and_header_come_back_as_they_were(saved):
    header, tensors = load_checkpoint(saved)
    expected = small_model().state_dict()
    assert header == replace(HEADER, digest=weights_digest(expected))
    assert set(tensors) == set(expected)
    for name, value in tensors.items():
        assert value.dtype == expected[name].dtype
        assert torch.equal(value, expected[name])


def test_the_header_of_the_file_is_plain_json(saved):
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"partseg"}  # with a second key the order, so the bytes, would vary
    assert json.loads(metadata["partseg"]) == {
        "format": "partseg-checkpoint-2",
        "model": HEADER.model,
        "vocabulary": [
            {"object": "cat", "part": "ear", "seen": True},
            {"object": "Köter", "part": "head", "seen": False},
        ],
        "dataset": "pets",
        "recipe": "tiny",
        "step": 40,
        "digest": weights_digest(small_model().state_dict()),
        "imported": {},
    }


def test_where_imported_weights_come_from_is_kept(tmp_path):
    imported = {"format": "clipseg", "file": "model.bin", "notes": ["ä"]}
    save_checkpoint(tmp_path / "a.safetensors", small_model(), replace(HEADER, imported=imported))
    assert read_header(tmp_path / "a.safetensors").imported == imported


def test_the_same_weights_and_header_give_the_same_bytes(saved, tmp_path):
    weights = small_model().state_dict()
    other = small_model(1)
    other.load_state_dict(weights)
    for _ in range(5):  # safetensors draws anew in which order it writes several keys of metadata
        save_checkpoint(tmp_path / "again.safetensors", other, HEADER)
        assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("change", [{"step": 41}, {"dataset": "zoo"}, {"imported": {"format": "clipseg"}}])
def test_another_header_gives_other_bytes_and_the_same_digest(saved, tmp_path, change):
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, small_model(), replace(HEADER, **change))
    assert path.read_bytes() != saved.read_bytes()
    assert read_header(path).digest == read_header(saved).digest


def test_a_digest_given_beforehand_is_replaced_by_the_true_one(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", small_model(), replace(HEADER, digest="old"))
    header, tensors = load_checkpoint(tmp_path / "a.safetensors")
    assert header.digest == weights_digest(tensors) == weights_digest(small_model().state_dict())


def test_the_digest_changes_with_one_value_one_name_one_type_and_one_shape():
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(4, dtype=torch.int32)}
    one_value = weights["a"].clone()
    one_value[1, 2] = torch.nextafter(one_value[1, 2], torch.tensor(9.0))
    others = [
        {**weights, "a": one_value},
        {"A": weights["a"], "b": weights["b"]},
        {**weights, "b": torch.zeros(4)},  # the same bytes
        {**weights, "a": weights["a"].view(3, 2)},
        {**weights, "c": torch.zeros(0)},
        {"b": weights["b"]},
    ]
    digests = [weights_digest(tensors) for tensors in (weights, *others)]
    assert len(set(digests)) == len(digests)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


def test_the_digest_does_not_care_about_order_or_memory_layout():
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(2.0)}
    turned = {"b": weights["b"], "a": weights["a"].T.contiguous().T}
    assert not turned["a"].is_contiguous()
    assert weights_digest(turned) == weights_digest(weights)


def test_a_new_checkpoint_replaces_the_old_one_and_leaves_nothing_else(saved):
    save_checkpoint(saved, small_model(1), replace(HEADER, step=80))
    header, tensors = load_checkpoint(saved)
    assert header.step == 80
    assert torch.equal(tensors["0.weight"], small_model(1)[0].weight)
    assert names(saved.parent) == ["last.safetensors"]


def test_a_disk_that_fills_keeps_the_old_checkpoint(saved, file_size_limit):
    content = saved.read_bytes()
    match = rf"^{re.escape(str(saved))}: cannot be written \(.*\(os error 27\).*\); .*choose another --out$"
    with pytest.raises(PartsegError, match=match) as caught, file_size_limit(100):
        save_checkpoint(saved, small_model(1), HEADER)
    assert caught.value.exit_code == 1
    assert (saved.read_bytes() == content, names(saved.parent)) == (True, ["last.safetensors"])


# ---- what is refused


def test_a_missing_checkpoint_is_refused(tmp_path):
    path = tmp_path / "none.safetensors"
    with refused(f"{path}: no such checkpoint; name a .safetensors file or the folder of a training run"):
        load_checkpoint(path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    match = rf"^{re.escape(str(saved))}: is not a whole safetensors file \(.+\); copy or train it again$"
    with pytest.raises(CheckpointError, match=match):
        load_checkpoint(saved)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "partseg-checkpoint-1"}, {"format": "odd"}])
def test_weights_of_another_tool_are_refused(tmp_path, metadata):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.ones(2)}, path, metadata)
    got = None if metadata is None else metadata["format"]
    with refused(f"{path}: must be a checkpoint of format 'partseg-checkpoint-2', got {got!r}; {ADVICE}"):
        load_checkpoint(path)


def test_a_checkpoint_of_the_old_format_is_refused(tmp_path):
    path = tmp_path / "old.safetensors"
    about = {**vars(HEADER), "vocabulary": WORDS.to_json()}
    del about["digest"], about["imported"]
    save_file({"weight": torch.ones(2)}, path, {"format": "partseg-checkpoint-1", "partseg": json.dumps(about)})
    for read in (load_checkpoint, read_header):
        with refused(f"{path}: must be a checkpoint of format {FORMAT!r}, got 'partseg-checkpoint-1'; {ADVICE}"):
            read(path)


@pytest.mark.parametrize(
    "about",
    [
        "{",
        "[]",
        "5",
        json.dumps({"format": FORMAT}),
        json.dumps({"format": FORMAT, "vocabulary": []}),
        json.dumps({"format": FORMAT, "vocabulary": [{"object": "cat"}]}),
        json.dumps({"format": FORMAT, **vars(HEADER), "vocabulary": WORDS.to_json(), "imported": ["clipseg"]}),
        json.dumps({"format": FORMAT, "vocabulary": ["cat"], "model": {}}),
        json.dumps({"format": FORMAT, **vars(HEADER), "vocabulary": WORDS.to_json(), "colour": "red"}),
    ],
)
def test_a_broken_header_is_refused_in_one_line(tmp_path, about):
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.ones(2)}, path, {"partseg": about})
    with pytest.raises(
        CheckpointError, match=rf"^{re.escape(str(path))}: its header is broken \([^\n]+\); train or import it again$"
    ):
        load_checkpoint(path)


# ---- run folders


@pytest.mark.parametrize("below", ["checkpoints", "."])
def test_a_run_folder_stands_for_the_checkpoint_that_it_selected(tmp_path, below):
    folder = tmp_path / below
    for step, name in ((10, "best"), (20, "last")):
        save_checkpoint(folder / f"{name}.safetensors", small_model(), replace(HEADER, step=step))
    assert load_checkpoint(tmp_path)[0].step == 20
    (folder / "selected.json").write_text('{"file": "best.safetensors", "rule": "best"}')
    assert load_checkpoint(tmp_path)[0].step == 10
    assert checkpoint_file(tmp_path).name == "best.safetensors"


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    advice = "name a .safetensors file or the folder of a training run, and bring published weights here with"
    with refused(f"{tmp_path}: no checkpoint in it; {advice} `partseg weights import`"):
        load_checkpoint(tmp_path)


def test_a_selection_that_is_gone_is_refused(tmp_path):
    (tmp_path / "selected.json").write_text('{"file": "best.safetensors"}')
    path = tmp_path / "best.safetensors"
    with refused(f"{path}: no such checkpoint; name a .safetensors file or the folder of a training run"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"file": 5}'])
def test_a_broken_selection_is_refused(tmp_path, text):
    (tmp_path / "selected.json").write_text(text)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / "selected.json"))):
        load_checkpoint(tmp_path)


# ---- weights into a model


def test_weights_are_loaded_into_the_model_that_they_belong_to(saved):
    model = small_model(1)
    load_checked(model, load_checkpoint(saved)[1], saved)
    for name, value in model.state_dict().items():
        assert torch.equal(value, small_model().state_dict()[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"2.weight": torch.ones(2, 6)}, "2.weight must be (2, 5), got (2, 6)"),
        ({"2.weight": None}, "2.weight must be (2, 5), got nothing"),
        ({"3.bias": torch.ones(4)}, "3.bias must be absent, got (4,)"),
        ({"2.weight": torch.ones(5, 2), "0.bias": None}, "0.bias must be (5,), got nothing"),  # the first is named
    ],
)
def test_weights_of_another_shape_or_name_are_refused_and_not_loaded(change, message):
    model, before = small_model(), small_model().state_dict()
    tensors = {name: value for name, value in {**small_model(1).state_dict(), **change}.items() if value is not None}
    with refused(f"a.file: {message}; these weights belong to another model"):
        load_checked(model, tensors, Path("a.file"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_and_not_loaded(value):
    model, tensors = small_model(), small_model(1).state_dict()
    tensors["2.weight"][1, 3] = value
    with refused("a.file: 2.weight must be finite, got NaN or infinity; get the file again"):
        load_checked(model, tensors, Path("a.file"))
    assert torch.equal(model[0].weight, small_model()[0].weight)

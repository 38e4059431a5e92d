"""Text embeddings are computed once: in memory for a model, on disk for the next command."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from partseg_cli.io.paths import cache_dir
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.builder import load_model
from partseg_cli.models.clip.model import Clip
from partseg_cli.models.clip.text_cache import MOST_FILES, TextCache
from partseg_cli.models.partclipseg.model import PartCLIPSeg
from partseg_cli.vocabulary import Pair, Vocabulary

CPU = torch.device("cpu")
WORDS = Vocabulary((Pair("dog", "head"), Pair("cat", "ear")))
PROMPTS = ("ear", "head", "cat")


class Encoder:
    """Gives embeddings that tell prompts apart, and notes what it was asked."""

    def __init__(self, scale: float = 1.0):
        self.scale = scale
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, prompts: tuple[str, ...]) -> Tensor:
        self.asked.append(prompts)
        return self.scale * torch.tensor([[float(ord(letter)) for letter in prompt[:2]] for prompt in prompts])


def kept(folder: Path, weights: str = "abc") -> TextCache:
    cache = TextCache()
    cache.keep_on_disk(folder, weights)
    return cache


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.fixture
def encode() -> Encoder:
    return Encoder()


# ---- memory


def test_prompts_are_encoded_once(encode):
    cache = TextCache()
    first = cache.get(PROMPTS, CPU, encode)
    assert torch.equal(cache.get(PROMPTS, CPU, encode), first)
    assert torch.equal(first, Encoder()(PROMPTS))
    assert encode.asked == [PROMPTS]


def test_other_prompts_and_another_order_are_encoded_anew(encode):
    cache = TextCache()
    for prompts in (PROMPTS, PROMPTS[::-1], PROMPTS[:2], PROMPTS):
        assert torch.equal(cache.get(prompts, CPU, encode), Encoder()(prompts))
    assert encode.asked == [PROMPTS, PROMPTS[::-1], PROMPTS[:2]]


def test_what_is_forgotten_is_encoded_anew(encode):
    cache = TextCache()
    cache.get(PROMPTS, CPU, encode)
    cache.forget()
    cache.get(PROMPTS, CPU, encode)
    assert encode.asked == [PROMPTS, PROMPTS]


def test_nothing_is_written_without_a_folder(encode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    TextCache().get(PROMPTS, CPU, encode)
    assert files(tmp_path) == []


# ---- disk


def test_the_next_command_reads_what_the_last_one_wrote(encode, tmp_path):
    first = kept(tmp_path / "text").get(PROMPTS, CPU, encode)
    second = kept(tmp_path / "text").get(PROMPTS, CPU, encode)
    assert torch.equal(first, second)
    assert encode.asked == [PROMPTS]
    (path,) = files(tmp_path / "text")
    assert path.suffix == ".safetensors"


def test_values_changed_on_disk_are_encoded_anew(encode, tmp_path):
    kept(tmp_path).get(PROMPTS, CPU, encode)
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    assert torch.equal(kept(tmp_path).get(PROMPTS, CPU, encode), Encoder()(PROMPTS))
    assert encode.asked == [PROMPTS, PROMPTS]
    assert path.read_bytes() != content


def test_a_file_that_is_there_is_not_written_again(encode, tmp_path):
    kept(tmp_path).get(PROMPTS, CPU, encode)
    (path,) = files(tmp_path)
    os.utime(path, (1, 1))
    kept(tmp_path).get(PROMPTS, CPU, encode)
    assert path.stat().st_mtime == 1


def test_embeddings_of_other_weights_or_prompts_have_their_own_file(tmp_path):
    first, second = Encoder(), Encoder(scale=2)
    kept(tmp_path, "abc").get(PROMPTS, CPU, first)
    other = kept(tmp_path, "abd").get(PROMPTS, CPU, second)
    assert torch.equal(other, 2 * Encoder()(PROMPTS))
    kept(tmp_path, "abc").get(PROMPTS[::-1], CPU, first)
    kept(tmp_path, "abc").get(("ear", "head cat"), CPU, first)
    assert len(files(tmp_path)) == 4


def spoil(kind: str, path: Path) -> None:
    whole = path.read_bytes()
    values = load_file(path)["embeddings"]
    if kind == "other name":
        save_file({"text": values}, path)
    elif kind == "too few":
        save_file({"embeddings": values[:-1].clone()}, path)
    elif kind == "not finite":
        save_file({"embeddings": values * torch.nan}, path)
    else:
        path.write_bytes({"empty": b"", "cut": whole[:-5], "text": b"<!DOCTYPE html>", "noise": b"\xff" * 99}[kind])


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "noise", "other name", "too few", "not finite"])
def test_a_broken_file_is_encoded_anew_and_replaced(encode, tmp_path, kind):
    expected = kept(tmp_path).get(PROMPTS, CPU, encode)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    spoil(kind, path)
    assert path.read_bytes() != whole
    assert torch.equal(kept(tmp_path).get(PROMPTS, CPU, encode), expected)
    assert encode.asked == [PROMPTS, PROMPTS]
    assert (files(tmp_path), path.read_bytes()) == ([path], whole)


def test_a_folder_in_the_place_of_a_file_is_no_error(encode, tmp_path):
    kept(tmp_path).get(PROMPTS, CPU, encode)
    (path,) = files(tmp_path)
    path.unlink()
    path.mkdir()
    assert torch.equal(kept(tmp_path).get(PROMPTS, CPU, encode), Encoder()(PROMPTS))


def test_a_place_that_cannot_be_written_is_no_error(encode, tmp_path):
    (tmp_path / "file").write_text("mine")
    cache = kept(tmp_path / "file/text")
    for _ in range(2):
        assert torch.equal(cache.get(PROMPTS, CPU, encode), Encoder()(PROMPTS))
    assert encode.asked == [PROMPTS]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_no_error_and_leaves_no_half_file(encode, tmp_path, file_size_limit):
    with file_size_limit(20):
        assert torch.equal(kept(tmp_path).get(PROMPTS, CPU, encode), Encoder()(PROMPTS))
    assert files(tmp_path) == []


def test_after_forgetting_nothing_is_written_or_read(encode, tmp_path):
    cache = kept(tmp_path)
    cache.get(PROMPTS, CPU, encode)
    cache.forget()
    assert torch.equal(cache.get(PROMPTS, CPU, Encoder(scale=3)), 3 * Encoder()(PROMPTS))
    cache.get(PROMPTS[:2], CPU, encode)
    assert len(files(tmp_path)) == 1


def test_the_oldest_files_go_when_there_are_too_many(encode, tmp_path):
    for number in range(MOST_FILES + 2):
        path = tmp_path / f"{number:03}.safetensors"
        path.touch()
        os.utime(path, (2000 - number, 2000 - number))  # the last name is the oldest
    (tmp_path / "notes.txt").write_text("mine")
    kept(tmp_path).get(PROMPTS, CPU, encode)
    names = {path.name for path in files(tmp_path)}
    assert len(names) == MOST_FILES + 1
    assert {"notes.txt", "000.safetensors", f"{MOST_FILES - 2:03}.safetensors"} <= names
    assert (
        not {f"{MOST_FILES - 1:03}.safetensors", f"{MOST_FILES:03}.safetensors", f"{MOST_FILES + 1:03}.safetensors"}
        & names
    )
    kept(tmp_path).get(PROMPTS, CPU, encode)
    assert encode.asked == [PROMPTS]  # the new one stayed


# ---- models

IMAGES = torch.linspace(-2, 2, 3 * 32 * 40).reshape(1, 3, 32, 40)


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, ...]]:
    """The prompts that any text tower was asked for."""
    prompts_asked = []
    encode = Clip.text_embeddings

    def note(self, prompts):
        prompts_asked.append(prompts)
        return encode(self, prompts)

    monkeypatch.setattr(Clip, "text_embeddings", note)
    return prompts_asked


def model() -> PartCLIPSeg:
    switches = {"object_text_index": "paper", "background_embedding": "frozen", "trainable": "published"}
    torch.manual_seed(0)
    return PartCLIPSeg(BACKBONES["tiny"], **switches).eval()


@torch.no_grad
def look(segmenter: PartCLIPSeg, words: Vocabulary = WORDS) -> Tensor:
    return segmenter(IMAGES, words).pairs


def test_many_images_need_the_text_tower_once(asked):
    segmenter = model()
    assert torch.equal(look(segmenter), look(segmenter))
    assert asked == [WORDS.prompts]


def test_training_and_gradients_never_use_kept_embeddings(asked):
    segmenter = model()
    look(segmenter)
    segmenter(IMAGES, WORDS)  # in evaluation mode, but for gradients
    with torch.no_grad():
        segmenter.train()(IMAGES, WORDS)
    assert asked == [WORDS.prompts] * 3


def test_a_step_of_training_is_felt_by_the_next_evaluation(asked):
    segmenter = model()
    before = look(segmenter)
    segmenter.train()
    with torch.no_grad():
        segmenter.clip.clip.token_embedding.weight.mul_(3).add_(0.1)
    assert not torch.allclose(look(segmenter.eval()), before)
    assert len(asked) == 2


def test_going_to_evaluation_mode_again_forgets_nothing(asked):
    segmenter = model()
    look(segmenter)
    look(segmenter.eval())
    assert len(asked) == 1


@pytest.mark.parametrize("assign", [False, True])
def test_loaded_weights_are_felt_at_once(asked, assign):
    segmenter, other = model(), model()
    before = look(segmenter)
    with torch.no_grad():
        other.clip.clip.token_embedding.weight.mul_(3).add_(0.1)
    segmenter.load_state_dict(other.state_dict(), assign=assign)
    after = look(segmenter)
    assert not torch.allclose(after, before)
    assert torch.allclose(after, look(other))
    assert len(asked) == 3


def test_embeddings_kept_in_a_half_precision_run_are_whole_ones():
    segmenter, plain = model(), model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        look(segmenter)
    assert torch.equal(look(segmenter), look(plain))


@pytest.fixture
def cache_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_dir() / "text"


def test_an_opened_checkpoint_keeps_its_embeddings_for_the_next_command(trained, asked, cache_home):
    pictures = []
    for _ in range(2):
        model, _ = load_model(trained.run)
        with torch.inference_mode():
            pictures.append(model(IMAGES, WORDS).pairs)
    assert asked == [WORDS.prompts]
    assert torch.equal(*pictures)
    assert len(files(cache_home)) == 1


def test_training_an_opened_model_writes_no_more_embeddings(trained, cache_home):
    model, _ = load_model(trained.run)
    look(model.train().eval())
    assert not cache_home.exists()


def test_predict_writes_embeddings_and_the_next_predict_reads_them(partseg, trained, asked, cache_home, tmp_path):
    words = ("--vocab", "cat's ear", "--checkpoint", trained.run, "--device", "cpu", "--out", tmp_path / "out")
    for _ in range(2):
        assert partseg("predict", *trained.photos[:3], *words).code == 0
    assert len(asked) == 1
    assert len(files(cache_home)) == 1

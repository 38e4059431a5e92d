"""`partseg bench`: real pieces are measured, nothing is kept, and every moment belongs to one section."""

import json
import re

import pytest
import torch
from command_line import tiny
from torch import nn

from partseg_cli.config.recipe import load_recipe
from partseg_cli.models.clipseg.objective import CLIPSegLoss
from partseg_cli.models.partclipseg.objective import PartCLIPSegLoss
from partseg_cli.pipeline import bench
from partseg_cli.pipeline.bench import bench_data, bench_train
from partseg_cli.pipeline.train import build_engine
from partseg_cli.runtime.profiling import Memory

TRAINING = [
    *("waiting for data", "image encoder", "text encoder", "decoder and heads", "loss", "backward"),
    *("optimizer and clipping", "rest"),
]
PREDICTING = [
    *("read and resize", "image encoder", "text encoder", "decoder and heads", "logits to label map", "rest"),
]
READING = ["read and decode", "labels", "resize and tensor", "transfer"]
MACHINE = {"device", "device_name", "threads", "precision"}
DATA = {"recipe", "dataset", "photos", "image_size", "batch_size", "micro_batch", "workers", "cache"}
BYTES_OF_TORCH = 50e6
"""No process with torch in it is smaller."""


def check_split(split, sections):
    """Every section, in order, with its time and its share."""
    assert [row["section"] for row in split] == sections
    assert all(row["ms"] >= 0 for row in split)
    assert sum(row["percent"] for row in split) == pytest.approx(100)


def times(split):
    return {row["section"]: row["ms"] for row in split}


@pytest.mark.parametrize("command", ["train", "predict", "data"])
def test_the_help_of_each_has_an_example_of_it(partseg, command):
    ended = partseg("bench", command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f"Example: partseg bench {command}" in " ".join(ended.out.split())


# ---- train


@pytest.mark.training
def test_training_is_told_as_one_json_document(partseg, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--device", "cpu", "--steps", 3, "--warmup", 1, "--json")
    ended = partseg("bench", "train", "tiny", *tiny(trained.data), "train.batch_size=4", *words)
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    figures = {"steps", "warmup", "images", "images_per_second", "ms_per_step", "memory", "gpu_busy_percent", "split"}
    assert told.keys() == DATA | MACHINE | figures
    assert (told["batch_size"], told["micro_batch"], told["steps"], told["images"]) == (4, 2, 3, 12)
    assert (told["recipe"], told["dataset"], told["device"]) == ("tiny", "cartoon-part", "cpu")
    assert (told["gpu_busy_percent"], told["device_name"], told["precision"]) == (None, None, "fp32")
    assert told["memory"]["peak_bytes"] > BYTES_OF_TORCH
    assert told["memory"]["of"] == "this process, without its workers"
    check_split(told["split"], TRAINING)
    assert all(ms > 0 for ms in times(told["split"]).values())
    assert sum(times(told["split"]).values()) == pytest.approx(told["ms_per_step"], rel=1e-3)
    assert told["images_per_second"] == pytest.approx(4000 / told["ms_per_step"], rel=1e-3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.training
def test_training_is_told_in_tables(partseg, trained):
    ended = partseg("bench", "train", "tiny", *tiny(trained.data), "--device", "cpu", "--steps", 1, "--warmup", 0)
    assert ended.code == 0
    assert "%|" not in ended.err
    for text in ("training: tiny", "images per second", "(mean of 1)", "peak memory", "time per step"):
        assert text in ended.out
    assert "GPU busy" not in ended.out
    shares = re.findall(r"(\d+\.\d) │$", ended.out, re.MULTILINE)
    assert sum(map(float, shares)) == pytest.approx(100)


@pytest.mark.training
def test_the_stopwatch_changes_no_weights_and_leaves_nothing_behind(trained, monkeypatch):
    recipe = load_recipe("tiny", [*tiny(trained.data), "train.iterations=9"])
    functions = PartCLIPSegLoss.__call__, CLIPSegLoss.__call__, torch.Tensor.backward, nn.utils.clip_grad_norm_
    engines = []

    def build(*arguments):
        engines.append(build_engine(*arguments))
        return engines[-1]

    monkeypatch.setattr(bench, "build_engine", build)
    for watch in (bench._training_hooks, lambda engine: ()):
        monkeypatch.setattr(bench, "_training_hooks", watch)
        bench_train(recipe, steps=3, warmup=0, device="cpu")
    watched, plain = (engine.model for engine in engines)
    assert functions == (
        *(PartCLIPSegLoss.__call__, CLIPSegLoss.__call__, torch.Tensor.backward, nn.utils.clip_grad_norm_),
    )
    for one, other in ((watched, plain), (watched.clip, plain.clip)):
        assert vars(one).keys() == vars(other).keys()
    for name in ("scaler", "optimizer", "schedule"):
        assert vars(getattr(engines[0], name)).keys() == vars(getattr(engines[1], name)).keys()
    weights = plain.state_dict()
    assert watched.state_dict().keys() == weights.keys()
    assert all(value.equal(weights[name]) for name, value in watched.state_dict().items())


@pytest.mark.training
def test_the_loss_of_clipseg_has_its_section_too(trained):
    sections = {"model.init": "random", "model.image_size": 48, "train.negative_objects": 1}
    words = [*tiny(trained.data), *(f"{key}={value}" for key, value in sections.items())]
    costs = bench_train(load_recipe("cartoon_clipseg", words), steps=1, warmup=0, device="cpu")
    assert {part.section: part.ms > 0 for part in costs.split} == dict.fromkeys(TRAINING, True)


def test_a_gpu_is_measured_without_the_stopwatch_and_then_with_it(monkeypatch):
    done = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: done.append("forget"))
    monkeypatch.setattr(bench, "peak_memory", lambda device: done.append("memory") or Memory(1, "it"))
    monkeypatch.setattr(bench, "waiter", lambda device: lambda: None)
    monkeypatch.setattr(bench, "busy_percent", lambda device, work: work())
    watch = bench.Stopwatch(("a", "rest"))

    def work(rounds, what):
        with watch.section("a"):
            done.append((what, rounds, watch.seconds["rest"] > 0))

    seconds, _, _ = bench._measure(work, watch, (), 20, 3, torch.device("cuda"))
    assert [step for step in done if isinstance(step, str)] == ["forget", "memory"]
    assert [step for step in done if not isinstance(step, str)] == [
        ("warming up", 3, False),
        ("measuring", 20, False),
        ("measuring", 20, True),
        ("profiling", bench.BUSY_ROUNDS, True),
    ]
    assert 0 < seconds != sum(watch.seconds.values())


# ---- predict


def test_predicting_is_told_and_writes_nothing(partseg, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--vocab", "cat", "--checkpoint", trained.run, "--images", 5, "--batch", 2, "--device", "cpu")
    ended = partseg("bench", "predict", *trained.photos[:3], *words, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    figures = {"images", "images_per_second", "ms_per_photo", "memory", "gpu_busy_percent", "split"}
    assert told.keys() == MACHINE | figures | {"checkpoint", "photos", "pairs", "image_size", "batch_size", "warmup"}
    assert (told["photos"], told["images"], told["batch_size"]) == (3, 5, 2)
    check_split(told["split"], PREDICTING)
    assert sum(times(told["split"]).values()) == pytest.approx(told["ms_per_photo"], rel=1e-3)
    assert all(times(told["split"])[name] > 0 for name in PREDICTING)
    assert list(tmp_path.iterdir()) == []
    table = partseg("bench", "predict", trained.photos[0], *words)
    assert "time per image" in table.out
    assert "48 px, batch 2, 2 in a forward pass" in table.out


def test_a_photo_that_is_missing_or_broken_ends_the_measurement(partseg, trained, tmp_path):
    words = ("--vocab", "cat", "--checkpoint", trained.run, "--device", "cpu")
    ended = partseg("bench", "predict", tmp_path / "no.png", *words)
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    (tmp_path / "torn.png").write_bytes(trained.photos[0].read_bytes()[:100])
    ended = partseg("bench", "predict", tmp_path / "torn.png", *words)
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    assert "torn.png" in ended.err


# ---- data


@pytest.mark.process
@pytest.mark.parametrize("workers", [0, 1])
def test_reading_is_told_for_the_first_pass_and_later_ones(partseg, trained, workers):
    ended = partseg("bench", "data", "tiny", *tiny(trained.data), "--images", 7, "--workers", workers, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told.keys() == DATA | {"images", "first_pass", "later_passes", "split"}
    assert (told["images"], told["workers"], told["micro_batch"]) == (6, workers, 2)
    assert (told["first_pass"]["images"], told["later_passes"]["images"]) == (4, 6)
    assert all(told[name]["images_per_second"] > 0 for name in ("first_pass", "later_passes"))
    check_split(told["split"], READING)
    assert all(times(told["split"])[name] > 0 for name in READING[:-1])


def test_no_photo_is_read_twice_in_a_pass(partseg, trained):
    result = bench_data(load_recipe("tiny", tiny(trained.data)), images=10_000)
    assert result.later.images == result.setting["images"] == result.setting["photos"] // 2 * 2
    table = partseg("bench", "data", "tiny", *tiny(trained.data))
    assert f"{result.setting['images']} of {result.setting['photos']}, 48 px" in table.out
    assert "images per second, later passes" in table.out


def test_reading_needs_two_batches(partseg, trained):
    ended = partseg("bench", "data", "tiny", *tiny(trained.data), "--images", 3)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: --images must be >= 4, two batches of train.micro_batch_size 2, got 3\n"
    words = ("train.batch_size=64", "train.micro_batch_size=64")
    ended = partseg("bench", "data", "tiny", *tiny(trained.data), *words)
    photos = re.search(r"got (\d+); lower", ended.err)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == (
        f"error: {trained.data}: reading is measured on two batches or more, 128 photos, got {photos[1]}; "
        "lower train.micro_batch_size (64)\n"
    )


# ---- bad input


@pytest.mark.parametrize("command", ["train", "data"])
@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["no_such"], 2, "no such recipe"),
        (["nano_clip"], 2, "must train a model of parts, got task captions"),
        (["tiny", "data.root=nowhere"], 3, "nowhere"),
        (["tiny", "train.batch_size=0"], 2, "train.batch_size must be >= 1, got 0"),
    ],
)
def test_mistakes_end_in_one_line(partseg, command, words, code, text):
    ended = partseg("bench", command, *words)
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)
    assert text in ended.err


def test_numbers_devices_and_start_weights_are_checked(partseg, trained, monkeypatch):
    assert partseg("bench", "train", "tiny", "--steps", 0).code == 2
    assert partseg("bench", "data", "tiny", "--images", 0).code == 2
    assert partseg("bench", "predict", "a.png", "--vocab", "cat", "--images", 0).code == 2
    ended = partseg("bench", "train", "tiny", *tiny(trained.data), "--device", "cuda:99")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(trained.data))
    words = ("model.init=none/none.safetensors", "--device", "cpu")
    ended = partseg("bench", "train", "tiny", *tiny(trained.data), *words)
    assert (ended.code, ended.err.count("\n")) == (4, 1)


# ---- a GPU


@pytest.mark.gpu
def test_a_gpu_tells_its_memory_its_name_and_how_busy_it_was(trained):
    costs = bench_train(load_recipe("tiny", tiny(trained.data)), steps=4, device="cuda")
    assert costs.memory.of == "tensors on the GPU"
    assert costs.memory.peak_bytes > 0
    assert costs.busy is not None
    assert 0 < costs.busy <= 100
    assert costs.setting["device_name"]

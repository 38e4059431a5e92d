"""Where published weights are looked for, and what happens when the hub does not answer."""

import time
from pathlib import Path

import pytest
from huggingface_hub.errors import EntryNotFoundError

from partseg_cli.errors import CheckpointError
from partseg_cli.models.checkpoints import hub
from partseg_cli.models.checkpoints.hub import HUB_WEIGHTS, find_or_download

CLIPSEG = HUB_WEIGHTS["rd64-refined"]


@pytest.fixture
def places(monkeypatch, tmp_path):
    """$PARTSEG_WEIGHTS, the user's cache and the Hugging Face cache, all empty; `put` writes a file."""
    monkeypatch.setenv("PARTSEG_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    shared = tmp_path / "huggingface"

    def cached(_: str, name: str) -> str | None:
        return str(shared / name) if (shared / name).is_file() else None

    monkeypatch.setattr(hub, "try_to_load_from_cache", cached)
    return tmp_path


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_the_places_are_searched_in_their_order_and_safetensors_first(places):
    order = [
        "weights/clipseg-rd64-refined/model.safetensors",
        "weights/clipseg-rd64-refined/pytorch_model.bin",
        "user/partseg/clipseg-rd64-refined/model.safetensors",
        "user/partseg/clipseg-rd64-refined/pytorch_model.bin",
        "huggingface/model.safetensors",
        "huggingface/pytorch_model.bin",
    ]
    for name in reversed(order):
        path = put(places / name)
        assert find_or_download(CLIPSEG, "a test") == path


def nowhere(places: Path, why: str) -> str:
    return (
        "a test needs model.safetensors or pytorch_model.bin of CIDAS/clipseg-rd64-refined, not found in "
        f"{places}/weights/clipseg-rd64-refined, {places}/user/partseg/clipseg-rd64-refined, the Hugging Face cache or "
        f"the hub ({why}); run `hf download CIDAS/clipseg-rd64-refined` where there is a network and copy the files to "
        "$PARTSEG_WEIGHTS/clipseg-rd64-refined, or do without"
    )


def complaint() -> str:
    with pytest.raises(CheckpointError) as caught:
        find_or_download(CLIPSEG, "a test", ", or do without")
    return str(caught.value)


def test_offline_the_hub_is_not_asked(places, monkeypatch):
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *_, **__: pytest.fail("asked the hub"))
    assert complaint() == nowhere(places, "HF_HUB_OFFLINE is set")


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)


@pytest.mark.usefixtures("online")
def test_a_hub_that_does_not_answer_is_given_up(places, monkeypatch):
    monkeypatch.setattr(hub, "HUB_SECONDS", 0.2)
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *_, **__: time.sleep(3))
    start = time.monotonic()
    assert complaint() == nowhere(places, "no answer within 0.2 s")
    assert time.monotonic() - start < 2
    assert list(places.rglob("*")) == []


def test_the_hub_has_so_little_time_that_the_command_ends_within_ten_seconds():
    assert 0 < hub.HUB_SECONDS <= 5


@pytest.mark.usefixtures("online")
def test_a_network_without_a_route_is_named(places, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("[Errno -2] Name or service\nnot known")

    monkeypatch.setattr(hub, "get_hf_file_metadata", fail)
    assert complaint() == nowhere(places, "[Errno -2] Name or service not known")


@pytest.fixture
def offered(monkeypatch, places):
    """A hub that has the .bin alone; gives what was downloaded."""
    taken = []

    def metadata(url: str, **_: object) -> None:
        if not url.endswith("/pytorch_model.bin"):
            raise EntryNotFoundError(url)

    def download(repository: str, name: str, **_: object) -> str:
        if name == "config.json":
            raise EntryNotFoundError(name)
        taken.append((repository, name))
        return str(put(places / "huggingface" / name))

    monkeypatch.setattr(hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    return taken


@pytest.mark.usefixtures("online")
def test_what_the_hub_has_is_downloaded_once(places, offered):
    expected = places / "huggingface/pytorch_model.bin"
    assert [find_or_download(CLIPSEG, "a test") for _ in range(2)] == [expected, expected]
    assert offered == [("CIDAS/clipseg-rd64-refined", "pytorch_model.bin")]


@pytest.mark.usefixtures("online", "offered")
def test_a_download_that_breaks_off_is_named(places, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError("Consistency check failed: file should be of size 600 but has size 3")

    monkeypatch.setattr(hub, "hf_hub_download", fail)
    why = "the download broke off: Consistency check failed: file should be of size 600 but has size 3"
    assert complaint() == nowhere(places, why)


@pytest.mark.usefixtures("online")
def test_a_repository_without_the_files_is_named(places, monkeypatch):
    def fail(url: str, **_: object) -> None:
        raise EntryNotFoundError(url)

    monkeypatch.setattr(hub, "get_hf_file_metadata", fail)
    assert complaint() == nowhere(places, "the repository has no model.safetensors or pytorch_model.bin")

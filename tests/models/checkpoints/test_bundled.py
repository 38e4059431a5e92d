"""The bundled weights: files written before recipes' keys were renamed, which stay as they are and are read as ever."""

import hashlib

import pytest

from partseg_cli.io.paths import packaged_weights
from partseg_cli.models.builder import load_model
from partseg_cli.models.checkpoints.checkpoint import read_header

SHA256 = {
    "nano": "eb9274cd5ed77449910bfa6bfdccf2071b954d056881aacdbf8fc48f2258bf53",
    "nano-start": "de7d83d8c76546d3a633b31dbce2b65f1d30652586216d98e8661ab478300154",
}


@pytest.mark.parametrize("name", SHA256)
def test_the_bundled_weights_are_the_same_bytes(name):
    assert hashlib.sha256(packaged_weights(name).read_bytes()).hexdigest() == SHA256[name]


def test_a_header_with_the_first_name_of_a_key_is_read():
    path = packaged_weights("nano")
    assert read_header(path).model["trained"] == "decoder"
    model, header = load_model(path)
    assert header.model["trained"] == "decoder"
    assert not any(parameter.requires_grad for parameter in model.clip.parameters())

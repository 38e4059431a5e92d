"""What holds for any weights: shapes, switches, caches, starts."""

from dataclasses import asdict

import pytest
import torch
from torch import nn

from partseg_cli.config.recipe import load_recipe
from partseg_cli.errors import CheckpointError, VocabularyError
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.builder import init_model
from partseg_cli.models.checkpoints.checkpoint import load_checked
from partseg_cli.models.clip.model import Clip, prompt_ids
from partseg_cli.models.clipseg.model import DecoderLayer
from partseg_cli.models.losses.attention import attend
from partseg_cli.models.partclipseg.model import PartCLIPSeg
from partseg_cli.vocabulary import Pair, Vocabulary

WORDS = Vocabulary((Pair("dog", "head"), Pair("cat", "head"), Pair("cat", "ear"), Pair("bus", "license plate")))
IMAGES = torch.linspace(-2, 2, 2 * 3 * 48 * 64).reshape(2, 3, 48, 64)


def tiny(**changes) -> PartCLIPSeg:
    switches = {"object_text_index": "paper", "background_embedding": "frozen", "trainable": "published"} | changes
    torch.manual_seed(0)
    return PartCLIPSeg(BACKBONES["tiny"], **switches).eval()


def test_logits_have_a_channel_for_each_word_and_the_background():
    with torch.no_grad():
        logits = tiny()(IMAGES, WORDS, for_loss=True)
    side = (48, 64)
    assert logits.pairs.shape == (2, 4 + 1, *side)
    assert logits.objects.shape == (2, 3 + 1, *side)
    assert logits.parts.shape == (2, 3, *side)
    queries, keys = logits.attention
    assert queries.shape == keys.shape == (2, 3 + 3 + 1, 2, 1 + 48, 32)


def test_only_losses_are_given_parts_and_attention():
    with torch.no_grad():
        plain, full = tiny()(IMAGES, WORDS), tiny()(IMAGES, WORDS, for_loss=True)
    assert (plain.parts, plain.attention) == (None, None)
    assert torch.equal(plain.pairs, full.pairs)
    assert torch.equal(plain.objects, full.objects)


def test_bare_objects_alone_have_a_gate_and_no_parts():
    with torch.no_grad():
        logits = tiny()(IMAGES, Vocabulary((), ("cat", "bus")), for_loss=True)
    assert (logits.pairs.shape[1], logits.objects.shape[1], logits.parts) == (1, 3, None)


def test_the_tiny_model_is_tiny_and_its_logits_large_enough():
    section = load_recipe("tiny").model
    model = init_model(**asdict(section))
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000
    with torch.no_grad():
        logits = model(torch.zeros(1, 3, section.image_size, section.image_size), WORDS)
    assert min(logits.pairs.shape[2:]) >= 48


def test_a_decoder_layer_agrees_with_torchs_and_gives_its_attention():
    torch.manual_seed(0)
    layer, plain = DecoderLayer(16, 2, 24).eval(), nn.TransformerEncoderLayer(16, 2, 24, batch_first=True).eval()
    names = {
        "in_proj.": "self_attn.in_proj_",
        "out_proj.": "self_attn.out_proj.",
        "fc1.": "linear1.",
        "fc2.": "linear2.",
    }
    state = plain.state_dict()
    for ours, theirs in names.items():
        state |= {ours + kind: state.pop(theirs + kind) for kind in ("weight", "bias")}
    layer.load_state_dict(state)
    x = torch.randn(3, 7, 16)
    with torch.no_grad():
        found, attention = layer(x)
        assert torch.allclose(found, plain(x), atol=1e-6)
        maps = torch.stack([attend(*attention.of_image(i)) for i in range(3)])
        assert torch.allclose(maps, plain.self_attn(x, x, x)[1], atol=1e-6)


def test_pairs_in_another_order_give_the_same_logits():
    order = [2, 0, 3, 1]
    model = tiny()
    with torch.no_grad():
        straight = model(IMAGES, WORDS).pairs
        turned = model(IMAGES, Vocabulary(tuple(WORDS.pairs[i] for i in order))).pairs
    assert torch.allclose(straight[:, [*order, 4]], turned, atol=1e-5)


class Taken(nn.Linear):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(128, 64)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        self.text = text
        return super().forward(text)


def test_the_published_index_takes_a_row_of_the_joined_list():
    """object_of counts from the first *part*: bus, cat, dog read the embeddings of ear, head, license plate."""
    paper, published = tiny(), tiny(object_text_index="published")
    with torch.no_grad():
        text = torch.cat([paper.clip.text_embeddings(WORDS.prompts), paper.background])
        taken = Taken()
        published.compose_text = taken
        published(IMAGES, WORDS)
    parts = [1, 1, 0, 2, 6]
    assert torch.allclose(taken.text, torch.cat([text[[2, 1, 1, 0, 6]], text[parts]], dim=-1), atol=1e-5)


@pytest.mark.parametrize(("switch", "is_trained"), [("frozen", False), ("learned", True)])
def test_the_background_embedding_is_trained_only_where_asked(switch, is_trained):
    assert tiny(background_embedding=switch).background.requires_grad is is_trained


def test_published_training_leaves_both_towers_alone():
    trained = {name for name, parameter in tiny().clip.named_parameters() if parameter.requires_grad}
    assert trained == {"clip.token_embedding.weight", "clip.positional_embedding"}
    assert all(parameter.requires_grad for parameter in tiny(trainable="all").clip.parameters())


def test_prompts_are_the_same_alone_and_beside_longer_ones():
    clip = Clip(BACKBONES["tiny"]).eval()
    with torch.no_grad():
        alone = clip.text_embeddings(("cat",))
        beside = clip.text_embeddings(("cat", "a much longer name of many words"))
    assert torch.allclose(alone[0], beside[0], atol=1e-6)


@pytest.mark.parametrize("pack", [1, 2, 128])
def test_prompts_are_the_same_in_packs_of_any_size(pack, monkeypatch):
    monkeypatch.setattr("partseg_cli.models.clip.model.PROMPTS_PER_PASS", pack)
    clip, prompts = tiny().clip, ("cat", "front left leg of a swivel chair", "ear", "cat", "tail")
    with torch.no_grad():
        together = clip.text_embeddings(prompts)
        padded = torch.stack([plain_text_embedding(clip, prompt) for prompt in prompts])
    assert torch.allclose(together, padded, atol=1e-5)


def plain_text_embedding(clip: Clip, prompt: str) -> torch.Tensor:
    """Encode one prompt as open_clip does: 77 tokens, a causal mask, read at the end-of-text token."""
    ids = prompt_ids(prompt)
    tokens = torch.tensor(ids + [0] * (77 - len(ids)))
    towers = clip.clip
    x = (towers.token_embedding(tokens) + towers.positional_embedding)[None]
    x = towers.transformer(x, attn_mask=torch.full((77, 77), -torch.inf).triu(1))[0]
    return towers.ln_final(x)[len(ids) - 1] @ towers.text_projection


def test_a_name_too_long_for_clip_is_refused():
    with pytest.raises(VocabularyError, match=r"^vocabulary: a name has at most 75 tokens, got 80: 'cat cat.+'$"):
        Clip(BACKBONES["tiny"]).text_embeddings((" ".join(["cat"] * 80),))


def test_kept_text_embeddings_are_forgotten_with_the_weights_they_came_from():
    model, other = tiny(), tiny()
    with torch.no_grad():
        first = model(IMAGES, WORDS).pairs
        assert torch.equal(first, model(IMAGES, WORDS).pairs)
        other.clip.clip.token_embedding.weight.mul_(3).add_(0.1)
        model.load_state_dict(other.state_dict())
        assert not torch.allclose(first, model(IMAGES, WORDS).pairs)
        assert torch.allclose(other(IMAGES, WORDS).pairs, model(IMAGES, WORDS).pairs)


def test_every_trained_parameter_gets_a_gradient():
    model = init_model(**asdict(load_recipe("tiny").model)).train()
    logits = model(IMAGES, WORDS, for_loss=True)
    sum(plane.square().mean() for plane in (logits.pairs, logits.objects, logits.parts)).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_gives_nearly_the_same_logits_and_has_gradients(dtype):
    model = init_model(**asdict(load_recipe("tiny").model)).train()
    full = model(IMAGES, WORDS, for_loss=True)
    with torch.autocast("cpu", dtype=dtype):
        mixed = model(IMAGES, WORDS, for_loss=True)
    for plain, half in zip([*full[:3], *full.attention], [*mixed[:3], *mixed.attention], strict=True):
        plain, half = plain.detach(), half.detach().float()
        assert float((plain - half).abs().max()) < 0.1 * float(plain.abs().max())
    mixed.pairs.float().square().mean().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


def test_at_a_random_start_both_stages_say_the_same_of_nothing():
    model = init_model(**asdict(load_recipe("tiny").model))
    for first, second in ((model.decoder.film, model.pair_film), (model.head, model.pair_head)):
        for ours, theirs in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs)


def test_weights_of_another_shape_are_refused(tmp_path):
    module = nn.Linear(3, 2)
    with pytest.raises(CheckpointError, match=r"w: weight must be \(2, 3\), got \(2, 4\); these weights belong"):
        load_checked(module, {"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, tmp_path / "w")

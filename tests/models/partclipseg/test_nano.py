"""The nano backbone: its few words, its size, a decoder alone that is trained, phrases, and starts from checkpoints."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from partseg_cli.config.recipe import load_any_recipe, load_recipe
from partseg_cli.data.manifest import load_manifest
from partseg_cli.errors import CheckpointError, VocabularyError
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.builder import init_model
from partseg_cli.models.checkpoints.checkpoint import CheckpointHeader, save_checkpoint
from partseg_cli.models.clip.contrastive import ContrastiveClip
from partseg_cli.models.clip.model import Clip, check_words, prompt_ids
from partseg_cli.models.clipseg.model import CLIPSeg, Decoder
from partseg_cli.models.init_weights import PRIOR_LOGIT, copy_first_stage, init_from_checkpoint, init_second_stage
from partseg_cli.models.partclipseg.model import PartCLIPSeg
from partseg_cli.vocabulary import Pair, Vocabulary

NANO = BACKBONES["nano"]
CARTOON = load_manifest("cartoon-part")
WORDS = Vocabulary((Pair("cat", "ear"), Pair("bus", "license plate"), Pair("dog", "tail")))
IMAGES = torch.linspace(-2, 2, 2 * 3 * 48 * 64).reshape(2, 3, 48, 64).sin()
HERE = Path("somewhere/last.safetensors")


def clipseg(backbone: str = "nano", **changes) -> CLIPSeg:
    switches = {"visual_adapter": False, "background_embedding": "none", "trainable": "decoder"} | changes
    torch.manual_seed(0)
    return CLIPSeg(BACKBONES[backbone], **switches).eval()


def partclipseg(seed: int = 0, backbone: str = "nano", trained: str = "decoder") -> PartCLIPSeg:
    torch.manual_seed(seed)
    return PartCLIPSeg(
        BACKBONES[backbone], object_text_index="paper", background_embedding="frozen", trainable=trained
    ).eval()


def refused(kind: type[Exception], message: str):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


# ---- size and words


def test_nano_has_at_most_3_million_parameters_with_everything():
    assert 1e6 < sum(parameter.numel() for parameter in partclipseg().parameters()) <= 3e6


def test_the_words_of_nano_are_those_of_cartoon_part_and_the_word_and():
    named = {*CARTOON.objects, *CARTOON.vocabulary.objects, *CARTOON.vocabulary.parts}
    assert set(NANO.words) == {word for name in named for word in name.split()} | {"and"}
    assert len(set(NANO.words)) == len(NANO.words)
    assert list(NANO.words) == sorted(NANO.words)


def test_the_token_table_has_a_row_for_each_token_of_the_words_and_for_start_and_end():
    clip = Clip(NANO)
    tokens = {token for word in NANO.words for token in prompt_ids(word)}
    assert set(clip.rows) == tokens
    assert sorted(clip.rows.values()) == list(range(len(tokens)))
    assert clip.clip.token_embedding.weight.shape == (len(tokens), 96)
    assert (clip.start_token, clip.end_token) == (clip.rows[49406], clip.rows[49407])


def test_a_table_of_all_words_has_all_rows():
    clip = Clip(BACKBONES["tiny"])
    assert (clip.rows, clip.words) == (None, None)
    assert clip.clip.token_embedding.weight.shape[0] == 49408
    assert (clip.start_token, clip.end_token) == (49406, 49407)


def test_a_cut_table_gives_the_embeddings_of_the_whole_one():
    whole, cut = Clip(replace(NANO, words=None, open_clip=with_all_tokens())), Clip(NANO)
    rows = torch.tensor(sorted(cut.rows))
    state = whole.state_dict()
    cut.load_state_dict(state | {"clip.token_embedding.weight": state["clip.token_embedding.weight"][rows]})
    prompts = ("cat", "bus license plate", "aeroplane and pottedplant and tvmonitor")
    with torch.no_grad():
        torch.testing.assert_close(cut.text_embeddings(prompts), whole.text_embeddings(prompts))


def with_all_tokens() -> dict:
    return {**NANO.open_clip, "text_cfg": {**NANO.open_clip["text_cfg"], "vocab_size": 49408}}


def test_every_prompt_of_the_cartoon_scenes_is_known_and_fits():
    words = CARTOON.vocabulary
    clip = Clip(NANO)
    with torch.no_grad():
        embeddings = clip.text_embeddings((*words.prompts, *words.pair_prompts))
    assert embeddings.shape == (len(words.prompts) + len(words.pairs), 128)
    assert embeddings.isfinite().all()


MESSAGE = (
    f"vocabulary: this model knows 61 words, got {{}}; known are {', '.join(NANO.words)}; for other "
    "words choose other weights with --checkpoint or --model"
)


@pytest.mark.parametrize(
    ("prompts", "strange"),
    [
        (("fox",), "fox"),
        (("cat ear", "fox tail", "boat"), "boat, fox"),
        (("cat's ear",), "cat's"),
        (("cat,dog", "the cat"), "cat,dog, the"),
    ],
)
def test_unknown_words_are_refused_with_all_known_ones(prompts, strange):
    with refused(VocabularyError, MESSAGE.format(strange)):
        check_words(prompts, NANO.words)
    with refused(VocabularyError, MESSAGE.format(strange)):
        Clip(NANO).text_embeddings(prompts)


def test_the_model_itself_refuses_unknown_words():
    with refused(VocabularyError, MESSAGE.format("fox")):
        clipseg()(IMAGES, Vocabulary((Pair("fox", "ear"),)))


@pytest.mark.parametrize("prompts", [("Cat EAR",), ("cat  ear",), ("license plate", "and")])
def test_known_words_are_taken_in_any_spelling_of_capitals_and_spaces(prompts):
    check_words(prompts, NANO.words)
    with torch.no_grad():
        assert Clip(NANO).text_embeddings(prompts).isfinite().all()


def test_a_tower_of_all_words_refuses_none():
    check_words(("fox", "", "??"), None)


# ---- phrases


OWNERS = torch.tensor([1, 0, 1, 1])
PHRASES = ("dog tail", "cat ear", "bus license plate", "cat ear")


@pytest.mark.parametrize("backbone", ["nano", "tiny"])
@pytest.mark.parametrize("adapter", [True, False])
def test_logits_of_phrases_are_those_of_the_model_for_the_same_prompts(backbone, adapter):
    model = clipseg(backbone, visual_adapter=adapter)
    with torch.no_grad():
        expected = model(IMAGES, WORDS).pairs
        found = model.phrase_logits(IMAGES, PHRASES, OWNERS)
    assert found.shape == (4, 48, 64)
    prompts = [WORDS.pair_prompts.index(phrase) for phrase in PHRASES]
    assert expected[OWNERS, prompts].std() > 0.01
    torch.testing.assert_close(found, expected[OWNERS, prompts], atol=1e-5, rtol=0)


def test_logits_of_a_phrase_depend_on_its_own_image_alone():
    model, other = clipseg(), IMAGES.clone()
    other[0] += 1
    with torch.no_grad():
        before, after = (model.phrase_logits(images, PHRASES, OWNERS) for images in (IMAGES, other))
    changed = [not torch.allclose(one, two, atol=1e-4) for one, two in zip(before, after, strict=True)]
    assert changed == [False, True, False, False]


def test_the_order_of_phrases_does_not_matter():
    model, order = clipseg(), [2, 0, 3, 1]
    with torch.no_grad():
        expected = model.phrase_logits(IMAGES, PHRASES, OWNERS)[order]
        found = model.phrase_logits(IMAGES, tuple(PHRASES[n] for n in order), OWNERS[order])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_decoder_conditions_each_embedding_on_its_own_tokens():
    torch.manual_seed(0)
    decoder = Decoder(10, 6, width=8, heads=2, mlp=12, layers=2).eval()
    taps, text = [torch.randn(3, 5, 10) for _ in range(2)], torch.randn(4, 6)
    owner = torch.tensor([2, 0, 2, 1])
    with torch.no_grad():
        reduced = decoder.reduce(taps)
        every, attention = decoder(reduced, text)
        own, own_attention = decoder.condition([tokens[owner][None] for tokens in reduced], text)
    assert (every.shape, own.shape) == ((3, 4, 4, 8), (1, 4, 4, 8))
    torch.testing.assert_close(own[0], every[owner, range(4)])
    for ours, theirs in zip(own_attention, attention, strict=True):
        torch.testing.assert_close(ours[0], theirs[owner, range(4)])


# ---- what is trained


def test_where_the_decoder_alone_is_trained_no_clip_weight_has_a_gradient():
    model = clipseg(visual_adapter=True, background_embedding="learned").train()
    logits = model(IMAGES, WORDS).pairs
    (logits.square().mean() + model.phrase_logits(IMAGES, PHRASES, OWNERS).square().mean()).backward()
    named = dict(model.named_parameters())
    clips = {name for name in named if name.startswith("clip.")}
    assert len(clips) > 50
    assert {name for name, parameter in named.items() if not parameter.requires_grad} == clips
    assert [name for name in clips if named[name].grad is not None] == []
    assert [name for name, parameter in named.items() if name not in clips and not parameter.grad.any()] == []


def test_partclipseg_trains_its_second_stage_with_the_decoder_alone():
    model = partclipseg()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith("clip.")} | {"background"}


@pytest.mark.parametrize(("trained", "tables"), [("published", True), ("decoder", False)])
def test_text_tables_are_trained_as_published_and_not_with_the_decoder_alone(trained, tables):
    clip = clipseg(trainable=trained).clip.clip
    assert clip.token_embedding.weight.requires_grad is tables
    assert clip.positional_embedding.requires_grad is tables
    assert not clip.visual.conv1.weight.requires_grad


def test_recomputing_the_decoder_gives_the_same_logits_and_gradients():
    gradients, logits = [], []
    for recompute in (False, True):
        model = clipseg().train()
        planes = model(IMAGES, WORDS, activation_checkpointing=recompute).pairs
        planes.square().mean().backward()
        logits.append(planes.detach())
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    torch.testing.assert_close(logits[0], logits[1])
    torch.testing.assert_close(gradients[0], gradients[1])


# ---- starts


def differing(model: CLIPSeg, tensors: dict[str, torch.Tensor]) -> set[str]:
    """Give the first words of the names whose values are not those of `tensors`."""
    state = model.state_dict()
    return {n.split(".")[0] for n in state if n not in tensors or not torch.equal(state[n], tensors[n])}


def assert_copied(model: PartCLIPSeg) -> None:
    for first, second in ((model.decoder.film, model.pair_film), (model.head, model.pair_head)):
        other = second.state_dict()
        assert all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def assert_averaged(model: PartCLIPSeg) -> None:
    with torch.no_grad():
        for layer in (model.compose, model.compose_text):
            part, whole = torch.randn(2, 7, layer.out_features)
            expected = (part + whole) / 2 + layer.bias
            torch.testing.assert_close(layer(torch.cat([part, whole], dim=-1)), expected, atol=1e-6, rtol=0)


def test_clip_alone_starts_a_model_and_its_decoder_begins_afresh():
    torch.manual_seed(5)
    tensors = ContrastiveClip(NANO, drop_tokens=0.5, scale=14.3, max_scale=100).state_dict()
    model = partclipseg()
    init_from_checkpoint(model, tensors, HERE)
    assert "clip" not in differing(model, tensors)
    assert torch.equal(model.head.layers[-1].bias, torch.tensor([PRIOR_LOGIT]))
    assert not any(layer.fc2.weight.any() for layer in model.decoder.layers)
    assert_copied(model)
    assert_averaged(model)


def test_a_first_stage_starts_the_second_one_as_its_copy():
    torch.manual_seed(6)
    tensors = CLIPSeg(NANO, visual_adapter=False, background_embedding="none", trainable="decoder").state_dict()
    model = partclipseg()
    init_from_checkpoint(model, tensors, HERE)
    fresh = {"background", "visual_adapter", "compose", "compose_text", "pair_film", "pair_head"}
    assert differing(model, tensors) == fresh
    assert_copied(model)
    assert_averaged(model)


def test_a_whole_model_starts_another_one_whole():
    other = partclipseg(seed=7)
    with torch.no_grad():
        other.pair_head.layers[0].weight += 1
        other.compose.weight.normal_()
    model = partclipseg()
    init_from_checkpoint(model, other.state_dict(), HERE)
    assert differing(model, other.state_dict()) == set()


def test_what_only_the_checkpoint_has_is_left_out():
    tensors = partclipseg(seed=8).state_dict()
    model = clipseg()
    init_from_checkpoint(model, tensors, HERE)
    assert differing(model, tensors) == set()


def test_a_checkpoint_of_other_shapes_is_refused():
    tensors = clipseg().state_dict()
    name = "decoder.layers.0.fc1.weight"
    tensors[name] = torch.ones(7, 48)
    message = f"{HERE}: {name} must be (128, 48), got (7, 48); these weights belong to another model.backbone"
    with refused(CheckpointError, message):
        init_from_checkpoint(clipseg(), tensors, HERE)


def test_a_checkpoint_of_another_backbone_is_refused():
    with pytest.raises(CheckpointError, match=r"these weights belong to another model\.backbone$"):
        init_from_checkpoint(clipseg(), clipseg("tiny").state_dict(), HERE)


def test_a_checkpoint_without_a_clip_is_refused():
    tensors = {name: value for name, value in clipseg().state_dict().items() if not name.startswith("clip.")}
    first = next(name for name in clipseg().state_dict() if name.startswith("clip."))
    with refused(CheckpointError, f"{HERE}: must hold a CLIP to start from, got none ({first} is missing)"):
        init_from_checkpoint(clipseg(), tensors, HERE)


def test_a_checkpoint_with_a_value_that_is_not_finite_is_refused():
    tensors = clipseg().state_dict()
    tensors["head.layers.0.bias"] = torch.full((48,), torch.nan)
    with refused(
        CheckpointError, f"{HERE}: head.layers.0.bias must be finite, got NaN or infinity; get the file again"
    ):
        init_from_checkpoint(clipseg(), tensors, HERE)


def test_a_second_stage_begins_as_the_average_of_part_and_object_and_a_copy_of_the_first():
    model = partclipseg(seed=9)
    init_second_stage(model)
    assert_copied(model)
    assert_averaged(model)


def test_a_model_of_one_stage_has_no_second_one_to_begin():
    model = clipseg()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    init_second_stage(model)
    copy_first_stage(model)
    assert differing(model, before) == set()


def test_a_recipe_starts_from_the_checkpoint_that_it_names(tmp_path):
    section = load_any_recipe("nano_start", ["model.init=random"]).model
    torch.manual_seed(10)
    first = init_model(**asdict(section))
    header = CheckpointHeader(asdict(section), CARTOON.vocabulary, "cartoon-part", "drawn", 0)
    save_checkpoint(tmp_path / "last.safetensors", first, header)
    for init in (str(tmp_path / "last.safetensors"), f"{tmp_path}/"):
        model = init_model(**asdict(load_recipe("cartoon", [f"model.init={init}"]).model))
        assert not {"clip", "decoder", "head"} & differing(model, first.state_dict())
        assert_copied(model)


def test_a_recipe_refuses_a_checkpoint_of_another_backbone(tmp_path):
    section = load_any_recipe("nano_start", ["model.init=random", "model.backbone=tiny"]).model
    path = tmp_path / "last.safetensors"
    header = CheckpointHeader(asdict(section), CARTOON.vocabulary, "cartoon-part", "drawn", 0)
    save_checkpoint(path, init_model(**asdict(section)), header)
    message = f"model.init: {path} holds a model on tiny, got model.backbone nano; choose a start of the same backbone"
    with refused(CheckpointError, message):
        init_model(**asdict(load_recipe("cartoon", [f"model.init={path}"]).model))

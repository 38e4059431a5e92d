"""CLIPSeg against Hugging Face's, and its switches."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import open_clip
import pytest
import torch
from command_line import tiny

from partseg_cli.config.recipe import CLIPSegSection, load_recipe, model_to_header
from partseg_cli.errors import CheckpointError
from partseg_cli.inference.protocols import oracle_obj, pred_all
from partseg_cli.inference.segmenter import load_segmenter
from partseg_cli.models.backbones import BACKBONES, Backbone
from partseg_cli.models.builder import build_from_header, init_model, load_model
from partseg_cli.models.checkpoints.checkpoint import CheckpointHeader, save_checkpoint
from partseg_cli.models.checkpoints.layouts import from_published
from partseg_cli.models.clipseg.model import CLIPSeg
from partseg_cli.runtime.devices import build_inference_config
from partseg_cli.vocabulary import Pair, Vocabulary

WORDS = Vocabulary((Pair("cat", "ear"), Pair("dog", "front left leg"), Pair("chest of drawers", "drawer")))
IMAGES = torch.linspace(-2, 2, 2 * 3 * 48 * 64).reshape(2, 3, 48, 64).sin()
CONTEXT, END = 77, 49407

# Another size on every axis; the transposed convolutions of Hugging Face's head have a quarter of the patch.
SMALL = Backbone(
    open_clip={
        "embed_dim": 24,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 5, "width": 48, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 20, "heads": 2, "layers": 3},
    },
    layers=(0, 2, 3),
    width=12,
    heads=3,
    mlp=28,
    strides=(4, 4),
)


def clipseg(backbone: Backbone = BACKBONES["tiny"], **changes) -> CLIPSeg:
    switches = {"visual_adapter": True, "background_embedding": "frozen", "trainable": "published"} | changes
    torch.manual_seed(0)
    return CLIPSeg(backbone, **switches).eval()


# ---- against Hugging Face


@pytest.fixture(scope="module")
def twins() -> SimpleNamespace:
    """Hugging Face's model and ours, with the same weights."""
    transformers = pytest.importorskip("transformers", reason="transformers holds the other CLIPSeg")
    config = transformers.CLIPSegConfig(
        vision_config={
            "hidden_size": 48,
            "intermediate_size": 192,
            "num_hidden_layers": 5,
            "num_attention_heads": 3,
            "image_size": 32,
            "patch_size": 16,
        },
        text_config={
            "hidden_size": 20,
            "intermediate_size": 80,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "max_position_embeddings": CONTEXT,
        },
        projection_dim=24,
        extract_layers=[0, 2, 3],
        reduce_dim=12,
        decoder_num_attention_heads=3,
        decoder_intermediate_size=28,
        use_complex_transposed_convolution=True,
    )
    torch.manual_seed(1)
    theirs = transformers.CLIPSegForImageSegmentation(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # as made, biases are 0 and most weights tiny
            parameter.add_(0.1 * torch.randn(parameter.shape))
    ours = clipseg(SMALL, visual_adapter=False, background_embedding="none")
    published = {name: value.clone() for name, value in theirs.state_dict().items()}
    ours.load_state_dict(from_published(published))
    return SimpleNamespace(theirs=theirs, ours=ours)


def test_logits_agree_with_hugging_faces(twins):
    tokens = open_clip.tokenize(list(WORDS.pair_prompts))
    ids = torch.where(tokens == 0, END, tokens)
    mask = torch.arange(CONTEXT) <= ids.eq(END).int().argmax(1)[:, None]
    images = IMAGES[..., :48]  # theirs reads squares alone
    with torch.inference_mode():
        found = twins.ours(images, WORDS).pairs
        for index, image in enumerate(images):
            expected = twins.theirs(
                input_ids=ids,
                attention_mask=mask.long(),
                pixel_values=image.expand(3, -1, -1, -1),
                interpolate_pos_encoding=True,
            ).logits
            assert expected.std() > 0.01
            worst = (found[index, :3] - expected).abs().max() / expected.abs().max()
            assert worst < 1e-5


def test_the_published_names_fill_the_model_exactly(twins):
    given = from_published(twins.theirs.state_dict())
    wanted = twins.ours.state_dict()
    assert {name: value.shape for name, value in given.items()} == {name: v.shape for name, v in wanted.items()}


# ---- words


def test_prompts_are_names_without_the_possessive():
    assert WORDS.pair_prompts == ("cat ear", "dog front left leg", "chest of drawers drawer")
    model, asked = clipseg(), []
    encode = model.clip.text_embeddings
    model.clip.text_embeddings = lambda prompts: asked.append(prompts) or encode(prompts)
    with torch.no_grad():
        model(IMAGES, WORDS)
        model(IMAGES, Vocabulary(WORDS.pairs, ("bus",)))
    assert asked == [WORDS.pair_prompts, (*WORDS.pair_prompts, "bus", "cat", "chest of drawers", "dog")]


def test_there_is_a_plane_for_each_pair_and_the_background_and_nothing_else():
    with torch.no_grad():
        logits = clipseg()(IMAGES, WORDS)
    assert logits.pairs.shape == (2, 3 + 1, 48, 64)
    assert (logits.objects, logits.parts, logits.attention) == (None, None, None)


@pytest.mark.parametrize("background", ["frozen", "none"])
def test_bare_objects_make_a_gate_of_all_objects_that_leaves_the_pairs_alone(background):
    model = clipseg(background_embedding=background)
    with torch.no_grad():
        plain, gated = model(IMAGES, WORDS), model(IMAGES, Vocabulary(WORDS.pairs, ("bus",)))
        alone = model(IMAGES, Vocabulary((), ("bus", "cat")))
    assert gated.objects.shape == (2, 4 + 1, 48, 64)
    assert torch.allclose(gated.pairs, plain.pairs, atol=1e-5)
    assert torch.allclose(gated.objects[:, -1], plain.pairs[:, -1], atol=1e-5)
    assert alone.pairs.shape[1] == 1
    assert torch.allclose(alone.objects, gated.objects[:, [0, 1, 4]], atol=1e-5)


# ---- the background


def test_without_a_background_embedding_its_logit_is_0_everywhere():
    model = clipseg(background_embedding="none")
    assert "background" not in model.state_dict()
    with torch.no_grad():
        logits = model(IMAGES, WORDS)
    assert torch.equal(logits.pairs[:, -1], torch.zeros(2, 48, 64))
    assert logits.pairs[:, -1].sigmoid().unique().tolist() == [0.5]


def test_without_a_background_embedding_a_pixel_is_nothing_unless_a_pair_scores_above_one_half():
    model, size = clipseg(background_embedding="none"), (48, 64)
    with torch.no_grad():
        logits = model(IMAGES[:1], WORDS)
        logits.pairs[:, :-1] -= logits.pairs[:, :-1].median()
    best = logits.pairs[0, :-1].max(0)
    labels = pred_all(logits.image(0), WORDS, size).pairs.labels
    assert 0.1 < (labels >= 0).float().mean() < 0.9
    assert torch.equal(labels, torch.where(best.values.sigmoid() >= 0.5, best.indices, -1))


@pytest.mark.parametrize(("switch", "is_trained"), [("frozen", False), ("learned", True)])
def test_the_background_embedding_is_trained_only_where_asked(switch, is_trained):
    model = clipseg(background_embedding=switch)
    assert model.background.requires_grad is is_trained
    assert model.background.shape == (1, 64)


def test_a_background_embedding_is_one_more_prompt():
    model = clipseg()
    with torch.no_grad():
        before = model(IMAGES, WORDS).pairs
        model.background.copy_(model.clip.text_embeddings((WORDS.pair_prompts[1],)))
        after = model(IMAGES, WORDS).pairs
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert torch.allclose(after[:, -1], after[:, 1], atol=1e-5)


# ---- the adapter


def test_an_adapter_that_adds_nothing_leaves_four_fifths_of_the_tokens():
    plain, adapted = clipseg(visual_adapter=False), clipseg()
    assert not [name for name in plain.state_dict() if name.startswith("visual_adapter")]
    state = adapted.state_dict()
    plain.load_state_dict({name: value for name, value in state.items() if not name.startswith("visual_adapter")})
    with torch.no_grad():
        adapted.visual_adapter.up.weight.zero_()
        for reduce in adapted.decoder.reduces:
            reduce.weight.div_(0.8)
        expected = plain(IMAGES, WORDS).pairs
        assert torch.allclose(adapted(IMAGES, WORDS).pairs, expected, atol=1e-5)
        adapted.visual_adapter.up.weight.normal_()
        assert not torch.allclose(adapted(IMAGES, WORDS).pairs, expected, atol=1e-2)


# ---- training


@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize("background", ["frozen", "learned", "none"])
def test_gradients_reach_the_trained_weights_and_no_others(adapter, background):
    model = clipseg(visual_adapter=adapter, background_embedding=background).train()
    logits = model(IMAGES, WORDS)
    (logits.pairs.square().mean() + logits.pairs.mean()).backward()
    trained = ["decoder.", "head.", "clip.clip.token_embedding.", "clip.clip.positional_embedding"]
    trained += ["visual_adapter."] if adapter else []
    trained += ["background"] if background == "learned" else []
    expected = {name for name, _ in model.named_parameters() if name.startswith(tuple(trained))}
    assert {name for name, p in model.named_parameters() if p.grad is not None} == expected
    assert {name for name, p in model.named_parameters() if p.requires_grad} == expected
    unmoved = [name for name, p in model.named_parameters() if name in expected and not p.grad.any()]
    assert unmoved == []


# ---- sections and checkpoints

SECTION = CLIPSegSection(
    name="clipseg",
    backbone="tiny",
    init="random",
    image_size=48,
    background_embedding="none",
    trainable="all",
    visual_adapter=False,
)


@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize("background", ["frozen", "learned", "none"])
def test_a_section_builds_the_model_that_it_describes(adapter, background):
    model = init_model(**asdict(replace(SECTION, visual_adapter=adapter, background_embedding=background)))
    assert type(model) is CLIPSeg
    names = set(model.state_dict())
    assert ("visual_adapter.down.weight" in names, "background" in names) == (adapter, background != "none")
    assert not [name for name in names if name.startswith(("pair_", "compose"))]


@pytest.fixture(scope="module")
def checkpoint(trained, tmp_path_factory):
    """A tiny CLIPSeg without training, as if for the cartoon scenes."""
    from partseg_cli.data.store import Store

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clipseg") / "a.safetensors"
    vocabulary = Store.open(trained.data).info.vocabulary
    save_checkpoint(
        path,
        init_model(**asdict(SECTION)),
        CheckpointHeader(model_to_header(SECTION), vocabulary, "cartoon-part", "drawn", 0),
    )
    return path


def test_a_checkpoint_of_clipseg_is_opened_as_what_it_is(checkpoint):
    opened, header = load_segmenter(checkpoint, build_inference_config("cpu", prompt_chunk=2))
    assert type(opened.model) is CLIPSeg
    assert (opened.image_size, opened.model.prompt_chunk, opened.model.training) == (SECTION.image_size, 2, False)
    assert model_to_header(SECTION) == header.model
    assert header.model["name"] == "clipseg"
    with torch.inference_mode():
        logits = opened(IMAGES, WORDS)
    assert oracle_obj(logits.image(0), WORDS, (20, 30), [1]).unique().tolist() == [2]


@pytest.mark.parametrize("protocol", ["pred-all", "oracle-obj"])
def test_clipseg_is_evaluated(partseg, trained, checkpoint, tmp_path, protocol):
    words = ("--checkpoint", checkpoint, "--protocol", protocol, "--device", "cpu", "--out", tmp_path, "--json")
    ended = partseg("evaluate", "tiny", *tiny(trained.data), *words)
    assert ended.code == 0, ended.err
    assert '"model": "clipseg"' in ended.out


@pytest.mark.parametrize("word", ["cat's ear", "cat", "ear", "bus,cat's head"])
def test_clipseg_predicts_parts_objects_and_both(partseg, trained, checkpoint, tmp_path, word):
    words = ("--vocab", word, "--checkpoint", checkpoint, "--device", "cpu", "--out", tmp_path)
    ended = partseg("predict", trained.photos[3], *words)
    assert ended.code == 0, ended.err
    assert len(list(tmp_path.glob("*_labels.png"))) == 1


def test_a_checkpoint_of_partclipseg_cannot_pass_for_clipseg(trained, tmp_path):
    section = load_recipe("tiny").model
    header = CheckpointHeader(model_to_header(SECTION), WORDS, "cartoon-part", "drawn", 0)
    save_checkpoint(tmp_path / "a.safetensors", build_from_header(asdict(section)), header)
    with pytest.raises(CheckpointError, match=r"background must be absent, got \(1, 64\); these weights belong"):
        load_model(tmp_path / "a.safetensors")


@pytest.mark.parametrize("switch", ["on", 1, None])
def test_a_switch_that_is_no_bool_is_refused(switch):
    with pytest.raises(ValueError, match=rf"^model.visual_adapter must be true or false, got {switch!r}$"):
        build_from_header(model_to_header(SECTION) | {"visual_adapter": switch})

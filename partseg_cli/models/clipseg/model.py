"""CLIPSeg (Lüddecke and Ecker, CVPR 2022), also as fine-tuned on parts in OV-PARTS: one plane of logits a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from partseg_cli.models.backbones import Backbone
from partseg_cli.models.clip.model import Clip
from partseg_cli.models.clip.text_cache import TextCache
from partseg_cli.models.clipseg.decoder import Decoder, Head, VisualAdapter
from partseg_cli.models.layers.chunking import default_chunk, in_slices
from partseg_cli.structures import Attention, Logits
from partseg_cli.vocabulary import Vocabulary

AnyCLIPSeg = TypeVar("AnyCLIPSeg", bound="CLIPSeg")


LayerFeatures = Sequence[Float[Tensor, "B N D"]]
"""Tokens of the image tower after the blocks that the decoder reads, shallow first."""


class Features(NamedTuple):
    """What the decoder gives.

    Attributes:
        tokens: of the patches, for each prompt.
        attention: of the last layer.
        grid: rows and columns of patches.
        chunk: prompts that were taken at once.
    """

    tokens: Float[Tensor, "B T n R"]
    attention: Attention
    grid: tuple[int, int]
    chunk: int


class CLIPSeg(nn.Module):
    """CLIP, a decoder conditioned on text, and a head.

    Args:
        backbone: CLIP and decoder sizes.
        visual_adapter: whether image tokens pass an adapter (OV-PARTS), or not (the original rd64-refined).
        background_embedding: the background's text vector stays as drawn ("frozen", as published) or is "learned";
            "none": there is no such vector (the original rd64-refined). The background's score is then 1/2, so that
            a pixel without any score above it is background.
        trainable: "published" trains adapter, FiLM, decoder and text embedding tables; "decoder" leaves those tables as
            they are; "all" trains every weight, for backbones that start at random.

    Attributes:
        text_cache: embeddings of prompts, kept in evaluation mode.
        prompt_chunk: prompts that the decoder takes at once, None = what suits the device. Memory, not results.
    """

    background: nn.Parameter | None

    def __init__(self, backbone: Backbone, *, visual_adapter: bool, background_embedding: str, trainable: str) -> None:
        super().__init__()
        check_choice("background_embedding", background_embedding, ("frozen", "learned", "none"))
        check_choice("trainable", trainable, ("published", "decoder", "all"))
        self.clip = Clip(backbone)
        embedding, width = self.clip.embedding_width, backbone.width
        self.visual_adapter = VisualAdapter(self.clip.width) if visual_adapter else nn.Identity()
        vector = None if background_embedding == "none" else nn.Parameter(torch.randn(1, embedding) * embedding**-0.5)
        self.register_parameter("background", vector)
        self.decoder = Decoder(
            self.clip.width, embedding, width=width, heads=backbone.heads, mlp=backbone.mlp, taps=len(backbone.taps)
        )
        self.head = Head(width, backbone.strides)
        self._freeze(background_embedding, trainable)
        self.text_cache = TextCache()
        self.prompt_chunk: int | None = None
        self.register_load_state_dict_post_hook(_forget_text)  # type: ignore[no-untyped-call]

    def _freeze(self, background_embedding: str, trainable: str) -> None:
        if trainable != "all":
            self.clip.requires_grad_(False)
        if trainable == "published":
            self.clip.clip.token_embedding.requires_grad_(True)
            self.clip.clip.positional_embedding.requires_grad_(True)
        if self.background is not None:
            self.background.requires_grad_(background_embedding == "learned")

    def train(self: AnyCLIPSeg, mode: bool = True) -> AnyCLIPSeg:
        """Set training or evaluation mode; training forgets the text embeddings that evaluation kept."""
        if mode:
            self.text_cache.forget()
        return super().train(mode)

    def compile_blocks(self) -> None:
        """Let torch.compile work on what runs over and over: blocks of the image tower, decoder and heads.

        Weights keep their names.
        """
        blocks = self.clip.clip.visual.transformer.resblocks[: self.clip.taps[-1] + 1]
        heads = [module for module in self.modules() if isinstance(module, Head)]
        for module in (*blocks, self.decoder, *heads):
            module.compile()

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        vocabulary: Vocabulary,
        *,
        recompute: bool = False,
        taps: LayerFeatures | None = None,
    ) -> Logits:
        """Give logits of the pairs, with prompts such as "cat ear" (names without 's), at the size of the images.

        CLIPSeg has no object gate. Only where `vocabulary` asks for bare objects, prompts of the objects are one.

        Args:
            images: normalised RGB.
            vocabulary: any pairs.
            recompute: keep nothing of decoder and head for gradients, compute them twice.
            taps: what the image tower gives for these images, where that is known already.
        """
        pairs = len(vocabulary.pairs)
        gate = vocabulary.objects if vocabulary.bare_objects else ()
        features = self.features(images, self.text(vocabulary.pair_prompts + gate), recompute=recompute, taps=taps)
        planes = self.guide(features, slice(None), recompute=recompute)
        if self.background is None:
            planes = torch.cat([planes, planes.new_zeros(len(images), 1, *planes.shape[2:])], dim=1)
        if not gate:
            return Logits(planes)
        return Logits(torch.cat([planes[:, :pairs], planes[:, -1:]], dim=1), planes[:, pairs:])

    def features(
        self,
        images: Float[Tensor, "B 3 H W"],
        text: Float[Tensor, "T E"],
        *,
        recompute: bool = False,
        taps: LayerFeatures | None = None,
    ) -> Features:
        """Run the image tower once, and the decoder for each embedding.

        Args:
            images: normalised RGB.
            text: what `text` gives.
            recompute: keep nothing of the decoder for gradients, compute it twice.
            taps: what the image tower gives, where that is known already.
        """
        taps = self.clip.image_tokens(images) if taps is None else taps
        reduced = self.decoder.reduce([self.visual_adapter(tokens) for tokens in taps])
        chunk = self.prompt_chunk or default_chunk(images, reduced[0].shape[1] * self.decoder.mlp)

        def decode(rows: slice) -> tuple[Tensor, ...]:
            tokens, attention = self.decoder(reduced, text[rows])
            return tokens, *attention

        tokens, queries, keys = in_slices(decode, len(text), chunk, recompute=recompute)
        return Features(tokens, Attention(queries, keys), self._grid(images), chunk)

    def guide(self, features: Features, rows: slice, *, recompute: bool = False) -> Float[Tensor, "B T H W"]:
        """Give logits of the prompts `rows` by the first head."""
        tokens = features.tokens[:, rows]
        score = partial(_score, self.head, tokens, features.grid)
        return in_slices(score, tokens.shape[1], features.chunk, recompute=recompute)[0]

    def phrase_logits(
        self, images: Float[Tensor, "B 3 H W"], phrases: tuple[str, ...], owner: Int[Tensor, "S"]
    ) -> Float[Tensor, "S H W"]:
        """Give logits of S phrases, each on its own image alone.

        Args:
            images: normalised RGB.
            phrases: one a sequence.
            owner: for each phrase its image.
        """
        different = tuple(sorted(set(phrases)))
        text = self.clip.text_embeddings(different)[[different.index(phrase) for phrase in phrases]]
        taps = [self.visual_adapter(tokens) for tokens in self.clip.image_tokens(images)]
        reduced = [tokens[owner][None] for tokens in self.decoder.reduce(taps)]
        tokens, _ = self.decoder.condition(reduced, text)
        logits: Float[Tensor, "S H W"] = self.head(tokens, self._grid(images))[0]
        return logits

    def _grid(self, images: Float[Tensor, "B 3 H W"]) -> tuple[int, int]:
        """Give the rows and columns of patches."""
        patch = self.clip.patch_size
        return images.shape[2] // patch, images.shape[3] // patch

    def text(self, prompts: tuple[str, ...]) -> Float[Tensor, "T E"]:
        """Give embeddings of the prompts and of the background, if it has one.

        In evaluation mode and without gradients they are computed once, always in float32.
        """
        if self.training or torch.is_grad_enabled():
            embeddings = self.clip.text_embeddings(prompts)
        else:
            embeddings = self.text_cache.get(prompts, self.decoder.film.mul.weight.device, self._encode)
        return embeddings if self.background is None else torch.cat([embeddings, self.background])

    def _encode(self, prompts: tuple[str, ...]) -> Float[Tensor, "M E"]:
        with torch.autocast(self.decoder.film.mul.weight.device.type, enabled=False):
            return self.clip.text_embeddings(prompts)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"model.{name} must be one of {', '.join(choices)}, got {value!r}")


def _score(
    head: Head, tokens: Float[Tensor, "B T n R"], grid: tuple[int, int], rows: slice
) -> tuple[Float[Tensor, "B T1 H W"]]:
    return (head(tokens[:, rows], grid),)


def _forget_text(model: CLIPSeg, _: object) -> None:
    """Drop text embeddings of former weights."""
    model.text_cache.forget()

"""CLIPSeg (Lüddecke and Ecker, CVPR 2022), also as fine-tuned on parts in OV-PARTS: one plane of logits per prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from partseg_cli.models.backbones import Backbone
from partseg_cli.models.clip.model import Clip
from partseg_cli.models.clip.text_cache import TextCache
from partseg_cli.models.clipseg.decoder import Decoder, Head, VisualAdapter
from partseg_cli.models.layers.chunked import default_chunk, map_chunks
from partseg_cli.structures import Attention, Logits
from partseg_cli.vocabulary import Vocabulary

AnyCLIPSeg = TypeVar("AnyCLIPSeg", bound="CLIPSeg")


LayerFeatures = Sequence[Float[Tensor, "B N D"]]
"""Tokens of the image encoder after the blocks that the decoder reads, shallow first."""


class DecoderFeatures(NamedTuple):
    """Output of the decoder.

    Attributes:
        tokens: Features of the patches for each prompt.
        attention: Attention of the last layer.
        grid: Rows and columns of patches.
        chunk: Number of prompts per chunk.
    """

    tokens: Float[Tensor, "B T n R"]
    attention: Attention
    grid: tuple[int, int]
    chunk: int


class CLIPSeg(nn.Module):
    """CLIP, a decoder conditioned on text, and a head.

    Args:
        backbone: Sizes of CLIP and decoder.
        visual_adapter: Whether image tokens pass an adapter (OV-PARTS), or not (the original rd64-refined).
        background_embedding: "frozen" keeps the background's text embedding as drawn (published), "learned" trains it.
            "none" has no such embedding (the original rd64-refined): the background's score is 1/2, so that a pixel
            without any score above it is background.
        trainable: "published" trains adapter, FiLM, decoder and text embedding tables; "decoder" freezes those tables;
            "all" trains every weight, for backbones that start at random.

    Attributes:
        text_cache: Cache of prompts' embeddings in evaluation mode.
        prompt_chunk: Number of prompts that the decoder takes at once, None = what suits the device. It changes memory,
            not results.
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
        sizes = {"width": width, "heads": backbone.heads, "mlp": backbone.mlp, "layers": len(backbone.layers)}
        self.decoder = Decoder(self.clip.width, embedding, **sizes)
        self.head = Head(width, backbone.strides)
        if trainable != "all":
            self.clip.requires_grad_(False)
        if trainable == "published":
            self.clip.clip.token_embedding.requires_grad_(True)
            self.clip.clip.positional_embedding.requires_grad_(True)
        if self.background is not None:
            self.background.requires_grad_(background_embedding == "learned")
        self.text_cache = TextCache()
        self.prompt_chunk: int | None = None
        self.register_load_state_dict_post_hook(_clear_text_cache)  # type: ignore[no-untyped-call]

    def train(self: AnyCLIPSeg, mode: bool = True) -> AnyCLIPSeg:
        """Set training or evaluation mode; training clears the text cache."""
        if mode:
            self.text_cache.forget()
        return super().train(mode)

    def compile_blocks(self) -> None:
        """Compile the blocks that run repeatedly, those of the image encoder, decoder and heads; weights keep names."""
        blocks = self.clip.clip.visual.transformer.resblocks[: self.clip.layers[-1] + 1]
        heads = [module for module in self.modules() if isinstance(module, Head)]
        for module in (*blocks, self.decoder, *heads):
            module.compile()

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        vocabulary: Vocabulary,
        *,
        for_loss: bool = False,
        activation_checkpointing: bool = False,
        layer_features: LayerFeatures | None = None,
    ) -> Logits:
        """Compute logits of the pairs, with prompts such as "cat ear" (names without 's), at the size of the images.

        CLIPSeg has no object gate. Only if the vocabulary has bare objects, the objects' prompts serve as one.

        Args:
            images: Normalised RGB.
            vocabulary: Any pairs.
            for_loss: Without effect here: the loss of CLIPSeg reads the logits of the pairs alone.
            activation_checkpointing: Recompute activations of decoder and head in the backward pass.
            layer_features: Layer features of these images if they are known, see `Clip.image_tokens`.
        """
        pairs = len(vocabulary.pairs)
        gate = vocabulary.objects if vocabulary.bare_objects else ()
        options = {"activation_checkpointing": activation_checkpointing}
        text = self.text(vocabulary.pair_prompts + gate)
        features = self.features(images, text, layer_features=layer_features, **options)
        planes = self.score_prompts(features, slice(None), **options)
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
        activation_checkpointing: bool = False,
        layer_features: LayerFeatures | None = None,
    ) -> DecoderFeatures:
        """Run the image encoder once, and the decoder for each embedding.

        Args:
            images: Normalised RGB.
            text: Result of `text`.
            activation_checkpointing: Recompute activations of the decoder in the backward pass.
            layer_features: Layer features of these images if they are known.
        """
        if layer_features is None:
            layer_features = self.clip.image_tokens(images)
        reduced = self.decoder.reduce([self.visual_adapter(tokens) for tokens in layer_features])
        chunk = self.prompt_chunk or default_chunk(images, reduced[0].shape[1] * self.decoder.mlp)

        def decode(rows: slice) -> tuple[Tensor, ...]:
            tokens, attention = self.decoder(reduced, text[rows])
            return tokens, *attention

        tokens, queries, keys = map_chunks(decode, len(text), chunk, activation_checkpointing=activation_checkpointing)
        return DecoderFeatures(tokens, Attention(queries, keys), self._grid(images), chunk)

    def score_prompts(
        self, features: DecoderFeatures, rows: slice, *, activation_checkpointing: bool = False
    ) -> Float[Tensor, "B T H W"]:
        """Compute logits of the prompts `rows` by the first head."""
        tokens = features.tokens[:, rows]

        def score(chunk: slice) -> tuple[Tensor]:
            return (self.head(tokens[:, chunk], features.grid),)

        count = tokens.shape[1]
        return map_chunks(score, count, features.chunk, activation_checkpointing=activation_checkpointing)[0]

    def phrase_logits(
        self, images: Float[Tensor, "B 3 H W"], phrases: tuple[str, ...], owner: Int[Tensor, "S"]
    ) -> Float[Tensor, "S H W"]:
        """Compute logits of S phrases, each on its own image alone.

        Args:
            images: Normalised RGB.
            phrases: One prompt per sequence.
            owner: For each phrase its image.
        """
        distinct = tuple(sorted(set(phrases)))
        text = self.clip.text_embeddings(distinct)[[distinct.index(phrase) for phrase in phrases]]
        layer_features = [self.visual_adapter(tokens) for tokens in self.clip.image_tokens(images)]
        reduced = [tokens[owner][None] for tokens in self.decoder.reduce(layer_features)]
        tokens, _ = self.decoder.condition(reduced, text)
        logits: Float[Tensor, "S H W"] = self.head(tokens, self._grid(images))[0]
        return logits

    def _grid(self, images: Float[Tensor, "B 3 H W"]) -> tuple[int, int]:
        """Return the rows and columns of patches."""
        patch = self.clip.patch_size
        return images.shape[2] // patch, images.shape[3] // patch

    def text(self, prompts: tuple[str, ...]) -> Float[Tensor, "T E"]:
        """Compute embeddings of the prompts and, if there is one, of the background.

        In evaluation mode and without gradients they are computed once, always in float32.
        """
        if self.training or torch.is_grad_enabled():
            embeddings = self.clip.text_embeddings(prompts)
        else:
            device = self.decoder.film.mul.weight.device

            def encode(prompts: tuple[str, ...]) -> Tensor:
                with torch.autocast(device.type, enabled=False):
                    return self.clip.text_embeddings(prompts)

            embeddings = self.text_cache.get(prompts, device, encode)
        return embeddings if self.background is None else torch.cat([embeddings, self.background])


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"model.{name} must be one of {', '.join(choices)}, got {value!r}")


def _clear_text_cache(model: CLIPSeg, _: object) -> None:
    """Drop text embeddings of replaced weights."""
    model.text_cache.forget()

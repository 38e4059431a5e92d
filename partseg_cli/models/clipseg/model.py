"""CLIPSeg (Lüddecke and Ecker, CVPR 2022), also as fine-tuned on parts in OV-PARTS: one plane of logits per prompt.

Axes: T prompts, N = 1 + n tokens (CLS first), n = h*w, D image width, E text width, R decoder width.

Prompts are independent of each other, so decoder and heads run on chunks of them: a chunk's hidden activations stay in
the processor's cache, and memory does not grow with the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from partseg_cli.models.backbones import Backbone
from partseg_cli.models.clip.model import Clip
from partseg_cli.models.clip.text_cache import TextCache
from partseg_cli.models.layers.chunked import default_chunk, map_chunks, relu_mlp
from partseg_cli.structures import Attention, Logits
from partseg_cli.vocabulary import Vocabulary

AnyCLIPSeg = TypeVar("AnyCLIPSeg", bound="CLIPSeg")


LayerFeatures = Sequence[Float[Tensor, "B N D"]]
"""Tokens of the image encoder after the blocks that the decoder reads, shallow first."""


class FiLM(nn.Module):
    """Scale and shift of features by a text embedding: mul(e) * x + add(e)."""

    def __init__(self, embedding_width: int, width: int) -> None:
        super().__init__()
        self.mul = nn.Linear(embedding_width, width)
        self.add = nn.Linear(embedding_width, width)

    def forward(self, x: Float[Tensor, "B #T M R"], text: Float[Tensor, "T E"]) -> Float[Tensor, "B T M R"]:
        """Condition the M tokens of each image on each of the T embeddings."""
        scaled: Float[Tensor, "B T M R"] = self.mul(text)[:, None] * x + self.add(text)[:, None]
        return scaled


class DecoderLayer(nn.Module):
    """Post-norm transformer layer with ReLU."""

    def __init__(self, width: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, mlp)
        self.fc2 = nn.Linear(mlp, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "S N R"]) -> tuple[Float[Tensor, "S N R"], Attention]:
        """Compute the layer's output and its attention."""
        q, k, v = self.in_proj(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # S heads N R/heads
        mixed = F.scaled_dot_product_attention(q, k, v)
        x = self.norm1(x + self.out_proj(mixed.transpose(1, 2).flatten(2)))
        change = relu_mlp(x.flatten(0, 1), self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias)
        return self.norm2(x + change.view_as(x)), Attention(q, k)


class Decoder(nn.Module):
    """Transformer layers that read the layer features of the image encoder from deep to shallow; FiLM comes first."""

    def __init__(
        self, token_width: int, embedding_width: int, *, width: int, heads: int, mlp: int, layers: int
    ) -> None:
        super().__init__()
        self.mlp = mlp
        self.film = FiLM(embedding_width, width)
        self.reduces = nn.ModuleList(nn.Linear(token_width, width) for _ in range(layers))
        self.layers = nn.ModuleList(DecoderLayer(width, heads, mlp) for _ in range(layers))

    def reduce(self, layer_features: list[Float[Tensor, "B N D"]]) -> list[Float[Tensor, "B N R"]]:
        """Project layer features (shallow first) to the decoder's width, in the order in which its layers read them."""
        return [reduce(tokens) for reduce, tokens in zip(self.reduces, reversed(layer_features), strict=True)]

    def forward(
        self, reduced: list[Float[Tensor, "B N R"]], text: Float[Tensor, "T E"]
    ) -> tuple[Float[Tensor, "B T n R"], Attention]:
        """Compute features of the patch tokens for each prompt, and the last layer's attention.

        Args:
            reduced: Result of `reduce`.
            text: Embeddings of the prompts.
        """
        return self.condition([tokens[:, None] for tokens in reduced], text)

    def condition(
        self, reduced: list[Float[Tensor, "B #T N R"]], text: Float[Tensor, "T E"]
    ) -> tuple[Float[Tensor, "B T n R"], Attention]:
        """Compute the same as `forward`, where each of the T embeddings may have tokens of its own."""
        batch = (len(reduced[0]), len(text))
        x = self.film(reduced[0], text)
        for index, layer in enumerate(self.layers):
            if index > 0:
                x = x + reduced[index]
            flat, attention = layer(x.flatten(0, 1))
            x = flat.unflatten(0, batch)
        return x[:, :, 1:], Attention(*(value.unflatten(0, batch) for value in attention))


class Head(nn.Module):
    """Features of patch tokens -> logits of pixels: a 3x3 convolution and two transposed ones, with ReLU between.

    The stride of the transposed convolutions is their size, so their outputs do not overlap: each is one matrix product
    per token, which is faster than the general convolution.
    """

    def __init__(self, width: int, strides: tuple[int, int]) -> None:
        super().__init__()
        first, second = strides
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width // 2, first, stride=first),
            nn.ReLU(),
            nn.ConvTranspose2d(width // 2, 1, second, stride=second),
        )

    def forward(self, x: Float[Tensor, "B T n R"], grid: tuple[int, int]) -> Float[Tensor, "B T H W"]:
        """Compute one plane of logits per image and prompt.

        With gradients, hidden activations, 12 times as large as `x`, are not kept but recomputed.
        """
        planes = x.flatten(0, 1).transpose(1, 2).unflatten(2, grid)
        if torch.is_grad_enabled():
            logits = checkpoint(self._planes, planes, use_reentrant=False, preserve_rng_state=False)
        else:
            logits = self._planes(planes)
        shaped: Float[Tensor, "B T H W"] = logits.unflatten(0, x.shape[:2])
        return shaped

    def _planes(self, x: Float[Tensor, "S R h w"]) -> Float[Tensor, "S H W"]:
        convolution, relu, first, _, second = self.layers
        tokens = relu(convolution(x)).permute(0, 2, 3, 1)  # S h w R
        cells = relu(_spread(tokens, first))  # S h w a a R/2
        pixels = _spread(cells, second)[..., 0]  # S h w a a b b
        return pixels.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(1, 3)


def _spread(x: Float[Tensor, "*S C"], layer: nn.Module) -> Float[Tensor, "*S k k C1"]:
    """Apply a transposed convolution without overlap: each vector becomes a cell of k x k vectors."""
    weight: Float[Tensor, "C C1 k k"] = layer.get_parameter("weight")
    cell = weight.permute(0, 2, 3, 1)  # C k k C1
    bias = layer.get_parameter("bias").repeat(cell.shape[1] * cell.shape[2])
    spread: Float[Tensor, "*S k k C1"] = F.linear(x, cell.flatten(1).T, bias).unflatten(-1, cell.shape[1:])
    return spread


class VisualAdapter(nn.Module):
    """Residual bottleneck that adapts image tokens: 0.2 relu(W2 relu(W1 x)) + 0.8 x (OV-PARTS)."""

    SHARE = 0.2
    REDUCTION = 4

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, width // self.REDUCTION, bias=False)
        self.up = nn.Linear(width // self.REDUCTION, width, bias=False)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Return adapted tokens."""
        return self.SHARE * F.relu(self.up(F.relu(self.down(x)))) + (1 - self.SHARE) * x


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

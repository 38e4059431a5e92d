"""CLIPSeg's decoder: image tokens conditioned on text embeddings, one sequence per image and prompt.

Axes: T prompts, N = 1 + n tokens (CLS first), n = h*w, D image width, E text width, R decoder width.

Prompts are independent of each other, so decoder and heads run on chunks of them: a chunk's hidden activations stay in
the processor's cache, and memory does not grow with the vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from partseg_cli.models.layers.chunked import relu_mlp
from partseg_cli.structures import Attention


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

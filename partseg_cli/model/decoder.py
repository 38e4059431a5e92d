"""CLIPSeg's decoder: image tokens conditioned on text embeddings, one sequence for each image and prompt.

Axes: T prompts, N = 1 + n tokens (CLS first), n = h*w, D image width, E text width, R decoder width.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class FiLM(nn.Module):
    """Scales and shifts features by a text embedding: mul(e) * x + add(e)."""

    def __init__(self, embedding_width: int, width: int) -> None:
        super().__init__()
        self.mul = nn.Linear(embedding_width, width)
        self.add = nn.Linear(embedding_width, width)

    def forward(self, x: Float[Tensor, "B #T M R"], text: Float[Tensor, "T E"]) -> Float[Tensor, "B T M R"]:
        """Condition the M tokens of each image on each of the T embeddings."""
        scaled: Float[Tensor, "B T M R"] = self.mul(text)[:, None] * x + self.add(text)[:, None]
        return scaled


class DecoderLayer(nn.Module):
    """A post-norm transformer layer with ReLU."""

    def __init__(self, width: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, mlp)
        self.fc2 = nn.Linear(mlp, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(
        self, x: Float[Tensor, "S N R"], *, with_attention: bool
    ) -> tuple[Float[Tensor, "S N R"], Float[Tensor, "S N N"] | None]:
        """Give the layer's output and, if asked for, its attention averaged over heads."""
        q, k, v = self.in_proj(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # S heads N R/heads
        attention = None
        if with_attention:
            weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1)
            attention = weights.mean(1)
            mixed = weights @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        x = self.norm1(x + self.out_proj(mixed.transpose(1, 2).flatten(2)))
        x = self.norm2(x + self.fc2(F.relu(self.fc1(x))))
        return x, attention


class Decoder(nn.Module):
    """Three layers, fed with the taps of the image tower from deep to shallow; FiLM before the first one."""

    def __init__(self, token_width: int, embedding_width: int, *, width: int, heads: int, mlp: int, taps: int) -> None:
        super().__init__()
        self.film = FiLM(embedding_width, width)
        self.reduces = nn.ModuleList(nn.Linear(token_width, width) for _ in range(taps))
        self.layers = nn.ModuleList(DecoderLayer(width, heads, mlp) for _ in range(taps))

    def forward(
        self, taps: list[Float[Tensor, "B N D"]], text: Float[Tensor, "T E"], *, with_attention: bool = False
    ) -> tuple[Float[Tensor, "B T n R"], Float[Tensor, "B T n n"] | None]:
        """Give features of the patch tokens for each prompt, and the last layer's attention among them.

        Args:
            taps: tokens of the image tower, shallow first.
            text: embeddings of the prompts.
            with_attention: whether to give attention too (averaged over heads, CLS dropped).
        """
        batch = (len(taps[0]), len(text))
        x = self.film(self.reduces[0](taps[-1])[:, None], text)
        attention = None
        for index, layer in enumerate(self.layers):
            if index > 0:
                x = x + self.reduces[index](taps[-1 - index])[:, None]
            last = index == len(self.layers) - 1
            flat, attention = layer(x.flatten(0, 1), with_attention=with_attention and last)
            x = flat.unflatten(0, batch)
        if attention is not None:
            attention = attention[:, 1:, 1:].unflatten(0, batch)
        return x[:, :, 1:], attention


class Head(nn.Module):
    """Features at patch tokens -> logits at pixels: a 3x3 convolution and two transposed ones, ReLU between."""

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
        """Give one plane of logits for each image and prompt."""
        planes = x.flatten(0, 1).transpose(1, 2).unflatten(2, grid)
        logits: Float[Tensor, "B T H W"] = self.layers(planes)[:, 0].unflatten(0, x.shape[:2])
        return logits


class VisualAdapter(nn.Module):
    """A residual bottleneck that adapts image tokens: 0.2 relu(W2 relu(W1 x)) + 0.8 x (OV-PARTS)."""

    SHARE = 0.2
    REDUCTION = 4

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, width // self.REDUCTION, bias=False)
        self.up = nn.Linear(width // self.REDUCTION, width, bias=False)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Give adapted tokens."""
        return self.SHARE * F.relu(self.up(F.relu(self.down(x)))) + (1 - self.SHARE) * x

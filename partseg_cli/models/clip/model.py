"""CLIP as a source of patch tokens and text embeddings; the only module that imports open_clip."""

from __future__ import annotations

from functools import cache

import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float
from open_clip.model import CLIP
from open_clip.transformer import PatchDropout
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from partseg_cli.errors import VocabularyError
from partseg_cli.models.backbones import Backbone

PROMPTS_PER_PASS = 128
"""Number of prompts per pass of the text encoder: its attention stays small compared with its linear layers."""


class Clip(nn.Module):
    """Both encoders of a CLIP model, with randomly drawn weights.

    Attributes:
        clip: The open_clip model, whose parameter names checkpoints use.
        layers: Indices of the blocks whose tokens `image_tokens` returns.
        words: Words that the text encoder knows, None = all.
        width: D, width of the patch tokens.
        embedding_width: E, width of text embeddings.
        patch_size: Edge of a patch in pixels.
        image_size: Edge in pixels of the images that CLIP was made for.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        config = backbone.open_clip
        if isinstance(config, str):
            config = open_clip.get_model_config(config)
        self.rows = _table_rows(backbone.words)
        self.words = backbone.words
        if self.rows is not None:
            config = {**config, "text_cfg": {**config["text_cfg"], "vocab_size": len(self.rows)}}
        self.clip = CLIP(**config)
        self.clip.attn_mask = None  # `text_embeddings` makes its own
        self.layers = backbone.layers
        self.width: int = config["vision_cfg"]["width"]
        self.embedding_width: int = config["embed_dim"]
        self.patch_size: int = config["vision_cfg"]["patch_size"]
        self.image_size: int = config["vision_cfg"]["image_size"]
        self.start_token = self._row(_tokenizer().sot_token_id)
        self.end_token = self._row(_tokenizer().eot_token_id)

    def image_embeddings(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        """Compute each image's embedding in the space of texts, a unit vector.

        Attention is not fused: for few tokens, the fused backward pass in bf16 takes a CPU seven times as long.
        """
        with sdpa_kernel(SDPBackend.MATH):
            embeddings: Float[Tensor, "B E"] = self.clip.encode_image(images, normalize=True)
        return embeddings

    def drop_tokens(self, share: float) -> None:
        """Leave a random share of the patches out of each image that trains `image_embeddings` (FLIP)."""
        self.clip.visual.patch_dropout = PatchDropout(share)

    def image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B N D"]]:
        """Compute the tokens after each of `layers`, shallow first; CLS is the first of N = 1 + h*w tokens.

        Blocks after the last layer are not run. An encoder that is not trained keeps nothing for gradients.
        """
        is_trained = any(parameter.requires_grad for parameter in self.clip.visual.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained):
            visual = self.clip.visual
            patches = visual.conv1(images)
            grid = patches.shape[-2:]
            tokens = torch.cat(
                [visual.class_embedding.expand(len(images), 1, -1), patches.flatten(2).transpose(1, 2)], dim=1
            )
            tokens = visual.ln_pre(tokens + self._positions(grid))
            kept = []
            for index, block in enumerate(visual.transformer.resblocks[: self.layers[-1] + 1]):
                tokens = block(tokens)
                if index in self.layers:
                    kept.append(tokens)
            return kept

    def _positions(self, grid: torch.Size) -> Float[Tensor, "N D"]:
        """Return the position table, resized to a grid (bicubic, as in CLIPSeg)."""
        visual = self.clip.visual
        table: Float[Tensor, "N0 D"] = visual.positional_embedding
        if grid == visual.grid_size:
            return table
        square = table[1:].T.reshape(1, -1, *visual.grid_size)
        square = F.interpolate(square, size=list(grid), mode="bicubic", align_corners=False)
        return torch.cat([table[:1], square[0].flatten(1).T])

    def text_embeddings(self, prompts: tuple[str, ...]) -> Float[Tensor, "T E"]:
        """Compute each prompt's embedding: at its first end-of-text token, projected, not normalised.

        The text encoder is causal: padding after a prompt changes nothing and is left out, and the start token, which
        attends only to itself, is the same in every prompt and is computed once.

        Raises:
            VocabularyError: A prompt is too long, or has words that the text encoder does not know.
        """
        check_words(prompts, self.words)
        ids = [prompt_ids(prompt, self.clip.context_length) for prompt in prompts]
        rows = [[self._row(token) for token in prompt] for prompt in ids]
        starts = range(0, len(rows), PROMPTS_PER_PASS)
        return torch.cat([self._encode(rows[start : start + PROMPTS_PER_PASS]) for start in starts])

    def _row(self, token: int) -> int:
        """Return a token's row in the table."""
        return token if self.rows is None else self.rows[token]

    def _encode(self, rows: list[list[int]]) -> Float[Tensor, "T E"]:
        """Encode prompts as one sequence: the start token, then the rest of each prompt."""
        clip, device = self.clip, self.clip.token_embedding.weight.device
        start, tails = rows[0][0], [row[1:] for row in rows]
        tokens = torch.tensor([start, *(token for tail in tails for token in tail)], device=device)
        positions = torch.tensor([0, *(index for row in rows for index in range(1, len(row)))], device=device)
        owner = torch.tensor([-1, *(prompt for prompt, tail in enumerate(tails) for _ in tail)], device=device)
        x = clip.token_embedding(tokens) + clip.positional_embedding[positions]
        visible = ((owner[:, None] == owner) | (owner == -1)).tril()
        x = clip.transformer(x[None], attn_mask=x.new_zeros(visible.shape).masked_fill(~visible, -torch.inf))[0]
        ends = torch.tensor([len(tail) for tail in tails], device=device).cumsum(0)
        embeddings: Float[Tensor, "T E"] = clip.ln_final(x[ends]) @ clip.text_projection
        return embeddings


@cache
def _tokenizer() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer()


def _table_rows(words: tuple[str, ...] | None) -> dict[int, int] | None:
    """Return for each BPE token of `words`, start and end included, its row in a table of these alone; None = whole."""
    if words is None:
        return None
    tokenizer = _tokenizer()
    tokens = {token for word in words for token in tokenizer.encode(word)}
    kept = sorted(tokens | {tokenizer.sot_token_id, tokenizer.eot_token_id})
    return {token: row for row, token in enumerate(kept)}


def check_words(prompts: tuple[str, ...], known: tuple[str, ...] | None) -> None:
    """Check that a text encoder knows all words of some prompts.

    Args:
        prompts: Prompts.
        known: Words that the text encoder knows, None = all.

    Raises:
        VocabularyError: It does not.
    """
    if known is None:
        return
    unknown = sorted({word for prompt in prompts for word in prompt.lower().split()} - set(known))
    if unknown:
        raise VocabularyError(
            f"vocabulary: this model knows {len(known)} words, got {', '.join(unknown)}; known are "
            f"{', '.join(known)}; for other words choose other weights with --checkpoint or --model"
        )


def prompt_ids(prompt: str, context: int = 77) -> list[int]:
    """Return the BPE ids of a prompt, start and end included.

    >>> prompt_ids("ear")
    [49406, 8373, 49407]

    Raises:
        VocabularyError: There are more than `context`.
    """
    tokenizer = _tokenizer()
    words = tokenizer.encode(prompt)
    if len(words) > context - 2:
        raise VocabularyError(f"vocabulary: a name has at most {context - 2} tokens, got {len(words)}: {prompt!r}")
    return [tokenizer.sot_token_id, *words, tokenizer.eot_token_id]

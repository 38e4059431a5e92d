"""CLIP as a source of patch tokens and text embeddings. Nothing else in the project knows open_clip."""

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

PACK = 128
"""Prompts in one pass of the text tower, so that its attention stays small beside its linear layers."""


class Clip(nn.Module):
    """Both towers of a CLIP model, weights at random.

    Attributes:
        clip: the open_clip model, whose parameter names checkpoints use.
        width: D, of the patch tokens.
        embedding_width: E, of text embeddings.
        image_size: pixels, of the images that it was made for.
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
        self.clip.attn_mask = None  # made to measure in `text_embeddings`
        self.taps = backbone.taps
        self.width: int = config["vision_cfg"]["width"]
        self.embedding_width: int = config["embed_dim"]
        self.patch_size: int = config["vision_cfg"]["patch_size"]
        self.image_size: int = config["vision_cfg"]["image_size"]
        self.start_token = self._row(_tokenizer().sot_token_id)
        self.end_token = self._row(_tokenizer().eot_token_id)

    def image_embeddings(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        """Give each image's embedding in the space of texts, a unit vector.

        Attention is written out: of few tokens, its fused form has a backward pass in bf16 that takes a processor
        seven times as long.
        """
        with sdpa_kernel(SDPBackend.MATH):
            embeddings: Float[Tensor, "B E"] = self.clip.encode_image(images, normalize=True)
        return embeddings

    def drop_tokens(self, share: float) -> None:
        """Leave this share of the patches, drawn anew, out of each image that trains `image_embeddings` (FLIP)."""
        self.clip.visual.patch_dropout = PatchDropout(share)

    def image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B N D"]]:
        """Give the tokens after each tap's block, shallow first; CLS is the first of N = 1 + h*w tokens.

        Blocks behind the last tap are not run. A tower of which nothing is trained keeps nothing for gradients.
        """
        is_trained = any(parameter.requires_grad for parameter in self.clip.visual.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained):
            return self._image_tokens(images)

    def _image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B N D"]]:
        visual = self.clip.visual
        patches = visual.conv1(images)
        grid = patches.shape[-2:]
        tokens = torch.cat(
            [visual.class_embedding.expand(len(images), 1, -1), patches.flatten(2).transpose(1, 2)], dim=1
        )
        tokens = visual.ln_pre(tokens + self._positions(grid))
        kept = []
        for index, block in enumerate(visual.transformer.resblocks[: self.taps[-1] + 1]):
            tokens = block(tokens)
            if index in self.taps:
                kept.append(tokens)
        return kept

    def _positions(self, grid: torch.Size) -> Float[Tensor, "N D"]:
        """Give the position table, brought to this grid (bicubic, as in CLIPSeg)."""
        visual = self.clip.visual
        table: Float[Tensor, "N0 D"] = visual.positional_embedding
        if grid == visual.grid_size:
            return table
        square = table[1:].T.reshape(1, -1, *visual.grid_size)
        square = F.interpolate(square, size=list(grid), mode="bicubic", align_corners=False)
        return torch.cat([table[:1], square[0].flatten(1).T])

    def text_embeddings(self, prompts: tuple[str, ...]) -> Float[Tensor, "T E"]:
        """Give each prompt's embedding: at its first end-of-text token, projected, not normalised.

        The text tower is causal, so padding behind a prompt changes nothing and is left out, and the start token, which
        sees only itself, is the same in every prompt and is computed once.

        Raises:
            VocabularyError: a prompt is too long, or holds words that this tower has never seen.
        """
        check_words(prompts, self.words)
        ids = [prompt_ids(prompt, self.clip.context_length) for prompt in prompts]
        rows = [[self._row(token) for token in prompt] for prompt in ids]
        packs = [self._encode(rows[start : start + PACK]) for start in range(0, len(rows), PACK)]
        return torch.cat(packs)

    def _row(self, token: int) -> int:
        """Give a token's row in the table."""
        return token if self.rows is None else self.rows[token]

    def _encode(self, rows: list[list[int]]) -> Float[Tensor, "T E"]:
        """Encode prompts as one sequence: the start token, then what follows it in each prompt."""
        clip, device = self.clip, self.clip.token_embedding.weight.device
        start, tails = rows[0][0], [row[1:] for row in rows]
        tokens = torch.tensor([start, *(token for tail in tails for token in tail)], device=device)
        places = torch.tensor([0, *(place for row in rows for place in range(1, len(row)))], device=device)
        owner = torch.tensor([-1, *(prompt for prompt, tail in enumerate(tails) for _ in tail)], device=device)
        x = clip.token_embedding(tokens) + clip.positional_embedding[places]
        seen = ((owner[:, None] == owner) | (owner == -1)).tril()
        x = clip.transformer(x[None], attn_mask=x.new_zeros(seen.shape).masked_fill(~seen, -torch.inf))[0]
        ends = torch.tensor([len(tail) for tail in tails], device=device).cumsum(0)
        embeddings: Float[Tensor, "T E"] = clip.ln_final(x[ends]) @ clip.text_projection
        return embeddings


@cache
def _tokenizer() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer()


def _table_rows(words: tuple[str, ...] | None) -> dict[int, int] | None:
    """Give for each BPE token of `words`, start and end included, its row in a table cut to them; None: it is whole."""
    if words is None:
        return None
    tokenizer = _tokenizer()
    tokens = {token for word in words for token in tokenizer.encode(word)}
    kept = sorted(tokens | {tokenizer.sot_token_id, tokenizer.eot_token_id})
    return {token: row for row, token in enumerate(kept)}


def check_words(prompts: tuple[str, ...], known: tuple[str, ...] | None) -> None:
    """Refuse prompts with words that a text tower of few words has never seen; None: it has seen everything.

    Raises:
        VocabularyError: there are some.
    """
    if known is None:
        return
    strange = sorted({word for prompt in prompts for word in prompt.lower().split()} - set(known))
    if strange:
        raise VocabularyError(
            f"vocabulary: this model knows {len(known)} words and has never seen {', '.join(strange)}; known are "
            f"{', '.join(known)}; for other words choose other weights with --checkpoint or --model"
        )


def prompt_ids(prompt: str, context: int = 77) -> list[int]:
    """Give the BPE ids of a prompt, start and end included.

    >>> prompt_ids("ear")
    [49406, 8373, 49407]

    Raises:
        VocabularyError: there are more than `context`.
    """
    tokenizer = _tokenizer()
    words = tokenizer.encode(prompt)
    if len(words) > context - 2:
        raise VocabularyError(f"vocabulary: a name has at most {context - 2} tokens, got {len(words)}: {prompt!r}")
    return [tokenizer.sot_token_id, *words, tokenizer.eot_token_id]

"""CLIP as a source of patch tokens and text embeddings. Nothing else in the project knows open_clip."""

from __future__ import annotations

from functools import cache

import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from open_clip.model import CLIP
from torch import Tensor, nn

from partseg_cli.errors import VocabularyError
from partseg_cli.model.backbones import Backbone


class Clip(nn.Module):
    """Both towers of a CLIP model, weights at random.

    Attributes:
        clip: the open_clip model, whose parameter names checkpoints use.
        width: D, of the patch tokens.
        embedding_width: E, of text embeddings.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        config = backbone.open_clip
        if isinstance(config, str):
            config = open_clip.get_model_config(config)
        self.clip = CLIP(**config)
        self.taps = backbone.taps
        self.width: int = config["vision_cfg"]["width"]
        self.embedding_width: int = config["embed_dim"]
        self.patch_size: int = config["vision_cfg"]["patch_size"]
        self.start_token: int = _tokenizer().sot_token_id
        self.end_token: int = _tokenizer().eot_token_id

    def image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B N D"]]:
        """Give the tokens after each tap's block, shallow first; CLS is the first of N = 1 + h*w tokens.

        Blocks behind the last tap are not run.
        """
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

        Prompts are encoded at the length of the longest one; the text tower is causal, so this is exact.
        """
        clip = self.clip
        tokens = _tokens(prompts, clip.context_length).to(clip.token_embedding.weight.device)
        length = tokens.shape[1]
        x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
        x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
        x = clip.ln_final(x)
        embeddings: Float[Tensor, "T E"] = x[torch.arange(len(x)), tokens.argmax(1)] @ clip.text_projection
        return embeddings


@cache
def _tokenizer() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer()


def _tokens(prompts: tuple[str, ...], context: int) -> Int[Tensor, "T L"]:
    """Give BPE ids, padded with 0 to the longest prompt; the end-of-text id is the largest of all."""
    tokenizer = _tokenizer()
    rows = [[tokenizer.sot_token_id, *tokenizer.encode(prompt), tokenizer.eot_token_id] for prompt in prompts]
    for prompt, row in zip(prompts, rows, strict=True):
        if len(row) > context:
            raise VocabularyError(
                f"vocabulary: a name has at most {context - 2} tokens, got {len(row) - 2}: {prompt!r}"
            )
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)

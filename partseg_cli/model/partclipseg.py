"""PartCLIPSeg (Choi et al., NeurIPS 2024): objects and generalised parts guide object-specific parts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from partseg_cli.model.backbones import Backbone
from partseg_cli.model.clip import Clip
from partseg_cli.model.decoder import Decoder, FiLM, Head, VisualAdapter
from partseg_cli.records import Logits
from partseg_cli.vocabulary import Vocabulary


class PartCLIPSeg(nn.Module):
    """CLIP, CLIPSeg's decoder, and a second stage that composes part and object (Eq. 1-4).

    Args:
        backbone: CLIP and decoder sizes.
        object_text_index: "paper" composes the object's own text embedding with the part's. "published" repeats a slip
            of the published code: there row `object_of` of [parts | objects | background] is taken, without skipping
            the parts. Weights trained that way need it.
        background_embedding: "frozen" as published, or "learned".
        trained: "published" trains adapter, FiLM, decoder and text embedding tables; "all" trains every weight, for
            backbones that start at random.
    """

    def __init__(self, backbone: Backbone, *, object_text_index: str, background_embedding: str, trained: str) -> None:
        super().__init__()
        self.clip = Clip(backbone)
        embedding, width = self.clip.embedding_width, backbone.width
        self.object_text_index = object_text_index
        self.visual_adapter = VisualAdapter(self.clip.width)
        self.background = nn.Parameter(torch.randn(1, embedding) * embedding**-0.5)
        self.decoder = Decoder(
            self.clip.width, embedding, width=width, heads=backbone.heads, mlp=backbone.mlp, taps=len(backbone.taps)
        )
        self.guidance_head = Head(width, backbone.strides)
        self.compose = nn.Linear(2 * width, width)
        self.compose_text = nn.Linear(2 * embedding, embedding)
        self.pair_film = FiLM(embedding, width)
        self.pair_head = Head(width, backbone.strides)
        for layer in (self.compose, self.compose_text):
            nn.init.zeros_(layer.bias)
        self._freeze(background_embedding, trained)
        self._text_cache: dict[tuple[str, ...], Tensor] = {}
        self.register_load_state_dict_post_hook(_forget_text)  # type: ignore[no-untyped-call]

    def _freeze(self, background_embedding: str, trained: str) -> None:
        if trained == "published":
            self.clip.requires_grad_(False)
            self.clip.clip.token_embedding.requires_grad_(True)
            self.clip.clip.positional_embedding.requires_grad_(True)
        self.background.requires_grad_(background_embedding == "learned")

    def train(self, mode: bool = True) -> PartCLIPSeg:
        """Set training or evaluation mode; text embeddings kept for evaluation are forgotten."""
        self._text_cache.clear()
        return super().train(mode)

    def forward(
        self, images: Float[Tensor, "B 3 H W"], vocabulary: Vocabulary, *, with_attention: bool = False
    ) -> Logits:
        """Give logits for `vocabulary`, at the size of the images (`tiny` too).

        Args:
            images: normalised RGB.
            vocabulary: any pairs; K, P and O are its sizes.
            with_attention: whether to give the attention that the losses of Eq. 6-9 read.
        """
        grid = (images.shape[2] // self.clip.patch_size, images.shape[3] // self.clip.patch_size)
        text = torch.cat([self._text(vocabulary.prompts), self.background])
        taps = [self.visual_adapter(tokens) for tokens in self.clip.image_tokens(images)]
        features, attention = self.decoder(taps, text, with_attention=with_attention)
        guidance = self.guidance_head(features, grid)
        parts = len(vocabulary.parts)
        return Logits(
            pairs=self._pairs(features, text, vocabulary, grid),
            objects=guidance[:, parts:],
            parts=guidance[:, :parts],
            attention=attention,
        )

    def _pairs(
        self,
        features: Float[Tensor, "B T n R"],
        text: Float[Tensor, "T E"],
        vocabulary: Vocabulary,
        grid: tuple[int, int],
    ) -> Float[Tensor, "B K1 H W"]:
        """Compose each pair's features and text from its part's and its object's; the background stands for both.

        Image features are joined part first, text embeddings object first (published code; Eq. 3 has one order).
        """
        parts, background = len(vocabulary.parts), len(text) - 1
        part_rows = [*vocabulary.part_of, background]
        object_rows = [parts + index for index in vocabulary.object_of] + [background]
        text_rows = object_rows if self.object_text_index == "paper" else [*vocabulary.object_of, background]
        joined = self.compose(torch.cat([features[:, part_rows], features[:, object_rows]], dim=-1))
        condition = self.compose_text(torch.cat([text[text_rows], text[part_rows]], dim=-1))
        logits: Float[Tensor, "B K1 H W"] = self.pair_head(self.pair_film(joined, condition), grid)
        return logits

    def _text(self, prompts: tuple[str, ...]) -> Float[Tensor, "M E"]:
        """Give embeddings of the prompts; outside of training they are computed once."""
        if torch.is_grad_enabled():
            return self.clip.text_embeddings(prompts)
        if prompts not in self._text_cache:
            self._text_cache[prompts] = self.clip.text_embeddings(prompts)
        return self._text_cache[prompts]


def _forget_text(model: PartCLIPSeg, _: object) -> None:
    """Drop text embeddings of former weights."""
    model._text_cache.clear()

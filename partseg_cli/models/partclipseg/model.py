"""PartCLIPSeg (Choi et al., NeurIPS 2024): objects and generalised parts guide object-specific parts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from partseg_cli.models.backbones import Backbone
from partseg_cli.models.clipseg.decoder import FiLM, Head
from partseg_cli.models.clipseg.model import CLIPSeg, Features, LayerFeatures, check_choice
from partseg_cli.models.layers.chunking import in_slices
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Vocabulary


class PartCLIPSeg(CLIPSeg):
    """CLIPSeg, and a second stage that composes part and object (Eq. 1-4).

    Args:
        backbone: CLIP and decoder sizes.
        object_text_index: "paper" composes the object's own text embedding with the part's. "published" repeats a slip
            of the published code: there row `object_of` of [parts | objects | background] is taken, without skipping
            the parts. Weights trained that way need it.
        background_embedding: "frozen" as published, or "learned".
        trainable: as in `CLIPSeg`.
    """

    def __init__(
        self, backbone: Backbone, *, object_text_index: str, background_embedding: str, trainable: str
    ) -> None:
        check_choice("object_text_index", object_text_index, ("paper", "published"))
        check_choice("background_embedding", background_embedding, ("frozen", "learned"))
        super().__init__(backbone, visual_adapter=True, background_embedding=background_embedding, trainable=trainable)
        self.object_text_index = object_text_index
        embedding, width = self.clip.embedding_width, backbone.width
        self.compose = nn.Linear(2 * width, width)
        self.compose_text = nn.Linear(2 * embedding, embedding)
        self.pair_film = FiLM(embedding, width)
        self.pair_head = Head(width, backbone.strides)
        for layer in (self.compose, self.compose_text):
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        vocabulary: Vocabulary,
        *,
        for_loss: bool = False,
        recompute: bool = False,
        taps: LayerFeatures | None = None,
    ) -> Logits:
        """Give logits for `vocabulary`, at the size of the images.

        Args:
            images: normalised RGB.
            vocabulary: any pairs; K, P and O are its sizes.
            for_loss: whether to give what only losses read: logits of parts, and attention.
            recompute: keep nothing of decoder and heads for gradients, compute them twice.
            taps: what the image tower gives for these images, where that is known already.
        """
        text = self.text(vocabulary.prompts)
        features = self.features(images, text, recompute=recompute, taps=taps)
        parts = len(vocabulary.parts)
        return Logits(
            pairs=self._pairs(features, text, vocabulary, recompute=recompute),
            objects=self.guide(features, slice(parts, None), recompute=recompute),
            parts=self.guide(features, slice(parts), recompute=recompute) if for_loss and parts else None,
            attention=features.attention if for_loss else None,
        )

    def _pairs(
        self, features: Features, text: Float[Tensor, "T E"], vocabulary: Vocabulary, *, recompute: bool
    ) -> Float[Tensor, "B K1 H W"]:
        """Compose each pair's features and text from its part's and its object's; the background stands for both.

        Image features are joined part first, text embeddings object first (published code; Eq. 3 has one order). The
        joined features' linear layer is applied to both halves before they are paired: 2 T products, not K.
        """
        parts, background = len(vocabulary.parts), len(text) - 1
        part_rows = [*vocabulary.part_of, background]
        object_rows = [parts + index for index in vocabulary.object_of] + [background]
        text_rows = object_rows if self.object_text_index == "paper" else [*vocabulary.object_of, background]
        condition = self.compose_text(torch.cat([text[text_rows], text[part_rows]], dim=-1))
        of_part, of_object = self.compose.weight.chunk(2, dim=1)
        as_part = F.linear(features.tokens, of_part, self.compose.bias).unbind(1)
        as_object = F.linear(features.tokens, of_object).unbind(1)

        def score(rows: slice) -> tuple[Tensor]:
            both = zip(part_rows[rows], object_rows[rows], strict=True)
            composed = torch.stack([as_part[part] + as_object[thing] for part, thing in both], dim=1)
            return (self.pair_head(self.pair_film(composed, condition[rows]), features.grid),)

        return in_slices(score, len(part_rows), features.chunk, recompute=recompute)[0]

"""PartCLIPSeg (Choi et al., NeurIPS 2024): objects and generalised parts guide object-specific parts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from partseg_cli.models.backbones import Backbone
from partseg_cli.models.clipseg.model import CLIPSeg, DecoderFeatures, FiLM, Head, LayerFeatures, check_choice
from partseg_cli.models.layers.chunked import map_chunks
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Vocabulary


class PartCLIPSeg(CLIPSeg):
    """CLIPSeg with a second stage that composes part and object (Eq. 1-4).

    Args:
        backbone: Sizes of CLIP and decoder.
        object_text_index: "paper" composes the object's own text embedding with the part's. "published" repeats a slip
            of the published code: it reads row `object_of` of [parts | objects | background], without skipping the
            parts. Weights trained that way need it.
        background_embedding: "frozen" as published, or "learned".
        trainable: As in `CLIPSeg`.
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
        activation_checkpointing: bool = False,
        layer_features: LayerFeatures | None = None,
    ) -> Logits:
        """Compute logits for a vocabulary at the size of the images.

        Args:
            images: Normalised RGB.
            vocabulary: Any pairs; K, P and O are its sizes.
            for_loss: Whether to return what only losses read: logits of parts, and attention.
            activation_checkpointing: Recompute activations of decoder and heads in the backward pass.
            layer_features: Layer features of these images if they are known, see `Clip.image_tokens`.
        """
        options = {"activation_checkpointing": activation_checkpointing}
        text = self.text(vocabulary.prompts)
        features = self.features(images, text, layer_features=layer_features, **options)
        parts = len(vocabulary.parts)
        return Logits(
            pairs=self._score_pairs(features, text, vocabulary, **options),
            objects=self.score_prompts(features, slice(parts, None), **options),
            parts=self.score_prompts(features, slice(parts), **options) if for_loss and parts else None,
            attention=features.attention if for_loss else None,
        )

    def _score_pairs(
        self,
        features: DecoderFeatures,
        text: Float[Tensor, "T E"],
        vocabulary: Vocabulary,
        *,
        activation_checkpointing: bool,
    ) -> Float[Tensor, "B K1 H W"]:
        """Compose each pair's features and text from its part's and its object's; the background stands for both.

        Image features are joined part first, text embeddings object first (published code; Eq. 3 has one order). The
        linear layer of the joined features is applied to both halves before they are paired: 2 T products, not K.
        """
        parts, background = len(vocabulary.parts), len(text) - 1
        part_rows = [*vocabulary.part_of, background]
        object_rows = [parts + index for index in vocabulary.object_of] + [background]
        text_rows = object_rows if self.object_text_index == "paper" else [*vocabulary.object_of, background]
        condition = self.compose_text(torch.cat([text[text_rows], text[part_rows]], dim=-1))
        part_weight, object_weight = self.compose.weight.chunk(2, dim=1)
        as_part = F.linear(features.tokens, part_weight, self.compose.bias).unbind(1)
        as_object = F.linear(features.tokens, object_weight).unbind(1)

        def score(rows: slice) -> tuple[Tensor]:
            both = zip(part_rows[rows], object_rows[rows], strict=True)
            composed = torch.stack([as_part[part] + as_object[obj] for part, obj in both], dim=1)
            return (self.pair_head(self.pair_film(composed, condition[rows]), features.grid),)

        count = len(part_rows)
        return map_chunks(score, count, features.chunk, activation_checkpointing=activation_checkpointing)[0]

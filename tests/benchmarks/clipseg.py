"""Our CLIPSeg against Hugging Face's, with the same weights, in one run.

    python tests/benchmarks/clipseg.py

116 prompts on one image, and one prompt, at 352 px, random full-size weights. Hugging Face's model takes one image
with each prompt, so it runs its image encoder for every prompt; ours runs it once. Targets: 116 prompts at least 30
times faster (text embeddings at hand), one prompt at most 1.1 times as long, the same logits.
"""

import torch
from timing import rounds
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

from partseg_cli.data.manifest import load_manifest
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.checkpoints.layouts import from_published
from partseg_cli.models.clip.model import prompt_ids
from partseg_cli.models.clipseg.model import CLIPSeg
from partseg_cli.vocabulary import Vocabulary

LENGTH, END = 77, 49407


def published(model: CLIPSegForImageSegmentation, image: torch.Tensor, words: Vocabulary, rows: int) -> torch.Tensor:
    """Run Hugging Face's model, `rows` prompts at a time, each padded to 77 tokens as its processor does."""
    planes = []
    for start in range(0, len(words.pairs), rows):
        ids = [prompt_ids(prompt) for prompt in words.pair_prompts[start : start + rows]]
        tokens = torch.tensor([row + [END] * (LENGTH - len(row)) for row in ids])
        seen = torch.tensor([[1] * len(row) + [0] * (LENGTH - len(row)) for row in ids])
        images = image.expand(len(ids), -1, -1, -1)
        given = model(input_ids=tokens, attention_mask=seen, pixel_values=images, interpolate_pos_encoding=True)
        planes.append(given.logits.reshape(len(ids), *image.shape[2:]))
    return torch.cat(planes)


def main() -> None:
    """Measure and print."""
    torch.manual_seed(0)
    config = CLIPSegConfig(
        vision_config={"patch_size": 16},
        reduce_dim=64,
        use_complex_transposed_convolution=True,
        extract_layers=[3, 6, 9],
    )
    theirs = CLIPSegForImageSegmentation(config).eval()
    ours = CLIPSeg(
        BACKBONES["ViT-B-16-quickgelu"], visual_adapter=False, background_embedding="none", trainable="published"
    ).eval()
    ours.load_state_dict(from_published(theirs.state_dict()))
    image = torch.randn(1, 3, 352, 352)
    many = load_manifest("pascal-part-116").vocabulary
    one = Vocabulary(many.pairs[:1])
    with torch.inference_mode():
        expected = published(theirs, image, many, rows=4)
        worst = (ours(image, many).pairs[0, :-1] - expected).abs().max() / expected.abs().max()
        print(f"largest difference of logits / largest logit: {worst:.1e}")
        for words, repeats in ((one, 5), (many, 1)):
            times = rounds(
                {"theirs": lambda w=words: published(theirs, image, w, 4), "ours": lambda w=words: ours(image, w)},
                repeats,
            )
            print(f"{len(words.pairs):4} prompts: theirs {times['theirs']:.2f} s, ours {times['ours']:.2f} s,", end=" ")
            print(f"{times['theirs'] / times['ours']:.2f} times faster")


if __name__ == "__main__":
    main()

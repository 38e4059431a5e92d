"""Cost of one training step relative to the image encoder's forward pass, in one run.

    python tests/benchmarks/training.py [--recompute]

One image, the 74 seen pairs of Pascal-Part-116, all losses, AdamW, random ViT-B/16 weights, 352 px. Targets on two
CPU cores: <= 6 times the image encoder (published code: 16.6), peak memory <= 2.5 GB (published: 6.8 GB).

The physical limit, in multiply-adds: encoder 38 G; decoder and heads 31 G forwards, 62 G backwards, 13 G for hidden
layers that are computed twice; text 5 G forwards and 5 G backwards, for its token table is trained: 4.1 times. Of the
memory, 0.8 GB are libraries, 0.6 GB weights, 0.3 GB gradients and AdamW's moments.
"""

import sys

import torch
from timing import peak_memory, random_checkpoint, rounds
from torch import Tensor

from partseg_cli.config.recipe import load_recipe
from partseg_cli.data.manifest import load_manifest
from partseg_cli.models.builder import load_model
from partseg_cli.models.partclipseg.objective import PartCLIPSegLoss
from partseg_cli.structures import Labels
from partseg_cli.training.optimizer import build_optimizer

WORDS = load_manifest("pascal-part-116").vocabulary.seen()
SIZE = 352


def labels() -> Labels:
    """A cat with 6 parts in front of a person with 10, in stripes."""
    pairs, objects = (torch.full((1, SIZE, SIZE), -1) for _ in range(2))
    for name, parts, left, right in (("person", 10, 150, 330), ("cat", 6, 20, 200)):
        objects[:, 30:330, left:right] = WORDS.objects.index(name)
        rows = [index for index, pair in enumerate(WORDS.pairs) if pair.object == name][:parts]
        for place, row in enumerate(rows):
            top = 30 + 300 * place // parts
            pairs[:, top : top + 250 // parts, left + 10 : right - 10] = row
    return Labels(pairs, objects, objects < 0)


def main() -> None:
    """Measure and print."""
    imported, recompute = peak_memory(), "--recompute" in sys.argv
    switches = {"name": "partclipseg", "object_text_index": "paper", "background_embedding": "frozen"}
    recipe = load_recipe("pascal_zeroshot")
    with random_checkpoint(**switches) as path:
        model = load_model(path)[0].train()
        loss = PartCLIPSegLoss(torch.tensor(WORDS.part_of), torch.tensor(WORDS.object_of), **vars(recipe.loss))
        optimizer = build_optimizer(model, lr=recipe.train.lr, weight_decay=recipe.train.weight_decay)
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        image, truth = torch.randn(1, 3, SIZE, SIZE), labels()

        def forward() -> Tensor:
            return loss(model(image, WORDS, for_loss=True, activation_checkpointing=recompute), truth)["total"]

        def step() -> None:
            forward().backward()
            torch.nn.utils.clip_grad_norm_(trained, recipe.train.clip_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        @torch.no_grad()
        def encoder() -> None:
            model.clip.image_tokens(image)

        times = rounds({"image encoder, layers in use": encoder, "forward and losses": forward, "whole step": step})
    for name, seconds in times.items():
        print(f"{name:32}{seconds:9.3f} s {seconds / times['image encoder, layers in use']:6.2f} x the encoder")
    print(f"peak memory {peak_memory():.2f} GB, of which {imported:.2f} GB after the imports")


if __name__ == "__main__":
    main()

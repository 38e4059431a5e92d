"""Cost of one image with the Pascal-Part-116 vocabulary, relative to the image encoder alone, in one run.

    python tests/benchmarks/inference.py

Random ViT-B/16 weights, 352 px, label map at 375 x 500. Targets on two CPU cores: with the text embeddings at hand <=
2.5 times the image encoder (published code: 9.5), without <= 3.2 times, peak memory <= 1.5 GB (published: 1.97 GB).

The physical limit, in multiply-adds: the encoder does 38 G up to the last layer in use (45 G with the two blocks
behind, which the published code runs too), the decoder 29 G for 59 prompts, the heads 5 G for 134 planes: 1.9
encoders, if every product ran as fast as the encoder's. Memory is all that the process ever had; 0.8 GB of it are
imported libraries.
"""

import torch
from timing import peak_memory, random_checkpoint, rounds

from partseg_cli.data.manifest import load_manifest
from partseg_cli.inference.protocols import pred_all
from partseg_cli.models.builder import load_model

WORDS = load_manifest("pascal-part-116").vocabulary
SIZE = (375, 500)


def main() -> None:
    """Measure and print."""
    imported = peak_memory()
    switches = {"name": "partclipseg", "object_text_index": "paper", "background_embedding": "frozen"}
    with random_checkpoint(**switches) as path, torch.inference_mode():
        model, _ = load_model(path)
        image = torch.randn(1, 3, 352, 352)

        def whole() -> None:
            pred_all(model(image, WORDS), WORDS, SIZE)

        def cold() -> None:
            model.text_cache.forget()
            whole()

        def whole_encoder() -> None:
            tokens = model.clip.image_tokens(image)[-1]
            for block in model.clip.clip.visual.transformer.resblocks[model.clip.layers[-1] + 1 :]:
                tokens = block(tokens)

        cold()
        peak = peak_memory()
        times = rounds(
            {
                "image encoder, layers in use": lambda: model.clip.image_tokens(image),
                "image encoder, all 12 blocks": whole_encoder,
                "image and labels, warm text": whole,
                "image and labels, cold text": cold,
                "text alone": lambda: model.clip.text_embeddings(WORDS.prompts),
            }
        )
    encoder, full = list(times.values())[:2]
    print(f"{'':32}{'seconds':>9}{'x encoder':>11}{'x all 12':>10}")
    for name, seconds in times.items():
        print(f"{name:32}{seconds:9.3f}{seconds / encoder:11.2f}{seconds / full:10.2f}")
    print(f"peak memory {peak:.2f} GB, of which {imported:.2f} GB after the imports")


if __name__ == "__main__":
    main()

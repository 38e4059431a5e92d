"""Cost of logits -> label map relative to the plain way (enlarge the whole stack, sigmoid, argmax), in one run.

    python tests/benchmarks/labels.py

117 planes of 352 px, label map at 375 x 500. Target on two idle CPU cores: the same labels at least 3.85 times as fast
(40 ms where the plain way takes 154 ms). About half of the plain time is fresh memory for its stacks; a process that
has just freed as much does without it.

The physical limit is reading the logits once. Labels that are the same to the last bit need PyTorch's own enlarging:
that alone, plane by plane without fresh memory, is the limit in practice.
"""

import os
import runpy
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from timing import rounds
from torch import Tensor

from partseg_cli.data.loading.transforms import image_to_tensor
from partseg_cli.data.manifest import load_manifest
from partseg_cli.inference.protocols import pred_all, upsampled_argmax
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.checkpoints.layouts import from_published
from partseg_cli.models.partclipseg.model import PartCLIPSeg
from partseg_cli.structures import Logits

WORDS = load_manifest("pascal-part-116").vocabulary
SIZE = (375, 500)
REFERENCE = Path(os.environ.get("PARTSEG_REFERENCE") or Path(__file__).parents[2] / "../shared/reference")


def enlarge(planes: Tensor) -> Tensor:
    return F.interpolate(planes, size=SIZE, mode="bilinear", align_corners=False)


def plain(logits: Logits) -> Tensor:
    return enlarge(logits.pairs).sigmoid().argmax(1)[0]


def golden_model() -> PartCLIPSeg:
    drawn = runpy.run_path(str(REFERENCE / "golden_weights.py"))["golden_state_dict"]()
    switches = {"object_text_index": "published", "background_embedding": "frozen", "trainable": "published"}
    model = PartCLIPSeg(BACKBONES["ViT-B-16-quickgelu"], **switches).eval()
    model.load_state_dict(from_published({name: torch.from_numpy(value.copy()) for name, value in drawn.items()}))
    return model


def kinds() -> Iterator[tuple[str, Logits]]:
    noise = [torch.randn(1, count, 352, 352) for count in (len(WORDS.pairs) + 1, len(WORDS.objects) + 1)]
    coarse = [6 * F.interpolate(drawn[..., :22, :22], size=(352, 352), mode="bilinear") for drawn in noise]
    yield "smooth", Logits(*(low + 0.1 * high for low, high in zip(coarse, noise, strict=True)))
    yield "noise", Logits(*noise)
    yield "saturated", Logits(*(40 * high for high in noise))
    if REFERENCE.is_dir():
        model = golden_model()  # last, since what building it frees is the plain way's memory
        photo = image_to_tensor(Image.open(REFERENCE / "image.png").convert("RGB"), 352)
        yield "golden weights", model(photo[None], WORDS)


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    torch.manual_seed(0)
    for kind, logits in kinds():
        planes = logits.pairs[0]
        times = rounds(
            {
                "plain": lambda logits=logits: plain(logits),
                "ours": lambda planes=planes: upsampled_argmax(planes, SIZE),
                "gate and its parts": lambda logits=logits: pred_all(logits, WORDS, SIZE),
                "only enlarging": lambda planes=planes: [enlarge(plane[None, None]) for plane in planes],
                "only reading": planes.amax,
            },
            repeats=9,
        )
        print(
            f"{kind}: labels "
            f"{'equal' if torch.equal(upsampled_argmax(planes, SIZE).labels, plain(logits)) else 'DIFFER'}"
        )
        for name, seconds in times.items():
            print(f"  {name:18} {1e3 * seconds:6.1f} ms; plain / this = {times['plain'] / seconds:5.2f}")


if __name__ == "__main__":
    main()

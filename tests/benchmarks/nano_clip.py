"""Zero-shot classification by the bundled nano CLIP, or another one, on scenes that it has never seen.

partseg prepare cartoon-part --images 2500 --seed 7 --out data/cartoon-fresh
python tests/benchmarks/nano_clip.py data/cartoon-fresh [CHECKPOINT]

Scenes of one object each, all splits; the sixteen bare names compete.
"""

import sys
from pathlib import Path

import torch

from partseg_cli.data.store import Store
from partseg_cli.io.paths import packaged_weights
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.checkpoints.checkpoint import checkpoint_file, load_checkpoint
from partseg_cli.models.clip.contrastive import ContrastiveClip
from partseg_cli.pipeline.zero_shot import zero_shot


def main() -> None:
    store = Store.open(Path(sys.argv[1]))
    path = Path(sys.argv[2]) if len(sys.argv) > 2 else packaged_weights("nano")
    header, tensors = load_checkpoint(checkpoint_file(path))
    model = ContrastiveClip(BACKBONES[header.model["backbone"]], drop_tokens=0, scale=1, max_scale=100)
    model.load_state_dict({name: value for name, value in tensors.items() if name.startswith("clip.")})
    ids = [record.image_id for split in store.splits for record in store.records(split)]
    with torch.inference_mode():
        found = zero_shot(model, store, ids, header.model["image_size"])
    for name, percent in found.per_object.items():
        print(f"{name:12} {percent:5.1f} % of {found.shown[name]}")
    print(f"top-1: {found.accuracy:.2f} % of {sum(found.shown.values())} scenes, {path}, step {header.step}")


if __name__ == "__main__":
    main()

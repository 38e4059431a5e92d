"""Zero-shot classification by the bundled nano CLIP, or another one, on scenes that it has never seen.

partseg prepare cartoon-part --images 2500 --seed 7 --out data/cartoon-fresh
python tests/benchmarks/nano_clip.py data/cartoon-fresh [CHECKPOINT]

Scenes of one object each, all splits; the sixteen bare names compete.
"""

import sys
from collections import Counter
from pathlib import Path

import torch

from partseg_cli.data.loading.transforms import image_to_tensor
from partseg_cli.data.store import Store
from partseg_cli.io.paths import packaged_weights
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.checkpoints.checkpoint import checkpoint_file, load_checkpoint
from partseg_cli.models.clip.contrastive import ContrastiveClip

AT_ONCE = 128


def main() -> None:
    """Measure and print."""
    store = Store.open(Path(sys.argv[1]))
    path = Path(sys.argv[2]) if len(sys.argv) > 2 else packaged_weights("nano")
    header, tensors = load_checkpoint(checkpoint_file(path))
    model = ContrastiveClip(BACKBONES[header.model["backbone"]], drop_tokens=0, scale=1, max_scale=100)
    model.load_state_dict({name: value for name, value in tensors.items() if name.startswith("clip.")})
    model.eval()
    names = store.info.objects
    records = [record for split in store.splits for record in store.records(split) if len(record.objects) == 1]
    shown = Counter(names[record.objects[0].category] for record in records)
    right: Counter[str] = Counter()
    with torch.inference_mode():
        texts = model.text_embeddings(names)
        for start in range(0, len(records), AT_ONCE):
            group = records[start : start + AT_ONCE]
            images = torch.stack([image_to_tensor(store.read_image(r), header.model["image_size"]) for r in group])
            predicted = (model.clip.image_embeddings(images).float() @ texts.T).argmax(1).tolist()
            targets = [record.objects[0].category for record in group]
            right.update(names[target] for target, best in zip(targets, predicted, strict=True) if target == best)
    for name, count in sorted(shown.items()):
        print(f"{name:12} {100 * right[name] / count:5.1f} % of {count}")
    accuracy = 100 * sum(right.values()) / sum(shown.values())
    print(f"top-1: {accuracy:.2f} % of {sum(shown.values())} scenes, {path}, step {header.step}")


if __name__ == "__main__":
    main()

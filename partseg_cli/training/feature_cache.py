"""Cache on disk of the features that a frozen image encoder computes for the training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from partseg_cli.data.loading.dataset import PartDataset, images_digest
from partseg_cli.io.array_cache import ArrayCache

LayerFeatures = Sequence[Float[Tensor, "B N D"]]


class FeatureCache:
    """Layer features of images that an encoder always sees alike: without flips, at one size.

    Values are kept as float32. In float32 a run gives the same bits with the cache and without it as long as a forward
    pass holds one image; encoders round otherwise among other images.

    Args:
        encode: Function from normalised images to their features, layer by layer.
        samples: Training samples.
        folder: Folder of the cache.
        shape: Layers, tokens and width of the features of an image.
        weights: Digest of the encoder's weights.
        precision: Precision of the encoder.
        device: Device of the encoder.

    Raises:
        PartsegError: The disk refuses.
    """

    def __init__(
        self,
        encode: Callable[[Float[Tensor, "B 3 H W"]], LayerFeatures],
        samples: PartDataset,
        folder: Path,
        *,
        shape: tuple[int, int, int],
        weights: str,
        precision: str,
        device: torch.device,
    ) -> None:
        self._encode = encode
        records = [samples.store[key] for key in samples.keys]
        self._rows = {record.image_id: row for row, record in enumerate(records)}
        transform = samples.transform
        sizes = (transform.image_size, transform.shortest_edge, transform.longest_edge, transform.train_channel_order)
        name = images_digest(samples.store, records, weights, *sizes, precision, device.type, torch.__version__)
        self.file = ArrayCache(folder / f"{name}.rows", len(records), shape, np.dtype(np.float32))

    def __call__(self, image_ids: Sequence[str], images: Float[Tensor, "B 3 H W"]) -> LayerFeatures:
        """Return the features of images; those not in the cache are computed and kept.

        Raises:
            PartsegError: The disk refuses.
        """
        rows = [self._rows[image_id] for image_id in image_ids]
        found = [self.file.get(row) for row in rows]
        if missing := [index for index, features in enumerate(found) if features is None]:
            layers = [tokens.float() for tokens in self._encode(images[missing])]
            for index, features in zip(missing, torch.stack(layers, dim=1).cpu().numpy(), strict=True):
                self.file.put(rows[index], features)
                found[index] = features
        known = torch.from_numpy(np.stack([features for features in found if features is not None])).to(images.device)
        return known.unbind(1)

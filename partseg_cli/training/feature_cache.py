"""What a frozen image tower gives for the photos that are trained on, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from partseg_cli.data.loading.dataset import PartDataset, images_digest
from partseg_cli.io.array_cache import ArrayCache
from partseg_cli.io.paths import cache_dir
from partseg_cli.models.checkpoints.checkpoint import weights_digest
from partseg_cli.models.clip.model import Clip
from partseg_cli.models.clipseg.model import LayerFeatures


class FeatureCache:
    """The taps of photos that a tower sees always alike: without flips, at one size.

    Values are kept as float32. In float32 a run gives the same bits with the cache and without it, as long as a forward
    pass holds one image; towers round otherwise among other images.

    Args:
        clip: with the tower, on its device.
        samples: what is trained on.
        precision: in which the tower computes.

    Raises:
        PartsegError: the disk refuses.
    """

    def __init__(self, clip: Clip, samples: PartDataset, precision: str) -> None:
        records = [samples.store[key] for key in samples.keys]
        self._clip, self._rows = clip, {record.image_id: row for row, record in enumerate(records)}
        views, device = samples.transform, next(clip.parameters()).device
        weights = weights_digest(clip.clip.visual.state_dict())
        sizes = (views.image_size, views.shortest_edge, views.longest_edge, views.train_channel_order)
        name = images_digest(samples.store, records, weights, *sizes, precision, device.type, torch.__version__)
        tokens = (views.image_size // clip.patch_size) ** 2 + 1
        shape = (len(clip.layers), tokens, clip.width)
        self.file = ArrayCache(cache_dir() / "features" / f"{name}.rows", len(records), shape, np.dtype(np.float32))

    def __call__(self, image_ids: Sequence[str], images: Float[Tensor, "B 3 H W"]) -> LayerFeatures:
        """Give the taps of photos, and keep those that were not there.

        Raises:
            PartsegError: the disk refuses.
        """
        rows = [self._rows[image_id] for image_id in image_ids]
        found = [self.file.get(row) for row in rows]
        if missing := [place for place, taps in enumerate(found) if taps is None]:
            fresh = torch.stack([tap.float() for tap in self._clip.image_tokens(images[missing])], dim=1).cpu().numpy()
            for place, taps in zip(missing, fresh, strict=True):
                self.file.put(rows[place], taps)
                found[place] = taps
        known = torch.from_numpy(np.stack([taps for taps in found if taps is not None])).to(images.device)
        return known.unbind(1)

"""A digest of what a run is trained on, by which a change of the data is told when the run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from partseg_cli.data.store import Store
from partseg_cli.vocabulary import Vocabulary


def fingerprint(store: Store, image_ids: Sequence[str], vocabulary: Vocabulary) -> str:
    """Give a digest of the photos named: their labels, the pairs, and the size of each photo's file.

    A photo that is not there has no size; reading it will tell.
    """
    digest = hashlib.sha256(repr([store.info.name, store.info.objects, vocabulary.to_json()]).encode())
    stored = {split: store.records(split) for split in store.splits}
    root = store.folder / store.info.image_root
    for key in store.record_keys(image_ids):
        line = stored[key.split].line(key.index)
        photo = root / json.loads(line)["file_name"]
        digest.update(line + str(photo.stat().st_size if photo.is_file() else None).encode())
    return digest.hexdigest()[:16]

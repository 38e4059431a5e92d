"""`partseg prepare --list` and `--explain`: which data sets there are, where to get them, what they hold."""

from __future__ import annotations

from partseg_cli.data.manifest import Manifest, load_manifest, manifest_names
from partseg_cli.places import data_folder


def catalogue() -> list[Manifest]:
    """Give the manifests of all packaged data sets, by name."""
    return [load_manifest(name) for name in manifest_names()]


def explain(name: str) -> list[tuple[str, str]]:
    """Tell of one data set: (what, text) in the order in which a user needs it.

    Raises:
        DataError: there is no such data set.
    """
    manifest = load_manifest(name)
    vocabulary = manifest.vocabulary
    images = ", ".join(f"{split} {count:,}" for split, count in manifest.expected.items()) or "as many as asked for"
    seen = sum(vocabulary.is_seen)
    unseen = ", ".join(vocabulary.unseen_objects) or "none"
    return [
        ("what", manifest.title),
        ("home page", manifest.homepage),
        ("licence", manifest.licence),
        ("get", manifest.source),
        ("put it into", f"{data_folder() / 'raw' / name}, or name its folder with --source"),
        ("becomes", f"{data_folder() / name}, or --out"),
        ("images", images),
        ("objects", f"{len(manifest.objects)}, {len(vocabulary.objects)} of them with parts; unseen: {unseen}"),
        ("pairs", f"{len(vocabulary.pairs)}: {seen} seen, {len(vocabulary.pairs) - seen} unseen"),
    ]

"""`partseg prepare --list` and `--explain`: which data sets there are, where to get them, what they hold."""

from __future__ import annotations

from partseg_cli.data.manifest import Manifest, load_manifest, manifest_names
from partseg_cli.io.paths import data_dir

STORED = 3130
"""Bytes of the masks of an image with 2 objects and 10 parts at 500x375, as measured; for sets that say no other."""


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
    images = ", ".join(f"{split} {count:,}" for split, count in manifest.expected.items()) or "no published count"
    whole = f"; {manifest.annotated:,} annotated in all of it" if manifest.annotated else ""
    seen = sum(vocabulary.is_seen)
    unseen = ", ".join(vocabulary.unseen_objects) or "none"
    rows = [("what", manifest.title), ("home page", manifest.homepage), ("licence", manifest.licence)]
    rows += [("get", manifest.source)]
    rows += [("archive", _archive(archive)) for archive in manifest.archives]
    rows += [
        ("put it into", f"{data_dir() / 'raw' / name}, or name its folder with --source"),
        ("becomes", f"{data_dir() / name}, or --out"),
        ("needs on disk", _disk(manifest)),
        ("images", images + whole),
        ("objects", f"{len(manifest.objects)}, {len(vocabulary.objects)} of them with parts; unseen: {unseen}"),
        ("pairs", f"{len(vocabulary.pairs)}: {seen} seen, {len(vocabulary.pairs) - seen} unseen"),
    ]
    return rows + [("note", note) for note in manifest.notes]


def _archive(archive: dict[str, str]) -> str:
    known = [f"{key} {archive[key]}" for key in ("size", "sha256") if key in archive]
    return "; ".join([f"{archive['name']}: {archive['what']}", *known])


def _disk(manifest: Manifest) -> str:
    """Tell what the store takes, from its size for a usual image."""
    images = sum(manifest.expected.values()) or manifest.annotated
    size = manifest.stored or STORED
    store = f"about {max(1, round(images * size / 1e6)):,} MB" if images else f"about {size / 1e3:.0f} kB an image"
    return f"{store} for the masks; the photos are read where they are (--copy-images: as much again as they take)"

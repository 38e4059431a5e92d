"""Open-vocabulary part segmentation: photos and words in, part masks out."""

from importlib.metadata import version

__version__ = version("partseg-cli")

"""Open-vocabulary part segmentation: part masks of images from words."""

from importlib.metadata import version

__version__ = version("partseg-cli")

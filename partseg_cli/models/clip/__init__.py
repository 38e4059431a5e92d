"""CLIP: image and text encoder."""

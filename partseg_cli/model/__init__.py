"""Segmentation models: images and a vocabulary in, logits out."""

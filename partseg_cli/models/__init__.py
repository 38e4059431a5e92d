"""Segmentation models: images and a vocabulary to logits."""

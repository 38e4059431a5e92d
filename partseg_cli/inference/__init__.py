"""Inference: logits to label maps, queries, predictions for images."""

"""Checkpoints: headers, published layouts, where weights are found."""

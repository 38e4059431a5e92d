"""Splits: seen and unseen pairs, training and validation images, leakage."""

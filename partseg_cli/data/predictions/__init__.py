"""Predictions of any model, read from files."""

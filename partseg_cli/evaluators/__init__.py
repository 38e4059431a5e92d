"""Scores: counts of pixels, and pure functions of those counts."""

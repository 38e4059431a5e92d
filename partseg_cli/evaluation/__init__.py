"""Evaluation: integer pixel counts, counting rules, metrics."""

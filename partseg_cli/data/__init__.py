"""Datasets: the part-mask store, converters, exporters, splits, loading."""

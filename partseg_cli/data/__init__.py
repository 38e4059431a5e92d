"""From original annotations to batches: converters, the part-mask store, splits, the loader."""

"""Converters: the original annotations of each dataset to records of the store."""

"""Exporters: a store to the formats of other tools."""

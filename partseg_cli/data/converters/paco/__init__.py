"""PACO-LVIS."""

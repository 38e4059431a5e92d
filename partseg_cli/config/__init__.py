"""Recipes: their schema, their overrides, and the check of their values."""

"""PartImageNet."""

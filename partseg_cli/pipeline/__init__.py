"""The stories that the commands tell: one file each. A recipe goes no deeper than this."""

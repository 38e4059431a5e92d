"""Input and output: paths, atomic files, images, journals, caches."""

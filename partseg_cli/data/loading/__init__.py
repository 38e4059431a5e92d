"""Training samples: images and targets, transforms, batches."""

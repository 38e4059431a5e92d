"""Training: engine, optimizer, run directory, resuming."""

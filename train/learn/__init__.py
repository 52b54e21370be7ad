"""One training step and one pass of inference: losses, optimiser, metrics."""

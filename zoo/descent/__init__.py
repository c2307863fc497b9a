"""Training, whatever is trained: losses, optimizers, batches, function space."""

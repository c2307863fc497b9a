"""The finite side: empirical NTK, linearization, training."""

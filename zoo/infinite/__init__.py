"""The infinite-width side: kernels and predictions."""

"""A zoo of over-parameterized networks, each finite and infinitely wide."""

from zoo.finite.ntk import empirical_ntk
from zoo.infinite.kernels import kernel_fn
from zoo.models import MLP

__all__ = ["MLP", "empirical_ntk", "kernel_fn"]

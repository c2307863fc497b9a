"""A zoo of over-parameterized networks, each finite and infinitely wide."""

from zoo.finite.monte_carlo import monte_carlo_kernel_fn
from zoo.finite.ntk import empirical_ntk
from zoo.infinite.kernels import kernel_fn
from zoo.models import CNN, MLP

__all__ = ["CNN", "MLP", "empirical_ntk", "kernel_fn", "monte_carlo_kernel_fn"]

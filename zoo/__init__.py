"""A zoo of over-parameterized networks, each finite and infinitely wide.

Raises ImportError at jaxlib 0.10.2, whose sums of products are wrong on CPUs.
"""

import jaxlib

if jaxlib.__version__ == "0.10.2":  # https://github.com/jax-ml/jax/issues/39103
    raise ImportError(
        "jaxlib 0.10.2 computes wrong numbers on CPUs, without a word (jax issue "
        "39103); 0.10.1 and 0.11 on do not: pip install 'jax!=0.10.2'"
    )

from zoo.finite.monte_carlo import monte_carlo_kernel_fn
from zoo.finite.ntk import empirical_ntk
from zoo.infinite.kernels import kernel_fn
from zoo.models import CNN, MLP

__all__ = ["CNN", "MLP", "empirical_ntk", "kernel_fn", "monte_carlo_kernel_fn"]

"""A zoo of over-parameterized networks, each finite and infinitely wide.

Raises ImportError at a jaxlib after 0.10.1, whose reductions on CPUs are silently wrong
(the YNN fusions of XLA; jax issues 39103, 39257), unless these are switched off.
"""

import os

import jaxlib

if jaxlib.version.__version_info__ > (0, 10, 1) and (
    "xla_cpu_experimental_ynn_fusion_type" not in os.environ.get("XLA_FLAGS", "")
):
    raise ImportError(
        f"jaxlib {jaxlib.__version__} computes wrong numbers on CPUs, without a word "
        "(jax issue 39103): export XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= "
        "or pip install jax==0.10.1"
    )

from zoo.finite.monte_carlo import monte_carlo_kernel_fn
from zoo.finite.ntk import empirical_ntk
from zoo.infinite.kernels import kernel_fn
from zoo.models import CNN, DEQ, MLP

__all__ = ["CNN", "DEQ", "MLP", "empirical_ntk", "kernel_fn", "monte_carlo_kernel_fn"]

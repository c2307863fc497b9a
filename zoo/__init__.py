"""A zoo of over-parameterized networks, each finite and infinitely wide.

Raises ImportError at a jaxlib after 0.10.1 unless `XLA_FLAGS` switches off what makes
its numbers on CPUs silently wrong: the YNN fusions of XLA (jax issues 39103, 39257),
and on x86 the code for AVX-512 (kernels of convolutional networks are off by 1e-3).
"""

import os
import platform

import jaxlib

if jaxlib.version.__version_info__ > (0, 10, 1):
    flags = ["--xla_cpu_experimental_ynn_fusion_type="]
    if platform.machine() in ("x86_64", "AMD64"):
        flags.append("--xla_cpu_max_isa=AVX2")
    if not all(flag in os.environ.get("XLA_FLAGS", "") for flag in flags):
        raise ImportError(
            f"jaxlib {jaxlib.__version__} computes wrong numbers on CPUs, without a "
            f"word (jax issue 39103): export XLA_FLAGS='{' '.join(flags)}' "
            "or pip install jax==0.10.1"
        )

from zoo.finite.monte_carlo import monte_carlo_kernel_fn
from zoo.finite.ntk import empirical_ntk
from zoo.infinite.kernels import kernel_fn
from zoo.models import CNN, DEQ, MLP

__all__ = ["CNN", "DEQ", "MLP", "empirical_ntk", "kernel_fn", "monte_carlo_kernel_fn"]

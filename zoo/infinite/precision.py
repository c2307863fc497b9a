"""Where and how kernels are computed: float64, at full matrix precision.

JAX's global switches are never flipped: the settings hold inside the context alone.
"""

import contextlib
from collections.abc import Iterator

import jax

FLOAT64_PLATFORMS = ("cpu", "gpu", "cuda", "rocm")


@contextlib.contextmanager
def kernel_numerics() -> Iterator[None]:
    """Full-precision products; the type promotion that neural-tangents relies on."""
    with (
        jax.default_matmul_precision("highest"),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """float64 algebra, on the host's CPU where the default device has none (TPU)."""
    device = jax.local_devices()[0]
    if device.platform not in FLOAT64_PLATFORMS:
        device = jax.local_devices(backend="cpu")[0]
    with jax.enable_x64(True), jax.default_device(device), kernel_numerics():
        yield

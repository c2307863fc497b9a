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


def float64_devices() -> tuple[jax.Device, ...]:
    """This process's devices, or its CPUs where the default ones have no float64."""
    devices = jax.local_devices()
    if devices[0].platform not in FLOAT64_PLATFORMS:  # TPU
        devices = jax.local_devices(backend="cpu")
    return tuple(devices)


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """float64 algebra, on the host's CPU where the default device has none (TPU)."""
    device = float64_devices()[0]
    with jax.enable_x64(True), jax.default_device(device), kernel_numerics():
        yield

"""The infinite-width side of an experiment, and what theory may say about it."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from zoo.data import Dataset
from zoo.finite.monte_carlo import monte_carlo_kernel_fn
from zoo.gap.config import Config
from zoo.gap.expected import Facts
from zoo.gap.nets import find_object
from zoo.gap.prediction import InfiniteSide
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.predict import PSD_FLOAT32, Dynamics
from zoo.layers import walk
from zoo.models import MLP, Architecture, Limit

MC_SEED = 1 << 31  # apart from all seeds of initializations
ADAM = "Adam's steps are not linear in gradients, and no function of the kernel"
UNKNOWN = Limit("none", "a module without layers() states no limit; see --limit")


def limit_kind(config: Config, net: nn.Module) -> Limit:
    """What stands for the limit: what the network has, unless --limit says otherwise.

    Raises:
        ValueError: sampled kernels are asked for where the limit is not lazy.
    """
    if config.optimizer == "adam":
        return Limit("none", ADAM)
    own = net.limit() if isinstance(net, Architecture) else UNKNOWN
    sampled = config.limit == "monte_carlo" or own.kind == "monte carlo"
    if config.limit == "none":
        return Limit("none", "left out by --limit=none")
    if ":" in config.limit:
        return Limit("given", config.limit)
    if not sampled:
        return own
    if own.kind == "none" and own is not UNKNOWN:
        raise ValueError(f"--limit=monte_carlo is not allowed: {own.why}.")
    size = f"{config.mc_samples} networks of "
    fixed = isinstance(net, Architecture) and net.rate == 0
    size += f"width {config.mc_width}" if fixed else "the same width"
    why = "" if own is UNKNOWN else f"; {own.why}"
    return Limit("monte carlo", size + why)


def limit_key(net: nn.Module) -> Any:
    """Equal for networks that share the infinite-width side."""
    return net.limit_key() if isinstance(net, Architecture) else net


def limit_side(
    config: Config, net: nn.Module, data: Dataset, kind: Limit
) -> InfiniteSide | None:
    """Kernels of all points, and the dynamics on them; None without a limit."""
    x = np.concatenate([data.x_train, data.x_test])
    n = len(data.x_train)
    if kind.kind == "none":
        return None
    if kind.kind == "monte carlo":
        fixed = isinstance(net, Architecture) and net.rate == 0
        width = config.mc_width if fixed else None
        sample = monte_carlo_kernel_fn(
            net, jax.random.key(MC_SEED), config.mc_samples, width
        )
        kernels = {get: sample(x, get=get) for get in ("nngp", "ntk")}
        theta, nngp = kernels["ntk"].mean, kernels["nngp"].mean
        dynamics = Dynamics.from_kernel(theta[:, :n], PSD_FLOAT32)
        error = _relative(kernels["ntk"].stderr[:n, :n], theta[:n, :n])
        return InfiniteSide(dynamics, nngp, error)
    if kind.kind == "given":
        kernel = find_object("--limit", config.limit)
        theta, nngp = (np.asarray(kernel(x, None, get)) for get in ("ntk", "nngp"))
        tolerance = PSD_FLOAT32 if theta.dtype == np.float32 else None
    else:
        found = kernel_matrix(net.limit_key(), x, get=("nngp", "ntk"))
        theta, nngp, tolerance = found.ntk, found.nngp, None
    return InfiniteSide(Dynamics.from_kernel(theta[:, :n], tolerance), nngp, 0.0)


def _relative(error: np.ndarray, kernel: np.ndarray) -> float:
    return float(np.linalg.norm(error) / np.linalg.norm(kernel))


def couples_batch(net: nn.Module) -> bool:
    """Whether the examples of a batch interact, so that there is no kernel."""
    return isinstance(net, Architecture) and any(
        layer.couples_batch for layer in walk(net.layers())
    )


def facts(net: nn.Module, limit: Limit, lazy_rate: bool, square=True) -> Facts:
    """What the expected exponents depend on."""
    smooth, standard, shallow = None, None, False
    if isinstance(net, Architecture):
        smooth = all(layer.smooth for layer in walk(net.layers()))
        standard, shallow = net.rate == -1, net.wide_layers == 1
    return Facts(
        smooth=smooth,
        depth=net.depth if isinstance(net, MLP) else None,
        shallow=shallow,
        standard=standard,
        lazy_rate=lazy_rate,
        limit=limit,
        no_kernel="its examples interact" if couples_batch(net) else "",
        condition=getattr(net, "condition", None),
        square=square,
    )

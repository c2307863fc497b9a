"""The conditions of Nguyen 2021 (theorem 2.2), and the widths from which they hold.

Notation: W_l the weights of layer l = 1 .. L, F_l the features after it, C_l > 0 free
constants, lam_l = |W_l|_2 + C_l, lam_{i->j} their product, alpha_0 = sigma_min(F_{L-1})
and Phi_0 = 1/2 |F_L - Y|_F^2 at initialization.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.precision import float64
from zoo.models import MLP
from zoo.models.nguyen import INITIALIZERS

LARGEST = 1e30  # a width that stands for an infinite one
CONSTANTS = np.geomspace(1e-6, 1e4, 1001)  # those tried for C_L


def weights(params: Any) -> list[jax.Array]:
    """W_1 .. W_L of a network without biases, [fan-in, fan-out] each."""
    leaves: dict[Any, Any] = flatten_dict(params)
    order = sorted(leaves, key=lambda path: int(path[0].rsplit("_", 1)[-1]))
    return [leaves[path] for path in order]


def features(params: Any, x: jax.Array) -> list[jax.Array]:
    """F_1 .. F_{L-1}, the last of them what alpha_0 is of."""
    out = []
    for matrix in weights(params)[:-1]:
        x = jax.nn.relu(x @ matrix)
        out.append(x)
    return out


def singular(matrix: jax.Array) -> jax.Array:
    """Smallest and largest of the min(n, m) singular values of [n, m]."""
    small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    values = jnp.linalg.eigvalsh(small @ small.T)[jnp.asarray([0, -1])]
    return jnp.sqrt(jnp.maximum(values, 0.0))


def orthogonal(key: jax.Array, n: int, d: int) -> jax.Array:
    """N <= d pairwise orthogonal inputs of norm sqrt(d), [N, d]."""
    return d**0.5 * jnp.linalg.qr(jax.random.normal(key, (d, n)))[0].T


def sphere(key: jax.Array, n: int, d: int) -> jax.Array:
    """N uniform inputs of norm sqrt(d), [N, d]."""
    x = jax.random.normal(key, (n, d))
    return d**0.5 * x / jnp.linalg.norm(x, axis=1, keepdims=True)


INPUTS: dict[str, Callable[[jax.Array, int, int], jax.Array]] = {
    "orthogonal": orthogonal,
    "sphere": sphere,
}


def condition_ratios(
    alpha: Any, lams: list[Any], constants: list[Any], size: Any, residual: Any
) -> np.ndarray:
    """What c1, c2 and c3 ask for over what there is: they hold at 1 or less, [3, ...].

    Args:
        alpha: alpha_0.
        lams: lam_l.
        constants: C_l.
        size: |X|_F.
        residual: (2 Phi_0)^1/2.
    """
    everything = math.prod(lams)
    hidden = everything / lams[-1]
    most = functools.reduce(
        np.maximum, [everything / (a * c) for a, c in zip(lams, constants, strict=True)]
    )
    total = hidden**2 * sum(lam**-2.0 for lam in lams[:-1])
    asked = (
        16 * size * most * residual / alpha**2,
        32 * size**2 * lams[-1] * total * residual / alpha**3,
        16 * size**2 * lams[-1] ** 2 * total / alpha**2,
    )
    return np.stack(np.broadcast_arrays(*asked))


def largest_step(alpha: Any, lams: list[Any], size: Any) -> jax.Array:
    """The learning rate that the theorem allows."""
    everything = jnp.prod(jnp.stack(lams))
    inverse = jnp.stack(lams) ** -2
    bound = jnp.sum(inverse[:-1]) / (everything * size * jnp.sum(inverse)) ** 2
    return jnp.minimum(8 / alpha**2, bound)


class Setting(NamedTuple):
    """An initialization, and which constants C_l are taken.

    Attributes:
        sigma_last: scale of W_L, of entries N(0, sigma_last^2 / n_{L-1}).
        power: the wide layer's weights are multiplied by N^power ...
        base: ... and by this.
        unit: C_l = 1 for all l; else C_l = |W_l|_2 below L, and the best C_L.
    """

    sigma_last: float = 0.0
    power: float = 0.0
    base: float = 1.0
    unit: bool = False


# By the number L - 1 of hidden layers.
SETTINGS = {
    1: {
        "lecun": Setting(1.0, unit=True),
        "free": Setting(1.0),
        "zero": Setting(),
        "scaled": Setting(power=0.25, base=0.3),
    },
    2: {
        "lecun": Setting(1.0),
        "zero": Setting(),
        "scaled": Setting(power=1.0, base=0.1),
    },
}


def measure_map(
    depth: int,
    sizes: tuple[int, ...],
    seeds: int,
    d: int,
    narrow: int = 1,
    inputs: str = "orthogonal",
    hidden_init: str = "lecun",
    change: dict[str, Any] | None = None,
    labels: float = 1.0,
) -> dict[str, np.ndarray]:
    """The smallest width n from which the conditions hold, against N.

    By the laws of large widths: alpha_0^2 = n lambda_min(K) with K the covariance of a
    unit of the wide layer, outputs of covariance K, |W|_2 = sd (n^1/2 + fan-in^1/2).
    A seed draws labels N(0, 1) and the outputs.

    Args:
        depth: hidden layers L - 1, 1 or 2.
        sizes: numbers N of points.
        seeds: how many.
        d: dimension of the inputs.
        narrow: units of a hidden layer before the wide one, many against N.
        inputs: a name in `INPUTS`.
        hidden_init: "lecun" or "he".
        change: fields that are replaced in all of `SETTINGS`.
        labels: their scale.

    Returns:
        sizes [N]; lambda_min [s, N] of K, for entries N(0, v / fan-in); and of each
        setting "width_..." [s, N], of all conditions together, infinite where there is
        none; "parts_..." [s, N, 3], of each alone, where C_l = 1; "limit_..." [s, N],
        the ratio of c3 at infinite width.
    """
    sigma_w = INITIALIZERS[hidden_init][0]
    fan = narrow if depth > 1 else d
    before = [sigma_w * (1 + (narrow / d) ** 0.5)] * (depth - 1)
    settings = {k: s._replace(**change or {}) for k, s in SETTINGS[depth].items()}
    out: dict[str, list] = {}
    for n in sizes:
        with float64():
            x = np.asarray(INPUTS[inputs](jax.random.key(n), n, d))
        net = MLP(1, depth, 1, "relu", sigma_w)
        kernel = kernel_matrix(net, x, get="nngp") / sigma_w**2
        values, axes = np.linalg.eigh(kernel)
        root = axes * np.sqrt(np.maximum(values, 0))
        draws = np.random.default_rng(n).standard_normal((2, seeds, n))
        found: dict[str, Any] = {"lambda_min": np.full(seeds, values[0])}
        for name, setting in settings.items():
            scale = setting.base * float(n) ** setting.power
            outputs = setting.sigma_last * scale * (draws[0] @ root.T)
            residual = np.linalg.norm(outputs - labels * draws[1], axis=1)
            least = scale**2 * max(float(values[0]), 0.0)
            wide = Wide(scale * sigma_w / fan**0.5, fan, least)
            size = float(np.linalg.norm(x))
            widths = _widths(setting, before, wide, n, size, residual)
            found |= {f"{k}_{name}": value for k, value in widths.items()}
        for name, value in found.items():
            out.setdefault(name, []).append(value)
    arrays = {k: np.stack(a, axis=1) for k, a in out.items()}
    return {"sizes": np.asarray(sizes)} | arrays


class Wide(NamedTuple):
    """The wide layer: sd and fan-in of its weights, lambda_min of a unit's K."""

    sd: float
    fan: int
    lambda_min: float


def _widths(
    setting: Setting,
    before: list[float],
    wide: Wide,
    n: int,
    size: float,
    residual: np.ndarray,
) -> dict[str, np.ndarray]:
    """Of all seeds, by bisection; `before` are the norms of the narrow layers."""
    seeds = len(residual)

    def ratios(width: np.ndarray) -> np.ndarray:
        """Of widths [s] and every constant C_L that is tried, [3, s, C]."""
        width = width[:, None]
        ones = np.ones((1, 1))
        norms = [a * ones for a in before]
        norms.append(wide.sd * (width**0.5 + wide.fan**0.5))
        constants = [ones if setting.unit else norm for norm in norms]
        last = ones if setting.unit else CONSTANTS[None]
        lams = [a + b for a, b in zip(norms, constants, strict=True)]
        alpha = (width * wide.lambda_min) ** 0.5
        lams, constants = [*lams, setting.sigma_last + last], [*constants, last]
        return condition_ratios(alpha, lams, constants, size, residual[:, None])

    def smallest(rows: list[int]) -> np.ndarray:
        low, high = np.full(seeds, math.log(n)), np.full(seeds, math.log(LARGEST))
        for _ in range(50):
            middle = (low + high) / 2
            holds = ratios(np.exp(middle))[rows].max(axis=0).min(axis=-1) <= 1
            low, high = np.where(holds, low, middle), np.where(holds, middle, high)
        return np.where(high < math.log(LARGEST), np.exp(high), np.inf)

    alone = [smallest([i]) for i in range(3) if setting.unit]
    return {
        "width": smallest([0, 1, 2]),
        "parts": np.stack(alone or [np.full(seeds, np.nan)] * 3, axis=-1),
        "limit": ratios(np.full(seeds, LARGEST))[2].min(axis=-1),
    }

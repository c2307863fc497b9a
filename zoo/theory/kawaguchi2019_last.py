"""The last layer of Kawaguchi & Huang's network, trained alone: a convex problem.

With the features Phi [n, m] of the last hidden layer frozen, f = Phi w. Letters in
shapes: n points, d inputs, m units of the last hidden layer, s seeds, t times.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.infinite.precision import float64
from zoo.theory.runs import by_seed, sweep

FITS = 1e-8  # of |y|^2 / 2: what is left by rounding is far below, a direction above
SHARPNESS = 5.0
SIGMA = {
    "softplus": lambda z: jax.nn.softplus(SHARPNESS * z) / SHARPNESS,
    "sigmoid": lambda z: jax.nn.sigmoid(SHARPNESS * z),
    "square": lambda z: z**2,  # breaks the assumptions: not increasing, of degree 2
}
SIGMA_W = {"softplus": 1.0, "sigmoid": 1.8, "square": 1.0}  # inputs stay apart


class Net(NamedTuple):
    """h_l = m_l^-1/2 sigma(sigma_w W_l h_{l-1} + b_l) on inputs of norm 1.

    Attributes:
        width: units of the last hidden layer.
        lower: units of the other hidden layers.
        depth: hidden layers H.
        activation: a name in `SIGMA`.
    """

    width: int
    lower: int = 64
    depth: int = 1
    activation: str = "softplus"


def features(net: Net, key: jax.Array, x: Float[Array, "n d"]) -> Float[Array, "n m"]:
    """Phi, without the factor m_H^-1/2, so that its columns do not depend on m_H."""
    h, widths = x, [net.lower] * (net.depth - 1) + [net.width]
    for layer, m in enumerate(widths):
        for_w, for_b = jax.random.split(jax.random.fold_in(key, layer))
        W = jax.random.normal(for_w, (h.shape[1], m))
        b = jax.random.normal(for_b, (1, m))
        h = SIGMA[net.activation](SIGMA_W[net.activation] * h @ W + b)
        h = h / m**0.5 if layer + 1 < net.depth else h
    return h


def points(key: jax.Array, n: int, d: int, repeated: int = 0) -> Float[Array, "n d"]:
    """Uniform on the unit sphere; the first of them `repeated` more times."""
    x = jax.random.normal(key, (n, d))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    return x.at[1 : repeated + 1].set(x[:1])


def spectrum(Phi: Float[np.ndarray, "s n m"], y: Float[np.ndarray, "s n"]) -> dict:
    """Rank of features, their least singular value, and what they leave of labels.

    The threshold of the rank is LAPACK's and NumPy's: max(n, m) roundings of the
    largest singular value.

    Returns:
        rank, least and left [s], the last min_w |Phi w - y|^2 / |y|^2: where gradient
        descent on the square loss ends.
    """
    U, S, _ = np.linalg.svd(Phi, full_matrices=False)
    kept = S > max(Phi.shape[1:]) * np.finfo(float).eps * S[:, :1]
    along = np.where(kept, np.einsum("sni,sn->si", U, y), 0.0)
    left = y - np.einsum("sni,si->sn", U, along)
    share = np.sum(left**2, axis=1) / np.sum(y**2, axis=1)
    return {"rank": kept.sum(1), "least": S[:, -1], "left": share}


def bisect(
    fits: Callable[[np.ndarray], np.ndarray], seeds: int, most: int
) -> Float[np.ndarray, " s"]:
    """The least whole number in 1 .. most that fits, of each seed; NaN if none does.

    Assumes that what is above a number that fits, fits.

    Args:
        fits: numbers [s] -> whether each seed's fits [s].
        seeds: how many.
        most: largest number tried.
    """
    low, high = np.zeros(seeds, int), np.full(seeds, most)
    possible = np.asarray(fits(high))
    while np.any(high - low > 1):
        middle = np.maximum((low + high) // 2, 1)
        good = np.asarray(fits(middle))
        low, high = np.where(good, low, middle), np.where(good, middle, high)
    return np.where(possible, high, np.nan)


def measure_features(
    ns: tuple[int, ...],
    depths: tuple[int, ...],
    ratios: tuple[float, ...],
    seeds: int,
    d: int = 20,
    lower: int = 64,
    activations: tuple[str, ...] = ("softplus", "sigmoid"),
    output_bias: bool = False,
    repeated: int = 0,
) -> dict[str, np.ndarray]:
    """Rank of the last features, and the width from which they fit random labels.

    Returns:
        ratios [r], depths [h]; by activation, number of points and depth, the rank
        over min(n, m), the smallest singular value over m^1/2, and what is left of the
        labels, [s, a, n, h, r]; the least width that fits, over n, [s, a, n, h].
    """
    most = max(2.0, *ratios)

    def at(activation: str, n: int, depth: int) -> dict[str, np.ndarray]:
        net = Net(round(most * n), lower, depth, activation)

        def draw(key: jax.Array) -> dict[str, jax.Array]:
            for_x, for_y, for_w = jax.random.split(key, 3)
            x = points(for_x, n, d, repeated)
            return {"Phi": features(net, for_w, x), "y": jax.random.normal(for_y, (n,))}

        drawn = by_seed(draw, seeds, n)
        Phi, y, units = drawn["Phi"], drawn["y"], np.arange(net.width)
        bias = [np.ones_like(Phi[:, :, :1])] * output_bias
        found: dict[str, list[np.ndarray]] = {"rank": [], "least": [], "left": []}
        for m in (round(ratio * n) for ratio in ratios):
            said = spectrum(Phi[:, :, :m], y)
            found["rank"].append(said["rank"] / min(n, m))
            found["least"].append(said["least"] / m**0.5)
            found["left"].append(said["left"])

        def fits(m: np.ndarray) -> np.ndarray:
            masked = Phi * (units < m[:, None])[:, None]
            return spectrum(np.concatenate([*bias, masked], axis=2), y)["left"] < FITS

        threshold = bisect(fits, seeds, net.width) / n
        out = {name: np.stack(values, axis=1) for name, values in found.items()}
        return out | {"threshold": threshold}

    def every(activation: str) -> dict[str, np.ndarray]:
        return sweep(ns, lambda n: sweep(depths, lambda h: at(activation, n, h)))

    with float64():
        found = sweep(activations, every)
    knobs = {"ratios": ratios, "ns": ns, "depths": depths}
    return {name: np.asarray(values) for name, values in knobs.items()} | found


def measure_rates(
    n: int,
    width: int,
    seeds: int,
    steps: int,
    depth: int = 2,
    d: int = 10,
    rate: float = 1.0,
    records: int = 60,
) -> dict[str, np.ndarray]:
    """Gradient descent on the last layer: cross-entropy and square.

    Returns:
        times [t]; excess [s, t]: the loss of probabilities less its minimum, over its
        value at the start; bound [s, t]: the same of |w_0 - w_*|^2 / (2 eta t);
        separable [s, t]: the loss of labels; square [s, t]: log of the square loss;
        predicted [s]: 2 log(1 - eta lambda_min / n); slow [s]: the time after which
        the slowest direction is e^-1.
    """
    times = np.unique(np.geomspace(1, steps, records).astype(int))
    net = Net(width, 64, depth)

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        for_x, for_y, for_w, for_0 = jax.random.split(key, 4)
        Phi = features(net, for_w, points(for_x, n, d)) / width**0.5
        start = jax.random.normal(for_0, (width,))
        y = jax.random.normal(for_y, (n,))
        U, S, V = jnp.linalg.svd(Phi, full_matrices=False)
        return _descents(Phi, (U, S, V), start, y, times, rate)

    with float64():
        return {"times": times} | by_seed(measure, seeds)


def _descents(Phi, svd, w0, y, times, rate) -> dict[str, jax.Array]:
    U, S, V = svd
    n = len(y)
    curvature = S[0] ** 2 / n
    p = jax.nn.sigmoid(y)  # probabilities of the labels, of which y is the logit
    sign = jnp.where(y > 0, 1.0, -1.0)

    def path(slope: Any, eta: jax.Array) -> jax.Array:
        """Outputs at the recorded steps of w <- w - eta/n Phi^T slope(Phi w)."""

        def step(_: Any, w: jax.Array) -> jax.Array:
            return w - eta / n * Phi.T @ slope(Phi @ w)

        def record(w: jax.Array, interval: tuple) -> tuple[jax.Array, jax.Array]:
            w = jax.lax.fori_loop(interval[0], interval[1], step, w)
            return w, Phi @ w

        ends = jnp.asarray(times)
        starts = jnp.concatenate([jnp.zeros_like(ends[:1]), ends[:-1]])
        return jax.lax.scan(record, w0, (starts, ends))[1]

    def entropy(f: jax.Array, p: jax.Array) -> jax.Array:
        return jnp.mean(jax.nn.softplus(f) - p * f, axis=-1)

    eta = rate * 4 / curvature  # 1 / smoothness, the logistic loss having curvature 1/4
    f0 = Phi @ w0
    to_go = V.T @ ((U.T @ (y - f0)) / S)  # w_* - w_0, the shortest
    start = entropy(f0, p) - entropy(y, p)
    soft = path(lambda f: jax.nn.sigmoid(f) - p, eta)
    hard = path(lambda f: -sign * jax.nn.sigmoid(-sign * f), eta)
    square = path(lambda f: f - y, rate / curvature)
    return {
        "excess": (entropy(soft, p) - entropy(y, p)) / start,
        "bound": jnp.sum(to_go**2) / (2 * eta * jnp.asarray(times)) / start,
        "separable": jnp.mean(jax.nn.softplus(-sign[None] * hard), axis=-1),
        "square": jnp.log(jnp.mean((square - y[None]) ** 2, axis=-1)),
        "predicted": 2 * jnp.log1p(-rate * (S[-1] / S[0]) ** 2),
        "slow": (S[0] / S[-1]) ** 2,
    }

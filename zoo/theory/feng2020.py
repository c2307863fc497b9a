"""Feng & Kolter 2020: the NTK of equilibrium models.

"On the Neural Tangent Kernel of Equilibrium Models" (first written in 2020; arXiv
2310.14062).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.infinite.kernels import kernel_matrix
from zoo.models import DEQ
from zoo.theory.claims import (
    Arrays,
    AtMost,
    Axes,
    Claim,
    Curve,
    Equals,
    Figure,
    Measurement,
    Paper,
)
from zoo.theory.powers import exponents
from zoo.theory.runs import by_seed, sweep

SETUP = """
h_l = (s / sqrt(m)) W phi(h_{l-1}) + (sqrt(1 - s^2) / sqrt(d)) U x, h_1 without W, f = V
. phi(h_L) / sqrt(m), phi = sqrt2 relu, which keeps the variance at 1 on inputs of norm
sqrt(d): the NTK parameterization, all entries N(0, 1), all trained, s = 0.6, one W for
all layers. The depth L = max(8, m / 8) grows with the width. Theta is the empirical NTK
at initialization, summed from the derivatives of every layer; terms of different layers
are those that a network of untied weights lacks. Theta* is the NTK of the equilibrium,
from fixed points of the kernels' maps. Data: fixed points, uniform on the sphere of
radius sqrt(d), d = 5.

The abstract was read, and what Ling et al. restate; normalization of the activation as
others describe it.
"""

S, D = 0.6, 5


def points(n: int, seed: int = 0) -> Float[np.ndarray, "n d"]:
    """Uniform on the sphere of radius sqrt(d)."""
    x = np.random.default_rng(seed).standard_normal((n, D))
    return x * D**0.5 / np.linalg.norm(x, axis=1, keepdims=True)


def network(s: float = S) -> DEQ:
    """The equilibrium, whose relu lacks the factor sqrt2."""
    return DEQ(1, sigma_w=2**0.5 * s, sigma_u=(1 - s**2) ** 0.5, sigma_v=2**0.5)


def phi(h: jax.Array) -> jax.Array:
    """sqrt2 relu."""
    return 2**0.5 * jax.nn.relu(h)


def empirical(
    W: Float[Array, "m m"],
    U: Float[Array, "m d"],
    v: Float[Array, "m"],
    x: Float[Array, "n d"],
    depth: int,
    s: float = S,
) -> tuple[jax.Array, jax.Array]:
    """The NTK of the network of tied weights, and its terms of different layers.

    Args:
        W: as in the set-up, N(0, 1).
        U: likewise.
        v: likewise.
        x: points.
        depth: L.
        s: scale of W.

    Returns:
        two arrays [n, n].
    """
    m, d = U.shape
    scale_u = (1 - s**2) / d
    u = U @ x.T * scale_u**0.5

    def forward(z: jax.Array, _: None) -> tuple[jax.Array, tuple]:
        h = s * m**-0.5 * (W @ z) + u
        return phi(h), (z, jnp.where(h > 0, 2**0.5, 0.0))

    last, (before, slopes) = jax.lax.scan(
        forward, jnp.zeros_like(u), None, length=depth
    )

    def backward(g: jax.Array, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
        b = slope * g  # the derivative of sqrt(m) f by h_l
        return s * m**-0.5 * (W.T @ b), b

    start = jnp.broadcast_to(v[:, None], u.shape)
    _, b = jax.lax.scan(backward, start, slopes, reverse=True)

    def products(values: jax.Array) -> jax.Array:  # [l, m, n] -> [l, n, l, n]
        L, _, n = values.shape
        flat = values.transpose(0, 2, 1).reshape(L * n, m)
        return (flat @ flat.T / m).reshape(L, n, L, n)

    by_layers = products(b) * (
        s**2 * products(before) + scale_u * (x @ x.T)[None, :, None]
    )
    same = jnp.einsum("lalb->ab", by_layers)
    cross = by_layers.sum(axis=(0, 2)) - same
    return last.T @ last / m + same + cross, cross


def measure_kernel(
    widths: tuple[int, ...],
    seeds: int,
    n: int,
    s: float = S,
    ones: bool = False,
) -> dict[str, np.ndarray]:
    """The NTK of networks whose depth grows with the width, beside Theta*.

    Args:
        widths: m.
        seeds: how many.
        n: points.
        s: scale of the networks' W; the limit's is `S`.
        ones: a readout of ones, which is not random.

    Returns:
        widths [w]; error |Theta - Theta*| / |Theta*|, cross likewise of the terms of
        different layers, diagonal of Theta over 1 + 1 / (1 - s^2), mean [s, w].
    """
    x = points(n)
    limit = jnp.asarray(kernel_matrix(network(), x), jnp.float32)
    size = jnp.linalg.norm(limit)

    def at(m: int) -> dict[str, np.ndarray]:
        def measure(key: jax.Array) -> dict[str, jax.Array]:
            keys = jax.random.split(key, 3)
            shapes = ((m, m), (m, D), (m,))
            W, U, v = (
                jax.random.normal(key, shape)
                for key, shape in zip(keys, shapes, strict=True)
            )
            v = jnp.ones_like(v) if ones else v
            some = jnp.asarray(x, jnp.float32)
            theta, cross = empirical(W, U, v, some, max(8, m // 8), s)
            return {
                "error": jnp.linalg.norm(theta - limit) / size,
                "cross": jnp.linalg.norm(cross) / size,
                "diagonal": jnp.mean(jnp.diag(theta)) / (1 + 1 / (1 - S**2)),
            }

        return by_seed(measure, seeds, m, together=1)

    return {"widths": np.asarray(widths)} | sweep(widths, at)


def measure_diagonal(scales: tuple[float, ...], draws: int, n: int, size: float = 1.0):
    """The diagonal of Theta*, and what it is by hand.

    Args:
        scales: s.
        draws: of points.
        n: points of each.
        size: of the points, in units of sqrt(d).

    Returns:
        off [s, w], the largest relative distance to 1 + 1 / (1 - s^2).
    """
    x = size * np.concatenate([points(n, 1 + i) for i in range(draws)])

    def at(s: float) -> dict[str, np.ndarray]:
        expected = 1 + 1 / (1 - s**2)
        own = np.diag(kernel_matrix(network(s), x)).reshape(draws, n)
        return {"off": np.abs(own / expected - 1).max(axis=1)}

    return {"scales": np.asarray(scales)} | sweep(scales, at)


KERNEL = Measurement(
    "kernel",
    measure_kernel,
    {
        "smoke": {"widths": (64, 512), "seeds": 64, "n": 3},
        "default": {"widths": (64, 128, 256, 512, 1024), "seeds": 48, "n": 6},
        "paper": {"widths": (256, 512, 1024, 2048, 4096), "seeds": 50, "n": 10},
    },
    seconds=13.0,
)
DIAGONAL = Measurement(
    "diagonal",
    measure_diagonal,
    {
        "smoke": {"scales": (0.6,), "draws": 3, "n": 3},
        "default": {"scales": (0.3, 0.6, 0.9), "draws": 5, "n": 10},
        "paper": {"scales": (0.1, 0.3, 0.5, 0.7, 0.9), "draws": 10, "n": 100},
    },
    seconds=2.0,
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """The error of the kernel and its terms of different layers."""
    if "kernel" not in found:
        return []
    a = found["kernel"]
    m = a["widths"]
    guide = a["error"].mean(axis=0)[0] * (m / m[0]) ** -0.5
    return [
        Figure(
            "kernel",
            "The NTK of networks whose depth is an eighth of their width, beside that "
            "of the infinitely wide equilibrium; and what of it is due to pairs of "
            "different layers, which share weights.",
            [
                Axes(
                    "NTK",
                    "width m",
                    "share of |Theta*|_F",
                    [
                        Curve("|Theta - Theta*|_F", m, a["error"]),
                        Curve("different layers", m, a["cross"], "dotted"),
                        Curve("m^-1/2", m, guide, "dashed", True),
                    ],
                )
            ],
        )
    ]


PAPER = Paper(
    "feng2020",
    "Feng & Kolter 2020, On the Neural Tangent Kernel of Equilibrium Models",
    SETUP,
    (
        Claim(
            "kernel",
            "The NTK becomes deterministic though width and depth grow together.",
            "slope of log |Theta - Theta*|_F / |Theta*|_F against log m, L = m / 8",
            Equals(-0.5),
            "abstract; the exponent derived",
            "derived",
            KERNEL,
            lambda a: exponents(a["widths"], a["error"]),
        ),
        Claim(
            "layers",
            "Tied weights have the NTK of untied ones: terms of different layers "
            "vanish.",
            "slope of log |sum of them|_F / |Theta*|_F against log m, L = m / 8",
            Equals(-0.5),
            "as Ling et al. restate it; the exponent derived",
            "derived",
            KERNEL,
            lambda a: exponents(a["widths"], a["cross"]),
        ),
        Claim(
            "mean",
            "The NTK of a point with itself is 1 + 1 / (1 - s^2), in wide networks.",
            "mean of Theta(x, x) / (1 + 1 / (1 - s^2)), widest networks",
            Equals(1.0, 0.1),
            "Theta* = Sigma* / (1 - s^2) plus the readout's 1, normalized activation",
            "derived",
            KERNEL,
            lambda a: a["diagonal"][:, -1],
        ),
        Claim(
            "diagonal",
            "It is that exactly in the limit.",
            "max over s and x of |Theta*(x, x) / (1 + 1 / (1 - s^2)) - 1|",
            AtMost(1e-10),
            "Theta* = Sigma* / (1 - s^2) plus the readout's 1, normalized activation",
            "derived",
            DIAGONAL,
            lambda a: a["off"].max(axis=-1),
            certain="algebra of the limit's two equations",
        ),
    ),
    figures,
)

"""Gao & Gao 2022: an implicit network of linear width.

"Gradient Descent Optimizes Infinite-Depth ReLU Implicit Networks with Linear Widths".
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.infinite.precision import float64
from zoo.theory.claims import (
    Arrays,
    AtLeast,
    AtMost,
    Claim,
    Figure,
    Measurement,
    Paper,
)
from zoo.theory.implicit import (
    Params,
    bound_ratio,
    descend,
    kept_share,
    operator_norm,
    record_times,
    root,
    signs,
    smallest_eigenvalue,
    sphere_points,
    training_figure,
)
from zoo.theory.runs import by_seed, sweep

SETUP = """
z = relu((gamma / m) W z + relu(U x / sqrt(d))), f = a . z / sqrt(m), gamma = 0.5, with
W_ij = |N(0, 1)|, non-negative, and U_ij, a_i ~ N(0, 1). All are trained by gradient
descent on Phi = 1/2 sum_i (f(x_i) - y_i)^2 at the rate eta = 0.5 / n. Every seed draws
its data: x uniform on the sphere of radius sqrt(d), d = n, labels -1 and 1 at random.
The width is linear in the number of points, m = 4 n. lambda_0 is the smallest
eigenvalue of G = Z^T Z / m at initialization.

The paper was read in its abstract and as others restate it: the scale of W and the
constants are chosen here, and the rate that is claimed is what |grad Phi|^2 >= 2
lambda_min(G) Phi gives where lambda_min(G) stays above lambda_0 / 2.
"""

GAMMA = 0.5


def draw(key: jax.Array, m: int, d: int, positive: bool = True) -> dict:
    """W, U and a."""
    for_W, for_U, for_a = jax.random.split(key, 3)
    W = jax.random.normal(for_W, (m, m))
    return {
        "W": jnp.abs(W) if positive else W,
        "U": jax.random.normal(for_U, (m, d)),
        "a": jax.random.normal(for_a, (m,)),
    }


def injected(params: Params, x: Float[Array, "n d"]) -> jax.Array:
    """relu(U x), [m, n]."""
    return jax.nn.relu(params["U"] @ x.T * x.shape[1] ** -0.5)


def equilibria(params: Params, x: Float[Array, "n d"], gamma: float) -> jax.Array:
    """Z, [m, n]."""
    W = params["W"] * gamma / len(params["W"])
    return root(jax.nn.relu, W, injected(params, x))


def apply(gamma: float, params: Params, x: Float[Array, "n d"]) -> jax.Array:
    """f, [n, 1]."""
    a = params["a"]
    return (a @ equilibria(params, x, gamma))[:, None] * len(a) ** -0.5


def measure_explicit(
    sizes: tuple[int, ...], seeds: int, ratio: int, positive: bool = True
) -> dict[str, np.ndarray]:
    """The equilibrium at initialization beside (I - gamma W / m)^-1 relu(U x).

    Returns:
        sizes n [w]; off, their relative distance [s, w].
    """

    def at(n: int) -> dict[str, np.ndarray]:
        m = ratio * n

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            for_x, for_w = jax.random.split(key)
            x, params = sphere_points(for_x, n, n), draw(for_w, m, n, positive)
            z = equilibria(params, x, GAMMA)
            system = jnp.eye(m) - params["W"] * GAMMA / m
            solved = jnp.linalg.solve(system, injected(params, x))
            return {"off": jnp.linalg.norm(z - solved) / jnp.linalg.norm(solved)}

        return by_seed(measure, seeds, m, together=1)

    with float64():
        return {"sizes": np.asarray(sizes)} | sweep(sizes, at)


def measure_training(
    sizes: tuple[int, ...],
    seeds: int,
    ratio: int,
    steps: int,
    share: float = 0.5,
    gamma: float = GAMMA,
    size: float = 1.0,
    trained: str = "WUa",
) -> dict[str, np.ndarray]:
    """Gradient descent at m = ratio n.

    Returns:
        sizes n [w], times [t]; loss, gradient, norm, smallest [s, w, t]; rate [s, w].
    """
    times = record_times(steps)

    def at(n: int) -> dict[str, np.ndarray]:
        m, rate = ratio * n, share / n

        def observed(params: Params, x: jax.Array) -> dict[str, jax.Array]:
            Z = equilibria(params, x, gamma) * m**-0.5
            norm = operator_norm(params["W"] * gamma / m)
            return {"norm": norm, "smallest": smallest_eigenvalue(Z)}

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            for_x, for_y, for_w = jax.random.split(key, 3)
            x, y = sphere_points(for_x, n, n), size * signs(for_y, n)
            start, network = draw(for_w, m, n), partial(apply, gamma)
            found = descend(network, observed, start, x, y, rate, times, trained)
            return found | {"rate": jnp.asarray(rate)}

        return by_seed(measure, seeds, m, together=1)

    return {"sizes": np.asarray(sizes), "times": times} | sweep(sizes, at)


EXPLICIT = Measurement(
    "explicit",
    measure_explicit,
    {
        "smoke": {"sizes": (4, 8), "seeds": 3, "ratio": 4},
        "default": {"sizes": (8, 16, 32), "seeds": 8, "ratio": 8},
        "paper": {"sizes": (64, 128, 256), "seeds": 10, "ratio": 8},
    },
    seconds=5.0,
)
TRAINING = Measurement(
    "training",
    measure_training,
    {
        "smoke": {"sizes": (8,), "seeds": 12, "ratio": 4, "steps": 60},
        "default": {"sizes": (8, 16, 32), "seeds": 8, "ratio": 4, "steps": 300},
        "paper": {"sizes": (64, 128, 256, 512), "seeds": 5, "ratio": 4, "steps": 5000},
    },
    seconds=11.0,
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """Training at a width linear in the number of points."""
    if "training" not in found:
        return []
    a = found["training"]
    return [
        training_figure(
            a,
            "n",
            a["sizes"],
            "Gradient descent at a width of four times the number of points.",
            "|gamma W / m|",
        )
    ]


PAPER = Paper(
    "gao2022",
    "Gao & Gao 2022, Gradient Descent Optimizes Infinite-Depth ReLU Implicit Networks "
    "with Linear Widths",
    SETUP,
    (
        Claim(
            "explicit",
            "At initialization the equilibrium is linear in the injection.",
            "|z* - (I - gamma W / m)^-1 relu(U x)| / |z*|, worst n",
            AtMost(1e-9),
            "non-negative W, as Ling et al. restate it",
            "restated",
            EXPLICIT,
            lambda a: a["off"].max(axis=-1),
            certain="nothing negative enters the relu",
        ),
        Claim(
            "posed",
            "A fixed scalar keeps the equilibrium well posed along gradient descent.",
            "max over n and t of |gamma W(t) / m|, at m = 4 n",
            AtMost(1.0),
            "abstract",
            "paper",
            TRAINING,
            lambda a: a["norm"].max(axis=(1, 2)),
        ),
        Claim(
            "rate",
            "Gradient descent converges linearly at a width linear in n.",
            "max over n and t of Phi(t) / ((1 - eta lambda_0 / 2)^t Phi(0)), m = 4 n",
            AtMost(1.0),
            "abstract: linear rate at m = Omega(n); its constant derived",
            "derived",
            TRAINING,
            lambda a: bound_ratio(a).max(axis=-1),
        ),
        Claim(
            "kept",
            "The smallest eigenvalue of the Gram matrix stays above half of its first.",
            "min over n and t of lambda_min(G(t)) / lambda_0, m = 4 n",
            AtLeast(0.5),
            "what the linear rate rests on",
            "derived",
            TRAINING,
            lambda a: kept_share(a).min(axis=-1),
        ),
    ),
    figures,
)

"""Gao, Liu, Liu, Rajan & Gao 2021: an implicit network beside its injection.

"A global convergence theory for deep ReLU implicit networks via over-parameterization"
(ICLR 2022).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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
    gradient_ratio,
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
u = relu(U x / sqrt(d)), z = relu((gamma / sqrt(m)) W z + u), f = (a . z + b . u) /
sqrt(m), gamma = 0.4, all entries N(0, 1) and trained by gradient descent on Phi = 1/2
sum_i (f(x_i) - y_i)^2 at the rate eta = 0.4 / n. Every seed draws its data: x uniform
on the sphere of radius sqrt(d), d = n, labels -1 and 1 at random. G is the Gram matrix
of the features u / sqrt(m), not of the equilibria: by Ling et al. it is its smallest
eigenvalue that drives the proof, lambda_0 at initialization.

The paper was read in its abstract and as others restate it; the scales are from memory
(the paper has the factor 1 / sqrt(m) at the injection, where relu, being homogeneous,
puts it too). Widths are a few n, where the paper asks for a power of n.
"""

GAMMA = 0.4


def draw(key: jax.Array, m: int, d: int) -> dict:
    """W, U, a and b."""
    keys = jax.random.split(key, 4)
    shapes = {"W": (m, m), "U": (m, d), "a": (m,), "b": (m,)}
    drawn = zip(keys, shapes.items(), strict=True)
    return {name: jax.random.normal(key, shape) for key, (name, shape) in drawn}


def injected(params: Params, x: Float[Array, "n d"]) -> jax.Array:
    """u, [m, n]."""
    return jax.nn.relu(params["U"] @ x.T * x.shape[1] ** -0.5)


def apply(gamma: float, params: Params, x: Float[Array, "n d"]) -> jax.Array:
    """f, [n, 1]."""
    a, b, u = params["a"], params["b"], injected(params, x)
    z = root(jax.nn.relu, params["W"] * gamma * len(a) ** -0.5, u)
    return (a @ z + b @ u)[:, None] * len(a) ** -0.5


def measure_training(
    widths: tuple[int, ...],
    seeds: int,
    n: int,
    steps: int,
    share: float = 0.4,
    gamma: float = GAMMA,
    size: float = 1.0,
    trained: str = "WUab",
) -> dict[str, np.ndarray]:
    """Gradient descent, and the features' Gram matrix along it.

    Returns:
        widths [w], times [t]; loss, gradient, norm, smallest [s, w, t]; rate [s, w].
    """
    times, rate = record_times(steps), share / n

    def at(m: int) -> dict[str, np.ndarray]:
        def observed(params: Params, x: jax.Array) -> dict[str, jax.Array]:
            return {
                "norm": operator_norm(params["W"] * gamma * m**-0.5),
                "smallest": smallest_eigenvalue(injected(params, x) * m**-0.5),
            }

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            for_x, for_y, for_w = jax.random.split(key, 3)
            x, y = sphere_points(for_x, n, n), size * signs(for_y, n)
            start, network = draw(for_w, m, n), partial(apply, gamma)
            found = descend(network, observed, start, x, y, rate, times, trained)
            return found | {"rate": jnp.asarray(rate)}

        return by_seed(measure, seeds, m, together=1)

    return {"widths": np.asarray(widths), "times": times} | sweep(widths, at)


TRAINING = Measurement(
    "training",
    measure_training,
    {
        "smoke": {"widths": (64,), "seeds": 5, "n": 6, "steps": 40},
        "default": {"widths": (64, 128, 256), "seeds": 6, "n": 16, "steps": 150},
        "paper": {"widths": (1000, 2000, 4000), "seeds": 3, "n": 500, "steps": 2000},
    },
    seconds=16.0,
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """Gradient descent."""
    if "training" not in found:
        return []
    a = found["training"]
    norm = "|gamma W / sqrt(m)|"
    return [training_figure(a, "m", a["widths"], "Gradient descent.", norm)]


PAPER = Paper(
    "gao2021",
    "Gao, Liu, Liu, Rajan & Gao 2021, A global convergence theory for deep ReLU "
    "implicit networks via over-parameterization",
    SETUP,
    (
        Claim(
            "posed",
            "The equilibrium stays well posed along gradient descent.",
            "max_t |gamma W(t) / sqrt(m)|, widest networks",
            AtMost(1.0),
            "abstract; the condition as Ling et al. state theirs",
            "restated",
            TRAINING,
            lambda a: a["norm"][:, -1].max(axis=-1),
        ),
        Claim(
            "gradient",
            "The gradient dominates the loss, by the explicit features alone.",
            "max_t 2 lambda_min(G(t)) Phi(t) / |grad Phi(t)|^2, widest networks",
            AtMost(1.0),
            "as Ling et al. restate it, section 4.4; that of b alone gives it",
            "restated",
            TRAINING,
            lambda a: gradient_ratio(a)[:, -1],
            certain="|grad Phi|^2 is at least that of the readout of b, r^T G r",
        ),
        Claim(
            "kept",
            "The smallest eigenvalue of the explicit features' Gram matrix stays above "
            "half of its first.",
            "min_t lambda_min(G(t)) / lambda_0, widest networks",
            AtLeast(0.5),
            "what the linear rate rests on",
            "derived",
            TRAINING,
            lambda a: kept_share(a)[:, -1],
        ),
        Claim(
            "rate",
            "Gradient descent converges linearly.",
            "max_t Phi(t) / ((1 - eta lambda_0 / 2)^t Phi(0)), widest networks",
            AtMost(1.0),
            "abstract: a linear rate; its constant derived",
            "derived",
            TRAINING,
            lambda a: bound_ratio(a)[:, -1],
        ),
    ),
    figures,
)

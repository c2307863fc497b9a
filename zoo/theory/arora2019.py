"""Arora, Du, Hu, Li & Wang 2019: two layers, the curve of training, a bound.

"Fine-Grained Analysis of Optimization and Generalization for Overparameterized
Two-Layer Neural Networks".
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from zoo.data import load
from zoo.finite.train import train
from zoo.infinite.kernels import kernel_matrix
from zoo.models import MLP
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
f(x) = m^-1/2 sum_r a_r relu(w_r . x) on inputs of norm 1, with w_r ~ N(0, I) and frozen
a_r ~ N(0, 1). (The paper draws signs, of the same limit, and scales w_r by a small
kappa, so that u(0) is small; here u(0) is subtracted, and a smaller width is enough.)
The first layer alone is trained, by gradient descent on 1/2 sum_i (f(x_i) - y_i)^2 at
half of the critical rate. Data: handwritten digits, y = +1 for an even digit and -1 for
an odd one; random labels are the same in another order. u(k) are the outputs after k
steps, H the infinite-width kernel H_ij = x_i . x_j (pi - arccos(x_i . x_j)) / (2 pi)
with eigenvalues lambda_i and eigenvectors v_i.
"""


def parity_data(
    n_train: int, n_test: int, seed: int
) -> tuple[Float[np.ndarray, "N d"], Float[np.ndarray, "N 1"]]:
    """Digits of norm sqrt(d), and the sign of their parity."""
    data = load("digits", n_train, n_test, seed)
    labels = np.concatenate([data.y_train, data.y_test]).argmax(1)
    x = np.concatenate([data.x_train, data.x_test])
    return x, np.where(labels % 2 == 0, 1.0, -1.0)[:, None].astype(np.float32)


def network(width: int) -> MLP:
    """In the NTK parameterization, which on |x|^2 = d is the paper's on norm 1."""
    return MLP(width, 1, 1, "relu", sigma_w=1.0, train_layers="first")


def measure_curve(
    widths: tuple[int, ...],
    seeds: int,
    n: int,
    steps: int,
    train_layers: str = "first",
    sigma_w: float = 1.0,
) -> dict[str, np.ndarray]:
    """|y - u(k)| along training beside the spectrum's prediction.

    Returns:
        times [t]; curve and predicted [s, w, t], both over |y|.
    """
    x, y = (jnp.asarray(part[:n]) for part in parity_data(n, 1, 0))
    values, vectors = np.linalg.eigh(kernel_matrix(network(1), np.asarray(x)))
    rate = 1.0 / float(values[-1])
    times = np.unique(np.geomspace(1, steps, 24).astype(int))
    shrunk = jnp.asarray((1 - rate * values) ** times[:, None], jnp.float32)
    axes = jnp.asarray(vectors.T, jnp.float32)
    size = jnp.linalg.norm(y)

    def at(width: int) -> dict[str, np.ndarray]:
        net = MLP(width, 1, 1, sigma_w=sigma_w, train_layers=train_layers)

        def apply(params: Any, x: jax.Array) -> Any:
            return net.apply({"params": params}, x)

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            params = net.init(key, x[:1])["params"]
            step = optax.sgd(n * rate)  # `train` descends the mean over examples
            found = train(apply, params, x, y, step, jnp.asarray(times))
            start = axes @ (y - apply(params, x))
            return {
                "curve": jnp.linalg.norm(found.outputs - y[None], axis=(1, 2)) / size,
                "predicted": jnp.linalg.norm(shrunk * start.T, axis=1) / size,
            }

        return by_seed(measure, seeds, width)

    return {"widths": np.asarray(widths), "times": times} | sweep(widths, at)


def deviation(arrays: Arrays) -> np.ndarray:
    """The largest distance from the predicted curve, of each seed and width [s, w]."""
    return np.abs(arrays["curve"] - arrays["predicted"]).max(axis=-1)


def measure_bound(
    draws: int, n_train: int, n_test: int, shuffled: bool = True
) -> dict[str, np.ndarray]:
    """sqrt(2 y^T H^-1 y / n), and the test error of the network's limit.

    Returns:
        true and random [s]: the bound for true and for random labels, over draws of the
        data; error [s]: the mean of |f - y| on test points, at most 1 a point.
    """
    found: dict[str, list[float]] = {"true": [], "random": [], "error": []}
    for draw in range(draws):
        x, y = parity_data(n_train, n_test, draw)
        theta = kernel_matrix(network(1), x)
        train_kernel, values = theta[:n_train, :n_train], y[:n_train, 0].astype(float)
        coins = np.random.default_rng(draw).permutation(np.sign(values))
        coins = coins if shuffled else values
        solved = np.linalg.solve(train_kernel, np.stack([values, coins], axis=1))
        for name, label, weights in zip(
            ("true", "random"), (values, coins), solved.T, strict=True
        ):
            found[name].append(float(np.sqrt(2 * label @ weights / n_train)))
        f = theta[n_train:, :n_train] @ solved[:, 0]
        found["error"].append(float(np.minimum(np.abs(f - y[n_train:, 0]), 1).mean()))
    return {name: np.asarray(values) for name, values in found.items()}


CURVE = Measurement(
    "curve",
    measure_curve,
    {
        "smoke": {"widths": (64, 256, 1024), "seeds": 96, "n": 6, "steps": 30},
        "default": {
            "widths": (512, 1024, 2048, 4096, 8192),
            "seeds": 24,
            "n": 32,
            "steps": 300,
        },
        "paper": {
            "widths": (1000, 2000, 4000, 8000, 16000, 32000),
            "seeds": 10,
            "n": 1000,
            "steps": 10000,
        },
    },
    seconds=30,
)
BOUND = Measurement(
    "bound",
    measure_bound,
    {
        "smoke": {"draws": 4, "n_train": 64, "n_test": 64},
        "default": {"draws": 8, "n_train": 512, "n_test": 512},
        "paper": {"draws": 20, "n_train": 1297, "n_test": 500},
    },
    seconds=5,
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """The curves, and their deviation against width."""
    out = []
    if "curve" in found:
        a = found["curve"]
        curves = [
            Curve(f"m = {m}", a["times"], a["curve"][:, i])
            for i, m in enumerate(a["widths"])
        ]
        limit = Curve(
            "from the spectrum of H", a["times"], a["predicted"][:, -1], "dashed"
        )
        out.append(
            Figure(
                "curve",
                "Left: the residual along training. Right: its largest distance from "
                "the curve that the spectrum of the infinite-width kernel predicts.",
                [
                    Axes("training", "step k", "|y - u(k)| / |y|", [*curves, limit]),
                    Axes(
                        "distance from the prediction",
                        "width m",
                        "max_k difference",
                        [Curve("", a["widths"], deviation(a))],
                    ),
                ],
            )
        )
    return out


PAPER = Paper(
    "arora2019",
    "Arora, Du, Hu, Li & Wang 2019, Fine-Grained Analysis of Optimization and "
    "Generalization for Overparameterized Two-Layer Neural Networks",
    SETUP,
    (
        Claim(
            "curve",
            "The residual follows the curve of the infinite-width kernel's spectrum, "
            "ever more closely in wider networks.",
            "slope of log max_k | |y - u(k)| - sqrt(sum_i (1 - eta lambda_i)^{2k} "
            "(v_i . (y - u(0)))^2) | / |y| against log m",
            Equals(-0.5),
            "Theorem 4.1: an error epsilon needs m = Omega(epsilon^-2); that of the "
            "kernel at initialization is m^-1/2",
            "derived",
            CURVE,
            lambda a: exponents(a["widths"], deviation(a)),
        ),
        Claim(
            "labels",
            "The bound tells true labels from random ones.",
            "bound of true labels / bound of random labels",
            AtMost(1.0),
            "Theorem 5.1 and section 6",
            "paper",
            BOUND,
            lambda a: a["true"] / a["random"],
        ),
        Claim(
            "bound",
            "The bound of the population loss holds on test points for regression with "
            "the limit's kernel, its term O((log(n / delta) / n)^1/2) left out.",
            "mean of min(|f - y|, 1) on test points / sqrt(2 y^T H^-1 y / n)",
            AtMost(1.0),
            "Theorem 5.1",
            "paper",
            BOUND,
            lambda a: a["error"] / a["true"],
            certain="at this size the bound exceeds 1, where the loss is cut off",
        ),
    ),
    figures,
)

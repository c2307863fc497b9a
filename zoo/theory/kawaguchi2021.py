"""Kawaguchi 2021: linear equilibria through a softmax converge at any width.

"On the Theory of Implicit Deep Learning: Global Convergence with Implicit Layers".
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.finite.flow import gradient_flow, place
from zoo.finite.train import Objective
from zoo.infinite.precision import float64
from zoo.theory.claims import (
    Arrays,
    AtMost,
    Axes,
    Claim,
    Curve,
    Figure,
    Measurement,
    Paper,
)
from zoo.theory.implicit import Params, train_some
from zoo.theory.runs import by_seed

SETUP = """
f(x) = B z, z = g S z + phi(x), S_ij = exp(A_ij) / sum_k exp(A_kj): f = B U^-1 phi(x)
with U = I - g S, linear in the m features phi(x) and nonlinear in A. A and B are
trained by gradient flow on L = sum_i |f(x_i) - y_i|^2. A_ij ~ N(0, 1), B_ij ~ N(0, 1 /
m), the paper allows any; features and targets are N(0, 1). Shapes (m, outputs, n, g)
are given with the results: widths below the number of points and of outputs, and above
both.

W = B U^-1 moves as dW/dt = -D[grad L(W)], D[G] = G U^-T U^-1 + g W R U^-1 with columns
R_j = J_j^2 P_j, P = g U^-T B^T G U^-T, J_j = diag(s_j) - s_j s_j^T for the columns s_j
of S; these formulas are derived, and not read in the paper. L* = min_W |W Phi - Y|^2,
and kappa = 2 sigma_min(Phi)^2, the smallest singular value that is not 0. The flow is
solved by Tsitouras' 5(4) pairs in float64.
"""

Shape = tuple[int, int, int, float]
FLOOR = 1e-6  # of the excess that the solver of the flow resolves, and a margin


def mixing(A: Float[Array, "m m"], g: float, axis: int, gain: float) -> jax.Array:
    """G S, columns normalized for axis 0; `gain` 1 is the paper's."""
    return gain * g * jax.nn.softmax(A, axis=axis)


def linear_map(
    params: Params, g: float, axis: int = 0, gain: float = 1.0
) -> Float[Array, "k m"]:
    """W = B U^-1."""
    U = jnp.eye(params["A"].shape[0]) - mixing(params["A"], g, axis, gain)
    return jnp.linalg.solve(U.T, params["B"].T).T


def preconditioner(
    params: Params, g: float, trained: str = "AB"
) -> Float[Array, "k m k m"]:
    """D, as the derivative of D[G] by G."""
    A, B = params["A"], params["B"]
    S = jax.nn.softmax(A, axis=0)
    inverse = jnp.linalg.inv(jnp.eye(A.shape[0]) - g * S)
    W = B @ inverse

    def apply(G: jax.Array) -> jax.Array:
        P = g * inverse.T @ B.T @ G @ inverse.T

        def twice(s: jax.Array, p: jax.Array) -> jax.Array:  # J^2 p
            for _ in range(2):
                p = s * p - s * (s @ p)
            return p

        R = jax.vmap(twice, in_axes=1, out_axes=1)(S, P)
        of_B, of_A = G @ inverse.T @ inverse, g * W @ R @ inverse
        return float("B" in trained) * of_B + float("A" in trained) * of_A

    return jax.jacobian(apply)(jnp.zeros_like(B))


def measure_flow(
    shapes: tuple[Shape, ...],
    seeds: int,
    span: float,
    axis: int = 0,
    gain: float = 1.0,
    trained: str = "AB",
) -> dict[str, np.ndarray]:
    """Gradient flow; D and the bounds along it.

    Args:
        shapes: (m, outputs, n, g).
        seeds: how many.
        span: time, in units of m (1 + g)^2 / (2 kappa), by which the bound of the
            theorem falls to 1 / e at least.
        axis: along which the softmax normalizes; 0 are columns.
        gain: of S.
        trained: "AB"; others freeze A or B.

    Returns:
        time [t], in units of `span`; all others [s, w, t] over shapes: excess (L - L*)
        / (L(0) - L*), bound of it, smallest lambda_min(D) by what W really moves, floor
        1 / (m (1 + g)^2), norm |g S|_1 / g, identity |dW/dt + D grad L| / |dW/dt|.
    """
    times = np.append(0.0, np.geomspace(0.01, 1.0, 12))

    def at(shape: Shape) -> dict[str, np.ndarray]:
        m, k, n, g = shape

        def network(params: Params, x: jax.Array) -> jax.Array:
            return x @ linear_map(params, g, axis, gain).T

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            keys = jax.random.split(key, 4)
            A, B = (
                jax.random.normal(keys[0], (m, m)),
                jax.random.normal(keys[1], (k, m)),
            )
            x, y = (
                jax.random.normal(keys[2], (n, m)),
                jax.random.normal(keys[3], (n, k)),
            )
            start = {"A": A, "B": B * m**-0.5}
            kappa = 2 * jnp.linalg.svd(x, compute_uv=False)[-1] ** 2
            end = span * m * (1 + g) ** 2 / (2 * kappa)
            best = x @ jnp.linalg.lstsq(x, y)[0]
            least = jnp.sum((best - y) ** 2)
            apply_fn = partial(train_some, network, trained)
            # That of `gradient_flow` is the loss over 2 n, so its time is 2 n t.
            clock = 2 * n * end * times
            u = gradient_flow(apply_fn, start, x, y, clock, Objective()).displacement
            there = jax.vmap(lambda u: place(start, u, 1.0))(u)
            look = partial(
                _observe, x=x, y=y, g=g, axis=axis, gain=gain, trained=trained
            )
            found = jax.lax.map(look, there)
            excess = found.pop("loss") - least
            lowest = jax.lax.cummin(found.pop("claimed"))
            return found | {
                "excess": excess / excess[0],
                "bound": jnp.exp(-2 * kappa * lowest * end * times),
                "floor": jnp.full(len(times), 1 / (m * (1 + g) ** 2)),
            }

        return by_seed(measure, seeds, m, together=1)

    with float64():
        each = [at(shape) for shape in shapes]
    stacked = {name: np.stack([e[name] for e in each], axis=1) for name in each[0]}
    return {"time": span * times, "shapes": np.asarray(shapes)} | stacked


def _observe(
    params: Params,
    x: Float[Array, "n m"],
    y: Float[Array, "n k"],
    g: float,
    axis: int,
    gain: float,
    trained: str,
) -> dict[str, jax.Array]:
    """The loss, D and the identity at parameters."""

    def of_map(W: jax.Array) -> jax.Array:
        return jnp.sum((x @ W.T - y) ** 2)

    def through(params: Params) -> jax.Array:
        return linear_map(params, g, axis, gain)

    def of_params(params: Params) -> jax.Array:
        held = {
            name: value if name in trained else jax.lax.stop_gradient(value)
            for name, value in params.items()
        }
        return of_map(through(held))

    downhill = jax.tree.map(jnp.negative, jax.grad(of_params)(params))
    W, moved = jax.jvp(through, (params,), (downhill,))
    D = preconditioner(params, g)
    off = moved + jnp.einsum("abcd,cd->ab", D, jax.grad(of_map)(W))

    def smallest(D: jax.Array) -> jax.Array:
        flat = D.reshape(W.size, W.size)
        return jnp.linalg.eigvalsh((flat + flat.T) / 2)[0]

    mixed = mixing(params["A"], g, axis, gain)
    return {
        "loss": of_map(W),
        "norm": jnp.abs(mixed).sum(axis=0).max() / g,
        "identity": jnp.linalg.norm(off) / jnp.linalg.norm(moved),
        "claimed": smallest(D),
        "smallest": smallest(preconditioner(params, g, trained)),
    }


def measurable(arrays: Arrays) -> np.ndarray:
    """The excess over its bound, [s, w, t]; 0 where the bound is below `FLOOR`."""
    ratio = arrays["excess"] / np.maximum(arrays["bound"], FLOOR)
    return np.where(arrays["bound"] < FLOOR, 0 * ratio, ratio)


def worst(values: Float[np.ndarray, "s w t"]) -> np.ndarray:
    """The largest over shapes and times, of every seed."""
    return values.max(axis=(1, 2))


FLOW = Measurement(
    "flow",
    measure_flow,
    {
        "smoke": {"shapes": ((3, 2, 8, 0.9),), "seeds": 6, "span": 2.0},
        "default": {
            "shapes": (
                (6, 1, 40, 0.5),
                (10, 3, 40, 0.9),
                (3, 5, 30, 0.9),
                (24, 2, 12, 0.9),
            ),
            "seeds": 8,
            "span": 3.0,
        },
        "paper": {
            "shapes": (
                (10, 3, 200, 0.9),
                (30, 10, 500, 0.9),
                (10, 20, 200, 0.9),
                (100, 5, 50, 0.9),
            ),
            "seeds": 10,
            "span": 3.0,
        },
    },
    seconds=33.0,
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """The loss below its bound, and lambda_min(D) above its own."""
    if "flow" not in found:
        return []
    a = found["flow"]
    losses, smallest, when = [], [], a["time"][1:]
    for i, (m, k, n, g) in enumerate(a["shapes"]):
        name = f"m = {m:.0f}, k = {k:.0f}, n = {n:.0f}, g = {g:.1f}"
        losses.append(Curve(name, when, np.maximum(a["excess"][:, i, 1:], FLOOR)))
        ratio = a["smallest"][:, i] / a["floor"][:, i]
        smallest.append(Curve(name, when, ratio[:, 1:]))
    losses.append(Curve("bound at all weights", when, np.exp(-when), "dashed", True))
    one = Curve("bound", when, np.ones(len(when)), "dashed", True)
    time = "time, in units of m (1 + g)^2 / (2 kappa)"
    loss = "(L - L*) / (L(0) - L*)"
    return [
        Figure(
            "flow",
            "Gradient flow, at several shapes. Left: the loss above its minimum, and "
            "the rate of the theorem that holds at all weights. Right: the smallest "
            "eigenvalue of the preconditioner, over its bound.",
            [
                Axes("loss", time, loss, losses),
                Axes(
                    "preconditioner",
                    time,
                    "lambda_min(D) m (1 + g)^2",
                    [*smallest, one],
                ),
            ],
        )
    ]


PAPER = Paper(
    "kawaguchi2021",
    "Kawaguchi 2021, On the Theory of Implicit Deep Learning: Global Convergence with "
    "Implicit Layers",
    SETUP,
    (
        Claim(
            "posed",
            "The equilibrium is well posed at all weights: g S has norm g in L1.",
            "max over shapes and times of | |g S|_1 / g - 1 |",
            AtMost(1e-12),
            "columns of a softmax sum to 1",
            "derived",
            FLOW,
            lambda a: worst(np.abs(a["norm"] - 1)),
            certain="columns of a softmax sum to 1",
        ),
        Claim(
            "dynamics",
            "The linear map W moves by a preconditioned gradient of its own loss.",
            "max over shapes and times of |dW/dt + D grad L(W)| / |dW/dt|",
            AtMost(1e-6),
            "Theorem 1, its formulas derived",
            "derived",
            FLOW,
            lambda a: worst(a["identity"]),
        ),
        Claim(
            "preconditioner",
            "The preconditioner is bounded below at any width.",
            "max over shapes and times of 1 / (m (1 + g)^2) / lambda_min(D)",
            AtMost(1.0),
            "lambda_min(D) >= sigma_min(U^-1)^2 and |U|_2 <= m^1/2 |U|_1",
            "derived",
            FLOW,
            lambda a: worst(a["floor"] / np.maximum(a["smallest"], 1e-12)),
        ),
        Claim(
            "rate",
            "Gradient flow converges to the global minimum linearly, at any width.",
            "max over shapes and times of (L - L*) / ((L(0) - L*) exp(-2 kappa "
            "lambda_t t)), lambda_t the smallest lambda_min(D) up to t; while the "
            "bound is above 1e-6",
            AtMost(1.0),
            "Theorem 1, its formulas derived",
            "derived",
            FLOW,
            lambda a: worst(measurable(a)[..., 1:]),
        ),
        Claim(
            "uniform",
            "It does so at the rate that holds at all weights.",
            "max over shapes and times of (L - L*) / ((L(0) - L*) exp(-2 kappa t / (m "
            "(1 + g)^2)))",
            AtMost(1.0),
            "Theorem 1 with lambda_t >= 1 / (m (1 + g)^2), its formulas derived",
            "derived",
            FLOW,
            lambda a: worst((a["excess"] / np.exp(-a["time"]))[..., 1:]),
        ),
    ),
    figures,
)

"""Winston & Kolter 2020: equilibria of monotone operators.

"Monotone operator equilibrium networks".
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.infinite.precision import float64
from zoo.layers.roots import Method
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
from zoo.theory.implicit import (
    Params,
    descend,
    operator_norm,
    record_times,
    root,
    signs,
    sphere_points,
)
from zoo.theory.runs import by_seed

SETUP = """
z = relu(W z + U x / sqrt(d)), f = V . z / sqrt(m), with W = (1 - mu) I - (s^2 / m) A^T
A + (s / sqrt(m)) (B - B^T), so that I - W - mu I is positive semi-definite at any A and
B. mu = 1, s^2 = 1/3 (the variance of PyTorch's default, times m), all entries N(0, 1).
All are trained by gradient descent on 1/2 sum_i (f(x_i) - y_i)^2 at the rate 0.5 / n;
data: x uniform on the sphere of radius sqrt(d), d = n, labels -1 and 1 at random. In
float64.

The forward-backward iteration z <- relu((1 - alpha) z + alpha (W z + u)) has alpha = mu
/ L^2, L = |I - W|, by which it contracts by (1 - mu^2 / L^2)^1/2; the paper tunes
alpha, and has biases.
"""

SIGMA, MU = 3**-0.5, 1.0
METHOD = Method("anderson", 1e-9, 1000)
FLOOR = 1e-12  # below it a distance is rounding


def draw(key: jax.Array, m: int, d: int) -> dict:
    """A, B, U and V."""
    keys = jax.random.split(key, 4)
    shapes = {"A": (m, m), "B": (m, m), "U": (m, d), "V": (m,)}
    drawn = zip(keys, shapes.items(), strict=True)
    return {name: jax.random.normal(key, shape) for key, (name, shape) in drawn}


def weights(
    params: Params, sigma: float = SIGMA, mu: float = MU, sign: float = -1.0
) -> Float[Array, "m m"]:
    """W; `sign` that of A^T A, -1 in the paper."""
    A, B = params["A"], params["B"]
    m = len(A)
    symmetric = (1 - mu) * jnp.eye(m) + sign * sigma**2 / m * A.T @ A
    return symmetric + sigma * m**-0.5 * (B - B.T)


def margin(W: Float[Array, "m m"], mu: float = MU) -> jax.Array:
    """Mu - lambda_min of the symmetric part of I - W, in units of mu."""
    symmetric = jnp.eye(len(W)) - (W + W.T) / 2
    return 1 - jnp.linalg.eigvalsh(symmetric)[0] / mu


def measure_roots(
    width: int, seeds: int, n: int, steps: int, sigma: float = SIGMA, sign: float = -1.0
) -> dict[str, np.ndarray]:
    """The forward-backward iteration from two starts.

    Returns:
        steps [t]; error |z_k - z*| / |z_0 - z*| and bound of it [s, t]; margin [s];
        apart, the distance of the ends of both, over the root's size [s]; slope, mu
        |z - z'| / |u - u'| of two injections [s].
    """
    times = record_times(steps, 20)

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        keys = jax.random.split(key, 3)
        W = weights(draw(keys[0], width, 1), sigma, MU, sign)
        u, other = jax.random.normal(keys[1], (2, width, n))
        L = operator_norm(jnp.eye(width) - W)
        alpha = MU / L**2

        def run(start: jax.Array, u: jax.Array) -> jax.Array:
            def step(z: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
                new = jax.nn.relu((1 - alpha) * z + alpha * (W @ z + u))
                return new, z

            return jax.lax.scan(step, start, None, length=2 * steps)[1]

        far = 10 * jax.random.normal(keys[2], u.shape)
        path, again = run(jnp.zeros_like(u), u), run(far, u)
        end, moved = path[-1], run(far, other)[-1]
        off = jnp.linalg.norm(path[times] - end, axis=(1, 2))
        return {
            "error": off / off[0],
            "bound": (1 - (MU / L) ** 2) ** (times / 2),
            "margin": margin(W),
            "apart": jnp.linalg.norm(again[-1] - end) / jnp.linalg.norm(end),
            "slope": MU * jnp.linalg.norm(end - moved) / jnp.linalg.norm(u - other),
        }

    with float64():
        found = by_seed(measure, seeds, width, together=1)
    return {"steps": times} | found


def measure_training(
    width: int,
    seeds: int,
    n: int,
    steps: int,
    share: float = 0.5,
    sigma: float = SIGMA,
    sign: float = -1.0,
) -> dict[str, np.ndarray]:
    """Gradient descent.

    Returns:
        times [t]; loss, gradient, margin, norm |W| [s, t].
    """
    times = record_times(steps)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        u = params["U"] @ x.T * x.shape[1] ** -0.5
        z = root(jax.nn.relu, weights(params, sigma, MU, sign), u, METHOD)
        return (params["V"] @ z)[:, None] * width**-0.5

    def observed(params: Params, x: jax.Array) -> dict[str, jax.Array]:
        W = weights(params, sigma, MU, sign)
        return {"margin": margin(W), "norm": operator_norm(W)}

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        for_x, for_y, for_w = jax.random.split(key, 3)
        x, y = sphere_points(for_x, n, n), signs(for_y, n)
        start = draw(for_w, width, n)
        return descend(apply, observed, start, x, y, share / n, times, "ABUV")

    with float64():
        return {"times": times} | by_seed(measure, seeds, width, together=1)


ROOTS = Measurement(
    "roots",
    measure_roots,
    {
        "smoke": {"width": 16, "seeds": 4, "n": 3, "steps": 150},
        "default": {"width": 64, "seeds": 12, "n": 8, "steps": 500},
        "paper": {"width": 512, "seeds": 10, "n": 32, "steps": 1000},
    },
    seconds=2.0,
)
TRAINING = Measurement(
    "training",
    measure_training,
    {
        "smoke": {"width": 16, "seeds": 3, "n": 3, "steps": 20},
        "default": {"width": 64, "seeds": 6, "n": 16, "steps": 100},
        "paper": {"width": 512, "seeds": 5, "n": 100, "steps": 1000},
    },
    seconds=5.0,
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """The iteration beside its bound, and training."""
    panels = []
    if "roots" in found:
        a = found["roots"]
        k = a["steps"]
        panels.append(
            Axes(
                "forward-backward iteration",
                "step k",
                "|z_k - z*| / |z_0 - z*|",
                [
                    Curve("measured", k, np.maximum(a["error"], FLOOR)),
                    Curve("(1 - mu^2 / L^2)^(k/2)", k, a["bound"], "dashed", True),
                ],
                log_x=False,
            )
        )
    if "training" in found:
        a = found["training"]
        times = a["times"][1:]
        panels.append(
            Axes(
                "training",
                "step t",
                "Phi(t) / Phi(0), and |W|",
                [
                    Curve("loss", times, (a["loss"] / a["loss"][:, :1])[:, 1:]),
                    Curve("|W|", times, a["norm"][:, 1:], "dotted"),
                ],
            )
        )
    caption = "The equilibrium is found at weights of norm above 1, and along training."
    return [Figure("roots", caption, panels)] if panels else []


PAPER = Paper(
    "winston2020",
    "Winston & Kolter 2020, Monotone operator equilibrium networks",
    SETUP,
    (
        Claim(
            "monotone",
            "I - W is monotone with margin mu along gradient descent.",
            "max_t of 1 - lambda_min((I - W) + (I - W)^T) / (2 mu), or 0",
            AtMost(1e-9),
            "the parameterization, from the authors' code",
            "paper",
            TRAINING,
            lambda a: np.maximum(a["margin"], 0.0).max(axis=-1),
            certain="the parameterization has no other W",
        ),
        Claim(
            "posed",
            "Gradient descent never loses the equilibrium.",
            "share of the records at which a point has no equilibrium",
            AtMost(0.0),
            "a unique equilibrium at any A and B",
            "paper",
            TRAINING,
            lambda a: 1.0 - np.isfinite(a["loss"]).mean(axis=-1),
        ),
        Claim(
            "unique",
            "The equilibrium does not depend on the start.",
            "|z - z'| / |z| of the ends from two starts",
            AtMost(1e-6),
            "strong monotonicity of I - W",
            "paper",
            ROOTS,
            lambda a: a["apart"],
        ),
        Claim(
            "iteration",
            "The forward-backward iteration converges at its linear rate.",
            "max_k |z_k - z*| / ((1 - mu^2 / L^2)^(k/2) |z_0 - z*|), down to 1e-12",
            AtMost(1.0),
            "|(I - alpha (I - W)) z|^2 <= (1 - 2 alpha mu + alpha^2 L^2) |z|^2",
            "derived",
            ROOTS,
            lambda a: (a["error"] / np.maximum(a["bound"], FLOOR))[:, 1:].max(axis=-1),
        ),
        Claim(
            "lipschitz",
            "The equilibrium is 1 / mu Lipschitz in the injection.",
            "mu |z - z'| / |u - u'|",
            AtMost(1.0),
            "strong monotonicity of I - W, relu firmly non-expansive",
            "derived",
            ROOTS,
            lambda a: a["slope"],
        ),
    ),
    figures,
)

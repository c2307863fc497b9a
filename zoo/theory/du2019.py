"""Du, Lee, Li, Wang & Zhai 2019: residual networks, their last Gram matrix, depth.

"Gradient Descent Finds Global Minima of Deep Neural Networks".
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from zoo.data import load
from zoo.finite.train import train
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.precision import float64
from zoo.layers import ACTIVATIONS
from zoo.models import MLP, DuResNet
from zoo.models.du_resnet import c_sigma
from zoo.theory.claims import (
    Arrays,
    AtLeast,
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
from zoo.theory.terjek2022_figures import guide
from zoo.theory.terjek2022_init import tangent_kernel

PHI, C_RES = "softplus", 0.5
SETUP = """
h_1 = (c_sigma / m)^1/2 phi(W_1 x), h_l = h_{l-1} + c_res / (H m^1/2) phi(W_l h_{l-1})
for l = 2 .. H, f = a . h_H, all entries N(0, 1), all layers trained, phi = softplus,
c_sigma = 1 / E phi(z)^2, c_res = 1/2. Gradient descent on 1/2 sum_i (f(x_i) - y_i)^2 at
eta = 1 / lambda_max of the tangent kernel at initialization, which is far above the
rate of the theorem, in float64. Data: uniform points of norm 1 with a cubic polynomial
as target. G(k) is the Gram matrix of the gradients by W_H after k steps, K its limit at
initialization,

    K_ij = (c_res / H)^2 E <h_{H-1}(x_i), h_{H-1}(x_j)> E phi'(u_i) phi'(u_j),

and lambda_0 = lambda_min(K). Depth: the fully connected network that is compared has
h_l = (c_sigma / m)^1/2 phi(W_l h_{l-1}), and G of its own last hidden layer.
"""
Path = tuple[str, ...]


def last_hidden(params: Any) -> Path:
    """The path of W_H: the last leaf but the readout's."""
    paths: dict[Path, Any] = flatten_dict(params)
    branches = [path for path in paths if len(path) > 2] or list(paths)[:-1]
    return max(branches, key=lambda path: int(path[-2].rpartition("_")[2]))


def gram(net: Any, params: Any, x: jax.Array) -> Float[Array, "n n"]:
    """Of the gradients of f(x_i) by W_H."""
    leaves: dict[Path, Any] = flatten_dict(params)
    path = last_hidden(params)

    def f(W: jax.Array) -> jax.Array:
        return net.apply({"params": unflatten_dict(leaves | {path: W})}, x)[:, 0]

    rows = jax.jacrev(f)(leaves[path]).reshape(len(x), -1)
    return rows @ rows.T


def gram_limit(x: Float[np.ndarray, "n d"], depth: int) -> Float[np.ndarray, "n n"]:
    """K: the covariance of h_{H-1}, and the derivative's at that covariance."""
    before = C_RES * (depth - 1) / depth  # of a network of H - 1 layers, factor c_res/H
    cov = kernel_matrix(DuResNet(1, depth - 1, 1, PHI, before), x, get="nngp")
    with float64():
        k11, k22 = np.broadcast_arrays(np.diag(cov)[:, None], np.diag(cov))
        slope = ACTIVATIONS[PHI].dual(*map(jnp.asarray, (cov, k11, k22))).slope
    return (C_RES / depth) ** 2 * cov * np.asarray(slope)


def measure_training(
    widths: Sequence[int],
    seeds: int,
    n: int,
    steps: int,
    depth: int = 3,
    share: float = 1.0,
    c_res: float = C_RES,
) -> dict[str, np.ndarray]:
    """Gradient descent, the Gram matrix along it, and how far weights move.

    Args:
        widths: m.
        seeds: initializations.
        n: points.
        steps: of gradient descent.
        depth: H.
        share: eta lambda_max.
        c_res: of the network, not of its limit.

    Returns:
        widths [w], times [t]; of each seed and width, [s, w, t]: loss, over its start;
        allowed, (1 - eta lambda_0 / 2)^k; low, lambda_min(G(k)) / lambda_0; drift,
        |G(k) - G(0)| / |G(0)|; and [s, w]: error, |G(0) - K| / |K|; moved, max_l
        |W_l(T) - W_l(0)| / m^1/2.
    """
    data = load("sphere", n, 1)
    limit = gram_limit(data.x_train.astype(float), depth)
    lowest = np.linalg.eigvalsh(limit)[0]
    times = np.unique(np.linspace(0, steps, 12).astype(int))

    def at(width: int) -> dict[str, np.ndarray]:
        net = DuResNet(width, depth, 1, PHI, c_res)

        def apply(params: Any, x: jax.Array) -> Any:
            return net.apply({"params": params}, x)

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            x = jnp.asarray(data.x_train, float)
            y = jnp.asarray(data.y_train, float)
            params = net.init(key, x)["params"]
            rate = share / jnp.linalg.eigvalsh(tangent_kernel(net, params, x))[-1]
            start = gram(net, params, x)

            def observe(params: Any, x: jax.Array) -> tuple:
                now = gram(net, params, x)
                change = jnp.linalg.norm(now - start) / jnp.linalg.norm(start)
                return jnp.sum((apply(params, x) - y) ** 2), now, change

            (loss, grams, drift), end = train(
                apply, params, x, y, optax.sgd(n * rate), jnp.asarray(times), observe
            )
            moved = jax.tree.map(lambda a, b: jnp.linalg.norm(a - b), end, params)
            most = jnp.max(jnp.stack(jax.tree.leaves(moved)))
            off = jnp.linalg.norm(start - limit) / jnp.linalg.norm(jnp.asarray(limit))
            return {
                "loss": loss / loss[0],
                "allowed": (1 - rate * lowest / 2) ** jnp.asarray(times),
                "low": jnp.linalg.eigvalsh(grams)[:, 0] / lowest,
                "drift": drift,
                "error": off,
                "moved": most / width**0.5,
            }

        with float64():
            return by_seed(measure, seeds, width, together=1)

    return {"widths": np.asarray(widths), "times": times} | sweep(widths, at)


def measure_depth(
    depths: Sequence[int],
    width: int,
    seeds: int,
    n: int,
    residual: bool = True,
    plain: bool = True,
) -> dict[str, np.ndarray]:
    """Smallest eigenvalues at initialization against depth.

    Args:
        depths: H.
        width: m.
        seeds: initializations.
        n: points.
        residual: False puts the fully connected network in the place of the residual.
        plain: False puts the residual one in the place of the fully connected.

    Returns:
        depths [H]; of each seed and depth, [s, H]: low and full, the smallest
        eigenvalues of G and of the whole tangent kernel; full_plain, the latter of the
        fully connected network; limit [H], lambda_min(K).
    """
    data = load("sphere", n, 1)

    def at(depth: int) -> dict[str, np.ndarray]:
        connected = MLP(width, depth, 1, PHI, c_sigma(PHI) ** 0.5)
        branched = DuResNet(width, depth, 1, PHI, C_RES)
        net = branched if residual else connected
        beside = connected if plain else branched

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            x = jnp.asarray(data.x_train, float)
            params, other = (each.init(key, x)["params"] for each in (net, beside))
            found = {
                "low": gram(net, params, x),
                "full": tangent_kernel(net, params, x),
                "full_plain": tangent_kernel(beside, other, x),
            }
            return {k: jnp.linalg.eigvalsh(each)[0] for k, each in found.items()}

        with float64():
            return by_seed(measure, seeds, depth, together=1)

    x = data.x_train.astype(float)
    limit = [np.linalg.eigvalsh(gram_limit(x, depth))[0] for depth in depths]
    known = {"depths": np.asarray(depths), "limit": np.asarray(limit)}
    return known | sweep(depths, at)


TRAINING = Measurement(
    "training",
    measure_training,
    {
        "smoke": {"widths": (32, 64, 128), "seeds": 6, "n": 4, "steps": 60},
        "default": {
            "widths": (64, 128, 256, 512),
            "seeds": 48,
            "n": 8,
            "steps": 200,
        },
        "paper": {
            "widths": (256, 512, 1024, 2048, 4096),
            "seeds": 24,
            "n": 64,
            "steps": 5000,
        },
    },
    seconds=45,
)
DEPTH = Measurement(
    "depth",
    measure_depth,
    {
        "smoke": {"depths": (2, 4, 8), "width": 64, "seeds": 3, "n": 4},
        "default": {"depths": (2, 4, 8, 16), "width": 512, "seeds": 8, "n": 8},
        "paper": {"depths": (2, 4, 8, 16, 32, 64), "width": 2048, "seeds": 16, "n": 32},
    },
    seconds=30,
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """Loss and distances along width; eigenvalues along depth."""
    out = []
    if "training" in found:
        a = found["training"]
        t, m = a["times"], a["widths"]
        curves = [Curve(f"m = {w}", t, a["loss"][:, i]) for i, w in enumerate(m)]
        bound = Curve("guarantee", t, a["allowed"][:, -1].mean(0), "dashed", guide=True)
        drift = a["drift"].max(axis=2)
        distances = [
            Curve("|G(0) - K| / |K|", m, a["error"]),
            Curve("max_l |W_l(T) - W_l(0)| / m^1/2", m, a["moved"]),
            Curve("max_k |G(k) - G(0)| / |G(0)|", m, drift),
            guide("m^-1/2", m, a["error"], -0.5),
        ]
        out.append(
            Figure(
                "training",
                "Left: the loss of the residual network, and what the smallest "
                "eigenvalue of the last Gram matrix guarantees. Right: that matrix's "
                "distance from its limit, the movement of weights, its change.",
                [
                    Axes("loss", "step k", "L(k) / L(0)", [*curves, bound], False),
                    Axes("distances", "width m", "distance", distances),
                ],
            )
        )
    if "depth" in found:
        a = found["depth"]
        h = a["depths"]
        values = [
            Curve("residual, Theta", h, a["full"]),
            Curve("fully connected, Theta", h, a["full_plain"]),
            Curve("residual, G", h, a["low"]),
            Curve("limit K of G", h, a["limit"], "dashed", guide=True),
        ]
        out.append(
            Figure(
                "depth",
                "Smallest eigenvalues at initialization of the tangent kernel Theta "
                "and of the Gram matrix G of the last hidden layer, with its limit's.",
                [Axes("depth", "depth H", "smallest eigenvalue", values)],
            )
        )
    return out


THEOREM = "section 6: the argument from lambda_min(G(k)) >= lambda_0 / 2"
CLAIMS = (
    Claim(
        "rate",
        "The loss of the residual network falls linearly at the rate of the theorem.",
        "max_{k, m} L(k) / (L(0) (1 - eta lambda_0 / 2)^k)",
        AtMost(1.0),
        THEOREM,
        "derived",
        TRAINING,
        lambda a: (a["loss"] / a["allowed"])[..., 1:].max(axis=(1, 2)),
    ),
    Claim(
        "kept",
        "The last Gram matrix keeps half of its limit's smallest eigenvalue.",
        "min_k lambda_min(G(k)) / lambda_0 at the largest m",
        AtLeast(0.5),
        THEOREM,
        "derived",
        TRAINING,
        lambda a: a["low"][:, -1].min(axis=1),
    ),
    Claim(
        "kernel",
        "At initialization the Gram matrix is at a distance m^-1/2 from its limit.",
        "slope of log |G(0) - K| / |K| against log m",
        Equals(-0.5),
        "G is a mean over units",
        "derived",
        TRAINING,
        lambda a: exponents(a["widths"], a["error"]),
    ),
    Claim(
        "movement",
        "Weights move by R' m^1/2, with R' of order m^-1/2.",
        "slope of log max_l |W_l(T) - W_l(0)|_F / m^1/2 against log m",
        Equals(-0.5),
        "steps of size O(1) in every layer, at a rate free of m",
        "derived",
        TRAINING,
        lambda a: exponents(a["widths"], a["moved"]),
    ),
    Claim(
        "drift",
        "The Gram matrix hardly changes in training.",
        "slope of log max_k |G(k) - G(0)| / |G(0)| against log m",
        AtMost(-0.5),
        "Lipschitz in the weights, which move by R' m^1/2",
        "derived",
        TRAINING,
        lambda a: exponents(a["widths"], a["drift"].max(axis=2)),
    ),
    Claim(
        "depth",
        "lambda_min of the residual network's Gram matrix falls with depth as that of "
        "its limit K does, close to H^-2.",
        "slope of log (lambda_min(G(0)) / lambda_min(K)) against log H",
        Equals(0.0),
        "K = (c_res / H)^2 times a product of kernels bounded below in H; exact at the "
        "measured depths",
        "derived",
        DEPTH,
        lambda a: exponents(a["depths"], a["low"] / a["limit"]),
    ),
    Claim(
        "stable",
        "The residual network's tangent kernel does not degenerate with depth.",
        "lambda_min(Theta_0) of the deepest over that of the shallowest",
        AtLeast(0.5),
        "width n^4 H^2 suffices, where fully connected networks are given 2^O(H); the "
        "half is ours",
        "derived",
        DEPTH,
        lambda a: a["full"][:, -1] / a["full"][:, 0],
    ),
    Claim(
        "plain",
        "That of the fully connected network does: exponentially.",
        "slope of log lambda_min(Theta_0) against H",
        AtMost(-0.25),
        "width n^4 2^O(H) is asked for, an upper bound; that kernels do decay, by an "
        "e-fold in 4 layers (softplus has a mean), is ours",
        "derived",
        DEPTH,
        lambda a: np.polyfit(a["depths"], np.log(a["full_plain"]).T, 1)[0],
    ),
)

PAPER = Paper(
    "du2019",
    "Du, Lee, Li, Wang & Zhai 2019, Gradient Descent Finds Global Minima of Deep "
    "Neural Networks",
    SETUP,
    CLAIMS,
    figures,
)

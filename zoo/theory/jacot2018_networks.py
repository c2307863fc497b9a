"""Networks of Jacot, Gabriel & Hongler 2018, on a circle and along eigenvectors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.data import load
from zoo.finite.ntk import ntk_by_output
from zoo.finite.train import train
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.predict import Dynamics
from zoo.models import MLP
from zoo.theory.runs import by_seed, sweep

BETA, LAYERS = 0.1, 3
Net = dict[str, Any]


def network(width: int, sigma_w: float = 1.0, **knobs: Any) -> MLP:
    """The paper's network."""
    return MLP(width, LAYERS, sigma_w=sigma_w, sigma_b=BETA, **knobs)


def applied(net: MLP) -> Any:
    """The network as a function of parameters and inputs."""
    return lambda params, x: net.apply({"params": params}, x)


def circle(angles: np.ndarray) -> np.ndarray:
    """Points of norm 1, [N, 2]."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def measure_circle(
    widths: tuple[int, ...],
    groups: int,
    n: int = 64,
    angles: int = 24,
    steps: int = 200,
    rate: float = 1.0,
    inits: int = 10,
    target: float = 1.0,
    knobs: Net | None = None,
) -> dict[str, np.ndarray]:
    """The kernel at initialization and after training, over the circle.

    Returns:
        widths [w]; angles [a]; by group and width [s, w]: before and after, variances
        over a group of the kernel over its limit's largest value, mean over angles;
        drift, the root mean square over angles and the group of the change, likewise;
        inflation, mean kernel after training over that before; and kernels [s i, w, 2,
        a], limit [a].
    """
    grid = np.linspace(-np.pi, np.pi, angles, endpoint=False)
    points = jnp.asarray(circle(grid))
    origin = jnp.asarray(circle(np.zeros(1)))
    limit = kernel_matrix(network(1), np.asarray(origin), np.asarray(points))[0]
    x = jax.random.normal(jax.random.key(0), (n, 2))
    y = target * (x[:, 0] * x[:, 1])[:, None]

    def at(width: int) -> dict[str, np.ndarray]:
        net = network(width, **knobs or {})

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            start = net.init(key, x[:1])["params"]
            step = optax.sgd(rate * float(width) ** net.rate)
            found = train(applied(net), start, x, y, step, jnp.asarray([steps]))
            kernels = [
                ntk_by_output(net, params, origin, points)[0, 0, 0]
                for params in (start, found.params)
            ]
            return {"kernel": jnp.stack(kernels)}

        return by_seed(measure, groups * inits, width, together=2)

    kernel = sweep(widths, at)["kernel"].astype(float)
    each = kernel.reshape(groups, inits, *kernel.shape[1:]) / limit.max()
    spread = each.var(axis=1, ddof=1).mean(axis=-1)
    moved = (each[..., 1, :] - each[..., 0, :]) ** 2
    whole = each.mean(axis=(1, -1))
    return {
        "widths": np.asarray(widths),
        "angles": grid,
        "before": spread[..., 0],
        "after": spread[..., 1],
        "drift": np.sqrt(moved.mean(axis=(1, -1))),
        "inflation": whole[..., 1] / whole[..., 0],
        "kernels": kernel,
        "limit": limit,
    }


def measure_band(
    width: int,
    groups: int,
    steps: int = 1000,
    rate: float = 1.0,
    inits: int = 10,
    angles: int = 16,
    knobs: Net | None = None,
) -> dict[str, np.ndarray]:
    """Outputs over the circle against the limiting Gaussian process.

    Returns:
        by group [s]: inside, the share of outputs between the 10th and the 90th
        percentile; below, that below the median; and angles [a], outputs [s i, a],
        process [a, 2], mean and standard deviation.
    """
    grid = np.linspace(-np.pi, np.pi, angles, endpoint=False) + np.pi / angles
    known = np.asarray([-2.5, -0.8, 0.7, 2.0])
    x = np.concatenate([circle(known), circle(grid)])
    y = (x[:4, 0] * x[:4, 1])[:, None]
    nngp, theta = kernel_matrix(network(1), x, get=("nngp", "ntk"))
    law = Dynamics.from_kernel(theta[:, :4]).ensemble(nngp, y, rate, steps)
    center, sd = law.mean[4:, 0], np.sqrt(np.diag(law.covariance)[4:])
    net, points, targets = network(width, **knobs or {}), jnp.asarray(x), jnp.asarray(y)

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        start = net.init(key, points[:1])["params"]
        step = optax.sgd(rate)
        at = jnp.asarray([steps])
        found = train(applied(net), start, points, targets, step, at)
        return {"f": found.outputs[0, 4:, 0]}

    f = by_seed(measure, groups * inits, width, together=5)["f"].astype(float)
    z = ((f - center) / sd).reshape(groups, inits * angles)
    lost = np.where(np.isfinite(z).all(axis=1), 0.0, np.nan)
    return {
        "angles": grid,
        "inside": (np.abs(z) < 1.2815515655446004).mean(axis=1) + lost,
        "below": (z < 0).mean(axis=1) + lost,
        "outputs": f,
        "process": np.stack([center, sd], axis=-1),
    }


def measure_components(
    widths: tuple[int, ...],
    seeds: int,
    n: int,
    decays: float = 3.0,
    train_layers: str = "all",
    sigma_w: float = 1.0,
) -> dict[str, np.ndarray]:
    """Training towards f_0 + 0.5 f^(2), along f^(2) and orthogonally to it.

    Returns:
        widths [w]; times [t], steps times rate eta; along and across [s, w, t]; rate
        [s, w], of the decay along f^(2) over -log(1 - eta lambda_2) / eta, that of
        gradient descent on the limit's kernel; most [s, w], the largest of across over
        0.5; predicted [t].
    """
    x = load("digits", n, 1, 0).x_train
    values, vectors = np.linalg.eigh(kernel_matrix(network(1), x) / n)
    second = jnp.asarray(vectors[:, -2] * n**0.5, jnp.float32)
    points, slow = jnp.asarray(x), float(values[-2])
    eta = 1.0 / float(values[-1])
    steps = np.unique(np.linspace(1, decays / (slow * eta), 16).astype(int))
    times, descent = steps * eta, -np.log1p(-eta * slow) / eta

    def at(width: int) -> dict[str, np.ndarray]:
        net = network(width, train_layers=train_layers, sigma_w=sigma_w)

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            start = net.init(key, points[:1])["params"]
            y = applied(net)(start, points) + 0.5 * second[:, None]
            step, when = optax.sgd(eta), jnp.asarray(steps)
            f = train(applied(net), start, points, y, step, when).outputs[:, :, 0]
            left = y[None, :, 0] - f
            along = left @ second / n
            rest = left - along[:, None] * second[None]
            across = jnp.sqrt(jnp.mean(rest**2, axis=1))
            return {"along": along, "across": across}

        return by_seed(measure, seeds, width, together=4)

    found = sweep(widths, at)
    logs = np.log(np.maximum(found["along"] / 0.5, 1e-30))
    return found | {
        "widths": np.asarray(widths),
        "times": times,
        "rate": -(logs * times).sum(-1) / (times**2).sum() / descent,
        "most": found["across"].max(-1) / 0.5,
        "predicted": 0.5 * np.exp(-descent * times),
    }

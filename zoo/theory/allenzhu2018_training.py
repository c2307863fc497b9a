"""Allen-Zhu, Li & Song 2018: gradient descent and SGD on their three networks.

Symbols: m width, L number of trained matrices, n points, k outputs, F the objective
1/2 sum_i |f(x_i) - y_i|^2, Theta the NTK.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from zoo.data import load
from zoo.descent.losses import LOSSES
from zoo.finite.ntk import empirical_ntk, trained_weights
from zoo.finite.train import Objective, train
from zoo.models import AllenZhuCNN, AllenZhuMLP, AllenZhuResNet
from zoo.theory.claims import Arrays
from zoo.theory.runs import by_seed, sweep

Build = Callable[[str, int, int], nn.Module]
CLASSES = 10
DEPTHS = {"fc": 2, "cnn": 2, "resnet": 3}
# The rate is SHARES / (n L m), below half of the critical rate of all three networks.
SHARES = {"fc": 2.0, "cnn": 0.5, "resnet": 2.0}
RECORDS = 16


def build_network(kind: str, width: int, out: int = 1) -> nn.Module:
    """The paper's network of a kind, "fc", "cnn" or "resnet"."""
    if kind == "cnn":
        return AllenZhuCNN(width=width, depth=DEPTHS[kind], out=out)
    model = AllenZhuMLP if kind == "fc" else AllenZhuResNet
    return model(width=width, depth=DEPTHS[kind], out=out)


def problem(kind: str, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Digits of norm 1 and their classes; images of 4 x 4 pixels for the CNN."""
    data = load("digits" if kind == "cnn" else "unit_digits", n, 1, seed)
    if kind != "cnn":
        return data.x_train, data.y_train
    pixels = data.x_train.reshape(n, 4, 2, 4, 2).mean(axis=(2, 4))
    norms = np.linalg.norm(pixels, axis=(1, 2), keepdims=True)
    return (pixels / norms)[..., None], data.y_train


def parity(y: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n 1"]:
    """+1 for an even class and -1 for an odd one."""
    return (1 - 2 * (y.argmax(axis=1, keepdims=True) % 2)).astype(np.float32)


def separation(x: Float[np.ndarray, "n ..."]) -> float:
    """delta: the smallest distance of two points."""
    flat = x.reshape(len(x), -1).astype(float)
    distance = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    return float(distance[~np.eye(len(x), dtype=bool)].min())


def objective(f: Float[Array, "n k"], y: Float[Array, "n k"]) -> jax.Array:
    """F, the sum over examples."""
    return 0.5 * jnp.sum((f - y) ** 2)


def square(tree: Any) -> jax.Array:
    """|tree|^2, of all entries together."""
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda a: jnp.sum(a**2), tree))


def gradient_change(apply: Callable, start: Any, end: Any, x: jax.Array) -> jax.Array:
    """|J - J_0| / |J_0| for the derivative J of all outputs at all points."""

    def one(point: jax.Array) -> tuple[jax.Array, jax.Array]:
        derive = jax.jacrev(lambda params: apply(params, point[None])[0])
        before = derive(start)
        return square(jax.tree.map(jnp.subtract, derive(end), before)), square(before)

    change, size = jax.lax.map(one, x)
    return jnp.sqrt(jnp.sum(change) / jnp.sum(size))


def measure_descent(
    kind: str,
    widths: tuple[int, ...],
    factors: tuple[float, ...],
    rate_width: int,
    seeds: int,
    n: int,
    steps: int,
    build: Build = build_network,
    decay: float = 1.0,
    share: float | None = None,
) -> dict[str, np.ndarray]:
    """Gradient descent on F at the rate c / m, for some widths and for some c.

    Args:
        kind: "fc", "cnn" or "resnet".
        widths: at the full rate.
        factors: of the rate, at `rate_width`, in as many steps as go as far.
        rate_width: width of the runs at smaller rates.
        seeds: how many.
        n: points.
        steps: at the full rate.
        build: the network of a kind, a width and a number of outputs.
        decay: minus the power of the width that the rate follows.
        share: c n L; None is that of `SHARES`.

    Returns:
        widths [w], factors [c], times [t]; loss, ratio, last, layer [s, w, t] (F, and
        over F m the square of the gradient, of its part W_L, of the largest part);
        contraction [s, w], 1 - eta lambda_min(Theta_0) / 2; moved, relative, and of
        "fc" kernel and gradient [s, w], the changes of weights, Theta and derivatives;
        rates [s, c], the mean of -log(|r_{t+1}| / |r_t|) over steps, r = f - y.
    """
    points, classes = problem(kind, n)
    x, y = jnp.asarray(points), jnp.asarray(parity(classes))
    times = np.unique(np.geomspace(1, steps, RECORDS).round().astype(int))
    top = (share or SHARES[kind]) / (n * DEPTHS[kind])

    def network(width: int) -> tuple[Any, Callable, Callable]:
        net = build(kind, width, 1)

        def apply(params: Any, x: jax.Array) -> Any:
            return net.apply({"params": params}, x)

        def run(params: Any, rate: Any, times: Any, observe: Any) -> Any:
            return train(apply, params, x, y, optax.sgd(n * rate), times, observe)

        return net, apply, run

    def at(width: int) -> dict[str, np.ndarray]:
        net, apply, run = network(width)
        rate = top * max(widths) ** (decay - 1) / width**decay

        def observe(params: Any, x: jax.Array) -> dict[str, jax.Array]:
            def F(params: Any) -> jax.Array:
                return objective(apply(params, x), y)

            loss, gradient = jax.value_and_grad(F)(params)
            parts = _squares(gradient, paths)
            scale = loss * width
            return {
                "loss": loss,
                "ratio": jnp.sum(parts) / scale,
                "last": parts[-1] / scale,
                "layer": jnp.max(parts) / scale,
            }

        shapes = jax.eval_shape(net.init, jax.random.key(0), x[:1])["params"]
        paths = trained_weights(net, shapes, x)

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            start = net.init(key, x[:1])["params"]
            found = run(start, rate, jnp.asarray(times), observe)
            moved = jax.tree.map(jnp.subtract, found.params, start)
            moved, size = _squares(moved, paths), _squares(start, paths)
            theta = _matrix(net, start, x)
            floor = jnp.linalg.eigvalsh(theta)[0]
            seen = found.outputs | {
                "start": objective(apply(start, x), y),
                "contraction": 1 - rate * floor / 2,
                "moved": jnp.sqrt(jnp.max(moved)),
                "relative": jnp.sqrt(jnp.max(moved / size)),
            }
            if kind != "fc":
                return seen
            after = _matrix(net, found.params, x)
            return seen | {
                "kernel": jnp.linalg.norm(after - theta) / jnp.linalg.norm(theta),
                "gradient": gradient_change(apply, start, found.params, x),
            }

        return by_seed(measure, seeds, width, together=1)

    def rates(key: jax.Array) -> dict[str, jax.Array]:
        net, apply, run = network(rate_width)

        def one(case: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            place, factor, span = case
            start = net.init(jax.random.fold_in(key, place), x[:1])["params"]
            f = run(start, factor * top / rate_width, span[None], None).outputs[0]
            left = jnp.linalg.norm(f - y) / jnp.linalg.norm(apply(start, x) - y)
            return -jnp.log(left) / span.astype(left.dtype)

        c = jnp.asarray(factors)
        spans = jnp.round(steps / c).astype(int)
        return {"rates": jax.lax.map(one, (jnp.arange(len(factors)), c, spans))}

    plain = {"widths": widths, "factors": factors, "times": times}
    found = {name: np.asarray(value) for name, value in plain.items()}
    found |= {"delta": np.asarray(separation(points)), "n": np.asarray(n)}
    found |= by_seed(rates, seeds, 1, together=1)
    return found | sweep(widths, at)


def _squares(tree: Any, paths: list) -> jax.Array:
    """|W_l|^2 of the trained matrices, [l]."""

    def leaf(path: tuple[str, ...]) -> jax.Array:
        found = tree
        for name in path:
            found = found[name]
        return jnp.sum(found**2)

    return jnp.stack([leaf(path) for path in paths])


def _matrix(net: nn.Module, params: Any, x: jax.Array) -> jax.Array:
    """Theta as a matrix, [n k, n k]."""
    theta = empirical_ntk(net, params, x, full=True)
    n, _, k, _ = theta.shape
    return jnp.asarray(theta).transpose(0, 2, 1, 3).reshape(n * k, n * k)


def above_linear(a: Arrays) -> np.ndarray:
    """The largest F_t / ((1 - eta lambda_min / 2)^t F_0), t >= 1, of each seed."""
    bound = a["contraction"][..., None] ** a["times"] * a["start"][..., None]
    return (a["loss"] / bound).max(axis=(1, 2))


def mean_rate(a: Arrays) -> np.ndarray:
    """-log(|r_T| / |r_0|) / T of each seed and width, r = f - y."""
    return -0.5 * np.log(a["loss"][..., -1] / a["start"]) / a["times"][-1]


def measure_sgd(
    kind: str,
    width: int,
    seeds: int,
    n: int,
    batch: int,
    epochs: int,
    share: float = 1.0,
    build: Build = build_network,
) -> dict[str, np.ndarray]:
    """SGD on the cross-entropy, batches drawn with replacement.

    Returns:
        epochs [t]; accuracy [s, t], the share of the training points that are right.
    """
    x, y = map(jnp.asarray, problem(kind, n))
    net = build(kind, width, CLASSES)
    per = n // batch
    marks = np.unique(np.geomspace(1, epochs, RECORDS).round().astype(int))
    rate = share * 4 * SHARES[kind] * CLASSES / (DEPTHS[kind] * width)

    def apply(params: Any, x: jax.Array) -> Any:
        return net.apply({"params": params}, x)

    def right(params: Any, x: jax.Array) -> jax.Array:
        return jnp.mean(apply(params, x).argmax(axis=1) == y.argmax(axis=1))

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        draw, order = jax.random.split(key)
        params = net.init(draw, x[:1])["params"]
        rows = jax.random.randint(order, (epochs * per, batch), 0, n)
        loss = Objective(LOSSES["xent"], rows)
        steps, times = optax.sgd(rate), jnp.asarray(marks * per)
        found = train(apply, params, x, y, steps, times, right, objective=loss)
        return {"accuracy": found.outputs}

    return {"epochs": marks} | by_seed(measure, seeds, width, together=1)

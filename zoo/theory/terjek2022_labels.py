"""Terjek & Gonzalez-Sanchez 2022: a bound of the test error that can be computed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.data import load
from zoo.finite.train import train
from zoo.infinite.kernels import kernel_fn
from zoo.infinite.precision import float64
from zoo.models import MLP
from zoo.theory.runs import by_seed

ALL_DIGITS = 1797


def measure_labels(
    width: int,
    draws: int,
    n_train: int,
    n_test: int,
    steps: int,
    hidden: int = 2,
    shuffled: bool = False,
    norm: float = 1.0,
) -> dict[str, np.ndarray]:
    """L (y^T Theta^-1 y / n)^1/2 of Cao & Gu beside a trained network's test error.

    Args:
        width: m.
        draws: of points, labels and network.
        n_train: n.
        n_test: points that the error is read off.
        steps: of gradient descent at half of the critical rate of the limit.
        hidden: hidden layers; the bound's L is one more.
        shuffled: whether the true labels are random too.
        norm: of the bound's inputs, which should have norm 1.

    Returns:
        for true and for random labels, [s, 2] each: bound; error, the share of wrong
        signs at test points; train_error.
    """
    data = load("digits", ALL_DIGITS - 1, 1)
    digit = np.concatenate([data.y_train, data.y_test]).argmax(1)
    raw = np.concatenate([data.x_train, data.x_test]).astype(float)
    raw *= raw.shape[1] ** 0.5 / np.linalg.norm(raw, axis=1, keepdims=True)
    parity = np.where(digit % 2 == 0, 1.0, -1.0)[:, None]
    net = MLP(width, hidden, 1, "relu", 2**0.5)

    def apply(params: Any, x: jax.Array) -> Any:
        return net.apply({"params": params}, x)

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        for_points, for_coins, for_net = jax.random.split(key, 3)
        places = jax.random.permutation(for_points, ALL_DIGITS)[: n_train + n_test]
        x, true = jnp.asarray(raw)[places], jnp.asarray(parity)[places]
        tosses = jax.random.rademacher(for_coins, (2, *true.shape), true.dtype)
        labels = jnp.stack([tosses[1] if shuffled else true, tosses[0]])
        kernels = kernel_fn(net)(norm * x[:n_train], get=("nngp", "ntk"))
        theta = (kernels.nngp + kernels.ntk) / 4
        top = jnp.linalg.eigvalsh(kernels.ntk)[-1] / norm**2
        params = net.init(for_net, x.astype(jnp.float32))["params"]
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)

        def one(y: jax.Array) -> dict[str, jax.Array]:
            known = y[:n_train]
            square = (known * jnp.linalg.solve(theta, known)).sum() / n_train
            step = optax.sgd((n_train / top).astype(jnp.float32))
            inputs, targets = x.astype(jnp.float32), known.astype(jnp.float32)
            ends = jnp.asarray([steps])
            f = train(apply, params, inputs, targets, step, ends).outputs[0]
            wrong = jnp.sign(f) != jnp.sign(y).astype(f.dtype)
            return {
                "bound": (hidden + 1) * jnp.sqrt(square),
                "error": jnp.mean(wrong[n_train:], dtype=float),
                "train_error": jnp.mean(wrong[:n_train], dtype=float),
            }

        found = [one(y) for y in labels]
        return jax.tree.map(lambda *a: jnp.stack(a), *found)

    with float64():
        return by_seed(measure, draws, together=1)

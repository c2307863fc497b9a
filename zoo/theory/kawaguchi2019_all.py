"""All layers of Kawaguchi & Huang's network trained: how many parameters fit n points.

And what images that are natural have, which random ones have not: a test error.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.data import load
from zoo.descent.losses import LOSSES
from zoo.finite.train import Objective, train
from zoo.infinite.precision import float64
from zoo.models import KawaguchiHuangMLP
from zoo.theory.kawaguchi2018_minima import ACTIVATIONS, Net, Problem, descend, outputs
from zoo.theory.kawaguchi2019_last import bisect
from zoo.theory.runs import by_seed, sweep


def measure_parameters(
    ns: tuple[int, ...],
    seeds: int,
    restarts: int,
    steps: int,
    d: int = 2,
    fits: float = 1e-4,
    random: bool = True,
) -> dict[str, np.ndarray]:
    """The least number of parameters that fits random labels, by bisection of a seed.

    f = sum_r a_r tanh(w_r . x + b_r), from `restarts` initializations by BFGS; the
    labels are fitted if the best of them leaves less than `fits` of |y|^2. Without
    `random`, labels are linear in the inputs, which need no number that grows with n.

    Returns:
        ns [n]; parameters [s, n], (d + 2) m.
    """
    sigma = list(ACTIVATIONS).index("tanh")

    def at(n: int) -> dict[str, np.ndarray]:
        net = Net(d + 1, max(2, (3 * n) // (d + 2)))

        def left(key: jax.Array, width: jax.Array) -> jax.Array:
            for_x, for_y, for_start = jax.random.split(key, 3)
            x, y = jax.random.normal(for_x, (n, d)), jax.random.normal(for_y, (n,))
            y = y if random else 0.1 * x[:, 0]
            x = jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)
            alive = (jnp.arange(net.width) < width).astype(float)
            on = Problem(x, y, alive, sigma)

            def one(key: jax.Array) -> jax.Array:
                theta = descend(net, net.start(key, 2.0), on, steps)
                return jnp.sum((outputs(net, theta, on) - y) ** 2) / jnp.sum(y**2)

            return jnp.min(jax.vmap(one)(jax.random.split(for_start, restarts)))

        keys = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(s), n))(
            jnp.arange(seeds)
        )
        run = jax.jit(jax.vmap(left))
        width = bisect(
            lambda m: np.asarray(run(keys, jnp.asarray(m))) < fits, seeds, net.width
        )
        return {"parameters": (d + 2) * width}

    with float64():
        return {"ns": np.asarray(ns)} | sweep(ns, at)


def measure_data(
    n_train: int,
    n_test: int,
    width: int,
    steps: int,
    seeds: int,
    depth: int = 2,
    dataset: str = "digits",
    data_dir: str | None = None,
    shuffled: bool = False,
    trained: str = "all",
    seen: bool = False,
) -> dict[str, np.ndarray]:
    """Accuracy on images, and on random images with random labels.

    Cross-entropy by Adam, all layers. If `shuffled`, the labels of images are in
    another order; if `seen`, random test points are train points.

    Returns:
        natural_train, natural_test, random_train and random_test [s].
    """
    data = load(dataset, n_train, n_test, data_dir=data_dir)  # each seed splits anew
    images = jnp.asarray(np.concatenate([data.x_train, data.x_test]))
    targets = jnp.asarray(np.concatenate([data.y_train, data.y_test]))
    n, d, k = n_train + n_test, images.shape[1], targets.shape[1]
    net = KawaguchiHuangMLP(
        width, depth, k, sharpness=5.0, sigma_w=2**0.5, train=trained
    )

    def apply(params: Any, x: jax.Array) -> Any:
        return net.apply({"params": params}, x)

    def accuracies(key: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        params, optimizer = net.init(key, x[:1])["params"], optax.adam(0.02)
        objective = Objective(LOSSES["xent"])
        times = jnp.asarray([steps])
        f = train(
            apply, params, x, y[:n_train], optimizer, times, objective=objective
        ).outputs[0]
        right = jnp.argmax(f, axis=1) == jnp.argmax(y, axis=1)
        return jnp.stack([jnp.mean(right[:n_train]), jnp.mean(right[n_train:])])

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        for_rows, for_x, for_y, for_net, other = jax.random.split(key, 5)
        rows = jax.random.permutation(for_rows, len(images))[:n]
        y = targets[rows]
        if shuffled:
            y = y[jax.random.permutation(other, n)]
        natural = accuracies(for_net, images[rows], y)
        noise = jax.random.normal(for_x, (n, d))
        noise = noise * (d**0.5 / jnp.linalg.norm(noise, axis=1, keepdims=True))
        labels = jax.nn.one_hot(jax.random.randint(for_y, (n,), 0, k), k) - 1 / k
        if seen:
            again = jnp.arange(n) % n_train
            noise, labels = noise[again], labels[again]
        chance = accuracies(for_net, noise, labels)
        return {
            "natural_train": natural[0],
            "natural_test": natural[1],
            "random_train": chance[0],
            "random_test": chance[1],
        }

    return by_seed(measure, seeds)

"""Networks of Lee et al. 2019 beside their linearization and their limit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.data import load
from zoo.finite.linear import train_linearized
from zoo.finite.ntk import ntk_by_output, trained_weights
from zoo.finite.train import train
from zoo.gap.programs import relative_distance
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.predict import Dynamics
from zoo.models import MLP
from zoo.theory.runs import by_seed, sweep

TINY = 1e-30


def parity(n: int, n_test: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Digits of norm sqrt(d), n + n_test of them, and the sign of their parity."""
    data = load("digits", n, n_test, seed)
    labels = np.concatenate([data.y_train, data.y_test]).argmax(1)
    x = np.concatenate([data.x_train, data.x_test])
    return x, np.where(labels % 2 == 0, 1.0, -1.0)[:, None].astype(np.float32)


def limits(net: MLP, x: np.ndarray, n: int) -> tuple[np.ndarray, Dynamics]:
    """NNGP kernel of all points, and the dynamics of the n first ones."""
    nngp, theta = kernel_matrix(net, x, get=("nngp", "ntk"))
    return nngp, Dynamics.from_kernel(theta[:, :n])


def measure_evolution(
    widths: tuple[int, ...],
    seeds: int,
    depth: int,
    activation: str,
    sigma_w: float,
    n: int,
    n_test: int,
    steps: int,
    train_layers: str = "all",
    parameterization: str = "ntk",
    together: int = 4,
) -> dict[str, np.ndarray]:
    """What training changes, against width.

    Returns:
        widths [w]; by seed and width [s, w]: ntk and nngp, relative changes of the
        empirical kernels by training; ntk_init, relative distance of the NTK at
        initialization from its limit; first, hidden and last, relative changes of
        weights (hidden: mean over layers, NaN without one); linear and limit, the
        largest over times of the root mean square over all points of f - f_lin and f -
        f_inf, f_inf from the same f_0; loss, the last over the first.
    """
    data = [jnp.asarray(a) for a in parity(n, n_test)]
    x, y = data[0], data[1][:n]
    one = MLP(1, depth, 1, activation, sigma_w)
    _, dynamics = limits(one, np.asarray(x), n)
    eta = dynamics.critical_rate / 2
    theta = jnp.asarray(dynamics.theta[:n], jnp.float32)
    times = np.unique(np.geomspace(1, steps, 16).astype(int))

    def at(width: int) -> dict[str, np.ndarray]:
        net = MLP(
            width,
            depth,
            1,
            activation,
            sigma_w,
            parameterization=parameterization,
            train_layers=train_layers,
        )
        readout = net.clone(train_layers="last")
        shapes = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
        everything = net.clone(train_layers="all")
        paths = trained_weights(everything, shapes, x)
        rate = eta * float(width) ** net.rate  # in the standard one O(1 / width)

        def apply(params: Any, x: jax.Array) -> Any:
            return net.apply({"params": params}, x)

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            start: Any = net.init(key, x[:1])["params"]
            found = train(apply, start, x, y, optax.sgd(rate), jnp.asarray(times))
            before, after = (
                ntk_by_output(net, p, x[:n]) for p in (start, found.params)
            )
            units = [ntk_by_output(readout, p, x[:n]) for p in (start, found.params)]
            linear = train_linearized(
                apply,
                start,
                before,
                x,
                y,
                jnp.float32(rate),
                jnp.asarray(times),
                int(times[-1]),
            )
            moves = [
                relative_distance(found.params[a]["W"], start[a]["W"]) for a, _ in paths
            ]
            errors = jnp.sum((found.outputs[:, :n] - y[None]) ** 2, axis=(1, 2))
            nothing = jnp.full((), jnp.nan)
            hidden = jnp.mean(jnp.stack(moves[1:-1])) if moves[2:] else nothing
            return {
                "ntk": relative_distance(after, before),
                "nngp": relative_distance(units[1], units[0]),
                "ntk_init": relative_distance(before[0, :, 0], theta),
                "first": moves[0],
                "hidden": hidden,
                "last": moves[-1],
                "linear": largest(found.outputs - linear.outputs),
                "loss": errors[-1] / errors[0],
                "start": apply(start, x),
                "outputs": found.outputs,
            }

        found = by_seed(measure, seeds, width, together)
        start, outputs = found.pop("start"), found.pop("outputs")
        limit = dynamics.outputs(start, np.asarray(y), eta, times)
        return found | {"limit": np.sqrt(((outputs - limit) ** 2).mean((2, 3))).max(1)}

    return {"widths": np.asarray(widths)} | sweep(widths, at)


def largest(gap: jax.Array) -> jax.Array:
    """Over times, of the root mean square over points and outputs of [t, N, k]."""
    return jnp.max(jnp.sqrt(jnp.mean(gap**2, axis=(1, 2))))


def measure_init(
    widths: tuple[int, ...],
    seeds: int,
    depth: int,
    n: int,
    d: int,
    sigma_w: float = 2**0.5,
    limit_sigma_w: float = 2**0.5,
) -> dict[str, np.ndarray]:
    """Relative distances of the empirical kernels from their limits.

    Returns:
        widths [w]; ntk and nngp [s, w].
    """
    x = jax.random.normal(jax.random.key(0), (n, d))
    one = MLP(1, depth, 1, "relu", limit_sigma_w)
    limit = [
        jnp.asarray(k, jnp.float32)
        for k in kernel_matrix(one, np.asarray(x), get=("ntk", "nngp"))
    ]

    def at(width: int) -> dict[str, np.ndarray]:
        net = MLP(width, depth, 1, "relu", sigma_w)
        readout = net.clone(train_layers="last")

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            params = net.init(key, x[:1])["params"]
            found = [ntk_by_output(part, params, x)[0, :, 0] for part in (net, readout)]
            return {
                name: relative_distance(a, b)
                for name, a, b in zip(("ntk", "nngp"), found, limit, strict=True)
            }

        return by_seed(measure, seeds, width, together=4)

    return {"widths": np.asarray(widths)} | sweep(widths, at)


def measure_edge(
    widths: tuple[int, ...],
    seeds: int,
    depth: int,
    n: int,
    steps: int = 4,
    parameterization: str = "ntk",
    sigma_w: float = 2**0.5,
    limit_sigma_w: float = 2**0.5,
    halvings: int = 10,
) -> dict[str, np.ndarray]:
    """The learning rate from which the top mode of the residual grows.

    Returns:
        widths [w]; edge [s, w], over eta_critical = 2 n / (lambda_min + lambda_max) of
        the limit in the NTK parameterization.
    """
    data = [jnp.asarray(a) for a in parity(n, 1)]
    x, y = data[0][:n], data[1][:n]
    one = MLP(1, depth, 1, "relu", limit_sigma_w)
    _, dynamics = limits(one, np.asarray(x), n)
    values = dynamics.eigenvalues
    critical = 2 * n / float(values[0] + values[-1])

    def at(width: int) -> dict[str, np.ndarray]:
        net = MLP(width, depth, 1, "relu", sigma_w, parameterization=parameterization)

        def apply(params: Any, x: jax.Array) -> Any:
            return net.apply({"params": params}, x)

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            params = net.init(key, x)["params"]
            own = ntk_by_output(net, params, x)[0, :, 0]
            found, axes = jnp.linalg.eigh(own)
            top, unit = axes[:, -1], 2 * n / found[-1]
            start = jnp.abs(top @ (apply(params, x) - y)[:, 0])
            at = jnp.asarray([steps])

            def halve(_: Any, bracket: tuple) -> tuple:
                low, high = bracket
                middle = (low + high) / 2
                step = optax.sgd(middle * unit)
                f = train(apply, params, x, y, step, at).outputs[0]
                grows = ~(jnp.abs(top @ (f - y)[:, 0]) < start)
                return jnp.where(grows, low, middle), jnp.where(grows, middle, high)

            bracket = (jnp.float32(0.5), jnp.float32(1.8))  # around the own kernel's
            low, high = jax.lax.fori_loop(0, halvings, halve, bracket)
            return {"edge": (low + high) / 2 * unit / critical}

        return by_seed(measure, seeds, width, together=4)

    return {"widths": np.asarray(widths)} | sweep(widths, at)


def measure_ensemble(
    width: int,
    groups: int,
    networks: int,
    depth: int,
    n: int,
    n_test: int,
    times: tuple[int, ...],
    rate: float = 0.5,
    activation: str = "tanh",
    sigma_w: float = 1.5**0.5,
    limit_sigma_w: float = 1.5**0.5,
    together: int = 8,
) -> dict[str, np.ndarray]:
    """Networks of many initializations against the Gaussian process of the limit.

    Returns:
        times [t]; variance [s, t], of a group's outputs over that of the process, mean
        over test points; mean [s, t], the square of the difference of the means over
        what chance makes it, the process's variance over the number of networks; and
        for a figure, band and process [t, N, 2], mean and standard deviation of the
        outputs on all test points.
    """
    data = [jnp.asarray(a) for a in parity(n, n_test)]
    x, y = data[0], data[1][:n]
    one = MLP(1, depth, 1, activation, limit_sigma_w)
    nngp, dynamics = limits(one, np.asarray(x), n)
    net = MLP(width, depth, 1, activation, sigma_w)

    def apply(params: Any, x: jax.Array) -> Any:
        return net.apply({"params": params}, x)

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        params = net.init(key, x[:1])["params"]
        found = train(apply, params, x, y, optax.sgd(rate), jnp.asarray(times))
        return {"f": found.outputs[:, n:, 0]}

    f = by_seed(measure, groups * networks, width, together)["f"].astype(float)
    f = f.reshape(groups, networks, *f.shape[1:])  # [s, e, t, N]
    laws = [dynamics.ensemble(nngp, np.asarray(y), rate, t) for t in times]
    center = np.stack([law.mean[n:, 0] for law in laws])
    variance = np.stack([np.diag(law.covariance)[n:] for law in laws])
    away = networks * (f.mean(1) - center) ** 2 / variance
    flat = f.reshape(-1, *f.shape[2:])
    return {
        "times": np.asarray(times),
        "variance": (f.var(1, ddof=1) / variance).mean(-1),
        "mean": away.mean(-1),
        "band": np.stack([flat.mean(0), flat.std(0)], axis=-1),
        "process": np.stack([center, np.sqrt(variance)], axis=-1),
    }

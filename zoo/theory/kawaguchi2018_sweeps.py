"""Sweeps over the stationary points of `zoo.theory.kawaguchi2018_minima`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from zoo.data import load
from zoo.infinite.precision import float64
from zoo.theory.claims import Arrays
from zoo.theory.kawaguchi2018_minima import (
    ACTIVATIONS,
    SETTLED,
    Net,
    Problem,
    Value,
    descend,
    ends,
    hidden,
    outputs,
    stationary,
    value,
)
from zoo.theory.runs import by_seed, sweep

TEACHER_UNITS = 8


def alive_units(room: int, width: Any) -> jax.Array:
    """1 for the first `width` of `room` units, 0 for the others."""
    return (jnp.arange(room) < width).astype(float)


def taught(
    key: jax.Array, n: int, d: int, sigma: Any, noise: float
) -> tuple[jax.Array, jax.Array]:
    """Gaussian inputs, and the outputs of a wider network with noise: x, vec Y.

    The network has one layer of 8 units of the same activation, its weights twice as
    large as a student's at the start; its outputs are standardized.
    """
    for_x, for_net, for_noise = jax.random.split(key, 3)
    x, net = jax.random.normal(for_x, (n, d)), Net(d, TEACHER_UNITS)
    on = Problem(x, jnp.zeros(n), jnp.ones(TEACHER_UNITS), sigma)
    f = outputs(net, net.start(for_net, 2.0), on)
    y = (f - jnp.mean(f)) / jnp.std(f)
    return x, y + noise * jax.random.normal(for_noise, (n,))


def measure_stationary(
    n: int,
    d: int,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    seeds: int,
    restarts: int,
    steps: int,
    polish: int = 200,
    noise: float = 0.2,
    readout: str = "linear",
) -> dict[str, np.ndarray]:
    """Ends of descents of four activations, from several initializations a seed.

    Returns:
        the fields of `Value` but rank, [s, h, a, m, i] by seed, depth, activation,
        width and initialization; terms [s, h, a, m, i, u] with 0 beyond the last unit;
        depths [h] and room, the units of a layer that `terms` has places for.
    """
    room = max(widths)
    units = max(depths) * room + 1

    def at(depth: int) -> dict[str, np.ndarray]:
        net = Net(d, room, depth, readout=readout)

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            for_data, for_starts = jax.random.split(key)
            starts = jax.random.split(for_starts, restarts)

            def of(case: tuple) -> Value:
                sigma, width = case
                x, y = taught(for_data, n, d, sigma, noise)
                on = Problem(x, y, alive_units(room, width), sigma)
                return ends(net, starts, on, steps, polish)

            cases = jnp.meshgrid(
                jnp.arange(len(ACTIVATIONS)), jnp.asarray(widths), indexing="ij"
            )
            found = jax.lax.map(of, tuple(jnp.ravel(c) for c in cases))._asdict()
            none = ((0, 0), (0, 0), (0, units - found["terms"].shape[-1]))
            found["terms"] = jnp.pad(found["terms"], none)
            del found["rank"]
            shape = (len(ACTIVATIONS), len(widths), restarts)
            return {n: a.reshape(shape + a.shape[2:]) for n, a in found.items()}

        return by_seed(measure, seeds, depth)

    sizes = {"depths": np.asarray(depths), "room": np.asarray(room)}
    with float64():
        return sizes | sweep(depths, at)


def principal(x: Float[np.ndarray, "n e"], d: int) -> Float[np.ndarray, "n d"]:
    """The d largest principal components, of mean square 1 on average."""
    x = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    U, S, _ = np.linalg.svd(x, full_matrices=False)
    z = U[:, :d] * S[:d]
    return z / np.sqrt(np.mean(z**2))


def image_problem(
    dataset: str, n: int, d: int, data_dir: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [n, d], and +1 or -1 for an even or odd class."""
    data = load(dataset, n, 1, data_dir=data_dir)
    y = np.where(data.y_train.argmax(1) % 2 == 0, 1.0, -1.0)
    return principal(data.x_train, d), y


def measure_values(
    n: int,
    d: int,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    deep_width: int,
    seeds: int,
    restarts: int,
    steps: int,
    polish: int,
    activation: str = "tanh",
    trained: bool = True,
    dataset: str = "synthetic",
    data_dir: str | None = None,
) -> dict[str, np.ndarray]:
    """The value of local minima: against width at depth 1, and against depth.

    Of a few descents of each seed, those count whose loss has settled. Without
    training, all networks are left at their initialization, and count.

    Returns:
        widths [m], depths [h]; wide [s, m] and deep [s, h], L over |Y|^2 / 2, the mean
        over the ends that count, NaN where there is none; induced_wide and
        induced_deep, 1/2 |(1 - P_J) vec Y|^2 likewise; share_wide and share_deep, of
        ends that count.
    """
    sigma = list(ACTIVATIONS).index(activation)

    def at(depth: int, sizes: tuple[int, ...], data: Any) -> dict[str, np.ndarray]:
        room = max(sizes)
        net = Net(d, room, depth)

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            for_data, for_starts = jax.random.split(key)
            starts = jax.random.split(for_starts, restarts)
            x, y = data or taught(for_data, n, d, sigma, 0.5)

            def of(width: jax.Array) -> dict[str, jax.Array]:
                on = Problem(x, y, alive_units(room, width), sigma)
                found = ends(net, starts, on, steps * trained, polish * trained)
                counts = found.fall < SETTLED
                return {
                    "loss": jnp.mean(found.loss, where=counts),
                    "induced": jnp.mean(found.induced, where=counts),
                    "share": jnp.mean(counts),
                }

            return jax.lax.map(of, jnp.asarray(sizes))

        return by_seed(measure, seeds)

    with float64():
        data = None
        if dataset != "synthetic":
            data = tuple(map(jnp.asarray, image_problem(dataset, n, d, data_dir)))
        wide = at(1, widths, data)
        deep = sweep(depths, lambda depth: at(depth, (deep_width,), data))
    return {
        "widths": np.asarray(widths),
        "depths": np.asarray(depths),
        "wide": wide["loss"],
        "induced_wide": wide["induced"],
        "share_wide": wide["share"],
        "deep": deep["loss"][:, :, 0],
        "induced_deep": deep["induced"][:, :, 0],
        "share_deep": deep["share"][:, :, 0],
    }


def measure_classical(
    n: int, d: int, width: int, seeds: int, steps: int, skip: bool = True
) -> dict[str, np.ndarray]:
    """Two hidden layers, with linear maps of x and h_1 beside them.

    Returns:
        loss, linear and basis [s]: L, the least squares on x, and on x and h_1, h_1
        being the trained network's; all over |Y|^2 / 2.
    """
    net = Net(d, width, 2, skip=skip)

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        for_data, for_start = jax.random.split(key)
        x, y = taught(for_data, n, d, 0, 0.2)
        on = Problem(x, y, jnp.ones(width), 0)
        theta = descend(net, net.start(for_start), on, steps)

        def left(features: jax.Array) -> jax.Array:
            w = jnp.linalg.lstsq(features, y)[0]
            return jnp.sum((y - features @ w) ** 2) / jnp.sum(y**2)

        h = hidden(net, theta, on)
        loss = jnp.sum((outputs(net, theta, on) - y) ** 2) / jnp.sum(y**2)
        both = jnp.concatenate(h[:2], axis=1)
        return {"loss": loss, "linear": left(x), "basis": left(both)}

    with float64():
        return by_seed(measure, seeds)


def measure_line(
    n: int,
    d: int,
    widths: tuple[int, ...],
    seeds: int,
    steps: int,
    activation: str = "tanh",
    random: bool = True,
) -> dict[str, np.ndarray]:
    """Random labels against the number of parameters, at the start and at the end.

    Without `random`, labels are linear in the inputs.

    Returns:
        ratios [m], P / n with P = (d + 1) m the number of parameters; start and end
        [s, m], 1/2 |(1 - P_J) vec Y|^2 over |Y|^2 / 2 at initialization and L after
        training; rank [s, m], that of J at the end over n.
    """
    net, sigma = Net(d, max(widths)), list(ACTIVATIONS).index(activation)

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        for_x, for_y, for_start = jax.random.split(key, 3)
        x, y = jax.random.normal(for_x, (n, d)), jax.random.normal(for_y, (n,))
        y = y if random else jnp.sum(x, axis=1)

        def of(width: jax.Array) -> dict[str, jax.Array]:
            on = Problem(x, y, alive_units(net.width, width), sigma)
            theta = net.start(for_start)
            end = value(net, descend(net, theta, on, steps), on)
            start = value(net, theta, on).induced
            return {"start": start, "end": end.loss, "rank": end.rank / n}

        return jax.lax.map(of, jnp.asarray(widths))

    with float64():
        found = by_seed(measure, seeds)
    return {"ratios": (d + 1) * np.asarray(widths) / n} | found


def accepted(arrays: Arrays) -> np.ndarray:
    """Which ends are stationary points, [s, h, a, m, i]."""
    return stationary(arrays["gradient"], arrays["largest"])


def worst(arrays: Arrays, error: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The largest error of each seed over stationary points; NaN if it has none."""
    axes = [list(ACTIVATIONS).index(name) for name in names]
    picked = np.where(accepted(arrays), error, -np.inf)[:, :, axes]
    most = picked.max(axis=(1, 2, 3, 4))
    return np.where(np.isfinite(most), most, np.nan)


def gap(arrays: Arrays) -> np.ndarray:
    """|L - 1/2 |(1 - P_J) vec Y|^2|."""
    return np.abs(arrays["loss"] - arrays["induced"])


def relative_gap(arrays: Arrays) -> np.ndarray:
    """The gap over L, where L exceeds a thousandth of |Y|^2 / 2."""
    counted = arrays["loss"] > 1e-3
    return np.where(counted, gap(arrays) / np.maximum(arrays["loss"], 1e-3), -np.inf)


def undecomposed(arrays: Arrays) -> np.ndarray:
    """|L - |Y|^2 / 2 + the sum of the terms|."""
    return np.abs(1.0 - arrays["terms"].sum(axis=-1) - arrays["loss"])


def worst_step(values: np.ndarray) -> np.ndarray:
    """Of the steps between neighbours, that which falls least on average: [s].

    A seed that lacks any value is lost: NaN.
    """
    steps = np.diff(values, axis=1)
    whole = np.isfinite(steps).all(axis=1)
    if not whole.any():
        return np.full(len(values), np.nan)
    least = np.argmax(np.mean(steps[whole], axis=0))
    return np.where(whole, steps[:, least], np.nan)


def above_line(arrays: Arrays) -> np.ndarray:
    """Losses after training less 1 - P / n, where that is largest on average: [s]."""
    inside = arrays["ratios"] <= 1
    excess = (arrays["end"] - (1 - arrays["ratios"]))[:, inside]
    return excess[:, np.argmax(np.mean(excess, axis=0))]


def line_slope(arrays: Arrays, name: str) -> np.ndarray:
    """Slope of a loss against P / n, [s]."""
    return np.polyfit(arrays["ratios"], arrays[name].T, 1)[0]

"""Networks of Nguyen 2021: their features at initialization, and their training."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import unflatten_dict

from zoo.finite.linear import top_eigenvalue
from zoo.finite.ntk import ntk_by_output
from zoo.finite.train import train
from zoo.infinite.precision import float64
from zoo.models import NguyenMLP
from zoo.theory.nguyen2021_conditions import (
    INPUTS,
    condition_ratios,
    features,
    largest_step,
    singular,
    weights,
)
from zoo.theory.runs import by_seed, sweep


def measure_features(
    depth: int,
    widths: tuple[int, ...],
    below: tuple[int, ...],
    seeds: int,
    n: int,
    d: int,
    narrow: int = 128,
    hidden_init: str = "lecun",
    inputs: str = "sphere",
    copies: int = 1,
) -> dict[str, np.ndarray]:
    """alpha_0^2 of drawn networks.

    Args:
        depth: hidden layers.
        widths: of the last one, at least N.
        below: widths below N.
        seeds: of the weights; the inputs are the same for all.
        n: number N of points.
        d: dimension of the inputs, of norm sqrt(d).
        narrow: units of the other hidden layers.
        hidden_init: of `NguyenMLP`.
        inputs: a name in `INPUTS`.
        copies: how often each input is repeated; 1 is distinct inputs.

    Returns:
        widths [w]; alpha [s, w], alpha_0^2; below [s], the largest of lambda_min over
        lambda_max of F_{L-1} F_{L-1}^T over the widths below N.
    """

    def at(width: int) -> dict[str, np.ndarray]:
        net = NguyenMLP(width, depth, 1, narrow, hidden_init)
        x = INPUTS[inputs](jax.random.key(n), n // copies, d)
        x = jnp.tile(x, (copies, 1))

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            last = features(net.init(key, x)["params"], x)[-1]
            values = jnp.linalg.eigvalsh(last @ last.T)
            return {"alpha": values[0], "share": values[0] / values[-1]}

        return by_seed(measure, seeds, width, together=1)

    with float64():
        wide, thin = sweep(widths, at), sweep(below, at)
    return {
        "widths": np.asarray(widths),
        "alpha": np.maximum(wide["alpha"], 0.0),
        "below": np.abs(thin["share"]).max(axis=1),
    }


def scaled_start(net: NguyenMLP, key: jax.Array, x: jax.Array, scale: float) -> Any:
    """Parameters whose wide hidden layer's weights are multiplied."""
    matrices = weights(net.init(key, x)["params"])
    matrices[-2] = scale * matrices[-2]
    return unflatten_dict({(f"dense_{i}", "W"): w for i, w in enumerate(matrices)})


def measure_training(
    seeds: int,
    n: int,
    d: int,
    width: int,
    steps: int,
    late_steps: int,
    scale: float = 3.0,
    sigma_last: float = 0.0,
    step: float = 1.0,
    inputs: str = "sphere",
    records: int = 24,
) -> dict[str, np.ndarray]:
    """Gradient descent where the theorem's conditions hold.

    Args:
        seeds: of inputs, labels N(0, 1) and weights.
        n: number N of points.
        d: dimension of the inputs.
        width: n_1 of the one hidden layer.
        steps: of the theorem's learning rate.
        late_steps: of 1 / lambda_max of the NTK, to convergence.
        scale: W_1 is multiplied by scale N^1/4.
        sigma_last: scale of W_2.
        step: the learning rate over the theorem's.
        inputs: a name in `INPUTS`.
        records: times at which training is looked at.

    Returns:
        by seed [s]: worst, of the three ratios of `condition_ratios`; and, each the
        worst of both learning rates: least, min_k sigma_min(F^k) / (alpha_0 / 2);
        moved, max |W_l^k - W_l^0|_F over its bound; within, the same over C_l; norms,
        max |W_l^k|_2 / lam_l; lipschitz and gradient, the two bounds of the proof. At
        the theorem's, rate, the least mean decrease of log Phi between records over
        that of (1 - eta alpha_0^2 / 8)^k; at the other, late, the rate at the end over
        that of the NTK. And over Phi_0, loss and bound [s, t] at times [t], fast [s, u]
        at steps late_times [u].
    """
    net = NguyenMLP(width, 1, 1, sigma_last=sigma_last, hidden_init="lecun")
    times = np.unique(np.linspace(0, steps, records).astype(int))
    late = np.unique(np.linspace(0, late_steps, 13).astype(int))
    half = int(np.searchsorted(late, late_steps // 2))

    def apply(params: Any, x: jax.Array) -> Any:
        return net.apply({"params": params}, x)

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        data, target, start = jax.random.split(key, 3)
        x, y = INPUTS[inputs](data, n, d), jax.random.normal(target, (n, 1))
        params = scaled_start(net, start, x, scale * n**0.25)
        before = weights(params)
        hidden = features(params, x)
        alpha = singular(hidden[-1])[0]
        size = jnp.linalg.norm(x)
        # C_1 is a quarter of |W_1|_2, and C_2 half of what c3 leaves.
        first = singular(before[0])[1]
        constants = jnp.stack([0.25 * first, alpha / (8 * size)])
        lams = jnp.stack([first, singular(before[1])[1]]) + constants
        everything = jnp.prod(lams)
        residual = jnp.linalg.norm(apply(params, x) - y)
        eta = step * largest_step(alpha, list(lams), size)

        def observe(params: Any, x: jax.Array) -> dict[str, jax.Array]:
            now = weights(params)
            moves = jnp.stack(
                [jnp.linalg.norm(a - b) for a, b in zip(now, before, strict=True)]
            )
            spectral = jnp.stack(
                [singular(a - b)[1] for a, b in zip(now, before, strict=True)]
            )
            f, pull = jax.vjp(lambda p: apply(p, x), params)
            gradients = jnp.stack([jnp.linalg.norm(g) for g in weights(pull(f - y)[0])])
            error = jnp.linalg.norm(f - y)
            changes = jnp.stack(
                [
                    jnp.linalg.norm(features(params, x)[-1] - hidden[-1]),
                    jnp.linalg.norm(f - apply_start),
                ]
            )
            reach = jnp.cumprod(lams) * size * jnp.cumsum(spectral / lams)
            return {
                "phi": 0.5 * error**2,
                "sigma": singular(features(params, x)[-1])[0],
                "moves": moves,
                "norms": jnp.stack([singular(w)[1] for w in now]),
                "lipschitz": jnp.max(changes / jnp.maximum(reach, 1e-300)),
                "gradient": jnp.max(gradients / (everything / lams * size * error)),
            }

        apply_start = apply(params, x)
        seen = train(
            apply, params, x, y, optax.sgd(n * eta), jnp.asarray(times), observe
        ).outputs
        theta = ntk_by_output(net, params, x).reshape(n, n)
        fast = 1 / top_eigenvalue(theta)
        done = train(
            apply, params, x, y, optax.sgd(n * fast), jnp.asarray(late), observe
        )
        end = ntk_by_output(net, done.params, x).reshape(n, n)
        slowest = -2 * jnp.log1p(-fast * jnp.linalg.eigvalsh(end)[0])
        logs, span = jnp.log(done.outputs["phi"]), late[-1] - late[half]
        fall = (logs[half] - logs[-1]) / span
        both = {
            name: jnp.concatenate([seen[name][1:], done.outputs[name][1:]])
            for name in seen
        }
        fell = -jnp.diff(jnp.log(seen["phi"])) / np.diff(times)
        bound = 16 / alpha**2 * everything / lams * size * residual
        promised = -jnp.log1p(-eta * alpha**2 / 8)
        return {
            "alpha": alpha,
            "lams": lams,
            "constants": constants,
            "size": size,
            "residual": residual,
            "least": jnp.min(both["sigma"]) / (alpha / 2),
            "moved": jnp.max(both["moves"] / bound),
            "within": jnp.max(both["moves"] / constants),
            "norms": jnp.max(both["norms"] / lams),
            "rate": jnp.min(fell) / promised,
            "lipschitz": jnp.max(both["lipschitz"]),
            "gradient": jnp.maximum(jnp.max(both["gradient"]), seen["gradient"][0]),
            "late": fall / slowest,
            "loss": seen["phi"] / seen["phi"][0],
            "fast": done.outputs["phi"] / seen["phi"][0],
            "bound": jnp.exp(-promised * times),
        }

    # One seed at a time: XLA's CPU threads stall on batches of eigenvalues in a loop.
    with float64():
        found = by_seed(measure, seeds, width, together=1)
    ratios = [
        condition_ratios(a, list(lams), list(constants), size, residual)
        for a, lams, constants, size, residual in zip(
            *(found[k] for k in ("alpha", "lams", "constants", "size", "residual")),
            strict=True,
        )
    ]
    worst = np.stack(ratios).max(axis=1)
    return found | {"worst": worst, "times": times, "late_times": late}


def measure_width(
    sizes: tuple[int, ...],
    seeds: int,
    d: int,
    widest: int,
    steps: int,
    depth: int = 1,
    narrow: int = 32,
    hidden_init: str = "lecun",
    sigma_last: float = 1.0,
    power: float = 0.0,
    labels: float = 0.0,
    reached: float = 1e-2,
    halvings: int = 7,
) -> dict[str, np.ndarray]:
    """The smallest width that gradient descent fits N points with.

    All N and all widths run in one program: missing points are 0, and units that are
    missing have weights 0, which a network without biases leaves where they are.

    Args:
        sizes: numbers N of points.
        seeds: of inputs on the sphere, labels N(0, 1) and weights.
        d: dimension of the inputs.
        widest: the largest width of the last hidden layer that is tried.
        steps: for each point, of learning rate 1 / lambda_max of the NTK at
            initialization.
        depth: hidden layers.
        narrow: units of the other ones.
        hidden_init: "lecun" or "he".
        sigma_last: scale of W_L.
        power: the wide layer's weights are multiplied by N^power.
        labels: labels are multiplied by N^labels.
        reached: a run converged if Phi falls below this share of Phi_0.
        halvings: of the interval of log widths.

    Returns:
        sizes [N]; width [s, N], NaN where the largest width does not converge.
    """
    most = max(sizes)
    net = NguyenMLP(
        widest, depth, 1, narrow, sigma_last=sigma_last, hidden_init=hidden_init
    )

    def apply(params: Any, x: jax.Array) -> Any:
        return net.apply({"params": params}, x)

    def measure(key: jax.Array, n: jax.Array) -> dict[str, jax.Array]:
        data, target, start = jax.random.split(key, 3)
        here = (jnp.arange(most) < n).astype(jnp.float32)[:, None]
        count = jnp.sum(here)
        x = here * INPUTS["sphere"](data, most, d)
        y = here * jax.random.normal(target, (most, 1)) * count**labels
        matrices = weights(net.init(start, x)["params"])

        def converges(width: jax.Array) -> jax.Array:
            units = (jnp.arange(float(widest)) < width).astype(jnp.float32)
            drawn = [*matrices]
            drawn[-2] = drawn[-2] * units[None] * count**power
            drawn[-1] = drawn[-1] * units[:, None] * (widest / width) ** 0.5
            params = unflatten_dict(
                {(f"dense_{i}", "W"): w for i, w in enumerate(drawn)}
            )
            theta = ntk_by_output(net, params, x).reshape(most, most)
            rate = most / top_eigenvalue(theta)
            f = train(
                apply, params, x, y, optax.sgd(rate), jnp.stack([0 * n, steps * n])
            )
            phi = jnp.sum((f.outputs - y[None]) ** 2, axis=(1, 2))
            return phi[1] <= reached * phi[0]

        def halve(_: Any, bracket: tuple) -> tuple:
            low, high = bracket
            middle = (low + high) / 2
            good = converges(jnp.round(jnp.exp(middle)))
            return jnp.where(good, low, middle), jnp.where(good, middle, high)

        ends = (jnp.zeros(()), jnp.log(jnp.float32(widest)))
        high = jax.lax.fori_loop(0, halvings, halve, ends)[1]
        top = jnp.where(high < ends[1], jnp.round(jnp.exp(high)), jnp.nan)
        return {"width": top}

    counts = jnp.asarray(sizes)

    def every_size(key: jax.Array) -> dict[str, jax.Array]:
        return jax.lax.map(lambda n: measure(jax.random.fold_in(key, n), n), counts)

    return {"sizes": np.asarray(sizes)} | by_seed(every_size, seeds)

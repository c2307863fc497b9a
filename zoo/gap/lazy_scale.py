"""From the lazy to the rich regime: gaps and drift over width and output scale.

The network F = alpha (f - f_0) follows the gradient flow of L(F) / alpha^2 beside its
linearization at initialization, whose F_lin does not depend on alpha (Chizat, Oyallon &
Bach 2019, section 2). Small alpha lets features move as large learning rates do not:
in continuous time nothing is added by steps.
"""

import dataclasses
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo.finite.flow import gradient_flow, place
from zoo.finite.linear import linearization
from zoo.finite.ntk import ntk_by_output
from zoo.finite.train import Objective
from zoo.gap import store
from zoo.gap.cell import points
from zoo.gap.config import METHOD, Config
from zoo.gap.programs import initialize, relative_distance
from zoo.gap.run import Experiment, cell_name, hyper_parameters, trained
from zoo.gap.scale_laws import summarize
from zoo.gap.summary import ROUNDING
from zoo.gap.sweep import WHOLE, Cell, Report, Shard, measure_cells, versions

Arrays = dict[str, np.ndarray]
VARIES = 0.01  # of outputs, what their scatter over seeds is at least
SOLVER = 1e-5  # share of a displacement that the solver may miss
ALPHAS = tuple(2.0**j for j in range(-6, 4))


@dataclasses.dataclass(frozen=True)
class ScaleConfig(Config):
    """Networks of several widths, each at several scales of its outputs.

    Attributes:
        alphas: scales alpha, increasing.
        steps: with the learning rate, sets the time t = eta * steps of the flow.
    """

    alphas: tuple[float, ...] = ALPHAS
    widths: tuple[int, ...] = (64, 128, 256, 512)
    dataset: str | None = "sphere"
    depth: int | None = 2
    activation: str | None = "erf"
    seeds: int = 8
    n_train: int = 16
    n_test: int = 16
    steps: int = 200
    records: int = 40

    def __post_init__(self):
        good = all(a > 0 and np.isfinite(a) for a in self.alphas)
        self._require("alphas", bool(self.alphas) and good, "finite numbers > 0")
        distinct = len(set(self.alphas)) == len(self.alphas)
        self._require("alphas", distinct, "each scale once")
        object.__setattr__(self, "alphas", tuple(sorted(self.alphas)))
        self._require_fixed(*METHOD)
        super().__post_init__()
        smooth = self.training().loss.curvature > 0
        self._require("loss", smooth, "a loss with a continuous gradient: its flow")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return super().as_dict() | {"alphas": list(self.alphas)}


class Start(NamedTuple):
    """What all scales of a seed share."""

    params: Any
    origin: jax.Array  # f_0, [N, k]
    kernel: jax.Array
    linear: jax.Array  # F_lin, [t, N, k]
    drift: Any  # displacement of the linearization at the last time


def flow_times(experiment: Experiment[ScaleConfig], width: int) -> np.ndarray:
    """Recorded times [t], log-spaced up to eta * steps from 1e-4 of it."""
    config = experiment.config
    last = experiment.learning_rate(width) * config.steps
    return np.geomspace(1e-4 * last, last, config.records)


def measure_scales(
    experiment: Experiment[ScaleConfig], width: int, seeds: np.ndarray
) -> Arrays:
    """Every scale and seed of a width.

    Returns:
        [s, a] each: "gap" (root mean square over test points and outputs of F - F_lin,
        the largest over time), "kernel_drift", "movement" |w - w_0| / |w_0|,
        "movement_gap" |w - w_lin| / |w_0|, "solver_steps"; and "deviation" [s, a, t],
        |F - F_lin| / |F_lin| over all points, "train_loss" [s, a, t], "end" [s, a, N,
        k], F at the last time, "times" [t].
    """
    x, y = points(experiment.data)
    times = flow_times(experiment, width)
    net, alphas = experiment.net(width), experiment.config.alphas
    run = _program(net, width, experiment.training.loss)
    f32 = partial(jnp.asarray, dtype=jnp.float32)
    with jax.default_matmul_precision("highest"):
        found = run(jnp.asarray(seeds), f32(alphas), x, y, f32(times))
    return {name: np.asarray(value) for name, value in found.items()} | {
        "times": times,
        "seeds": seeds,
    }


@lru_cache(maxsize=16)
def _program(net: nn.Module, width: int, loss: Any) -> Any:
    """One program for all seeds and scales of a width."""

    @jax.jit
    def run(seeds, alphas, x, y, times) -> dict[str, jax.Array]:
        def of_seed(seed: jax.Array) -> dict[str, jax.Array]:
            start = _start(net, width, seed, loss, x, y, times)
            one = partial(_scale, net, loss, start, x, y, times)
            return jax.lax.map(one, alphas)

        return jax.lax.map(of_seed, seeds)

    return run


def _apply(net: nn.Module, params: Any, x: jax.Array) -> Any:
    return net.apply({"params": params}, x)


def _start(net, width, seed, loss, x, y, times) -> Start:
    """The network at initialization, and its linearization's flow."""
    params, n = initialize(net, width, seed, x), len(y)
    origin = _apply(net, params, x)
    linear = linearization(partial(_apply, net), params)
    objective = Objective(loss, None, 1.0, origin[:n])
    flow = gradient_flow(linear, params, x[:n], y, times, objective)
    F = _outputs(linear, params, flow.displacement, x, 1.0, origin)
    end = jax.tree.map(lambda u: u[-1], flow.displacement)
    return Start(params, origin, ntk_by_output(net, params, x[:n]), F, end)


def _outputs(apply_fn, params, displacement, x, alpha, origin) -> jax.Array:
    """F at every recorded time, [t, N, k]."""

    def one(u: Any) -> jax.Array:
        return alpha * (apply_fn(place(params, u, alpha), x) - origin)

    return jax.lax.map(one, displacement)


def _scale(net, loss, start, x, y, times, alpha) -> dict[str, jax.Array]:
    """The network at one scale."""
    n, apply_fn = len(y), partial(_apply, net)
    objective = Objective(loss, None, alpha, start.origin[:n])
    flow = gradient_flow(apply_fn, start.params, x[:n], y, times, objective)
    F = _outputs(apply_fn, start.params, flow.displacement, x, alpha, start.origin)
    end = jax.tree.map(lambda u: u[-1], flow.displacement)
    after = ntk_by_output(net, place(start.params, end, alpha), x[:n])
    away = F - start.linear
    size = alpha * _norm(start.params)
    rounding = ROUNDING * alpha * jnp.sqrt(jnp.mean(start.origin**2))
    gap = jnp.max(jnp.sqrt(jnp.mean(away[:, n:] ** 2, axis=(1, 2))))
    drift = relative_distance(after, start.kernel)
    apart = _norm(jax.tree.map(jnp.subtract, end, start.drift))
    size_F = jnp.sqrt(jnp.mean(F[-1] ** 2))
    missed = jnp.maximum(rounding / size_F, SOLVER) * _norm(end)
    return {
        "gap": _above(gap, gap, rounding),
        "kernel_drift": _above(drift, drift, ROUNDING),
        "movement": _norm(end) / size,
        "movement_gap": _above(apart, apart, missed) / size,
        "deviation": _norms(away) / _norms(start.linear),
        "train_loss": jax.vmap(loss.mean, in_axes=(0, None))(F[:, :n], y),
        "end": _above(F[-1], VARIES * size_F, rounding),
        "solver_steps": flow.steps,
    }


def _above(value: jax.Array, size: jax.Array, floor: Any) -> jax.Array:
    """The value; NaN where its size is rounding."""
    return jnp.where(size < floor, jnp.nan, value)


def _norm(tree: Any) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def _norms(f: jax.Array) -> jax.Array:
    """[t, N, k] -> [t]."""
    return jnp.linalg.norm(f.reshape(len(f), -1), axis=1)


def run(
    experiment: Experiment[ScaleConfig],
    workdir: Path,
    report: Report,
    shard: Shard = WHOLE,
) -> dict[str, Any]:
    """Measures what is missing in `workdir`, and summarizes; as `zoo.gap.run.run`."""
    config = experiment.config
    cells = [
        Cell(
            f"{cell_name(config.arch, width)}-s{seeds[0]}-{seeds[-1]}",
            len(seeds) * (width + 200),
            partial(measure_scales, experiment, width, seeds),
        )
        for width, seeds in experiment.cells()
    ]
    found, seconds = measure_cells(cells, workdir, config.as_dict(), report, shard)
    by_width: dict[int, list[Arrays]] = {}
    for (width, _), arrays in zip(experiment.cells(), found, strict=True):
        by_width.setdefault(width, []).append(arrays)
    whole = {
        width: {
            name: parts[0][name]
            if name == "times"
            else np.concatenate([part[name] for part in parts])
            for name in parts[0]
        }
        for width, parts in by_width.items()
    }
    said = {
        "alphas": config.alphas,
        "widths": config.widths,
        "arch": config.arch,
        "dataset": config.dataset,
        "loss": experiment.training.loss.formula,
        "trained": trained(experiment.net(config.widths[0])),
        "network": hyper_parameters(experiment.net(config.widths[0])),
        "config": config.as_dict(),
        "versions": versions(),
        "seconds": seconds,
    }
    out = said | summarize(whole, np.asarray(config.alphas))
    store.write_json(workdir / "summary.json", out)
    return out

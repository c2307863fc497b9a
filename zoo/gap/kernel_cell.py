"""How the empirical NTK moves along training, and what it is worth as a kernel.

For every width, seed and parameterization the network of the main job (`zoo.gap.cell`,
the same initializations) is trained, and at the recorded steps its NTK is kept:

    K_t  = mean over outputs c of Theta_t[:, :, c, c], of all N points with the n train
           points; distances, alignments, spectra and kernel machines are of it,
    Theta_t  of all pairs of outputs on the train points, at the start and at the end.

Time is t = eta * steps / m^r, with r the power of the width m that the learning rate
follows (0 in the NTK parameterization, 1 in muP, -1 in the standard one). In muP
f = f_ntk / sqrt(m), so that m K_0 is the kernel of the NTK parameterization, and a unit
of time is the same in both; eigenvalues are those of m^r K_t.

Between neighbouring records the velocity is S / dt, as in Fort et al. 2020. S is of
second order in a small change, so that it depends on dt; the angular velocity, angle
between the kernels over dt, does not.
"""

from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.data import Dataset
from zoo.finite.ntk import empirical_ntk, ntk_by_output
from zoo.finite.train import train
from zoo.gap import kernel_machine as km
from zoo.gap.cell import points
from zoo.gap.programs import initialize, seeds_at_once

Arrays = dict[str, np.ndarray]
FULL = ("distance_full", "drift_full")


def kernel_times(
    net: nn.Module, width: int, eta: float, steps: np.ndarray
) -> np.ndarray:
    """Time eta * steps / m^r; see the module's docstring."""
    return eta * steps / float(width) ** rate_power(net)


def rate_power(net: nn.Module) -> int:
    """r, the power of the width that the learning rate follows; 0 if unknown."""
    return getattr(net, "rate", 0)


def measure_evolution(
    net: nn.Module,
    width: int,
    data: Dataset,
    learning_rate: float,
    times: np.ndarray,
    seeds: np.ndarray,
    budgets: tuple[float, int],
    full_kernel: bool = True,
    ridge: float = 0.0,
) -> Arrays:
    """Trains, keeps the kernels of the recorded steps, and says what they are.

    Args:
        net: the network at this width.
        width: the width, which enters the key of the initialization.
        data: N = n_train + n_test points, in the form that the network takes.
        learning_rate: eta.
        times: recorded steps [t], from 0.
        seeds: whole numbers [s], one per initialization.
        budgets: bytes of training, which bound how many seeds train at once, and of
            the derivatives of their kernels.
        full_kernel: also measures the kernel of all pairs of outputs.
        ridge: of the kernel machines; see `zoo.gap.kernel_machine`.

    Returns:
        arrays [s, t] (velocities [s, t - 1], eigenvalues [s, t, n], those of the full
        kernel [s], from start to end), and `times`, `time` (t) and `seeds`.
    """
    x, y = points(data)
    memory, ntk_bytes = budgets
    together = seeds_at_once(net, x, y, len(seeds), memory)
    arguments = (
        jnp.asarray(seeds),
        x,
        y,
        jnp.float32(learning_rate),
        jnp.asarray(times, jnp.int32),
    )
    options = (net, width, together, max(ntk_bytes // together, 1), full_kernel)
    program = _compiled(*options, tuple((a.shape, a.dtype) for a in arguments))
    seen = {name: np.asarray(v) for name, v in program(*arguments).items()}
    time = kernel_times(net, width, learning_rate, times)
    scale = float(width) ** rate_power(net)
    shared = {"times": times, "time": time, "seeds": seeds}
    return shared | derive(seen, time, scale, data, ridge)


@lru_cache(maxsize=64)
def _compiled(net, width, together, ntk_bytes, full_kernel, shapes):
    """The program of a cell for arguments of these shapes."""
    specs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    program = partial(_evolve, net, width, together, ntk_bytes, full_kernel)
    with jax.default_matmul_precision("highest"):  # TF32 would be a floor of 1e-3
        return jax.jit(program).lower(*specs).compile()


def _evolve(net, width, together, ntk_bytes, full_kernel, seeds, x, y, rate, times):
    """Outputs [s, t, N, k], kernels [s, t, N, n], and how far the full kernel moves."""
    n = len(y)

    def draw(seed: jax.Array) -> Any:
        return initialize(net, width, seed, x)

    def apply(params: Any, x: jax.Array) -> Any:
        return net.apply({"params": params}, x)

    def observe(params: Any, x: jax.Array) -> dict[str, Any]:
        kernel = empirical_ntk(net, params, x, x[:n], max_bytes=ntk_bytes)
        return {"outputs": apply(params, x), "kernel": kernel}

    def full(params: Any) -> jax.Array:
        return ntk_by_output(net, params, x[:n], max_bytes=ntk_bytes)

    def descend(params: Any) -> dict[str, jax.Array]:
        seen, end = train(apply, params, x, y, optax.sgd(rate), times, observe)
        if not full_kernel:
            return seen
        both = jax.tree.map(lambda a, b: jnp.stack([a, b]), params, end)
        start, now = jax.lax.map(full, both)
        first, last = jnp.linalg.norm(start.ravel()), jnp.linalg.norm(now.ravel())
        apart = jnp.sum((now / last - start / first) ** 2)
        drift = jnp.linalg.norm((now - start).ravel()) / first
        return seen | {"distance_full": 0.5 * apart, "drift_full": drift}

    # Initialization is not batched: XLA takes three times as long to compile it so.
    return jax.lax.map(descend, jax.lax.map(draw, seeds), batch_size=together)


def derive(
    seen: Arrays, time: np.ndarray, scale: float, data: Dataset, ridge: float
) -> Arrays:
    """From outputs and kernels, in float64: everything that is stored.

    What is not finite stays out of the algebra, and is NaN.
    """
    f, kernels = seen["outputs"], seen["kernel"]
    good = np.all(np.isfinite(kernels), (-2, -1)) & np.all(np.isfinite(f), (-2, -1))
    blank = np.where(good[..., None, None], kernels, 1.0) * scale
    found = _movement(blank[:, :, : len(data.y_train)], time)
    found |= _kernel_arrays(blank, np.where(good[..., None, None], f, 0.0), data, ridge)
    both = good[:, 1:] & good[:, :-1]
    from_start, to_end = good & good[:, :1], good & good[:, -1:]
    masks = {"distance_start": from_start, "drift": from_start, "distance_end": to_end}
    for name, value in found.items():
        mask = both if value.shape[1] < good.shape[1] else masks.get(name, good)
        shape = mask.shape + (1,) * (value.ndim - 2)
        found[name] = np.where(mask.reshape(shape), value, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        scores = {f"network_{k}": v for k, v in km.scores(f, data).items()}
        n = len(data.y_train)
        apart = np.sum(np.square(f[:, :, :n] - data.y_train, dtype=np.float64), -1)
        scores["train_loss"] = 0.5 * np.mean(apart, -1)
    return found | scores | {k: seen[k] for k in FULL if k in seen}


def _movement(train: np.ndarray, time: np.ndarray) -> Arrays:
    """Distances, drift and velocities of train kernels [s, t, n, n] at times [t].

    A velocity is NaN where the kernel moved by no more than float32 rounding.
    """
    step = km.distance(train[:, 1:], train[:, :-1])
    step = np.where(step > km.SMALLEST, step, np.nan)
    gap = np.diff(time)
    return {
        "distance_start": km.distance(train, train[:, :1]),
        "distance_end": km.distance(train, train[:, -1:]),
        "drift": km.norm(train - train[:, :1]) / km.norm(train[:, :1]),
        "velocity": step / gap,
        "angular_velocity": km.angle(step) / gap,
    }


def _kernel_arrays(theta: np.ndarray, f: np.ndarray, data: Dataset, ridge) -> Arrays:
    """Of kernels [s, t, N, n] and outputs [s, t, N, k]: labels, spectrum, machines."""
    y = data.y_train.astype(np.float64)
    train = theta[:, :, : len(y)]
    spectrum = km.spectrum(train)
    values = spectrum.values
    least = np.where(km.resolved(values)[..., 0], values[..., 0], np.nan)
    found = {
        "alignment": km.alignment(train, y, centred=False),
        "alignment_centred": km.alignment(train, y, centred=True),
        "eigenvalues": values,
        "lambda_min": least,
        "lambda_max": values[..., -1],
        "effective_rank": km.effective_rank(values),
        "top_share": km.top_share(values, y.shape[1]),
    }
    for name, start in (("machine", None), ("onwards", f)):
        outputs = km.machine(theta, y, ridge, start, spectrum)
        for score, value in km.scores(outputs, data).items():
            found[f"{name}_{score}"] = value
    return found

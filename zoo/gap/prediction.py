"""The infinite network beside trained ones, and the gaps between all of them."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from zoo.data import Dataset
from zoo.gap.training import Training
from zoo.infinite.precision import float64
from zoo.infinite.predict import Dynamics, Ensemble, flow_filter, step_filter
from zoo.infinite.steps import exact_steps, gradient_flow

Arrays = dict[str, np.ndarray]


class InfiniteSide(NamedTuple):
    """The infinite-width side, shared by all widths where it does not depend on them.

    Attributes:
        dynamics: training on the NTK of all points with the train points.
        nngp: NNGP kernel of all points, [N, N].
        error: relative standard error of the train NTK; 0 unless it was sampled.
    """

    dynamics: Dynamics
    nngp: np.ndarray
    error: float


def compare_outputs(
    data: Dataset,
    limit: InfiniteSide | None,
    training: Training,
    eta: float,
    times: Any,
    orders: np.ndarray,
    found: Arrays,
) -> Arrays:
    """The infinite-width side from each seed's own f_0, and the gaps between pairs.

    Args:
        data: N = n_train + n_test points.
        limit: the infinite-width side; None if there is none.
        training: the loss and the optimizer.
        eta: learning rate.
        times: recorded steps [t].
        orders: examples of every step, [s, steps, b]; see `Training.orders`.
        found: "outputs" of the networks, [s, t, N, k], and what else of their kernels
            and linearizations was measured.
    """
    n, f = len(data.y_train), found["outputs"]
    networks = {"": f}
    out: Arrays = {}
    if "outputs_linear" in found:
        networks["_linear"] = found["outputs_linear"]
        out["kernel_eigenvalues"] = _eigenvalues(found["kernel_mean"])
    if limit is not None:
        networks |= _infinite(data, limit, training, eta, times, orders, f[:, 0])
        with np.errstate(over="ignore"):  # a diverged prediction becomes inf
            out["outputs_infinite"] = networks["_infinite"].astype(np.float32)
        if training.closed_form and training.random_start:
            phi = step_filter(training.optimizer)
            given = (limit.nngp, data.y_train, eta, times[-1], phi)
            ensemble = limit.dynamics.ensemble(*given)
            out |= _ensemble_arrays(ensemble, f.shape[-2:])
    for name, (a, b) in GAPS.items():
        if a in networks and b in networks:
            out[name] = _rms((networks[a] - networks[b])[:, :, n:])
    for suffix, outputs in networks.items():
        scores = _scores(outputs, data, training)
        out |= {k + suffix: v for k, v in scores.items()}
    return out


def _infinite(
    data: Dataset,
    limit: InfiniteSide,
    training: Training,
    eta: float,
    times: Any,
    orders: np.ndarray,
    f0: np.ndarray,
) -> Arrays:
    """Steps of the infinite network, and its flow where steps see all examples.

    A loss that is linear between its kinks has no flow that is a smooth curve.
    """
    dynamics, y, optimizer = limit.dynamics, data.y_train, training.optimizer
    speed = optimizer.speed(eta)
    if training.closed_form:
        steps = dynamics.outputs(f0, y, eta, times, step_filter(optimizer))
        flow = dynamics.outputs(f0, y, speed, times, flow_filter)
        return {"_infinite": steps, "_flow": flow}
    theta, batches = dynamics.theta, orders if training.batch_size else None
    given = (theta, f0, y, training.loss)
    out = {"_infinite": exact_steps(*given, optimizer, eta, times, batches)}
    if training.batch_size is None and training.loss.curvature:
        out["_flow"] = gradient_flow(*given, speed * times)
    return out


def _eigenvalues(kernels: np.ndarray) -> np.ndarray:
    """Of every seed's kernel, [s, n]; NaN of one that is not finite."""
    out = np.full(kernels.shape[:2], np.nan)
    good = np.all(np.isfinite(kernels), axis=(1, 2))
    out[good] = np.linalg.eigvalsh(kernels[good].astype(np.float64))
    return out


GAPS = {
    "gap_total": ("", "_infinite"),
    "gap_nonlinear": ("", "_linear"),
    "gap_kernel": ("_linear", "_infinite"),
    "gap_total_flow": ("", "_flow"),
    "gap_kernel_flow": ("_linear", "_flow"),
}


def _ensemble_arrays(ensemble: Ensemble, shape: tuple[int, int]) -> Arrays:
    """Mean [N, k], and variance [N, k] or, where outputs share it, [N, 1]."""
    variance = np.diagonal(ensemble.covariance)
    return {
        "ensemble_mean": ensemble.mean.reshape(shape),
        "ensemble_variance": variance.reshape(shape[0], -1),
    }


def _rms(difference: np.ndarray) -> np.ndarray:
    """Root mean square over points and outputs; [s, t, n, k] -> [s, t]."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.mean(np.square(difference, dtype=np.float64), axis=(-2, -1)))


def _scores(f: np.ndarray, data: Dataset, training: Training) -> Arrays:
    """Loss on train and test points, and accuracy on test points; [s, t]."""
    n = len(data.y_train)
    parts = {"train_loss": (f[..., :n, :], data.y_train)}
    parts["test_loss"] = (f[..., n:, :], data.y_test)
    scores = {}
    with float64():
        for name, (outputs, y) in parts.items():
            each = training.loss.each(jnp.asarray(outputs, float), jnp.asarray(y))
            scores[name] = np.asarray(jnp.mean(each, axis=-1))
    if data.classes:
        right = np.argmax(f[..., n:, :], -1) == np.argmax(data.y_test, -1)
        scores["test_accuracy"] = np.mean(right, axis=-1)
    return scores

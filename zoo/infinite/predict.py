"""What training on the mean square does in the limit of infinite width, in closed form.

There the network is linear in its parameters, its NTK Theta (x) I_k does not move, and
for the loss 1/(2n) sum_i |f(x_i) - y_i|^2 the outputs on any points are

    f_t = f_0 - Theta(., X) phi_t(Theta) (f_0(X) - y),
    phi_t(l) = (1 - (1 - eta l / n)^t) / l        gradient descent, exact at each step,
    phi_t(l) = (1 - exp(-eta l t / n)) / l        gradient flow at time eta t,

and with momentum phi_t is an entry of a power of a matrix, see `momentum_filter`. A
ridge, the loss plus ridge / (2n) |w - w_0|^2, puts l + ridge in the place of l in
phi_t.

All of it in NumPy float64 on the host, whatever the training dtype. Other losses, and
minibatches, are in `zoo.infinite.steps`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from zoo.descent.optimizers import Optimizer

Step = int | float | np.integer | np.floating
Filter = Callable[[float, np.ndarray, Step], np.ndarray]
Steps = np.ndarray | Sequence[Step]
PSD_TOLERANCE, PSD_FLOAT32 = 1e-10, 1e-5
RANK_TOLERANCE = 1e-12
LATE = 2**20  # steps after which a stable mode has gone some way


class Ensemble(NamedTuple):
    """Law of the outputs over initializations.

    Attributes:
        mean: [N, k], or [N k, 1] where outputs share the kernel.
        covariance: of each output, [N, N] (outputs are independent), or [N k, N k].
    """

    mean: np.ndarray
    covariance: np.ndarray


def gd_filter(rate: float, eigenvalues: np.ndarray, t: Step) -> np.ndarray:
    """phi_t of gradient descent, (1 - (1 - rate l)^t) / l, for t whole steps."""
    step = rate * eigenvalues
    inside = step < 1.0
    with np.errstate(over="ignore", divide="ignore"):
        log_decay = t * np.log1p(-np.where(inside, step, 0.0))
        moved = np.where(inside, -np.expm1(log_decay), 1.0 - (1.0 - step) ** t)
    return _divide(moved, eigenvalues, rate * t)


def flow_filter(rate: float, eigenvalues: np.ndarray, t: Step) -> np.ndarray:
    """phi_t of gradient flow, (1 - exp(-rate l t)) / l."""
    return _divide(-np.expm1(-rate * t * eigenvalues), eigenvalues, rate * t)


def _divide(moved: np.ndarray, eigenvalues: np.ndarray, limit: Step) -> np.ndarray:
    """Moved / eigenvalues; its limit where the eigenvalue is zero to rounding."""
    tiny = np.abs(eigenvalues) <= RANK_TOLERANCE * np.max(np.abs(eigenvalues))
    return np.where(tiny, limit, moved / np.where(tiny, 1.0, eigenvalues))


def momentum_filter(
    rate: float, eigenvalues: np.ndarray, t: Step, mu: float, nesterov: bool = False
) -> np.ndarray:
    """phi_t of momentum (see `zoo.descent.optimizers`), for t whole steps.

    A mode of unit residual has the coefficient a and the velocity q, and

        g = 1 - l a,    q <- g + mu q,    a <- a + rate q    (nesterov: g + mu q),

    one affine map of (a, q), whose power applied to (0, 0) is phi_t.
    """
    one, zero = np.ones_like(eigenvalues), np.zeros_like(eigenvalues)
    gain, keep = (1 + mu, mu**2) if nesterov else (1.0, mu)
    step = [
        [1 - rate * gain * eigenvalues, rate * keep * one, rate * gain * one],
        [-eigenvalues, mu * one, one],
        [zero, zero, one],
    ]
    matrices = np.moveaxis(np.asarray(step), -1, 0)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.linalg.matrix_power(matrices, int(t))[:, 0, 2]


def step_filter(optimizer: Optimizer) -> Filter:
    """phi_t of an optimizer's steps.

    Raises:
        ValueError: its steps are not linear in gradients.
    """
    if not optimizer.linear:
        raise ValueError(
            f"{optimizer.name} has no closed form: its steps are not linear in "
            "gradients, and no function of the kernel."
        )
    if not optimizer.heavy:
        return gd_filter
    nesterov = optimizer.name == "nesterov"
    return partial(momentum_filter, mu=optimizer.mu, nesterov=nesterov)


@dataclasses.dataclass(frozen=True)
class Dynamics:
    """Training in the limit, from one eigendecomposition of the train kernel.

    Attributes:
        theta: NTK of all N points with the n train points, [N, n]; train points first.
            Where outputs share it, of all pairs of points and outputs, [N k, n k],
            outputs fastest.
        eigenvalues: of the train kernel, ascending, [n] or [n k].
        eigenvectors: [n, n] or [n k, n k].
        coupled: number of outputs that `theta` couples; 1 where it is that of each.
        smallest: the smallest eigenvalue as it was found; in `eigenvalues`, what
            rounding put below 0 is 0.
    """

    theta: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    coupled: int = 1
    smallest: float = np.nan

    @classmethod
    def from_kernel(
        cls, theta: np.ndarray, tolerance: float | None = None, jitter: float = 0.0
    ) -> "Dynamics":
        """Decomposes the train block of `theta`, [N, n] or [N, n, k, k].

        Args:
            theta: the kernel; with k > 1 outputs that share it, of all pairs.
            tolerance: how far below zero an eigenvalue may be, over the largest:
                None is 1e-10, for a kernel computed in float64; `PSD_FLOAT32`
                is 1e-5, for one in float32.
            jitter: added to the diagonal of the train kernel, over its mean.

        Raises:
            ValueError: if the train kernel is not finite, is 0, or has an eigenvalue
                below the tolerance.
        """
        tolerance = PSD_TOLERANCE if tolerance is None else tolerance
        theta = np.asarray(theta, np.float64)
        coupled = theta.shape[2] if theta.ndim == 4 else 1
        if theta.ndim == 4:
            N, n = theta.shape[:2]
            theta = theta.transpose(0, 2, 1, 3).reshape(N * coupled, n * coupled)
        if not np.all(np.isfinite(theta)):
            raise ValueError("the kernel has entries that are not finite.")
        block = theta[: theta.shape[1]]
        if jitter:
            theta = theta.copy()
            block = theta[: theta.shape[1]]
            block[np.diag_indices_from(block)] += jitter * np.mean(np.diagonal(block))
        eigenvalues, eigenvectors = np.linalg.eigh((block + block.T) / 2)
        if not block.any():
            raise ValueError(
                "the train kernel is 0: no parameter moves an output. Are inputs 0, "
                "without biases?"
            )
        worst = eigenvalues[0] / eigenvalues[-1]
        if eigenvalues[-1] <= 0 or worst < -tolerance:
            raise ValueError(
                "the train kernel is not positive semi-definite: smallest eigenvalue "
                f"{eigenvalues[0]:.3e}, largest {eigenvalues[-1]:.3e}."
            )
        smallest = float(eigenvalues[0])
        eigenvalues = np.maximum(eigenvalues, 0.0)
        return cls(theta, eigenvalues, eigenvectors, coupled, smallest)

    @property
    def points(self) -> int:
        """Number n of train points."""
        return self.theta.shape[1] // self.coupled

    @property
    def rank(self) -> int:
        """Eigenvalues above 1e-12 times the largest."""
        return int(np.sum(self.eigenvalues > RANK_TOLERANCE * self.eigenvalues[-1]))

    @property
    def critical_rate(self) -> float:
        """Learning rate 2 n / lambda_max, above which gradient descent diverges."""
        return float(2.0 * self.points / self.eigenvalues[-1])

    @property
    def condition(self) -> float:
        """lambda_max / lambda_min; infinite if the kernel is singular."""
        smallest = float(self.eigenvalues[0])
        return float(self.eigenvalues[-1]) / smallest if smallest > 0 else np.inf

    def outputs(
        self,
        f0: np.ndarray,
        y: np.ndarray,
        learning_rate: float,
        times: Steps,
        phi: Filter = gd_filter,
        ridge: float = 0.0,
    ) -> np.ndarray:
        """Outputs of a network trained from its own f_0.

        Args:
            f0: outputs at initialization on all points, [..., N, k].
            y: targets [n, k].
            learning_rate: eta.
            times: steps to predict; `numpy.inf` is the end of training.
            phi: `gd_filter` (exact discrete steps), `flow_filter`, or that of
                `step_filter`.
            ridge: of the loss; the end of training then is kernel ridge regression,
                Theta(., X) (Theta + ridge I)^-1 (y - f_0) + f_0.

        Returns:
            [..., t, N, k] in float64; not finite where training diverged.

        Raises:
            ValueError: the end of training is asked for at a rate that diverges, a
                time is not a step from 0 on, the ridge is negative, or the shape of y
                is not [n, k].
        """
        if np.ndim(y) != 2 or len(y) != self.points:
            raise ValueError(f"y has to be [{self.points}, k], got {np.shape(y)}.")
        f0 = np.asarray(f0, np.float64)
        shape, y = f0.shape, self._rows(np.asarray(y))
        f0, n = self._rows(f0), y.shape[0]
        residual = np.moveaxis(f0[..., :n, :] - y, -2, 0)  # [n, ..., k]
        modes = self.eigenvectors.T @ residual.reshape(n, -1)
        rate = learning_rate / self.points
        filters = [self._filtered(phi, rate, t, ridge) for t in times]
        filtered = np.concatenate([f[:, None] * modes for f in filters], axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            moved = self.theta @ (self.eigenvectors @ filtered)
        moved = moved.reshape(-1, len(filters), *residual.shape[1:])
        out = f0[..., None, :, :] - np.moveaxis(moved, (0, 1), (-2, -3))
        return out.reshape(*shape[:-2], len(filters), *shape[-2:])

    def _filtered(self, phi: Filter, rate: float, t: Step, ridge: float) -> np.ndarray:
        """phi_t of the eigenvalues; at infinity 1 / l, and 0 where that is rounding."""
        if ridge < 0:
            raise ValueError(f"ridge has to be >= 0, got ridge={ridge}.")
        if not t >= 0 or (phi is not flow_filter and t != np.inf and t != int(t)):
            raise ValueError(f"times are steps, whole and from 0 on, got {t}.")
        shifted = self.eigenvalues + ridge
        if t != np.inf:
            return phi(rate, shifted, t)
        top = shifted[-1:]
        left = abs(1 - top * phi(rate, top, LATE))[0]
        if not left < 1:
            raise ValueError(
                f"training has no end at learning rate {rate * self.points:.4g}: it "
                "diverges (the critical rate of gradient descent is "
                f"{self.critical_rate:.4g})."
            )
        return self._inverse(ridge)

    def _inverse(self, ridge: float) -> np.ndarray:
        """1 / (l + ridge) of the eigenvalues, and 0 where that is rounding."""
        shifted = self.eigenvalues + ridge
        tiny = shifted <= RANK_TOLERANCE * shifted[-1:]
        return np.where(tiny, 0.0, 1.0 / np.where(tiny, 1.0, shifted))

    def solve(self, b: np.ndarray, ridge: float = 0.0) -> np.ndarray:
        """(Theta + ridge I)^-1 b for b [n, m]; least squares where it is singular."""
        inverse = self._inverse(ridge)
        return self.eigenvectors @ (inverse[:, None] * (self.eigenvectors.T @ b))

    def _rows(self, f: np.ndarray) -> np.ndarray:
        """Outputs [..., N, k] as the rows of `theta`, [..., N k, 1] if coupled."""
        if self.coupled == 1:
            return f
        return f.reshape(*f.shape[:-2], -1, 1)

    def ensemble(
        self,
        nngp: np.ndarray,
        y: np.ndarray,
        learning_rate: float,
        t: Step,
        phi: Filter = gd_filter,
        ridge: float = 0.0,
    ) -> Ensemble:
        """Mean and covariance over initializations (Lee et al. 2019, eqs. 14-15).

        Args:
            nngp: NNGP kernel of all points, the covariance of f_0, [N, N], or of all
                pairs of points and outputs where these share it, [N, N, k, k].
            y: targets [n, k].
            learning_rate: eta.
            t: steps; `numpy.inf` is the end of training.
            phi: as for `outputs`.
            ridge: as for `outputs`.
        """
        if nngp.ndim == 4:
            nngp = nngp.transpose(0, 2, 1, 3).reshape(
                (nngp.shape[0] * self.coupled,) * 2
            )
        y = self._rows(np.asarray(y))
        n = y.shape[0]
        filtered = self._filtered(phi, learning_rate / self.points, t, ridge)
        P = self.theta @ (self.eigenvectors * filtered) @ self.eigenvectors.T
        A = np.eye(len(nngp))
        A[:, :n] -= P  # f_t = A f_0 + P y
        return Ensemble(P @ y, A @ nngp @ A.T)

"""How the networks of an experiment are trained, in numbers and in words."""

import dataclasses

import numpy as np

from zoo.descent.losses import LOSSES, Loss
from zoo.descent.optimizers import Optimizer, batch_order

SGD = Optimizer()
METHODS = {
    "sgd": "gradient descent",
    "momentum": "gradient descent with heavy-ball momentum",
    "nesterov": "gradient descent with Nesterov's momentum",
    "adam": "Adam",
}


@dataclasses.dataclass(frozen=True)
class Training:
    """What is minimized, and how.

    Attributes:
        loss: L.
        optimizer: what takes the steps.
        batch_size: examples of a step; None is all of them.
        alpha: scale of the outputs; the loss is L(F) / alpha^2.
        center: F = alpha (f - f_0) rather than alpha f.
        mirrored: whether a network is the difference of two equal copies, f_0 = 0.
        precision: of the products of a step, as `jax.default_matmul_precision` takes
            it; kernels are always at the highest.
    """

    loss: Loss = LOSSES["mse"]
    optimizer: Optimizer = SGD
    batch_size: int | None = None
    alpha: float = 1.0
    center: bool = False
    mirrored: bool = False
    precision: str = "highest"

    @property
    def closed_form(self) -> bool:
        """Whether the limit is a function of the kernel's eigenvalues."""
        return self.loss == LOSSES["mse"] and self.batch_size is None

    @property
    def random_start(self) -> bool:
        """Whether what is trained differs between initializations at the start."""
        return not (self.center or self.mirrored)

    def stable(self, critical: float) -> float:
        """The rate above which a model of fixed kernel may diverge.

        For the mean square of all examples it is the edge; for other losses it takes
        their largest curvature, for which momentum has no guarantee.

        Args:
            critical: of gradient descent on the mean square, 2 n / lambda_max, or of
                minibatches, `batch_critical`.
        """
        if not self.optimizer.linear or not self.loss.curvature:
            return np.inf
        gain = self.optimizer.edge / 2 if self.batch_size is None else 1.0
        return critical * gain / self.loss.curvature

    def batch_critical(
        self, theta: np.ndarray | None, n: int, critical: float
    ) -> float:
        """The rate up to which no step on a minibatch B drives a linear model away.

        2 b / lambda_max(Theta_BB), the eigenvalue bounded for all B at once: by
        that of Theta, and by the largest sum of b entries of a row. A velocity lasts
        1 / (1 - mu) steps, and the rate is as much smaller.

        Args:
            theta: train kernel, [n, n] or, of all pairs of outputs, [n k, n k]; None
                where it is not known.
            n: train points.
            critical: 2 n / lambda_max.
        """
        if self.batch_size is None:
            return critical
        rate = critical * self.batch_size / n
        if theta is not None:
            together = self.batch_size * (len(theta) // n)
            rows = -np.sort(-np.abs(theta), axis=1)[:, :together]
            rate = max(rate, 2 * self.batch_size / float(np.max(np.sum(rows, axis=1))))
        return rate / self.optimizer.speed(1.0)

    def time(self, rate: float, steps: int) -> float:
        """Time of the gradient flow that so many steps of small rate take."""
        return self.optimizer.speed(rate) * steps

    def orders(self, seeds: np.ndarray, n: int, steps: int) -> np.ndarray:
        """Examples of every step of every seed, [s, steps, b]; [s, 0, 0] for all."""
        if self.batch_size is None:
            return np.zeros((len(seeds), 0, 0), np.int32)
        size = self.batch_size
        return np.stack([batch_order(int(s), n, size, steps) for s in seeds])

    @property
    def what(self) -> str:
        """The loss, as it is printed."""
        if not self.center:
            return self.loss.formula
        F = "f - f_0" if self.alpha == 1 else f"{self.alpha:g} (f - f_0)"
        scale = "" if self.alpha == 1 else f" / {self.alpha:g}^2"
        return f"{self.loss.formula}{scale}, with {F} in the place of f"

    @property
    def how(self) -> str:
        """The method, as it is printed."""
        said = METHODS[self.optimizer.name]
        if self.optimizer.heavy:
            said += f", mu = {self.optimizer.mu:g}"
        seen = "full-batch " if self.batch_size is None else "minibatch "
        some = "" if self.batch_size is None else f", {self.batch_size} examples a step"
        start = ", from f_0 = 0 by two mirrored copies" if self.mirrored else ""
        digits = f", products at {self.precision} precision"
        return seen + said + some + start + digits * (self.precision != "highest")

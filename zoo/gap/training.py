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
    """

    loss: Loss = LOSSES["mse"]
    optimizer: Optimizer = SGD
    batch_size: int | None = None
    alpha: float = 1.0
    center: bool = False
    mirrored: bool = False

    @property
    def closed_form(self) -> bool:
        """Whether the limit is a function of the kernel's eigenvalues."""
        return self.loss == LOSSES["mse"] and self.batch_size is None

    @property
    def random_start(self) -> bool:
        """Whether what is trained differs between initializations at the start."""
        return not (self.center or self.mirrored)

    def stable(self, critical: float) -> float:
        """The largest rate at which a model of fixed kernel cannot diverge.

        Args:
            critical: 2 n / lambda_max, that of gradient descent on the mean square.
        """
        if not self.optimizer.linear or not self.loss.curvature:
            return np.inf
        return critical * self.optimizer.edge / 2 / self.loss.curvature

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
        return seen + said + some + start

"""Optimizers, and the order in which they see examples."""

import dataclasses
from typing import Any

import numpy as np
import optax
from jaxtyping import Int

from zoo.names import check_name

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """A first-order method, in optax's convention; g is the gradient, m starts at 0.

    * "sgd": w <- w - eta g.
    * "momentum": m <- g + mu m, w <- w - eta m (Polyak's heavy ball).
    * "nesterov": m <- g + mu m, w <- w - eta (g + mu m).
    * "adam": Kingma & Ba 2015, with optax's defaults.

    Attributes:
        name: one of these.
        mu: the momentum, in [0, 1).
    """

    name: str = "sgd"
    mu: float = 0.9

    def __post_init__(self):
        check_name("--optimizer", self.name, OPTIMIZERS)
        if not 0 <= self.mu < 1:
            raise ValueError(f"--momentum={self.mu} is not allowed: it takes [0, 1).")

    @property
    def linear(self) -> bool:
        """Whether steps are linear in gradients, so that the kernel says all."""
        return self.name != "adam"

    @property
    def heavy(self) -> bool:
        """Whether it has momentum."""
        return self.name in ("momentum", "nesterov")

    @property
    def edge(self) -> float:
        """Largest stable eta l for the loss l w^2 / 2 (from the companion matrix)."""
        if not self.heavy:
            return 2.0
        gain = 1 + 2 * self.mu if self.name == "nesterov" else 1.0
        return 2 * (1 + self.mu) / gain

    def speed(self, rate: float) -> float:
        """Time of the gradient flow that a step of small rate takes."""
        return rate / (1 - self.mu) if self.heavy else rate

    def transformation(self, rate: Any) -> optax.GradientTransformation:
        """The optimizer of optax, at learning rate eta = `rate`."""
        if self.name == "adam":
            return optax.adam(rate)
        momentum = self.mu if self.heavy else None
        return optax.sgd(rate, momentum, nesterov=self.name == "nesterov")


def batch_order(seed: int, n: int, size: int, steps: int) -> Int[np.ndarray, "steps b"]:
    """Examples of every step: epochs of random order, cut into batches.

    Where `size` does not divide n, the rest of an epoch is left out; another epoch
    leaves out others.

    Args:
        seed: of the order.
        n: number of examples.
        size: of a batch, b.
        steps: number of batches.

    Raises:
        ValueError: a batch is empty or larger than the train set.

    >>> batch_order(0, 5, 2, 3).shape
    (3, 2)
    """
    if not 1 <= size <= n:
        raise ValueError(
            f"--batch_size={size} is not allowed: it takes 1 to n_train={n}."
        )
    each = n // size
    epochs = -(-steps // each)
    rng = np.random.default_rng([seed, 0xBA7C4])
    order = rng.permuted(np.tile(np.arange(n, dtype=np.int32), (epochs, 1)), axis=1)
    return order[:, : each * size].reshape(-1, size)[:steps]

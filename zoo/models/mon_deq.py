"""The monotone operator equilibrium network of Winston & Kolter."""

import dataclasses

from zoo.layers import Dense, Equilibrium, Nonlinear, Serial
from zoo.layers.constrained import NOT_GAUSSIAN, MonotoneDense
from zoo.models.base import Limit
from zoo.models.deq_base import Condition, EquilibriumNetwork


class MonDEQ(EquilibriumNetwork):
    r"""A relu equilibrium that exists, and is unique, at any weights.

        z = relu(W z + U x + b),    f = V z,
        W = (1 - mu) I - (sigma_w^2 / m) A^T A + (sigma_w / sqrt(m)) (B - B^T),

    so that I - W - mu I is positive semi-definite. Here in the NTK parameterization:
    entries of A, B, U, b and V are N(0, 1), U and V over the root of their fan-in; all
    trained, on L = 1/(2n) sum_i |f(x_i) - y_i|^2. Plain iteration need not converge, W
    may be large: the paper splits operators, here Anderson's acceleration finds the
    same root.

    Source: Winston & Kolter 2020, "Monotone operator equilibrium networks" (code);
    sigma_w^2 = 1/3 is the variance of PyTorch's default initialization times m.

    Args:
        width: units m.
        out: number of outputs k.
        sigma_w: scale of A and B.
        mu: the margin; 1 in the paper's experiments.
        sigma_b: scale of the biases; 0 means no bias parameters.
        solver, tolerance, max_steps, warm_start: see `EquilibriumNetwork`.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Winston & Kolter 2020"

    out: int = 1
    sigma_w: float = 3**-0.5
    mu: float = 1.0
    sigma_b: float = 0.0
    solver: str = dataclasses.field(default="anderson", kw_only=True)

    def __post_init__(self):
        self.require_sizes("width", "out")
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        self.require(self.mu > 0, "mu", "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        super().__post_init__()

    def limit(self) -> Limit:
        """By sampling."""
        return Limit("monte carlo", f"MonotoneDense: {NOT_GAUSSIAN}")

    @property
    def condition(self) -> Condition:
        """None: W is monotone at any weights."""
        return Condition("")

    def layers(self) -> Serial:
        """Equilibrium, relu, Dense."""
        phi = Nonlinear("relu")
        cell = Serial(phi, MonotoneDense(self.width, self.sigma_w, self.mu))
        inject = Dense(self.width, 1.0, self.sigma_b)
        return Serial(Equilibrium(cell, inject, self.method), phi, Dense(self.out))

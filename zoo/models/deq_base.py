"""What the networks that are defined by an equation have in common."""

import dataclasses
from typing import NamedTuple

from zoo.layers import Method
from zoo.models.base import Architecture


class Condition(NamedTuple):
    """What makes an equilibrium well posed: a quantity below its bound.

    Attributes:
        quantity: "chi1" or "norm", as `zoo.layers.Equilibrium` measures them; "" where
            every weight will do.
        bound: what it has to stay below.
    """

    quantity: str
    bound: float = 1.0


class EquilibriumNetwork(Architecture):
    """A network with a layer z* = cell(z*) + inject(x).

    Args:
        width: units m of the root.
        solver: how the root is found, a name in `zoo.layers.SOLVERS`.
        tolerance: of the root, relative to the injection; None is a few roundings.
        max_steps: of the solver.
        warm_start: whether gradient descent begins a step's search at the roots of the
            step before; the same roots, to the tolerance.
    """

    width: int
    solver: str = dataclasses.field(default="picard", kw_only=True)
    tolerance: float | None = dataclasses.field(default=None, kw_only=True)
    max_steps: int = dataclasses.field(default=1000, kw_only=True)
    warm_start: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self):
        self.method.check()
        super().__post_init__()

    @property
    def condition(self) -> Condition:
        """Of the paper where it states one, of the limit otherwise."""
        return Condition("chi1")

    @property
    def method(self) -> Method:
        """How the root is found."""
        return Method(self.solver, self.tolerance, self.max_steps)

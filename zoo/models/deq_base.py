"""What the networks that are defined by an equation have in common."""

import dataclasses

from zoo.layers import Method
from zoo.models.base import Architecture


class EquilibriumNetwork(Architecture):
    """A network with a layer z* = cell(z*) + inject(x).

    Args:
        width: units m of the root.
        solver: how the root is found, a name in `zoo.layers.SOLVERS`.
        tolerance: of the root, relative to the injection; None is a few roundings.
        max_steps: of the solver.
    """

    width: int
    solver: str = dataclasses.field(default="picard", kw_only=True)
    tolerance: float | None = dataclasses.field(default=None, kw_only=True)
    max_steps: int = dataclasses.field(default=1000, kw_only=True)

    def __post_init__(self):
        self.method.check()
        super().__post_init__()

    @property
    def method(self) -> Method:
        """How the root is found."""
        return Method(self.solver, self.tolerance, self.max_steps)

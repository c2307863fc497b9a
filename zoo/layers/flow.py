"""Layers whose depth is the time of a differential equation."""

import dataclasses
from collections.abc import Callable
from functools import partial

import diffrax as dfx
import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import Kernel
from zoo.layers.base import Finite, Layer, Residual, apply_parts, walk
from zoo.layers.equilibrium import apply_unseen
from zoo.layers.kernel_flows import NODES, tied, untied


def integrate(
    velocity: Callable[[jax.Array], jax.Array], h: jax.Array, time: float, steps: int
) -> jax.Array:
    """Solves dh/dt = velocity(h) until `time`, by Tsitouras' method of order 5.

    The number of steps is fixed: examples do not choose each other's. Derivatives are
    those of the steps, exact, of any order, forward and reverse.
    """
    # Stage by stage: diffrax's own loops take twice as long to trace and compile.
    tableau, size = dfx.Tsit5.tableau, time / steps
    rows = [np.zeros(0), *tableau.a_lower[:-1]]  # the last is the step itself

    def step(h: jax.Array, _: None) -> tuple[jax.Array, None]:
        slopes = []
        for row in rows:
            at = sum((size * float(a) * k for a, k in zip(row, slopes, strict=True)), h)
            slopes.append(velocity(at))
        change = sum(
            float(b) * k for b, k in zip(tableau.b_sol[:-1], slopes, strict=True)
        )
        return h + size * change, None

    return jax.lax.scan(step, h, None, length=steps)[0]


@dataclasses.dataclass(frozen=True)
class Flow(Layer):
    """h at `time` of dh/dt = cell(h), h_0 = x, the cell's weights tied in time.

    Finite: `steps` of a method of order 5. Limit: see `zoo.layers.kernel_flows`; NaN
    where the kernel varies too much for its times.

    Args:
        cell: the velocity; in the limit it must end in weights.
        time: length of the flow.
        steps: of the finite network's method.
    """

    cell: Layer
    time: float = 1.0
    steps: int = 8

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The velocity."""
        return (self.cell,)

    @property
    def numeric(self) -> str:
        """Collocation; the error grows with sigma_w time."""
        smooth = all(layer.smooth for layer in walk(self.cell))
        error = "1e-10" if smooth else "1e-4"
        return (
            f"a two-time covariance at {NODES} x {NODES} times, to {error} at sigma_w "
            "time = 1"
        )

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """The flow; parameters under `cell`."""
        if scope.is_initializing():
            return x + Finite(self.cell, name="cell")(x)
        weights = scope.variables["params"]["cell"]
        velocity = partial(apply_unseen, self.cell, weights)
        return integrate(velocity, x, self.time, self.steps)

    def limit(self, k: Kernel) -> Kernel:
        """The end of a Goursat problem."""
        return tied(self.cell, k, self.time)


@dataclasses.dataclass(frozen=True)
class DeepResiduals(Layer):
    """`depth` residual branches of scale sqrt(time / depth), untied.

    Limit: of infinite depth too, which a network of depth L is c / L off.

    Args:
        branch: in the limit it must end in weights.
        depth: number L of branches of the finite network.
        time: sum of the squares of their scales.
    """

    branch: Layer
    depth: int
    time: float = 1.0

    @property
    def parts(self) -> tuple[Layer, ...]:
        """One branch, scaled."""
        return (Residual(self.branch, (self.time / self.depth) ** 0.5),)

    @property
    def numeric(self) -> str:
        """A differential equation along depth."""
        return (
            "a differential equation along infinite depth, to 1e-10; a network of "
            "depth L is c / L off"
        )

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """The branches, one after the other."""
        return apply_parts(self.parts * self.depth, x)

    def limit(self, k: Kernel) -> Kernel:
        """The end of a differential equation of kernels."""
        return untied(self.branch, k, self.time)

"""Layers that are defined by an equation: z = cell(z) + inject(x)."""

import contextlib
import dataclasses
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import Kernel
from zoo.layers.base import Finite, Layer, Serial
from zoo.layers.kernel_roots import equilibrium_kernel
from zoo.layers.nonlinear import Nonlinear
from zoo.layers.roots import Found, Method, fixed_point, rms, solve
from zoo.layers.spectra import largest_singular_value, mean_square
from zoo.names import check_name

DEFAULT = Method()
GRADIENTS = ("implicit", "phantom")
# Whether the calls of a cell's modules at the root have to show: "calls", or "shapes"
# where nobody asks for values.
_SHOWN: ContextVar[str] = ContextVar("shown", default="")
# Whether the solver is at work, whose calls are nobody's.
_SOLVING: ContextVar[bool] = ContextVar("solving", default=False)


@contextlib.contextmanager
def shown(what: str) -> Iterator[None]:
    """Outputs of equilibria depend on the calls of their cell's modules at the root.

    Args:
        what: "calls", or "shapes", which are right without a search for the root.
    """
    token = _SHOWN.set(what)
    try:
        yield
    finally:
        _SHOWN.reset(token)


def solving() -> bool:
    """Whether a solver is running: calls of modules in it belong to no forward pass."""
    return _SOLVING.get()


def apply_unseen(layer: Layer, weights: Any, z: Float[Array, "n ..."]) -> jax.Array:
    """A layer of given parameters, unseen by whoever looks at modules' calls."""
    token = _SOLVING.set(True)
    try:
        module: Any = Finite(layer)
        return module.apply({"params": weights}, z)
    finally:
        _SOLVING.reset(token)


@dataclasses.dataclass(frozen=True)
class Equilibrium(Layer):
    r"""The fixed point z* = cell(z*) + inject(x), example by example.

    A weight-tied network of infinite depth, cut where the input is added: the layer of
    Bai, Kolter & Koltun 2019, z = phi(W z + U x + b), is cell = [phi, W], inject = U x
    + b, with z* the pre-activation. z* has the shape of inject(x).

    Finite. The root is found from z = inject(x), where nothing is differentiated; its
    derivatives are those of the implicit function theorem (`zoo.layers.roots`), of any
    order, by inputs and parameters, forward and reverse. Memory does not grow with the
    number of steps. A row without a root is NaN. With mutable=["equilibrium"] `apply`
    also returns, of every row, "residual", the root mean square of cell(z) + inject(x)
    - z over that of inject(x), "steps" of the solver, and "lost", whether there is no
    root. With mutable=["spectrum"] it returns "chi1", |J|_F^2 / m of the cell's
    derivative J at every root, and "norm", the largest singular value of the cell
    without its activations, which the literature bounds. A collection "warm" with "z"
    of an earlier batch is where the search starts; mutable=["warm"] returns one.

    Limit. Covariance and NTK are fixed points of the cell's own maps: the NTK is that
    of a network of infinite depth with untied weights (Feng & Kolter 2020; Gao, Huo,
    Liu & Gao 2023): terms of different depths vanish, if the readout is random and of
    mean zero. It needs chi_1 < 1 at every input; see `zoo.layers.kernel_roots`.

    Args:
        cell: the layer under the loop. In the limit it must end in weights.
        inject: what becomes of the input, once. In the limit it must end in weights.
        method: how the root is found, and the derivatives' linear systems.
        gradient: "implicit", or "phantom": derivatives through `phantom_steps` damped
            steps from the root (Geng et al. 2021), which are not exact; kernels, and
            the comparison with them, are then those of the inexact derivatives.
        phantom_steps: number of these steps.
        phantom_damping: share of the new iterate in each.
    """

    cell: Layer
    inject: Layer
    method: Method = DEFAULT
    gradient: str = "implicit"
    phantom_steps: int = 1
    phantom_damping: float = 1.0

    def __post_init__(self):
        check_name("gradient", self.gradient, GRADIENTS)
        if self.phantom_steps < 1 or not 0 < self.phantom_damping <= 1:
            raise ValueError(
                "Equilibrium needs phantom_steps >= 1 and 0 < phantom_damping <= 1, "
                f"got {self.phantom_steps} and {self.phantom_damping}."
            )
        self.method.check()

    @property
    def numeric(self) -> str:
        """A root, found to rounding."""
        return "fixed points of kernels, to 1e-12"

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The cell and the injection."""
        return (self.cell, self.inject)

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """The root; parameters under `cell` and `inject`."""
        u = Finite(self.inject, name="inject")(x)
        cell = Finite(self.cell, name="cell")
        if scope.is_initializing() or _SHOWN.get() == "shapes":
            out = cell(u)
            self._require_shape(u, out)
            return out + u
        weights = scope.variables.get("params", {}).get("cell", {})
        root = self._root(weights, u, scope.get_variable("warm", "z", None))
        z = root.value
        if scope.is_mutable_collection("warm"):
            scope.put_variable("warm", "z", z)
        if self.gradient == "phantom":
            z = jax.lax.stop_gradient(z)
        step = cell(z) + u
        residual, lost = _residual(step, z, u), ~root.converged
        found = {"residual": residual, "steps": root.steps, "lost": lost}
        for name, value in found.items():
            scope.sow("equilibrium", name, value, reduce_fn=_last)
        if scope.is_mutable_collection("spectrum"):
            for name, value in self._spectrum(weights, z).items():
                scope.sow("spectrum", name, value, reduce_fn=_last)
        if self.gradient == "phantom":
            z = self._phantom(weights, u, z, step)
        elif _SHOWN.get():  # Newton's step from the root, through the cell's modules
            z = z + self._solve(weights, z, step - z)
        unit = jnp.where(root.converged, 1.0, jnp.nan).astype(z.dtype)
        return z * jnp.expand_dims(unit, tuple(range(1, z.ndim)))

    def limit(self, k: Kernel) -> Kernel:
        """The fixed point of the kernels' maps."""
        return equilibrium_kernel(self.cell, self.inject.limit(k))

    def apply_cell(self, weights: Any, z: Float[Array, "n ..."]) -> jax.Array:
        """cell(z) of given parameters."""
        return apply_unseen(self.cell, weights, z)

    def _step(self, arguments: Any, z: Array) -> jax.Array:
        """cell(z) + u, of one example."""
        weights, u = arguments
        return self.apply_cell(weights, z[None])[0] + u

    def _root(self, weights: Any, u: Array, guess: Array | None) -> Found:
        def of_one(u: Array, start: Array) -> Found:
            size = jax.lax.stop_gradient(rms(u))
            return fixed_point(self._step, self.method, (weights, u), start, size)

        start: Any = u
        if guess is not None and guess.shape == u.shape:
            start = jnp.where(jnp.isfinite(guess), guess, u)
        start = jax.lax.stop_gradient(start)
        return jax.vmap(of_one)(u, start)

    def _solve(self, weights: Any, z: Array, b: Array) -> jax.Array:
        """(1 - J)^-1 b at the root."""

        def of_one(z: Array, b: Array) -> jax.Array:
            step = partial(self._step, (weights, jnp.zeros_like(z)))
            return solve(step, z, b, self.method)

        return jax.vmap(of_one)(z, b)

    def _spectrum(self, weights: Any, z: Array) -> dict[str, jax.Array]:
        weights, z = jax.lax.stop_gradient((weights, z))
        bare = self.cell
        if isinstance(bare, Serial):
            kept = (part for part in bare.parts if not isinstance(part, Nonlinear))
            bare = Serial(*kept)
        norm = largest_singular_value(partial(apply_unseen, bare, weights), z[:1])
        return {"chi1": mean_square(partial(self.apply_cell, weights), z), "norm": norm}

    def _phantom(self, weights: Any, u: Array, z: Array, step: Array) -> jax.Array:
        share = self.phantom_damping
        z = (1 - share) * z + share * step
        for _ in range(self.phantom_steps - 1):
            z = (1 - share) * z + share * (self.apply_cell(weights, z) + u)
        return z

    def _require_shape(self, u: Array, out: Array) -> None:
        if out.shape != u.shape:
            raise ValueError(
                f"Equilibrium needs a cell whose output has the shape of its input, "
                f"got a cell that maps {u.shape} to {out.shape}."
            )


def _last(_: Any, new: jax.Array) -> jax.Array:
    """A later call's value takes the place of an earlier one's."""
    return new


def _residual(step: Array, z: Array, u: Array) -> jax.Array:
    """Root mean square of step - z in units of that of u, [n]."""

    def of_one(step: Array, z: Array, u: Array) -> jax.Array:
        size = rms(u)
        return rms(step - z) / jnp.where(size > 0, size, 1.0)

    return jax.lax.stop_gradient(jax.vmap(of_one)(step, z, u))

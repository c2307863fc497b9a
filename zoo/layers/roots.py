"""Fixed points y = f(y): found by iteration, and differentiated as roots.

The solvers are optimistix's, and Anderson's, which it lacks. Derivatives are those of
the implicit function theorem, dy = (1 - J)^-1 df with J the derivative of f by y: no
step of the iteration is differentiated, or kept. The rule of the derivative is written
in terms of the root itself, so that it has derivatives of every order, and its linear
system is again a fixed point, t = J t + df, which the same solver finds. It is posed by
`lax.custom_linear_solve` with a solver for its transpose: with `lax.custom_root` and
`jax.scipy`'s GMRES there is no reverse mode, optimistix's own adjoint forms the dense
Jacobian unless told otherwise, and a `custom_vjp` has no forward mode.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from jax.flatten_util import ravel_pytree

from zoo.names import check_name

Function = Callable[[Any, Any], Any]  # (arguments, y) -> f(y)


class Method(NamedTuple):
    """How a fixed point is found.

    Attributes:
        solver: a name in `SOLVERS`.
        tolerance: bound on the root mean square of f(y) - y, in units of the start's;
            None is 32 roundings of the dtype.
        max_steps: steps after which the search is given up.
    """

    solver: str = "picard"
    tolerance: float | None = None
    max_steps: int = 1000

    def reach(self, dtype: Any) -> float:
        """The tolerance in a dtype.

        Raises:
            ValueError: if the dtype cannot tell y from f(y) that finely.
        """
        eps = float(jnp.finfo(dtype).eps)
        if self.tolerance is None:
            return 32 * eps
        if self.tolerance < 4 * eps:
            raise ValueError(
                f"tolerance={self.tolerance:g} is below the reach of {dtype}: it takes "
                f"at least {4 * eps:.2g}."
            )
        return self.tolerance

    def check(self) -> None:
        """Refuses an unknown solver, and numbers out of range."""
        check_name("solver", self.solver, SOLVERS)
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise ValueError(
                f"tolerance has to lie between 0 and 1, got tolerance={self.tolerance}."
            )
        if self.max_steps < 1:
            raise ValueError(f"max_steps has to be >= 1, got {self.max_steps}.")


class Anderson(optx.AbstractFixedPointSolver):
    """Anderson's acceleration (1965) of a fixed-point iteration, type II.

    The next iterate is that combination of the last ones whose residual is smallest,
    with a ridge relative to the largest of the residuals' products: an absolute one
    turns the method into averaging once residuals fall below it.

    Attributes:
        rtol: bound on the residual relative to f(y), entry by entry.
        atol: bound on the residual.
        norm: of residual / (atol + rtol |f(y)|).
        history: number of differences kept.
        ridge: relative regularization; None is the dtype's rounding.
    """

    rtol: float
    atol: float
    norm: Callable = optx.rms_norm
    history: int = 5
    ridge: float | None = None

    def init(self, fn, y, args, options, f_struct, aux_struct, tags):
        """No differences yet."""
        flat, _ = ravel_pytree(y)
        none = jnp.zeros((self.history, flat.size), flat.dtype)
        error = jnp.asarray(jnp.inf, flat.dtype)
        return jnp.asarray(0), none, none, flat, jnp.zeros_like(flat), error

    def step(self, fn, y, args, options, state, tags):
        """One evaluation of f."""
        count, values, residuals, last_value, last_residual, _ = state
        out, aux = fn(y, args)
        (value, unravel), (flat, _) = ravel_pytree(out), ravel_pytree(y)
        residual = value - flat
        place, fresh = count % self.history, count > 0
        values = values.at[place].set(jnp.where(fresh, value - last_value, 0.0))
        residuals = residuals.at[place].set(
            jnp.where(fresh, residual - last_residual, 0.0)
        )
        gram = residuals @ residuals.T
        ridge = jnp.finfo(flat.dtype).eps if self.ridge is None else self.ridge
        most = jnp.max(jnp.diag(gram))
        ridge = ridge * jnp.where(most > 0, most, 1.0)
        gram = gram + ridge * jnp.eye(self.history, dtype=flat.dtype)
        gamma = jnp.linalg.solve(gram, residuals @ residual)
        error = self.norm(residual / (self.atol + self.rtol * jnp.abs(value)))
        state = (count + 1, values, residuals, value, residual, error)
        return unravel(value - gamma @ values), state, aux

    def terminate(self, fn, y, args, options, state, tags):
        """Once the residual is small."""
        return state[-1] < 1, optx.RESULTS.successful

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        """The last iterate."""
        return y, aux, {}


# By name, the solver for a tolerance.  Newton's method solves its linear systems by
# GMRES, the chord method by the dense Jacobian at the start, [m, m] for every example.
SOLVERS: dict[str, Callable[[float], Any]] = {
    "picard": lambda tol: optx.FixedPointIteration(0.0, tol, optx.rms_norm),
    "damped": lambda tol: optx.FixedPointIteration(0.0, tol, optx.rms_norm, 0.5),
    "anderson": lambda tol: Anderson(0.0, tol),
    "newton": lambda tol: optx.Newton(
        0.0, tol, optx.rms_norm, linear_solver=lx.GMRES(tol / 10, tol / 10, restart=50)
    ),
    "chord": lambda tol: optx.Chord(0.0, tol, optx.rms_norm, linear_solver=lx.LU()),
}


class Found(NamedTuple):
    """A fixed point, or what was reached.

    Attributes:
        value: y.
        steps: of the solver.
        converged: whether the solver says so.
    """

    value: Any
    steps: jax.Array
    converged: jax.Array


def search(f: Callable[[Any], Any], start: Any, size: Any, method: Method) -> Found:
    """Iterates from `start`, without derivatives.

    Args:
        f: the function; arrays in, arrays of the same shapes out.
        start: first iterate, an array or a tree of them.
        size: root mean square of y, the unit of the tolerance.
        method: how.
    """
    dtype = jnp.result_type(*jax.tree.leaves(start))
    unit = jnp.where(size > 0, size, 1.0).astype(dtype)

    # Step by step, as optimistix allows: its own driver takes twice as long to trace
    # and compile, and its derivatives are not needed.
    solver = SOLVERS[method.solver](method.reach(dtype))
    seeks_zero = isinstance(solver, optx.AbstractRootFinder)

    def scaled(y: Any, _: Any = None) -> tuple[Any, None]:
        out = f(jax.tree.map(lambda a: a * unit, y))
        out = jax.tree.map(lambda a: a / unit, out)
        return jax.tree.map(jnp.subtract, out, y) if seeks_zero else out, None

    first = jax.tree.map(lambda a: a / unit, start)
    spec = jax.eval_shape(lambda: first)
    state = solver.init(scaled, first, None, {}, spec, None, frozenset())
    arrays, static = eqx.partition(state, eqx.is_array)

    def going(carry: tuple) -> jax.Array:
        _, _, steps, stop, _ = carry
        return ~stop & (steps < method.max_steps)

    def advance(carry: tuple) -> tuple:
        y, arrays, steps, _, _ = carry
        state = eqx.combine(arrays, static)
        y, state, _ = solver.step(scaled, y, None, {}, state, frozenset())
        done, result = solver.terminate(scaled, y, None, {}, state, frozenset())
        sound = (result == optx.RESULTS.successful) & jnp.isfinite(rms(y))
        arrays, _ = eqx.partition(state, eqx.is_array)
        return y, arrays, steps + 1, done | ~sound, done & sound

    no = jnp.asarray(False)
    begin = (first, arrays, jnp.asarray(0, jnp.int32), no, no)
    y, _, steps, _, converged = jax.lax.while_loop(going, advance, begin)
    return Found(jax.tree.map(lambda a: a * unit, y), steps, converged)


def rms(tree: Any) -> jax.Array:
    """Root mean square of all entries."""
    flat, _ = ravel_pytree(tree)
    return jnp.sqrt(jnp.mean(flat**2))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def fixed_point(
    f: Function, method: Method, arguments: Any, start: Any, size: Any
) -> Found:
    """The fixed point y = f(arguments, y), with derivatives by the arguments.

    Args:
        f: the function; it closes over no array that is differentiated.
        method: how it is found.
        arguments: what y depends on.
        start: first iterate.
        size: root mean square of y, the unit of the tolerance.
    """
    return search(partial(f, arguments), start, size, method)


@fixed_point.defjvp
def _implicit(f: Function, method: Method, primals: tuple, tangents: tuple):
    found = fixed_point(f, method, *primals)
    arguments, y = primals[0], found.value
    _, change = jax.jvp(lambda args: f(args, y), (arguments,), (tangents[0],))
    moved = solve(partial(f, arguments), y, change, method)
    none: Any = np.zeros(found.steps.shape, jax.dtypes.float0)
    return found, Found(moved, none, none)


def solve(f: Callable[[Any], Any], y: Any, b: Any, method: Method) -> Any:
    """Solves t = J t + b, J the derivative of f at y; t is differentiable again.

    NaN where it is not found: nobody is there to be told.
    """
    _, derivative = jax.linearize(f, y)

    def matvec(t: Any) -> Any:
        return jax.tree.map(jnp.subtract, t, derivative(t))

    def by_iteration(product: Callable, b: Any) -> Any:
        def step(t: Any) -> Any:  # t - (1 - J) t + b
            return jax.tree.map(lambda t, p, b: t - p + b, t, product(t), b)

        found = search(step, b, rms(b), method)
        return jax.tree.map(
            lambda t: jnp.where(found.converged, t, jnp.nan), found.value
        )

    return jax.lax.custom_linear_solve(matvec, b, by_iteration, by_iteration)

"""The network linearized at its initialization, and trained.

Its outputs obey, exactly, at any rate, and for any optimizer whose steps are linear in
gradients (see `zoo.descent.function_space`),

    F_t = F_0 - J J_X^T c_t,

with J the derivative of the outputs by the parameters at initialization, on the train
points J_X, and Theta = J_X J_X^T the full empirical NTK, all pairs of outputs included.
No parameters move and no step costs a pass through the network.

For gradient descent on the mean square c_t = (eta / n) sum_{s<t} r_s, and the residuals
r_{t+1} = r_t - (eta / n) Theta r_t live in the Krylov space of Theta and r_0. Its
dimension: on the interval [0, b], b <= 2, x -> (1 - x)^t is a polynomial of degree
q = sqrt(t b log(2/e)) up to an error e (Sachdeva & Vishnoi 2014, Theorems 3.3 and 4.1),
so that q products with Theta give t steps to rounding. Any other case takes a product a
step; adam, whose steps are not linear in gradients, trains the linearization itself.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from zoo.descent.function_space import coefficients
from zoo.descent.losses import LOSSES
from zoo.descent.optimizers import Optimizer
from zoo.finite.train import Objective, train

# Of a Krylov space, for the sake of its top eigenvalue.
SMALLEST = 32
SGD, SQUARE = Optimizer(), Objective()


class Linearized(NamedTuple):
    """The linearized network, trained.

    Attributes:
        outputs: F at the recorded steps on all points, [t, N, k].
        top_eigenvalue: the largest of Theta; its critical rate is 2 n over it.
    """

    outputs: jax.Array
    top_eigenvalue: jax.Array


class Krylov(NamedTuple):
    """Theta on the Krylov space: V Theta V^T = tridiag(beta, alpha, beta).

    Attributes:
        basis: V, orthonormal rows, [q, n]; zero rows after the last.
        alpha: [q]; zero after the last.
        beta: coupling of each row to the next, [q]; zero from the last on.
    """

    basis: jax.Array
    alpha: jax.Array
    beta: jax.Array


def train_linearized(
    apply_fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    theta: Float[Array, "k n k n"],
    x: Shaped[Array, "N ..."],
    y: Float[Array, "n k"],
    learning_rate: Float[Array, ""],
    times: Int[Array, " t"],
    last: int,
    optimizer: Optimizer = SGD,
    objective: Objective = SQUARE,
) -> Linearized:
    """Training of the network's linearization at `params`.

    Args:
        apply_fn: the network, (params, x) -> f.
        params: where it is linearized, and where training starts.
        theta: its empirical NTK on the train points, outputs first.
        x: points [N, ...]; the first n are trained on, all are recorded.
        y: targets of the first n points.
        learning_rate: eta.
        times: steps after which outputs are recorded; increasing.
        last: the last of them, as a Python number.
        optimizer: what takes the steps.
        objective: what it minimizes.
    """
    n = y.shape[0]
    matrix = theta.reshape(y.size, y.size)
    if not optimizer.linear:
        adam = optimizer.transformation(learning_rate)
        linear = linearization(apply_fn, params)
        f = train(linear, params, x, y, adam, times, objective=objective).outputs
        return Linearized(objective.outputs(f), top_eigenvalue(matrix))
    with jax.default_matmul_precision("highest"):
        f0, pullback = jax.vjp(lambda p: apply_fn(p, x[:n]), params)
        f0_rest, pushforward = jax.linearize(lambda p: apply_fn(p, x[n:]), params)
        start = objective.outputs(jnp.concatenate([f0, f0_rest]))
        if optimizer.name == "sgd" and _is_plain(objective):
            c, top = _gradient_descent(matrix, start[:n], y, learning_rate, times, last)
        else:
            steps = optimizer.transformation(learning_rate)
            c = coefficients(
                lambda c: _by_output(matrix, c),
                start[:n],
                y,
                objective.loss,
                steps,
                times,
                objective.batches,
            )
            top = top_eigenvalue(matrix)

        def outputs(c: jax.Array) -> jax.Array:
            rest = start[n:] - pushforward(*pullback(c))
            return jnp.concatenate([start[:n] - _by_output(matrix, c), rest])

        return Linearized(jax.lax.map(outputs, c), top)


def _is_plain(objective: Objective) -> bool:
    """Whether it is the mean square over all examples."""
    return objective.loss == LOSSES["mse"] and objective.batches is None


def linearization(apply_fn: Callable, origin: Any) -> Callable:
    """The network's first-order expansion around `origin`, as (params, x) -> f."""

    def linear(params: Any, x: jax.Array) -> jax.Array:
        away = jax.tree.map(jnp.subtract, params, origin)
        f, change = jax.jvp(lambda p: apply_fn(p, x), (origin,), (away,))
        return f + change

    return linear


def _by_output(matrix: jax.Array, c: jax.Array) -> jax.Array:
    """Theta c for Theta [kn, kn], outputs first, and c [n, k]."""
    return (matrix @ c.T.ravel()).reshape(c.shape[::-1]).T


def _gradient_descent(
    matrix: jax.Array,
    f0: jax.Array,
    y: jax.Array,
    learning_rate: jax.Array,
    times: jax.Array,
    last: int,
) -> tuple[jax.Array, jax.Array]:
    """Coefficients of gradient descent on the square, [t, n, k]; the top eigenvalue."""
    rate, r0 = learning_rate / len(y), (f0 - y).T.ravel()
    space = krylov(matrix, r0, *_stopping(last, r0, rate))
    sums = _summed_residuals(space, jnp.linalg.norm(r0), rate, times)  # [t, kn]
    c = rate * sums.reshape(-1, *y.shape[::-1]).transpose(0, 2, 1)
    return c, _top_ritz(space)


def _stopping(last: int, r0: jax.Array, rate: jax.Array) -> tuple[int, Callable]:
    """Rows of the basis, and when to stop, for `last` steps of gradient descent."""

    def enough(bound: jax.Array) -> jax.Array:
        return _dimension(last, r0.dtype, last * jnp.minimum(rate * bound, 2.0))

    worst = _dimension(last, r0.dtype, 2.0 * last, np)
    return min(r0.size, math.ceil(worst)), enough


def krylov_products(last: int, size: int) -> int:
    """Products with Theta [size, size] that `last` steps take in float32, at most."""
    worst = _dimension(last, jnp.float32, 2.0 * last, np)
    return min(size, math.ceil(worst))


def _dimension(last: int, dtype: Any, exponent: Any, xp: Any = jnp) -> Any:
    """Dimension for `last` steps to rounding, `exponent` being rate b times them."""
    digits = math.log(2 * max(last, 1) / float(jnp.finfo(dtype).eps))
    degree = xp.sqrt(xp.maximum(exponent, digits) * digits) + 4
    return xp.maximum(xp.minimum(degree, last), SMALLEST)


def krylov(
    matrix: Float[Array, "n n"],
    start: Float[Array, " n"],
    size: int,
    enough: Callable[[jax.Array], jax.Array],
) -> Krylov:
    """Lanczos with full reorthogonalization (twice) of a symmetric matrix.

    An exhausted space, as of a kernel of low rank, ends in zero rows, not in NaN.

    Args:
        matrix: symmetric.
        start: spans the space with its images.
        size: rows of the basis, its largest dimension.
        enough: maps a bound on the eigenvalues met so far (Gershgorin's, of the
            tridiagonal matrix) to the dimension at which to stop.
    """
    tiny = 100 * jnp.finfo(start.dtype).eps

    def going(state):
        i, _, _, bound = state
        return (i < size) & (i < enough(bound))

    def step(state):
        i, space, v, bound = state
        basis = space.basis.at[i].set(v)
        w = matrix @ v
        alpha = v @ w
        for _ in range(2):
            w = w - (basis @ w) @ basis
        beta = jnp.linalg.norm(w)
        before = jnp.where(i > 0, space.beta[i - 1], 0.0)
        bound = jnp.maximum(bound, jnp.abs(alpha) + beta + before)
        alive = beta > tiny * bound
        beta = jnp.where(alive, beta, 0.0)
        following = jnp.where(alive, w / jnp.where(alive, beta, 1.0), 0.0)
        space = Krylov(basis, space.alpha.at[i].set(alpha), space.beta.at[i].set(beta))
        return i + 1, space, following, bound

    norm = jnp.linalg.norm(start)
    v = start / jnp.where(norm > 0, norm, 1.0)
    zero = jnp.zeros((size,), start.dtype)
    empty = Krylov(jnp.zeros((size, start.size), start.dtype), zero, zero)
    state = (0, empty, v, jnp.zeros_like(norm))
    stop, space, _, _ = jax.lax.while_loop(going, step, state)
    return space._replace(beta=space.beta.at[stop - 1].set(0.0))


def _summed_residuals(
    space: Krylov, norm: jax.Array, rate: jax.Array, times: jax.Array
) -> jax.Array:
    """sum_{s<t} r_s at the recorded steps, [t, n], stepped inside the space."""
    zero = jnp.zeros((1,), space.alpha.dtype)
    up = space.beta[:-1]

    def step(_, state):
        z, total = state
        above = jnp.concatenate([up * z[1:], zero])
        below = jnp.concatenate([zero, up * z[:-1]])
        return z - rate * (space.alpha * z + above + below), total + z

    def record(state, interval):
        start, stop = interval
        state = jax.lax.fori_loop(start, stop, step, state)
        return state, state[1]

    z = jnp.zeros_like(space.alpha).at[0].set(norm)
    intervals = (jnp.concatenate([jnp.zeros_like(times[:1]), times[:-1]]), times)
    _, sums = jax.lax.scan(record, (z, jnp.zeros_like(z)), intervals)
    return sums @ space.basis


def top_eigenvalue(matrix: Float[Array, "n n"]) -> jax.Array:
    """The largest eigenvalue of a symmetric matrix, by Lanczos from a fixed vector."""
    start = jax.random.normal(jax.random.key(0), (len(matrix),), matrix.dtype)
    size = min(SMALLEST, len(matrix))
    return _top_ritz(krylov(matrix, start, size, lambda bound: jnp.asarray(size)))


def _top_ritz(space: Krylov) -> jax.Array:
    """The largest Ritz value."""
    off = jnp.diag(space.beta[:-1], 1)
    return jnp.linalg.eigvalsh(jnp.diag(space.alpha) + off + off.T)[-1]

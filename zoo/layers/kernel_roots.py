r"""Kernels of an equilibrium h = cell(h) + u: fixed points of the cell's kernel maps.

Of independent weights in every application of the cell, the covariance S = E h h' and
the NTK T obey (deep equilibrium networks: Feng & Kolter 2020; Gao, Huo, Liu & Gao 2023)

    S = G(S) + S_u,    T = D(S) T + own(S) + T_u,

where G is the cell's map of covariances, and its map of NTKs is affine with slope D,
the derivative of G by the covariance of the two points (Price's theorem), and own, the
share of the cell's own parameters. For phi followed by weights of scale sigma_w, in the
NTK parameterization, G = sigma_w^2 E phi phi', D = sigma_w^2 E phi'(h) phi'(h'),
own = G.

Where a cell does not mix positions, S(x, x') depends on itself and on the variances
S(x, x), S(x', x') alone. So the variances come first, and then every pair of points by
a Newton iteration of its own, whose derivative D is at hand: there is no linear system,
and T = (own + T_u) / (1 - D). Otherwise Anderson's acceleration takes its place.

The condition is chi_1 = D(S(x, x)) < 1 at every input: then the equilibrium of the wide
network is stable, and T finite and positive semi-definite. That the recursion of S
converges does not imply it. chi_q, the derivative of a variance's map by itself, has to
be below 1 for the variance to be stable. Kernels of pairs with such an input are NaN;
an input that is no traced value is refused instead.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.infinite.neural_tangents import Kernel
from zoo.layers.base import Layer
from zoo.layers.nonlinear import both_variances, exact_diagonal
from zoo.layers.roots import Method, fixed_point, rms

MOST_STEPS = 60
ACCELERATED = Method("anderson", max_steps=2000)


class Variances(NamedTuple):
    """Covariances of points with themselves, at the equilibrium.

    Attributes:
        value: [n, ...] as a kernel's `cov1`.
        chi1: [n].
        chiq: [n].
        steps: of Newton's iteration, or the accelerated one.
    """

    value: jax.Array
    chi1: jax.Array
    chiq: jax.Array
    steps: jax.Array


def _require_gaussian(name: str, k: Kernel) -> None:
    if not k.is_gaussian:
        raise ValueError(
            f"Equilibrium has no limit of this form: its {name} has to end in a layer "
            "with weights of its own."
        )


def _require_well_posed(*found: Variances | None) -> None:
    for each in found:
        if each is None or isinstance(each.chi1, jax.core.Tracer):
            continue
        for name, chi in (("chi_1", each.chi1), ("chi_q", each.chiq)):
            if np.any(np.asarray(chi) >= 1):
                raise ValueError(
                    f"Equilibrium is not well posed in the limit: {name} = "
                    f"{float(jnp.max(chi)):.4g} at an input, and has to be below 1; a "
                    "smaller sigma_w makes it so."
                )


def apply_cell(cell: Layer, k: Kernel) -> Kernel:
    """The cell's map, in the orientation of its input."""
    out = cell.limit(k)
    _require_gaussian("cell", out)
    return out.reverse() if out.is_reversed != k.is_reversed else out


def alone(u: Kernel, cov: jax.Array) -> Kernel:
    """The kernel of one point with itself."""
    return u.replace(
        nngp=cov[None, None],
        ntk=jnp.zeros_like(cov)[None, None],
        cov1=cov[None],
        cov2=None,
        x1_is_x2=jnp.asarray(True),
        shape1=(1, *u.shape1[1:]),
        shape2=(1, *u.shape2[1:]),
    )


def point_variances(cell: Layer, u: Kernel, injected: jax.Array) -> Variances:
    """The variances' fixed points, and their conditions; of each point alone."""

    def of_one(injected: jax.Array) -> Variances:
        ones = jnp.ones_like(injected)

        def mapped(cov: jax.Array) -> jax.Array:
            return apply_cell(cell, alone(u, cov)).cov1[0]

        def newton(cov: jax.Array) -> tuple[jax.Array, jax.Array]:
            value, slope = jax.jvp(mapped, (cov,), (ones,))
            return value + injected, slope

        if injected.ndim:
            value, steps = accelerated(lambda cov: mapped(cov) + injected, injected)
        else:
            value, steps, _ = by_entry(newton, injected, _near, jnp.zeros(()))

        def ntk(ntk: jax.Array) -> jax.Array:
            k = alone(u, value).replace(ntk=ntk[None, None])
            return apply_cell(cell, k).ntk[0, 0]

        _, slope = jax.jvp(ntk, (jnp.zeros_like(value),), (ones,))
        _, own = jax.jvp(mapped, (value,), (ones,))
        return Variances(value, jnp.max(slope), jnp.max(own), steps)

    return jax.vmap(of_one)(injected)


def _near(cov: jax.Array, value: jax.Array) -> jax.Array:
    """A variance, and none so large that the next dual has no digits."""
    return jnp.minimum(jnp.abs(cov), 4.0 * value)


Newton = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def by_entry(
    f: Newton,
    start: jax.Array,
    inside: Callable[[jax.Array, jax.Array], jax.Array],
    chi: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Newton's iteration for y = f(y) in every entry, and the number of its steps.

    It ends when step / (1 - chi) is below 1e-12 of the largest entry, or the step is
    its own rounding, wherever chi < 1; the other entries are not waited for. Returned
    last is which entries are that near. The iteration is not differentiated; two more
    steps are, which makes derivatives exact up to the second.
    Where the derivative is 1 or more, a step is y <- f(y).

    Args:
        f: maps y to f(y) and its derivative by y.
        start: first iterate.
        inside: puts an iterate back where the root is, from it and f(y).
        chi: bound on the derivative at the root, of every entry or of all.
    """
    stop = jax.lax.stop_gradient
    eps = float(jnp.finfo(start.dtype).eps)
    chi = stop(jnp.broadcast_to(chi, start.shape))
    room = jnp.maximum(1 - chi, eps)  # by which a step enlarges the rounding of f
    bound = jnp.where(chi < 1, jnp.maximum(1e-12 * room, 2 * eps / room), jnp.inf)

    def step(y: jax.Array) -> jax.Array:
        value, slope = f(y)
        slope = jnp.where(stop(slope) < 1, stop(slope), 0.0)
        return inside(y + (value - y) / (1 - slope), value)

    pure, constants = jax.closure_convert(step, start)
    constants = stop(constants)

    def going(state: tuple) -> jax.Array:
        _, size, count = state
        return (count < MOST_STEPS) & jnp.any(size > bound)

    def advance(state: tuple) -> tuple:
        y, _, count = state
        new = pure(y, *constants)
        scale = jnp.max(jnp.abs(new), initial=0.0, where=chi < 1)
        scale = jnp.where(scale > 0, scale, 1.0)  # inputs that are all 0
        return new, jnp.abs(new - y) / scale, count + 1

    first = (stop(start), jnp.full_like(start, jnp.inf), 0)
    y, size, count = jax.lax.while_loop(going, advance, first)
    for _ in range(2):
        y = step(y)
    return y, count, size <= 16 * bound


def accelerated(
    f: Callable[[jax.Array], jax.Array], start: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The fixed point of f by Anderson's acceleration, and the number of its steps."""
    pure, constants = jax.closure_convert(f, start)
    tolerance = max(1e-13, 32 * float(jnp.finfo(start.dtype).eps))
    found = fixed_point(
        lambda constants, y: pure(y, *constants),
        ACCELERATED._replace(tolerance=tolerance),
        constants,
        start,
        rms(start),
    )
    return jnp.where(found.converged, found.value, jnp.nan), found.steps


class Covariances(NamedTuple):
    """Covariances of pairs of points, at the equilibrium.

    Attributes:
        value: [n1, n2, ...].
        steps: of Newton's iteration, or the accelerated one.
        converged: whether an entry was found; of all entries where positions mix.
    """

    value: jax.Array
    steps: jax.Array
    converged: jax.Array


def pair_covariances(cell: Layer, u: Kernel, k: Kernel, chi: jax.Array) -> Covariances:
    """The covariances' fixed points, given the variances.

    Args:
        cell: the cell.
        u: the kernel of the injection.
        k: that of the root, as far as it is known: its `cov1` and `cov2`.
        chi: bound on the derivative of the map, [n1, n2]; where it is 1 or more there
            is no equilibrium, and nothing is waited for.
    """
    zero, one = jnp.zeros_like(u.nngp), jnp.ones_like(u.nngp)
    if u.nngp.ndim > 2:

        def mapped(nngp: jax.Array) -> jax.Array:
            return apply_cell(cell, k.replace(nngp=nngp, ntk=zero)).nngp + u.nngp

        nngp, steps = accelerated(mapped, u.nngp)
        return Covariances(nngp, steps, jnp.all(jnp.isfinite(nngp)))
    left, right = both_variances(k)

    def newton(nngp: jax.Array) -> tuple[jax.Array, jax.Array]:
        def maps(ntk: jax.Array) -> tuple[jax.Array, jax.Array]:
            out = apply_cell(cell, k.replace(nngp=nngp, ntk=ntk))
            return out.ntk, out.nngp + u.nngp

        _, slope, value = jax.jvp(maps, (zero,), (one,), has_aux=True)
        return value, slope

    most = jnp.sqrt(left * right)

    def inside(nngp: jax.Array, _: jax.Array) -> jax.Array:
        return exact_diagonal(jnp.clip(nngp, -most, most), left, k)

    product = math.prod(both_variances(u))  # the injection's own correlation
    injected = jnp.sqrt(jnp.where(product > 0, product, 1.0))
    start = inside(u.nngp / injected * most, u.nngp)
    return Covariances(*by_entry(newton, start, inside, chi))


def equilibrium_kernel(cell: Layer, u: Kernel) -> Kernel:
    """The kernel of h from that of the injection u, which has to be Gaussian.

    Raises:
        ValueError: chi_1 or chi_q is 1 or more at an input, or the cell or injection do
            not end in weights of their own.
    """
    _require_gaussian("inject", u)
    first = point_variances(cell, u, u.cov1)
    second = first if u.cov2 is None else point_variances(cell, u, u.cov2)
    _require_well_posed(first, second)
    k = u.replace(cov1=first.value, cov2=None if u.cov2 is None else second.value)
    chi = largest_chi(first, second)
    nngp, _, converged = pair_covariances(cell, u, k, chi)

    def tangent(ntk: jax.Array) -> jax.Array:
        return apply_cell(cell, k.replace(nngp=nngp, ntk=ntk)).ntk

    if u.nngp.ndim == 2:
        zero, one = jnp.zeros_like(u.nngp), jnp.ones_like(u.nngp)
        own, slope = jax.jvp(tangent, (zero,), (one,))
        ntk = (own + u.ntk) / (1 - slope)
    else:
        ntk, _ = accelerated(lambda ntk: tangent(ntk) + u.ntk, u.ntk + nngp)
    good = (chi < 1).reshape(chi.shape + (1,) * (u.nngp.ndim - 2)) & converged
    return k.replace(
        nngp=jnp.where(good, nngp, jnp.nan), ntk=jnp.where(good, ntk, jnp.nan)
    )


def largest_chi(first: Variances, second: Variances) -> jax.Array:
    """The larger chi_1 of each pair of points; 1 where one of them is ill posed."""
    posed = [jnp.maximum(each.chi1, each.chiq) < 1 for each in (first, second)]
    both = posed[0][:, None] & posed[1][None]
    return jnp.where(both, jnp.maximum(first.chi1[:, None], second.chi1[None]), 1.0)

r"""Kernels of depth as a differential equation, with weights tied in time or untied.

Tied, dh/dt = cell(h): two times enter. With C(t, s) = E h_t h_s' for points x, x', and
T(t, s) the NTK of h_t(x) and h_s(x'), both of them solve a Goursat problem

    d_t d_s C = G(C),    d_t d_s T = own(C) + D(C) T,    C, T = C_0, T_0 at t s = 0,

where G is the cell's map of covariances at variances C(t, t) and C'(s, s), and own + D
T its map of NTKs. All pairs of times count: the share of equal ones vanishes.

Untied, the limit of L residual branches of scale sqrt(time / L): one time, and

    dS/dt = G(S),    dT/dt = own(S) + D(S) T.

Derived; numerically verified against networks of finite width.

Tied problems are solved by Gauss's collocation at `NODES` times, at which the integral
equations C = C_0 + int int G are iterated to their fixed point. That is exact to
rounding where G is smooth and sigma_w time about 1, and worse at longer times. The
kernel of relu has a kink at t = s for a point with itself: the error of its NTK there
falls as the square of the number of nodes.
"""

from collections.abc import Callable
from functools import partial

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import legendre

from zoo.infinite.neural_tangents import Kernel
from zoo.layers.base import COVARIANCES, Layer
from zoo.layers.kernel_roots import apply_cell
from zoo.layers.roots import Method, fixed_point, rms

NODES = 16
ITERATED = Method("picard", max_steps=200)
MOST_STEPS = 256
UNRESOLVED = 1e-3  # share of the last modes in time


def collocation(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Integrals over [0, t_i] and over [0, 1] of the polynomial through the nodes t_i.

    Returns:
        [nodes, nodes], and [nodes], Gauss's weights.

    >>> within, whole = collocation(3)
    >>> bool(abs(whole.sum() - 1) < 1e-15)
    True
    """
    x, weights = legendre.leggauss(nodes)
    modes = np.eye(nodes)
    values = legendre.legval(x, modes)  # [mode, node]
    integrals = legendre.legval(x, legendre.legint(modes, lbnd=-1, axis=1).T)
    degrees = (2 * np.arange(nodes)[:, None] + 1) / 2
    return integrals.T @ (degrees * values * weights) / 2, weights / 2


def tied(cell: Layer, u: Kernel, time: float) -> Kernel:
    """The kernel of h at the end of dh/dt = cell(h) from h_0, whose kernel is u."""
    within, whole = (jnp.asarray(a, u.nngp.dtype) * time for a in collocation(NODES))

    def of_one(cov: jax.Array) -> tuple[jax.Array, ...]:
        """Variances at the nodes and at the end, and how much they vary in between."""
        k = _alone(u, cov)

        def rate(c: jax.Array) -> jax.Array:
            variances = jnp.einsum("tt...->t...", c)
            return apply_cell(cell, k.replace(nngp=c, cov1=variances)).nngp

        c, converged = _integrated(rate, k.nngp, lambda r: _twice(within, within, r))
        rates = rate(c)
        end = cov + _twice(whole[None], whole[None], rates)[0, 0]
        fine = converged & (_roughness(rates) < UNRESOLVED)
        return jnp.einsum("tt...->t...", c), end, fine

    first = jax.vmap(of_one)(u.cov1)
    second = first if u.cov2 is None else jax.vmap(of_one)(u.cov2)
    _require(jnp.all(first[2]) & jnp.all(second[2]), time)
    fine = first[2][:, None] & second[2][None]
    k = _at_all_times(u, first[0], None if u.cov2 is None else second[0])

    def integral(left: jax.Array, right: jax.Array, rates: jax.Array) -> jax.Array:
        n1, n2 = u.nngp.shape[:2]
        rest = rates.shape[2:]
        split = rates.reshape(n1, NODES, n2, NODES, *rest)
        out = jnp.einsum("it,js,atbs...->aibj...", left, right, split)
        return out.reshape(n1 * len(left), n2 * len(right), *rest)

    grid, ends = partial(integral, within, within), whole[None]
    end = partial(integral, ends, ends)

    def covariance(c: jax.Array) -> jax.Array:
        return apply_cell(cell, k.replace(nngp=c)).nngp

    c, found = _integrated(covariance, k.nngp, grid)

    def tangent(t: jax.Array) -> jax.Array:
        return apply_cell(cell, k.replace(nngp=c, ntk=t)).ntk

    t, also = _integrated(tangent, k.ntk, grid)
    fine = fine & found & also
    fine = fine.reshape(fine.shape + (1,) * (u.nngp.ndim - 2))
    return u.replace(
        nngp=jnp.where(fine, u.nngp + end(covariance(c)), jnp.nan),
        ntk=jnp.where(fine, u.ntk + end(tangent(t)), jnp.nan),
        cov1=first[1],
        cov2=None if u.cov2 is None else second[1],
    )


def untied(branch: Layer, u: Kernel, time: float) -> Kernel:
    """The kernel at the end of infinitely many branches with weights of their own."""
    names = [name for name in COVARIANCES if getattr(u, name) is not None]

    def rate(_: jax.Array, state: dict, __: None) -> dict:
        out = apply_cell(branch, u.replace(**state))
        return {name: getattr(out, name) for name in names}

    start = {name: getattr(u, name) for name in names}
    tolerance = max(1e-11, 32 * float(jnp.finfo(u.nngp.dtype).eps))
    found = dfx.diffeqsolve(
        dfx.ODETerm(rate),
        dfx.Tsit5(),
        0.0,
        time,
        None,
        start,
        stepsize_controller=dfx.PIDController(rtol=tolerance, atol=tolerance),
        adjoint=dfx.DirectAdjoint(),
        max_steps=MOST_STEPS,
        throw=False,
    )
    good = found.result == dfx.RESULTS.successful
    _require(good, time)
    end = {k: jnp.where(good, a[-1], jnp.nan) for k, a in found.ys.items()}
    return u.replace(**end)


def _require(fine: jax.Array, time: float) -> None:
    """Refuses a time that the kernel was not followed to; not while it is traced."""
    if not isinstance(fine, jax.core.Tracer) and not fine:
        raise ValueError(
            f"time={time:g} is too long for the kernel of this flow: it grows or turns "
            "faster than is resolved; a smaller time or sigma_w is."
        )


def _integrated(
    rate: Callable[[jax.Array], jax.Array],
    start: jax.Array,
    integral: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """The fixed point of c = start + integral(rate(c)), and whether it was found."""

    def step(start: jax.Array, c: jax.Array) -> jax.Array:
        return start + integral(rate(c))

    pure, constants = jax.closure_convert(step, start, start)
    found = fixed_point(
        lambda given, c: pure(given[0], c, *given[1]),
        ITERATED,
        (start, constants),
        start,
        jax.lax.stop_gradient(rms(start)),
    )
    return found.value, found.converged


def _twice(left: jax.Array, right: jax.Array, rates: jax.Array) -> jax.Array:
    return jnp.einsum("it,js,ts...->ij...", left, right, rates)


def _roughness(rates: jax.Array) -> jax.Array:
    """Share of the last two Legendre modes in a function of time at the nodes."""
    x, weights = legendre.leggauss(NODES)
    values = legendre.legval(x, np.eye(NODES))
    modes = jnp.asarray(values * weights * (2 * np.arange(NODES)[:, None] + 1) / 2)
    sizes = jnp.abs(jnp.tensordot(modes.astype(rates.dtype), rates, 1))
    most = jnp.max(sizes)
    return jnp.max(sizes[-2:]) / jnp.where(most > 0, most, 1.0)


def _alone(u: Kernel, cov: jax.Array) -> Kernel:
    """The kernel of one point with itself, at all pairs of times, as at the start."""
    start = jnp.broadcast_to(cov, (NODES, NODES, *cov.shape))
    return u.replace(
        nngp=start,
        ntk=jnp.zeros_like(start),
        cov1=start[0],
        cov2=None,
        x1_is_x2=jnp.asarray(True),
        shape1=(NODES, *u.shape1[1:]),
        shape2=(NODES, *u.shape2[1:]),
    )


def _at_all_times(u: Kernel, first: jax.Array, second: jax.Array | None) -> Kernel:
    """Points at the nodes as points of their own: [n1 nodes, n2 nodes, ...]."""

    def spread(a: jax.Array) -> jax.Array:
        return jnp.repeat(jnp.repeat(a, NODES, 0), NODES, 1)

    def flat(a: jax.Array) -> jax.Array:
        return a.reshape(-1, *a.shape[2:])

    return u.replace(
        nngp=spread(u.nngp),
        ntk=spread(u.ntk),
        cov1=flat(first),
        cov2=None if second is None else flat(second),
        shape1=(u.shape1[0] * NODES, *u.shape1[1:]),
        shape2=(u.shape2[0] * NODES, *u.shape2[1:]),
    )

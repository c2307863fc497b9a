"""The neural tangent hierarchy of a network: higher tangent kernels and their flow.

One index a = 1 .. N stands for a pair of a point and an output, outputs fastest, so
that N = n k and a network of several outputs needs no further definition. With g_a the
gradient of f_a by the parameters (Huang & Yau 2020, section 2),

    K2(a, b) = <g_a, g_b>,        K_{r+1}(a_1 .. a_r, b) = <grad K_r(a_1 .. a_r), g_b>,

and gradient flow of L = 1/(2n) sum_i |f(x_i) - y_i|^2 moves them by

    d/dt f = K2 w,    d/dt K_r = K_{r+1} w,    w = -(f - y) / n.

Every product is a directional derivative: no tensor of second derivatives is formed,
and none of any order holds a parameter's index. K_r is symmetric in its first two
indices alone.

Of relu networks these derivatives are those of the region of activation patterns in
which the parameters lie: a kink has no second derivative there, and the units that
training flips, which move the kernel in jumps, are not seen.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import diffrax as dfx
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.finite.ntk import ntk_by_output

# Of the adaptive steps by which flows are solved, in float64.
RELATIVE, ABSOLUTE = 1e-8, 1e-11
MAX_STEPS = 1000

Quantity = Callable[[Any], jax.Array]


class Tangent(NamedTuple):
    """A network at fixed points, as functions of its parameters.

    Attributes:
        points: number n of points.
        outputs: f, [N].
        kernel: K2, [N, N].
    """

    points: int
    outputs: Quantity
    kernel: Quantity


def tangent(net: nn.Module, x: jax.Array) -> Tangent:
    """The network at the points x, [n, ...]; examples may not interact."""

    def outputs(params: Any) -> jax.Array:
        f: Any = net.apply({"params": params}, x)
        return f.ravel()

    def kernel(params: Any) -> jax.Array:
        theta = ntk_by_output(net, params, x).transpose(1, 0, 3, 2)
        size = theta.shape[0] * theta.shape[1]
        return theta.reshape(size, size)

    return Tangent(len(x), outputs, kernel)


def gradient(network: Tangent, params: Any, weights: Float[Array, " N"]) -> Any:
    """sum_a weights_a g_a, a tree like the parameters."""
    return jax.vjp(network.outputs, params)[1](weights)[0]


def raised(quantity: Quantity, network: Tangent) -> Quantity:
    """From K_r to K_{r+1}: a last axis for the gradient along which it is derived.

    One direction at a time; memory is that of a few copies of the parameters.
    """

    def along(params: Any, weights: jax.Array) -> jax.Array:
        direction = gradient(network, params, weights)
        return jax.jvp(quantity, (params,), (direction,))[1]

    def higher(params: Any) -> jax.Array:
        size = jax.eval_shape(network.outputs, params).shape[0]
        slices = jax.lax.map(partial(along, params), jnp.eye(size))
        return jnp.moveaxis(slices, 0, -1)

    return higher


def tangent_kernels(network: Tangent, params: Any, order: int) -> tuple[jax.Array, ...]:
    """(K2, .., K_order) at the parameters; K_r is [N] * r.

    Raises:
        ValueError: if the order is below 2.
    """
    if order < 2:
        raise ValueError(f"the hierarchy begins at order 2, got order={order}.")
    found, quantity = [], network.kernel
    for _ in range(order - 1):
        found.append(quantity(params))
        quantity = raised(quantity, network)
    return tuple(found)


def descent(network: Tangent, params: Any, y: Float[Array, " N"]) -> Any:
    """Minus the gradient of L = 1/(2n) sum_i |f(x_i) - y_i|^2."""
    weights = (y - network.outputs(params)) / network.points
    return gradient(network, params, weights)


def in_time(quantity: Quantity, network: Tangent, y: Float[Array, " N"]) -> Quantity:
    """d/dt of a quantity along gradient flow, itself a function of the parameters.

    Applied twice it gives the second derivative, in which the velocity is derived too.
    """

    def derivative(params: Any) -> jax.Array:
        velocity = descent(network, params, y)
        return jax.jvp(quantity, (params,), (velocity,))[1]

    return derivative


def flow(
    network: Tangent,
    params: Any,
    y: Float[Array, " N"],
    times: Float[Array, " t"],
    grid: Float[Array, " g"] | None = None,
) -> tuple[Float[Array, "t N"], Float[Array, "t N N"]]:
    """Outputs and K2 along gradient flow, by Tsitouras' method of order 5.

    Args:
        network: at the train points.
        params: where it starts.
        y: targets.
        times: increasing, from 0; float64.
        grid: ends of fixed steps, the times among them; None adapts steps to an error
            of 1e-8, for which a network with kinks would take one at each of them.
    """

    def seen(_, params: Any, __) -> tuple[jax.Array, jax.Array]:
        return network.outputs(params), network.kernel(params)

    def velocity(_, params: Any, __) -> Any:
        return descent(network, params, y)

    return _solve(velocity, params, times, seen, grid)


def truncated(
    kernels: Sequence[jax.Array],
    f: Float[Array, " N"],
    y: Float[Array, " N"],
    points: int,
    times: Float[Array, " t"],
) -> tuple[Float[Array, "t N"], Float[Array, "t N N"]]:
    """Outputs and K2 by the hierarchy truncated at p, whose kernel K_p is frozen.

    p = 2 is the linearized network. Nothing keeps the K2 of a truncation positive: one
    that loses this grows beyond all numbers, and is not finite from then on.

    Args:
        kernels: (K2, .., K_p) at initialization.
        f: outputs there.
        y: targets.
        points: number n of points.
        times: increasing, from 0; float64.
    """
    *moving, frozen = kernels

    def velocity(_, state: tuple, __) -> tuple:
        w = (y - state[0]) / points
        return tuple(kernel @ w for kernel in (*state[1:], frozen))

    def seen(_, state: tuple, __) -> tuple[jax.Array, jax.Array]:
        return state[0], (*state[1:], frozen)[0]

    return _solve(velocity, (f, *moving), times, seen)


def _solve(
    velocity: Callable,
    start: Any,
    times: jax.Array,
    seen: Callable,
    grid: jax.Array | None = None,
) -> Any:
    """What is seen at the times, each the end of a step; inf where it failed."""
    if grid is None:
        adaptive = dfx.PIDController(rtol=RELATIVE, atol=ABSOLUTE)
        controller: Any = dfx.ClipStepSizeController(adaptive, step_ts=times)
    else:
        controller = dfx.StepTo(ts=grid)
    return dfx.diffeqsolve(
        dfx.ODETerm(velocity),
        dfx.Tsit5(),
        times[0],
        times[-1],
        times[1] - times[0] if grid is None else None,
        start,
        saveat=dfx.SaveAt(ts=times, fn=seen),
        stepsize_controller=controller,
        max_steps=MAX_STEPS if grid is None else len(grid),
        throw=False,
    ).ys

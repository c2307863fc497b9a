"""Allen-Zhu, Li & Song 2018: near the initialization, and at it.

The fully connected network, by its matrices: h_0 = relu(A x), g_l = W_l
h_{l-1}, h_l = relu(g_l), f = B h_L. Symbols: m width, D_l the diagonal of signs (g_l >
0), omega the largest spectral norm of a change of one of the W_l.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.models import AllenZhuMLP
from zoo.theory.allenzhu2018_training import objective, parity, problem, separation
from zoo.theory.runs import by_seed, sweep

DIRECTIONS = ("adversarial", "random", "gradient")
POWER_STEPS = 12
RANDOM_STEPS = 8
Matrices = list[jax.Array]
Build = Callable[[int, int, int], Any]


def build_mlp(width: int, depth: int, out: int) -> AllenZhuMLP:
    """The paper's fully connected network."""
    return AllenZhuMLP(width=width, depth=depth, out=out)


class Net(NamedTuple):
    """A [d, m], W_l [m, m] and B [m, k], which act on rows from the right."""

    A: jax.Array
    W: Matrices
    B: jax.Array


class Pass(NamedTuple):
    """A forward pass: g and h are [l, n, m], h starting with h_0; f is [n, k]."""

    g: jax.Array
    h: jax.Array
    f: jax.Array


def draw_net(module: Any, depth: int, key: jax.Array, x: Any) -> Net:
    """The matrices of a network as the zoo draws it."""
    params = module.init(key, x[:1])["params"]
    first, *hidden, last = (params[f"dense_{i}"]["W"] for i in range(depth + 2))
    return Net(first, hidden, last)


def forward(net: Net, W: Matrices, x: Float[Array, "n d"]) -> Pass:
    """The network with other trained matrices."""
    g, h = [], [jax.nn.relu(x @ net.A)]
    for matrix in W:
        g.append(h[-1] @ matrix)
        h.append(jax.nn.relu(g[-1]))
    return Pass(jnp.stack(g), jnp.stack(h), h[-1] @ net.B)


def backward(net: Net, W: Matrices, found: Pass) -> jax.Array:
    """B D_L W_L .. D_l W_l of every layer and point, [l, n, m], for one output."""
    back, out = jnp.broadcast_to(net.B.T, found.g[0].shape), []
    for matrix, g in zip(W[::-1], found.g[::-1], strict=True):
        back = jnp.where(g > 0, back, 0.0) @ matrix.T
        out.append(back)
    return jnp.stack(out[::-1])


def moved(W: Matrices, change: Matrices) -> Matrices:
    """The sum."""
    return [a + b for a, b in zip(W, change, strict=True)]


def spectral_norm(matrix: Float[Array, "a b"]) -> jax.Array:
    """By power iteration, which suits a matrix of few large singular values."""

    def step(_: Any, v: jax.Array) -> jax.Array:
        u = matrix.T @ (matrix @ v)
        return u / jnp.linalg.norm(u)

    start = matrix.T @ jnp.sum(matrix, axis=1)
    v = jax.lax.fori_loop(0, POWER_STEPS, step, start / jnp.linalg.norm(start))
    return jnp.linalg.norm(matrix @ v)


def random_change(key: jax.Array, W: Matrices, omega: Any) -> Matrices:
    """Gaussian matrices, whose spectral norm is omega (1 + O(m^-2/3))."""
    keys = jax.random.split(key, len(W))
    std = omega / (2 * W[0].shape[1] ** 0.5)
    return [std * jax.random.normal(k, w.shape) for k, w in zip(keys, W, strict=True)]


def gradient_change(net: Net, W: Matrices, x: Any, y: Any, omega: Any) -> Matrices:
    """A step of every matrix against the gradient of F, of spectral norm omega."""
    steps = jax.grad(lambda W: objective(forward(net, W, x).f, y))(W)
    return [-omega * step / spectral_norm(step) for step in steps]


def mirror(
    g: Float[Array, " m"], h: Float[Array, " m"], omega: Any, allowed: Any
) -> Float[Array, "m m"]:
    """The change of one matrix that takes g_r to -g_r for as many r as omega allows.

    Those r with the smallest |g_r|; of the matrices that do it for the input h it is
    the one of the smallest spectral norm, 2 |g_S| / |h|, and of rank one.
    """
    cost = jnp.where(allowed, (2 * g) ** 2 / (h @ h), jnp.inf)
    order = jnp.argsort(cost)
    affordable = jnp.cumsum(cost[order]) <= omega**2
    chosen = jnp.zeros(g.shape, bool).at[order].set(affordable)
    return jnp.outer(h, jnp.where(chosen, -2 * g, 0.0)) / (h @ h)


def flip_change(net: Net, W: Matrices, x: jax.Array, omega: Any) -> Matrices:
    """Adversarial: as many flips as possible at the first point, layer after layer."""
    h, out = jax.nn.relu(x[0] @ net.A), []
    for matrix in W:
        g = h @ matrix
        out.append(mirror(g, h, omega, True))
        h = jax.nn.relu(h @ (matrix + out[-1]))
    return out


def kink_change(net: Net, W: Matrices, x: Any, y: Any, omega: Any) -> Matrices:
    """Adversarial: flips in W_L that all raise F, at the point of the largest error."""
    found = forward(net, W, x)
    error = (found.f - y)[:, 0]
    worst = jnp.argmax(jnp.abs(error))
    raises = error[worst] * net.B[:, 0] > 0
    last = mirror(found.g[-1, worst], found.h[-2, worst], omega, raises)
    return [*(jnp.zeros_like(matrix) for matrix in W[:-1]), last]


def departure(
    net: Net, W: Matrices, step: Matrices, x: Any, y: Any, end: Net | None = None
) -> Any:
    """The two parts of F(W + W') - F(W) - <grad F(W), W'>.

    Args:
        net: the frozen matrices.
        W: the trained ones.
        step: W'.
        x: points.
        y: targets.
        end: the frozen matrices at W + W', if they are other ones.

    Returns:
        |sum_i r_i (f(W + W') - f(W) - <grad f(W), W'>)_i| with the residual r at W, and
        1/2 sum_i |f(W + W') - f(W)|_i^2; and F(W).
    """

    def outputs(W: Matrices) -> jax.Array:
        return forward(net, W, x).f

    f, linear = jax.jvp(outputs, (W,), (step,))
    change = forward(end or net, moved(W, step), x).f - f
    first = jnp.abs(jnp.sum((f - y) * (change - linear)))
    return first, 0.5 * jnp.sum(change**2), objective(f, y)


def data(n: int) -> tuple[jax.Array, jax.Array]:
    """Digits of norm 1 and the parity of their classes."""
    x, classes = problem("fc", n)
    return jnp.asarray(x), jnp.asarray(parity(classes))


def measure_perturbation(
    width: int,
    depth: int,
    omegas: tuple[float, ...],
    seeds: int,
    n: int,
    thaw: float = 0.0,
    build: Build = build_mlp,
) -> dict[str, np.ndarray]:
    """Changes of spectral norm omega in three directions, a network for every omega.

    Args:
        width: m.
        depth: L.
        omegas: spectral norms.
        seeds: how many.
        n: points.
        thaw: spectral norm of a change of A, which should be frozen.
        build: the network of a width, a depth and a number of outputs.

    Returns:
        omegas [o]; [s, o, 3] in the order of `DIRECTIONS`: most and flips, the largest
        and the mean number of flips of a point and layer; forward, the largest |h_l -
        h_l(0)|; backward, the largest change of B D_L W_L .. D_l W_l over m^1/2, and
        typical, the root mean square; first and second, the parts of `departure` over
        omega (F m)^1/2 and over omega^2 m, at a random point of the ball (the root mean
        square over some random W').
    """
    x, y = data(n)

    def one(case: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        key, omega = case
        draw, *keys, extra = jax.random.split(key, 5)
        net = draw_net(build(width, depth, 1), depth, draw, x)
        before = forward(net, net.W, x)
        back = backward(net, net.W, before)
        end = net._replace(A=net.A + random_change(extra, [net.A], thaw)[0])

        def stability(step: Matrices) -> dict[str, jax.Array]:
            W = moved(net.W, step)
            after = forward(end, W, x)
            change = backward(net, W, after) - back
            other = (after.g > 0) != (before.g > 0)
            flips = jnp.sum(jnp.where(other, 1.0, 0.0), axis=-1)
            norms = jnp.linalg.norm(change, axis=-1) / width**0.5
            return {
                "most": jnp.max(flips),
                "flips": jnp.mean(flips),
                "typical": jnp.sqrt(jnp.mean(norms**2)),
                "forward": jnp.max(jnp.linalg.norm(after.h - before.h, axis=-1)),
                "backward": jnp.max(norms),
            }

        center = moved(net.W, random_change(keys[0], net.W, omega))

        def smoothness(step: Matrices) -> dict[str, jax.Array]:
            first, second, F = departure(net, center, step, x, y, end)
            return {
                "first": first / (omega * jnp.sqrt(F * width)),
                "second": second / (omega**2 * width),
            }

        near = (
            flip_change(net, net.W, x, omega),
            random_change(keys[1], net.W, omega),
            gradient_change(net, net.W, x, y, omega),
        )
        many = jax.lax.map(
            lambda key: smoothness(random_change(key, net.W, omega)),
            jax.random.split(keys[2], RANDOM_STEPS),
        )
        far = (
            smoothness(kink_change(net, center, x, y, omega)),
            {name: jnp.sqrt(jnp.mean(v**2)) for name, v in many.items()},
            smoothness(gradient_change(net, center, x, y, omega)),
        )
        found = [stability(step) | end for step, end in zip(near, far, strict=True)]
        return {name: jnp.stack([f[name] for f in found]) for name in found[0]}

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        values = jnp.asarray(omegas)
        return jax.lax.map(one, (jax.random.split(key, len(omegas)), values))

    plain = {"omegas": omegas, "width": width, "depth": depth, "n": n}
    found = {name: np.asarray(value) for name, value in plain.items()}
    return found | by_seed(measure, seeds, width, together=1)


def measure_ball(
    widths: tuple[int, ...],
    depth: int,
    omega: float,
    draws: int,
    seeds: int,
    n: int,
    build: Build = build_mlp,
) -> dict[str, np.ndarray]:
    """The gradient of F at the initialization and at random points of the ball.

    Returns:
        widths [w]; [s, w, 1 + draws], the first at the initialization: ratio, last and
        layer, the squares of the gradient, of its part W_L and of the largest part over
        F m; second [s, w]: the quadratic part of `departure` over omega^2 m, in the
        direction of the gradient.
    """
    points, classes = problem("fc", n)
    x, y, k = jnp.asarray(points), jnp.asarray(classes), classes.shape[1]

    def at(width: int) -> dict[str, np.ndarray]:
        def measure(key: jax.Array) -> dict[str, jax.Array]:
            draw, *keys = jax.random.split(key, 1 + draws)
            net = draw_net(build(width, depth, k), depth, draw, x)

            def squares(W: Matrices) -> dict[str, jax.Array]:
                def F(W: Matrices) -> jax.Array:
                    return objective(forward(net, W, x).f, y)

                loss, gradient = jax.value_and_grad(F)(W)
                parts = jnp.stack([jnp.sum(g**2) for g in gradient]) / (loss * width)
                return {
                    "ratio": jnp.sum(parts),
                    "last": parts[-1],
                    "layer": jnp.max(parts),
                }

            def away(key: jax.Array) -> dict[str, jax.Array]:
                return squares(moved(net.W, random_change(key, net.W, omega)))

            step = gradient_change(net, net.W, x, y, omega)
            second = departure(net, net.W, step, x, y)[1] / (omega**2 * width)
            around, here = jax.lax.map(away, jnp.stack(keys)), squares(net.W)
            return {"second": second} | {
                name: jnp.concatenate([here[name][None], around[name]]) for name in here
            }

        return by_seed(measure, seeds, width, together=1)

    plain = {
        "widths": widths,
        "depth": depth,
        "n": n,
        "delta": separation(points),
        "k": k,
    }
    found = {name: np.asarray(value) for name, value in plain.items()}
    return found | sweep(widths, at)


def measure_depth(
    width: int, depth: int, seeds: int, n: int, build: Build = build_mlp
) -> dict[str, np.ndarray]:
    """The initialization of a deep network.

    Returns:
        lengths [l]; norms [s, depth + 1]: the largest | |h_l| - 1 | of the points;
        closest [s, depth + 1]: the smallest |h_l(x_i) - h_l(x_j)| over delta; product
        [s, l]: |D_l W_l .. D_1 W_1| of the first point.
    """
    x, _ = data(n)
    delta, (i, j) = separation(np.asarray(x)), np.triu_indices(n, 1)
    lengths = [2**power for power in range(depth.bit_length())]

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        net = draw_net(build(width, depth, 1), depth, key, x)
        found = forward(net, net.W, x)
        keep = jnp.where(found.g[:, 0] > 0, 1.0, 0.0)

        def norm(place: int) -> jax.Array:
            def through(v: jax.Array) -> jax.Array:
                for matrix, signs in zip(net.W[:place], keep, strict=False):
                    v = signs * (v @ matrix)
                return v

            def step(_: Any, v: jax.Array) -> jax.Array:
                image, pull = jax.vjp(through, v)
                (v,) = pull(image)
                return v / jnp.linalg.norm(v)

            start = net.B[:, 0] / jnp.linalg.norm(net.B)
            return jnp.linalg.norm(through(jax.lax.fori_loop(0, 40, step, start)))

        apart = jnp.linalg.norm(found.h[:, i] - found.h[:, j], axis=-1)
        sizes = jnp.linalg.norm(found.h, axis=-1)
        return {
            "norms": jnp.max(jnp.abs(sizes - 1), axis=1),
            "closest": jnp.min(apart, axis=1) / delta,
            "product": jnp.stack([norm(place) for place in lengths]),
        }

    found = {"lengths": np.asarray(lengths)}
    return found | by_seed(measure, seeds, width, together=1)

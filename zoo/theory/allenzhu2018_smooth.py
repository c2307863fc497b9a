"""Allen-Zhu, Li & Song 2018, Theorem 4: the remainder of F as a |W'| + b |W'|^2.

With R = F(W + W') - F(W) - <grad F(W), W'>, the theorem says

    R <= a |W'| + b |W'|^2,  a = O(omega^(1/3) poly(L) (n m log(m) F / k)^(1/2)),
    b = O(n L^2 m / k),

for W and W + W' within omega of the initialization.
"""

import jax
import jax.numpy as jnp
import numpy as np

from zoo.theory.allenzhu2018_ball import (
    Build,
    build_mlp,
    data,
    departure,
    draw_net,
    kink_change,
    moved,
    random_change,
)
from zoo.theory.claims import (
    Arrays,
    AtLeast,
    AtMost,
    Axes,
    Claim,
    Curve,
    Figure,
    Measurement,
)
from zoo.theory.powers import exponents
from zoo.theory.runs import by_seed

PARTS = (0.25, 0.375, 0.5, 0.75, 1.0)  # lengths of W', of omega
CENTERS = 8  # points of the ball, in the same directions at every radius
OMEGAS = (0.0125, 0.025, 0.05, 0.1, 0.2)


def fit(lengths: np.ndarray, remainder: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fits R = a s + b s^2, by least squares of R / s: a and b.

    >>> a, b = fit(np.asarray([1.0, 2.0, 4.0]), np.asarray([3.0, 10.0, 36.0]))
    >>> round(float(a), 6), round(float(b), 6)
    (1.0, 2.0)
    """
    powers = np.stack([np.ones_like(lengths), lengths], axis=-1)
    found = np.linalg.pinv(powers) @ (remainder / lengths)[..., None]
    return found[..., 0, 0], found[..., 1, 0]


def measure_smoothness(
    width: int,
    depth: int,
    omegas: tuple[float, ...],
    seeds: int,
    n: int,
    thaw: float = 0.0,
    build: Build = build_mlp,
) -> dict[str, np.ndarray]:
    """The remainder of F at random points of the ball, for the worst W' of each length.

    Args:
        width: m.
        depth: L.
        omegas: radii of the ball.
        seeds: how many.
        n: points.
        thaw: spectral norm of a change of A, which should be frozen.
        build: the network of a width, a depth and a number of outputs.

    Returns:
        omegas [o], lengths [o, p] of W'; remainder [s, o, p], R over F^(1/2), the mean
        over some points of the ball, and F [s, o]; a and b [s, o], fitted along the
        lengths, over (F m)^(1/2) and over n L^2 m.
    """
    x, y = data(n)
    lengths = np.outer(omegas, PARTS).astype(np.float32)

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        draw, extra, *centers = jax.random.split(key, 2 + CENTERS)
        net = draw_net(build(width, depth, 1), depth, draw, x)
        end = net._replace(A=net.A + random_change(extra, [net.A], thaw)[0])

        def at(case: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
            omega, size, center = case
            W = moved(net.W, random_change(center, net.W, omega))
            step = kink_change(net, W, x, y, size)
            first, second, F = departure(net, W, step, x, y, end)
            return (first + second) / jnp.sqrt(F), F

        radii = jnp.broadcast_to(jnp.asarray(omegas)[:, None], lengths.shape)
        cases = (jnp.ravel(radii), jnp.ravel(lengths))

        def along(center: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jax.lax.map(lambda case: at((*case, center)), cases)

        R, F = jax.tree.map(
            lambda a: jnp.mean(a, axis=0).reshape(lengths.shape),
            jax.lax.map(along, jnp.stack(centers)),
        )
        return {"remainder": R, "F": F[:, 0]}

    found = by_seed(measure, seeds, width, together=1)
    a, b = fit(lengths[None], found["remainder"])
    b = b * found["F"] ** 0.5 / (n * depth**2 * width)
    plain = {"omegas": np.asarray(omegas), "lengths": lengths}
    return plain | found | {"a": a / width**0.5, "b": b, "width": np.asarray(width)}


SMOOTH = Measurement(
    "smoothness",
    measure_smoothness,
    {
        "smoke": {"width": 512, "depth": 2, "omegas": OMEGAS, "seeds": 8, "n": 4},
        "default": {"width": 1024, "depth": 2, "omegas": OMEGAS, "seeds": 24, "n": 8},
        "paper": {"width": 8192, "depth": 4, "omegas": OMEGAS, "seeds": 20, "n": 64},
    },
    seconds=20.0,
)
CLAIMS = (
    Claim(
        "fit-linear",
        "The remainder of F is a |W'| + b |W'|^2, and a shrinks as omega^(1/3) or "
        "faster.",
        "slope of log a / (F m)^1/2 against log omega, worst W' of lengths omega / 4 "
        ".. omega",
        AtLeast(1 / 3),
        "Theorem 4, its exponent as in Zhang et al. 2019, Theorems 4 and 6",
        "restated",
        SMOOTH,
        lambda a: exponents(a["omegas"], a["a"]),
    ),
    Claim(
        "fit-square",
        "and b is O(n L^2 m / k).",
        "max over omega of b / (n L^2 m)",
        AtMost(1.0),
        "Theorem 4, as in Zhang et al. 2019, Theorems 4 and 6; the constant that O "
        "hides taken as 1",
        "restated",
        SMOOTH,
        lambda a: a["b"].max(axis=1),
    ),
)


def figure(a: Arrays) -> Figure:
    """The remainder over |W'| with its fits, and a against omega."""
    root, lengths = float(a["width"]) ** 0.5, a["lengths"]
    measured = [
        Curve(f"omega = {omega:g}", size, r / size / root)
        for omega, size, r in zip(
            a["omegas"], lengths, np.moveaxis(a["remainder"], 1, 0), strict=True
        )
    ]
    ends = [fit(size, a["remainder"].mean(0)[i]) for i, size in enumerate(lengths)]
    fits = [
        Curve("fits" * (not i), size, (one + two * size) / root, "dashed", guide=True)
        for i, (size, (one, two)) in enumerate(zip(lengths, ends, strict=True))
    ]
    first = float(np.mean(a["a"][:, 0]))
    guide = first * (a["omegas"] / a["omegas"][0]) ** (1 / 3)
    growth = [
        Curve("a", a["omegas"], a["a"]),
        Curve("1/3", a["omegas"], guide, "dotted", guide=True),
    ]
    return Figure(
        "smoothness",
        "The remainder of F along the worst W' at random points of the ball. Left: R / "
        "|W'| with its fit a + b |W'|. Right: a against the radius of the ball; the "
        "bound is the exponent 1/3.",
        [
            Axes("remainder", "|W'|", "R / (|W'| (F m)^1/2)", measured + fits),
            Axes("its linear part", "omega", "a / (F m)^1/2", growth),
        ],
    )

"""Allen-Zhu, Li & Song 2018: what is claimed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from zoo.theory.allenzhu2018_ball import DIRECTIONS
from zoo.theory.allenzhu2018_deep import extra_decrease
from zoo.theory.allenzhu2018_sizes import (
    BALL,
    DEPTH,
    DESCENT,
    GROWTH,
    LANDSCAPE,
    NETWORKS,
    PERTURBATION,
    SGD,
)
from zoo.theory.allenzhu2018_smooth import CLAIMS as SMOOTH
from zoo.theory.allenzhu2018_training import above_linear, mean_rate
from zoo.theory.claims import Arrays, AtLeast, AtMost, Claim, Equals, Measurement
from zoo.theory.powers import exponents

SHALLOW = 4  # matrices of the network of claims at initialization


def _of_kind(kind: str) -> tuple[Claim, ...]:
    """Claims of each of the three networks."""
    name = NETWORKS[kind]
    return (
        Claim(
            f"linear-{kind}",
            f"Gradient descent converges linearly ({name}).",
            "max_{t >= 1} F_t / ((1 - eta lambda_min(Theta_0) / 2)^t F_0)",
            AtMost(1.0),
            "Theorem 1, F_t <= (1 - Omega(eta delta m / (k n^2)))^t F_0, with the "
            "kernel's eigenvalue in the place of the bound of it: Du et al. 2019",
            "derived",
            DESCENT[kind],
            above_linear,
        ),
        Claim(
            f"rate-{kind}",
            f"The rate is proportional to eta m ({name}).",
            "slope of log (-log(|r_T| / |r_0|) / T) against log c, eta = c / m",
            Equals(1.0),
            "Theorem 1: the loss shrinks by 1 - Omega(eta delta m / (k n^2)) a step",
            "restated",
            DESCENT[kind],
            lambda a: exponents(a["factors"], a["rates"]),
        ),
        Claim(
            f"width-{kind}",
            f"At eta = c / m the rate does not depend on the width ({name}).",
            "slope of log (-log(|r_T| / |r_0|) / T) against log m",
            Equals(0.0),
            "Theorem 1: the loss shrinks by 1 - Omega(eta delta m / (k n^2)) a step",
            "restated",
            DESCENT[kind],
            lambda a: exponents(a["widths"], mean_rate(a)),
        ),
        Claim(
            f"sgd-{kind}",
            f"SGD on the cross-entropy fits all training points ({name}).",
            "training accuracy at the end",
            AtLeast(1.0),
            "Theorem 2 and the section on other losses (the latter from descriptions)",
            "restated",
            SGD[kind],
            lambda a: a["accuracy"][:, -1],
        ),
    )


def _change(
    name: str, what: str, predicted: Any, source: str, trust: str = "restated"
) -> Claim:
    """A power of the width, of what training changes."""
    symbols = {
        "moved": "max_l |W_l(T) - W_l(0)|",
        "relative": "max_l |W_l(T) - W_l(0)| / |W_l(0)|",
        "kernel": "|Theta_T - Theta_0| / |Theta_0|",
        "gradient": "|J_T - J_0| / |J_0|, J the derivative of all outputs",
    }
    return Claim(
        name,
        what,
        f"slope of log {symbols[name]} against log m",
        predicted,
        source,
        trust,
        DESCENT["fc"],
        lambda a: exponents(a["widths"], a[name]),
    )


BELOW = (
    "the minimum over training is near the smallest eigenvalue of the kernel, and "
    "comes to its limit from below (0.74, 0.74, 0.82, 0.86 at m = 256 .. 2048): a "
    "correction of finite width, on the safe side of the bound, which does not decay"
)


def _gradient_claims(
    where: str, at: str, measurement: Measurement, here: Callable
) -> tuple[Claim, ...]:
    """Bounds of the gradient; `here` picks a ratio's places, on the last axis."""
    theorem = "Theorem 3: Omega(F delta m / (k n^2)) <= |grad F|^2 <= O(F n m / k)"

    def flat(name: str, pick: Callable, thought: str = "") -> Claim:
        return Claim(
            f"flat-{name}-{where}",
            f"The {name} of |grad F|^2 / (F m) {at} does not depend on the width.",
            f"slope of log {name} |grad F|^2 / (F m) against log m",
            Equals(0.0),
            theorem,
            "restated",
            measurement,
            lambda a: exponents(a["widths"], pick(here(a["ratio"]), axis=-1)),
            thought,
        )

    def k(a: Arrays) -> float:
        return float(a.get("k", np.asarray(1)))

    return (
        flat("minimum", np.min, BELOW if measurement is DESCENT["fc"] else ""),
        flat("maximum", np.max),
        Claim(
            f"lower-{where}",
            f"The gradient by W_L {at} is bounded below: no critical point.",
            "min |grad_{W_L} F|^2 / (F delta m / (k n^2))",
            AtLeast(1.0),
            theorem + "; the constant that Omega hides is taken as 1",
            "restated",
            measurement,
            lambda a: (
                here(a["last"]).min(axis=(1, 2)) / (a["delta"] / (k(a) * a["n"] ** 2))
            ),
        ),
        Claim(
            f"upper-{where}",
            f"The gradient by a matrix {at} is bounded above.",
            "max_l |grad_{W_l} F|^2 / (F n m / k)",
            AtMost(1.0),
            theorem + "; 1 is the constant of the infinite width (derived: |h| = 1, "
            "and |B D W .. D|^2 of an output is m / (2 k))",
            "derived",
            measurement,
            lambda a: here(a["layer"]).max(axis=(1, 2)) / (a["n"] / k(a)),
        ),
    )


def _slope_claim(
    name: str, kind: str, what: str, direction: str, predicted: Any, source: str
) -> Claim:
    """An exponent in omega, along one of `DIRECTIONS`."""
    place = DIRECTIONS.index(direction)
    symbols = {
        "flips": "mean |D_l - D_l(0)|_0",
        "most": "max |D_l - D_l(0)|_0",
        "backward": "max |B D_L W_L .. D_l W_l - its initial value|",
        "typical": "root mean square |B D_L W_L .. D_l W_l - its initial value|",
        "first": "|sum_i r_i (f(W + W') - f(W) - <grad f, W'>)_i| / (|W'| (F m)^1/2)",
    }
    if direction == "adversarial":
        kind = {"flips": "most"}.get(kind, kind)
    elif kind == "backward":
        kind = "typical"
    return Claim(
        name,
        what,
        f"slope of log {symbols[kind]} against log omega, {direction} W'",
        predicted,
        source,
        "restated" if isinstance(predicted, AtLeast) else "derived",
        PERTURBATION,
        lambda a: exponents(a["omegas"], a[kind][:, :, place]),
    )


def _bound(a: Arrays, name: str, limit: np.ndarray) -> np.ndarray:
    """The largest ratio to a bound [o], over omega and directions."""
    return (a[name] / limit[None, :, None]).max(axis=(1, 2))


TYPICAL = "Lemma 5.2 has m omega^(2/3) L for the worst W'; derived: a typical one moves"
SHARP = "derived, to show that the bound is attained: the smallest W' that mirrors "
STABILITY = (
    _slope_claim(
        "flips-adversarial",
        "flips",
        "The worst W' flips m omega^(2/3) signs, as many as the bound allows.",
        "adversarial",
        Equals(2 / 3),
        SHARP + "the |S| smallest g_r has |W'|^2 ~ |S|^3 / m^3; bound: Lemma 5.2",
    ),
    *(
        _slope_claim(
            f"flips-{direction}",
            "flips",
            f"A {direction} W' flips m omega signs, fewer than the bound.",
            direction,
            Equals(1.0),
            TYPICAL + " all g_r alike, by omega m^-1/2",
        )
        for direction in DIRECTIONS[1:]
    ),
    Claim(
        "flips-bound",
        "The number of flips of a layer is at most m omega^(2/3) L in all directions.",
        "max |D_l - D_l(0)|_0 / (m omega^(2/3) L)",
        AtMost(1.0),
        "Lemma 5.2, as Cao & Gu 2019 restate it; the constant that O hides taken as 1",
        "restated",
        PERTURBATION,
        lambda a: _bound(a, "most", a["width"] * a["omegas"] ** (2 / 3) * a["depth"]),
    ),
    Claim(
        "forward",
        "Hidden layers move in proportion to omega.",
        "slope of log max |h_l - h_l(0)| against log omega, random W'",
        Equals(1.0),
        "Lemma 5.2: |h_l - h_l(0)| <= O(omega L^(5/2) log(m)^(1/2))",
        "restated",
        PERTURBATION,
        lambda a: exponents(a["omegas"], a["forward"][:, :, 1]),
    ),
    Claim(
        "forward-bound",
        "Hidden layers move by at most omega L^(5/2) log(m)^(1/2) in all directions.",
        "max |h_l - h_l(0)| / (omega L^(5/2) log(m)^(1/2))",
        AtMost(1.0),
        "Lemma 5.2, as Cao & Gu 2019 restate it; the constant that O hides taken as 1",
        "restated",
        PERTURBATION,
        lambda a: _bound(
            a, "forward", a["omegas"] * a["depth"] ** 2.5 * np.log(a["width"]) ** 0.5
        ),
    ),
    _slope_claim(
        "backward-adversarial",
        "backward",
        "The worst W' changes backward products by omega^(1/3), as the bound allows.",
        "adversarial",
        Equals(1 / 3),
        SHARP + "|S| of the g_r changes |B D| by |S|^1/2; bound: Lemma 5.7",
    ),
    *(
        _slope_claim(
            f"backward-{direction}",
            "backward",
            f"A {direction} W' changes backward products by at most omega^(1/3).",
            direction,
            AtLeast(1 / 3),
            "Lemma 5.7: O(omega^(1/3) L^2 (m log(m) / k)^(1/2))",
        )
        for direction in DIRECTIONS[1:]
    ),
    *(
        _slope_claim(
            f"smooth-{direction}",
            "first",
            "The part of the remainder that is linear in |W'| shrinks as omega^(1/3) "
            f"or faster ({direction} W').",
            direction,
            AtLeast(1 / 3),
            "Theorem 4, its exponent as in Zhang et al. 2019, Theorems 4 and 6",
        )
        for direction in DIRECTIONS
    ),
    Claim(
        "smooth-square",
        "The part of the remainder that is quadratic in |W'| grows as the width.",
        "slope of log (1/2 sum_i |f(W + W') - f(W)|_i^2 / (|W'|^2 m)) against log m, "
        "W' along the gradient",
        Equals(0.0),
        "Theorem 4: O(n L^2 m / k) |W'|^2, as in Zhang et al. 2019, Theorems 4 and 6",
        "restated",
        BALL,
        lambda a: exponents(a["widths"], a["second"]),
    ),
)
INITIAL = (
    Claim(
        "norms",
        "Hidden layers have norms in 3/4 .. 5/4 at initialization.",
        "max | |h_l(x_i)| - 1 | up to l = 4",
        AtMost(0.25),
        "Lemma 4.1, as Cao & Gu 2019 quote it",
        "restated",
        DEPTH,
        lambda a: a["norms"][:, : SHALLOW + 1].max(axis=1),
    ),
    Claim(
        "product",
        "Products of the matrices of L layers have norms O(L^1/2).",
        "slope of log |D_L W_L .. D_1 W_1| against log L",
        AtMost(0.5),
        "Lemma 5.6; of infinite width the norm is about (2 e L)^1/2 (derived)",
        "restated",
        DEPTH,
        lambda a: exponents(a["lengths"], a["product"]),
    ),
    Claim(
        "separation",
        "Layers keep points apart.",
        "min |h_l(x_i) - h_l(x_j)| / delta up to l = 4",
        AtLeast(0.5),
        "as restated in Zhang et al. 2019, Lemma 8: Omega(delta); its constant taken "
        "as 1/2",
        "restated",
        DEPTH,
        lambda a: a["closest"][:, : SHALLOW + 1].min(axis=1),
    ),
    Claim(
        "resnet-stable",
        "At tau = 1 / L the last layer of a ResNet keeps the norm 1 at any depth.",
        "max over L of | (E |h_L|^2)^1/2 - 1 |",
        AtMost(0.25),
        "Zhang et al. 2019: |h_l| in 1 +- c for tau <= L^-1/2; S1: tau = 1/Omega(L log "
        "m)",
        "paper",
        GROWTH,
        lambda a: np.abs(a["square"][:, :, 0] ** 0.5 - 1).max(axis=1),
    ),
    Claim(
        "resnet-edge",
        "At tau = L^-1/2 it stays bounded.",
        "mean over L of |h_L|^2 / (1 + 2 tau^2)^(L-1)",
        AtMost(1.0),
        "derived: |h + tau W h|^2 is (1 + 2 tau^2) |h|^2 on average; below e^2 |h|^2",
        "derived",
        GROWTH,
        lambda a: (
            a["square"][:, :, 1] / (1 + 2 / a["depths"]) ** (a["depths"] - 1)
        ).mean(axis=1),
    ),
    Claim(
        "resnet-explosion",
        "At tau = L^(-1/2 + 1/4) it explodes.",
        "slope of log |h_L|^2 against log L",
        AtLeast(0.5),
        "Zhang et al. 2019: E |h_L|^2 > L^(2 c) for tau = L^(-1/2 + c)",
        "paper",
        GROWTH,
        lambda a: exponents(a["depths"], a["square"][:, :, 2]),
    ),
    Claim(
        "landscape",
        "Along training the most negative curvature gives less than the gradient.",
        "max over checkpoints of the decrease along +-v over that along -grad, at the "
        "length that is best for -grad",
        AtMost(1.0),
        "Figure 1, as described by others",
        "restated",
        LANDSCAPE,
        lambda a: extra_decrease(a["along"]),
    ),
)
CLAIMS: tuple[Claim, ...] = (
    *(claim for kind in NETWORKS for claim in _of_kind(kind)),
    *_gradient_claims("training", "along training", DESCENT["fc"], lambda r: r),
    *_gradient_claims("start", "at initialization", BALL, lambda r: r[..., :1])[:1],
    *_gradient_claims("ball", "at random points of the ball", BALL, lambda r: r),
    *STABILITY,
    *SMOOTH,
    _change(
        "moved",
        "Weights move by m^-1/2.",
        Equals(-0.5),
        "Zhang et al. 2019, eq. (10): |W_l(t) - W_l(0)| <= O(m^-1/2)",
    ),
    _change(
        "relative",
        "Weights move by 1/m of their norm.",
        Equals(-1.0),
        "derived: |W_l(0)| is (2 m)^1/2",
        "derived",
    ),
    _change(
        "kernel",
        "The NTK moves by m^-1/6 of its norm at most.",
        AtMost(-1 / 6),
        "the bound omega^(1/3) at omega = m^-1/2, as Cao & Gu 2019, Lemma B.2, prove "
        "it for gradients",
    ),
    _change(
        "gradient",
        "The derivative of the outputs moves by m^-1/6 of its norm at most.",
        AtMost(-1 / 6),
        "the bound omega^(1/3) at omega = m^-1/2, as Cao & Gu 2019, Lemma B.2, prove "
        "it",
    ),
    *INITIAL,
)

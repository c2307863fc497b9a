"""Allen-Zhu, Li & Song 2018: what is claimed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from zoo.theory.allenzhu2018_sizes import (
    BALL,
    DESCENT,
    NETWORKS,
    SGD,
)
from zoo.theory.allenzhu2018_smooth import CLAIMS as SMOOTH
from zoo.theory.allenzhu2018_stability import INITIAL, STABILITY
from zoo.theory.allenzhu2018_training import above_linear, mean_rate
from zoo.theory.claims import Arrays, AtLeast, AtMost, Claim, Equals, Measurement
from zoo.theory.powers import exponents

BELOW = (
    "it is near the smallest eigenvalue of the kernel, which comes to its limit from "
    "below: a correction of finite width, on the safe side of the bound"
)
LAZY = "omega^(1/3) at omega = m^-1/2: Cao & Gu 2019, Lemma B.2, for gradients"
SHRINKS = "Theorem 1: the loss shrinks by 1 - Omega(eta delta m / (k n^2)) a step"


def _of_kind(kind: str) -> tuple[Claim, ...]:
    """Claims of each of the three networks."""
    name = NETWORKS[kind]
    said, trust = "", "restated"
    if kind == "cnn":
        said, trust = (
            "; derived for a CNN that is ours, the paper's not read",
            "derived",
        )
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
            SHRINKS + said,
            trust,
            DESCENT[kind],
            lambda a: exponents(a["factors"], a["rates"]),
        ),
        Claim(
            f"width-{kind}",
            f"At eta = c / m the rate does not depend on the width ({name}).",
            "slope of log (-log(|r_T| / |r_0|) / T) against log m",
            Equals(0.0),
            SHRINKS + said,
            trust,
            DESCENT[kind],
            lambda a: exponents(a["widths"], mean_rate(a)),
            BELOW,
        ),
        Claim(
            f"sgd-{kind}",
            f"SGD on the cross-entropy fits all training points ({name}).",
            "training accuracy at the end",
            AtLeast(1.0),
            "Theorem 2 and the section on other losses, from memory",
            "memory",
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


def _k(a: Arrays) -> float:
    return float(a.get("k", np.asarray(1)))


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
                here(a["last"]).min(axis=(1, 2)) / (a["delta"] / (_k(a) * a["n"] ** 2))
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
            lambda a: here(a["layer"]).max(axis=(1, 2)) / (a["n"] / _k(a)),
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
        "derived: |W_l(0)| is (2 m)^1/2, so that it is -1/2 less than the row before",
        "derived",
    ),
    _change(
        "kernel",
        "The NTK moves by m^-1/6 of its norm at most.",
        AtMost(-1 / 6),
        LAZY,
    ),
    _change(
        "gradient",
        "The derivative of the outputs moves by m^-1/6 of its norm at most.",
        AtMost(-1 / 6),
        LAZY,
    ),
    *INITIAL,
)

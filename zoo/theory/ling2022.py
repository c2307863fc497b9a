"""Ling, Xie, Wang, Zhang & Lin 2022: deep equilibrium networks converge globally.

"Global Convergence of Over-parameterized Deep Equilibrium Models" (AISTATS 2023).
"""

import numpy as np

from zoo.theory.claims import (
    Arrays,
    AtLeast,
    AtMost,
    Axes,
    Claim,
    Curve,
    Equals,
    Figure,
    Measurement,
    Paper,
)
from zoo.theory.implicit import (
    bound_ratio,
    gradient_ratio,
    kept_share,
    training_figure,
)
from zoo.theory.ling2022_measure import (
    NORM,
    S,
    factors,
    measure_depth,
    measure_gram,
    measure_training,
    measure_width,
)
from zoo.theory.powers import exponents

SETUP = """
z = relu(W z + U x), f = a . z, in the standard parameterization and without biases:
W_ij ~ N(0, 2 s^2 / m) with s^2 = 0.08, U_ij ~ N(0, 2 / d), a_i ~ N(0, 1 / m). W, U and
a are trained by gradient descent on Phi = 1/2 sum_i (f(x_i) - y_i)^2 at the rate eta =
0.5 / (n m). Every seed draws its own data: x uniform on the sphere of radius sqrt(d), d
= n, labels -1 and 1 at random. G = Z^T Z is the Gram matrix of the n equilibria,
lambda_0 = lambda_min(G(0)), and lambda* = lambda_min(K), K_ij = Q(c_ij) / (1 - s^2),
where c = s^2 Q(c) + (1 - s^2) x_i . x_j / d and Q(c) = (sqrt(1 - c^2) + (pi - arccos c)
c) / pi.

The paper's synthetic data have n = d = 1000 and m of 3000 to 5000, and its real ones
are two classes of MNIST and CIFAR-10; n is smaller here. Its theorem asks for a width
of order n^3 for what is measured here at widths of a few n; the constants of that
condition are not given, and it is not evaluated.
"""


TRAINING = Measurement(
    "training",
    measure_training,
    {
        "smoke": {"widths": (96,), "seeds": 8, "n": 6, "steps": 60},
        "default": {"widths": (64, 128, 256), "seeds": 6, "n": 16, "steps": 150},
        "paper": {"widths": (3000, 4000, 5000), "seeds": 3, "n": 1000, "steps": 2000},
    },
    seconds=20.0,
)
GRAM = Measurement(
    "gram",
    measure_gram,
    {
        "smoke": {"widths": (32, 512), "seeds": 24, "n": 6},
        "default": {"widths": (64, 128, 256, 512, 1024), "seeds": 32, "n": 16},
        "paper": {"widths": (500, 1000, 2000, 4000, 8000), "seeds": 20, "n": 100},
    },
    seconds=7.0,
)
WIDTH = Measurement(
    "width",
    measure_width,
    {
        "smoke": {"sizes": (4, 16), "seeds": 8, "most": 64},
        "default": {"sizes": (8, 16, 32), "seeds": 16, "most": 32},
        "paper": {"sizes": (32, 64, 128, 256, 512), "seeds": 10, "most": 32},
    },
    seconds=7.0,
)
DEPTH = Measurement(
    "depth",
    measure_depth,
    {
        "smoke": {"width": 128, "seeds": 12, "n": 6, "depth": 8},
        "default": {"width": 512, "seeds": 24, "n": 16, "depth": 8},
        "paper": {"width": 4000, "seeds": 10, "n": 1000, "depth": 10},
    },
    seconds=13.0,
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """Training, the Gram matrix at initialization, and the error of depth."""
    out = []
    if "training" in found:
        a, caption = found["training"], "Gradient descent."
        out.append(training_figure(a, "m", a["widths"], caption, "|W|"))
    if "gram" in found and "width" in found:
        out.append(_width_figure(found["gram"], found["width"]))
    if "depth" in found:
        out.append(_depth_figure(found["depth"]))
    return out


def _width_figure(gram: Arrays, width: Arrays) -> Figure:
    m, n = gram["widths"], width["sizes"]
    middle = gram["error"].mean(axis=0)[0] * (m / m[0]) ** -0.5
    square = np.nanmean(width["width"], axis=0)[0] * (n / n[0]) ** 2
    return Figure(
        "width",
        "At initialization. Left: the Gram matrix of the equilibria approaches its "
        "limit. Middle: so does its smallest eigenvalue. Right: the width from which "
        "it is half of the limit's.",
        [
            Axes(
                "Gram matrix",
                "width m",
                "|G/m - K|_F / |K|_F",
                [
                    Curve("measured", m, gram["error"]),
                    Curve("m^-1/2", m, middle, "dashed", True),
                ],
            ),
            Axes(
                "smallest eigenvalue",
                "width m",
                "lambda_0 / (m lambda*)",
                [
                    Curve("measured", m, gram["smallest"]),
                    Curve("1/2", m, np.full(len(m), 0.5), "dashed", True),
                ],
                log_y=False,
            ),
            Axes(
                "width that suffices",
                "points n",
                "smallest m",
                [
                    Curve("measured", n, width["width"]),
                    Curve("n^2", n, square, "dashed", True),
                ],
            ),
        ],
    )


def _depth_figure(a: Arrays) -> Figure:
    depths = a["depths"]

    def panel(name: str, title: str, label: str, ratio: float, guide: str) -> Axes:
        line = a[name].mean(axis=0)[0] * ratio ** (depths - 1.0)
        return Axes(
            title,
            "depth l",
            label,
            [
                Curve("measured", depths, a[name]),
                Curve(guide, depths, line, "dashed", True),
            ],
            log_x=False,
        )

    return Figure(
        "depth",
        "What l applications of the layer lack to the equilibrium: of a network, and "
        "in the limit of infinite width.",
        [
            panel("finite", "network", "|G - G^(l)|_F / m", NORM, "(2 sqrt2 s)^l"),
            panel("limit", "limit", "|K - K^(l)|_F", S**2, "s^(2l)"),
        ],
    )


PAPER = Paper(
    "ling2022",
    "Ling, Xie, Wang, Zhang & Lin 2022, Global Convergence of Over-parameterized Deep "
    "Equilibrium Models",
    SETUP,
    (
        Claim(
            "norm",
            "At initialization the norm of W is at most 2 sqrt2 s.",
            "|W(0)| / (2 sqrt2 s)",
            AtMost(1.0),
            "section 4, with probability 1 - exp(-Omega(m))",
            "paper",
            DEPTH,
            lambda a: a["norm"] / NORM,
        ),
        Claim(
            "posed",
            "The equilibrium stays well posed along gradient descent.",
            "max_t |W(t)|, widest networks",
            AtMost(1.0),
            "Theorem 1",
            "paper",
            TRAINING,
            lambda a: a["norm"][:, -1].max(axis=-1),
        ),
        Claim(
            "kept",
            "The smallest eigenvalue of the Gram matrix stays above half of its first.",
            "min_t lambda_min(G(t)) / lambda_0, widest networks",
            AtLeast(0.5),
            "Theorem 1",
            "paper",
            TRAINING,
            lambda a: kept_share(a)[:, -1],
        ),
        Claim(
            "rate",
            "Gradient descent converges linearly, at the rate of the theorem.",
            "max_t Phi(t) / ((1 - eta lambda_0 / 2)^t Phi(0)), widest networks",
            AtMost(1.0),
            "Theorem 1",
            "paper",
            TRAINING,
            lambda a: bound_ratio(a)[:, -1],
        ),
        Claim(
            "gradient",
            "The gradient dominates the loss, by the Gram matrix along the way.",
            "max_t 2 lambda_min(G(t)) Phi(t) / |grad Phi(t)|^2, widest networks",
            AtMost(1.0),
            "section 4: |grad Phi|^2 >= 2 lambda_min(H) Phi >= 2 lambda_min(G) Phi",
            "paper",
            TRAINING,
            lambda a: gradient_ratio(a)[:, -1],
            certain="|grad Phi|^2 is at least that of the readout, r^T G r",
        ),
        Claim(
            "gram",
            "The Gram matrix of the equilibria at initialization approaches m K.",
            "slope of log |G(0)/m - K|_F / |K|_F against log m",
            Equals(-0.5),
            "an average over m units; fluctuations of the central limit theorem",
            "derived",
            GRAM,
            lambda a: exponents(a["widths"], a["error"]),
        ),
        Claim(
            "smallest",
            "Its smallest eigenvalue is at least half of the limit's in wide networks.",
            "lambda_0 / (m lambda*), widest networks",
            AtLeast(0.5),
            "Theorem 2",
            "paper",
            GRAM,
            lambda a: a["smallest"][:, -1],
        ),
        Claim(
            "width",
            "A width of order n^2 log n is enough for that.",
            "slope of log of the smallest m with lambda_0 >= m lambda* / 2, against "
            "log n, at d = n",
            AtMost(2.0),
            "Theorem 2: m = Omega(n^2 / lambda*^2 log(n / lambda*)); the logarithm "
            "left out",
            "paper",
            WIDTH,
            lambda a: exponents(a["sizes"], a["width"]),
        ),
        Claim(
            "depth",
            "The Gram matrix of l layers approaches that of the equilibrium "
            "geometrically.",
            "factor of |G - G^(l)|_F / m per layer / (2 sqrt2 s)",
            AtMost(1.0),
            "section 4: |G - G^(l)| / m = O(n (2 sqrt2 s)^l)",
            "paper",
            DEPTH,
            lambda a: factors(a["depths"], a["finite"]) / NORM,
        ),
        Claim(
            "limit depth",
            "So does the limit of infinite width, faster.",
            "factor of |K - K^(l)|_F / l per layer / s^2",
            AtMost(1.0),
            "section 4: |K - K^(l)|_F = O(n l s^(2l))",
            "paper",
            DEPTH,
            lambda a: factors(a["depths"], a["limit"] / a["depths"]) / S**2,
        ),
    ),
    figures,
)

"""Jacot, Gabriel & Hongler 2018: the neural tangent kernel on a circle.

"Neural Tangent Kernel: Convergence and Generalization in Neural Networks".
"""

from functools import partial

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
from zoo.theory.jacot2018_networks import (
    measure_band,
    measure_circle,
    measure_components,
)
from zoo.theory.powers import exponents

SETUP = """
Networks of L = 4 layers, that is three hidden ones, of relu units in the NTK
parameterization: a_{l+1} = relu(m_l^-1/2 W_l a_l + beta b_l), all entries N(0, 1), beta
= 0.1, all layers trained, by gradient descent on the mean 1/(2N) sum_i |f(x_i) -
y_i|^2. As in the paper the weights have no factor 2^1/2.

Circle (figure 1): Theta(x_0, x(g)) for x(g) = (cos g, sin g), x_0 = x(0), before and
after 200 steps of rate 1.0 on y = x_1 x_2 with inputs N(0, 1). Variances are over 10
initializations, as in the paper; a sample here is such a group.

Band (figure 2): four points of the circle are fitted for 1000 steps of rate 1.0, and
the outputs compared with the 10th, 50th and 90th percentile of the limiting Gaussian
process at the same step.

Components (figure 3): kernel PCA of the limit's kernel over N, on digits of norm
sqrt(d) here (MNIST in the paper); the target is f_0 + 0.5 f^(2), with f^(2) the second
eigenvector, of mean square 1. What is learned along it and orthogonally to it is
followed until 0.5 exp(-lambda_2 t) is small, at a rate of eta = 1 / lambda_1. A step
leaves 1 - eta lambda_2 of the component in the limit, and not exp(-eta lambda_2) as the
paper's flow does: rates are compared with that of the steps.
"""

START = Measurement(
    "start",
    partial(measure_circle, steps=0),
    {
        "smoke": {"widths": (32, 256), "groups": 24, "n": 4, "angles": 8},
        "default": {"widths": (64, 128, 256, 512), "groups": 60, "n": 4},
        "paper": {"widths": (500, 1000, 2000, 5000, 10000), "groups": 40},
    },
    seconds=15,
)
CIRCLE = Measurement(
    "circle",
    measure_circle,
    {
        "smoke": {"widths": (32, 128), "groups": 4, "n": 16, "angles": 8},
        "default": {"widths": (128, 256, 512), "groups": 10, "n": 16},
        "paper": {"widths": (500, 1000, 2000, 5000, 10000), "groups": 5, "n": 64},
    },
    seconds=40,
)
BAND = Measurement(
    "band",
    measure_band,
    {
        "smoke": {"width": 64, "groups": 6, "steps": 200},
        "default": {"width": 256, "groups": 16},
        "paper": {"width": 1000, "groups": 20},
    },
    seconds=20,
)
COMPONENTS = Measurement(
    "components",
    measure_components,
    {
        "smoke": {"widths": (64, 256), "seeds": 6, "n": 16},
        "default": {"widths": (64, 128, 256, 512), "seeds": 16, "n": 32},
        "paper": {"widths": (100, 1000, 10000), "seeds": 10, "n": 512},
    },
    seconds=20,
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """The kernel over the circle, the band, and the components."""
    out = []
    if "circle" in found:
        a = found["circle"]
        lines = [
            Curve(
                f"m = {a['widths'][i]}, {when}",
                a["angles"],
                a["kernels"][:, i, j],
                dash,
            )
            for i in (0, -1)
            for j, when, dash in ((0, "start", "solid"), (1, "end", "dashed"))
        ]
        lines.append(Curve("limit", a["angles"], a["limit"], "dotted", True))
        w = a["widths"]
        spread = [Curve("start", w, a["before"]), Curve("end", w, a["after"], "dashed")]
        mean = a["before"].mean(0)[0]
        spread.append(Curve("slope -1", w, mean * w[0] / w, "dotted", True))
        panels = [
            Axes("on the circle", "angle g", "Theta(x_0, x(g))", lines, False, False),
            Axes("over 10 initializations", "width m", "variance of Theta", spread),
        ]
        caption = "The tangent kernel before and after training, and its variance."
        out.append(Figure("circle", caption, panels))
    if "band" in found:
        a = found["band"]
        center, sd = np.asarray(a["process"]).T
        lines = []
        for z, share in ((-1.28, 10), (0.0, 50), (1.28, 90)):
            seen = np.percentile(a["outputs"], share, axis=0)
            limit = center + z * sd
            lines += [
                Curve(f"networks, {share} %", a["angles"], seen),
                Curve(f"limit, {share} %", a["angles"], limit, "dashed", True),
            ]
        panel = Axes("outputs", "angle g", "f(x(g))", lines, False, False)
        caption = (
            "Percentiles of the outputs of trained networks over initializations, and "
            "those of the limiting process."
        )
        out.append(Figure("band", caption, [panel]))
    if "components" in found:
        a = found["components"]
        label = [f"m = {m}" for m in a["widths"]]
        along = [Curve(k, a["times"], a["along"][:, i]) for i, k in enumerate(label)]
        along.append(Curve("limit", a["times"], a["predicted"], "dashed", True))
        across = [Curve(k, a["times"], a["across"][:, i]) for i, k in enumerate(label)]
        panels = [
            Axes("along f^(2)", "time", "component left", along, False),
            Axes("orthogonal", "time", "root mean square", across, False),
        ]
        caption = "What is left of the target along the second eigenvector, and across."
        out.append(Figure("components", caption, panels))
    return out


def exponent(
    name: str, words: str, key: str, value: float, where: Measurement
) -> Claim:
    """A power of the width."""
    return Claim(
        name,
        words,
        f"slope of log ({key}) against log m",
        Equals(value),
        "The kernel fluctuates by m^-1/2; figures 1 and 3 show that this falls",
        "derived",
        where,
        lambda a: exponents(a["widths"], a[key]),
    )


PAPER = Paper(
    "jacot2018",
    "Jacot, Gabriel & Hongler 2018, Neural Tangent Kernel: Convergence and "
    "Generalization in Neural Networks",
    SETUP,
    (
        exponent(
            "variance start",
            "The variance of the kernel over initializations falls like 1/m.",
            "before",
            -1.0,
            START,
        ),
        Claim(
            "variance end",
            "The variance after training is smaller in wider networks too.",
            "slope of log (variance of Theta after 200 steps) against log m",
            AtMost(0.0),
            "Figure 1",
            "paper",
            CIRCLE,
            lambda a: exponents(a["widths"], a["after"]),
        ),
        Claim(
            "constant",
            "The wider a network, the closer to constant its kernel stays.",
            "slope of log (root mean square change of Theta in 200 steps) against "
            "log m",
            AtMost(0.0),
            "Figure 1; theorem 2 has the limit",
            "paper",
            CIRCLE,
            lambda a: exponents(a["widths"], a["drift"]),
        ),
        Claim(
            "inflation",
            "Training inflates the kernel of a narrow network.",
            "mean over the circle of Theta after training / before, at the smallest m",
            AtLeast(1.0),
            "Figure 1, as observed at m = 500",
            "paper",
            CIRCLE,
            lambda a: a["inflation"][:, 0],
        ),
        Claim(
            "band",
            "Trained networks scatter as the limiting Gaussian process does.",
            "share of outputs between its 10th and its 90th percentile",
            Equals(0.8),
            "Figure 2",
            "paper",
            BAND,
            lambda a: a["inside"],
        ),
        Claim(
            "median",
            "Their center is the process's.",
            "share of outputs below its median",
            Equals(0.5),
            "Figure 2",
            "paper",
            BAND,
            lambda a: a["below"],
        ),
        Claim(
            "decay",
            "The component along the second eigenvector decays like exp(-lambda_2 t), "
            "or (1 - eta lambda_2)^k in k steps.",
            "fitted rate of decay / (-log(1 - eta lambda_2) / eta), at the largest m",
            Equals(1.0),
            "Section 5 and figure 3, for steps in the place of the flow",
            "paper",
            COMPONENTS,
            lambda a: a["rate"][:, -1],
        ),
        exponent(
            "orthogonal",
            "What is learned orthogonally to it shrinks with the width.",
            "most",
            -0.5,
            COMPONENTS,
        ),
    ),
    figures,
)

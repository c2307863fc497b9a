"""Kawaguchi & Huang 2019: as many parameters as points, the last layer trained alone.

"Gradient Descent Finds Global Minima for Generalizable Deep Neural Networks of
Practical Sizes" (Allerton 2019).
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
from zoo.theory.kawaguchi2019_all import measure_data, measure_parameters
from zoo.theory.kawaguchi2019_last import measure_features, measure_rates
from zoo.theory.powers import exponents

SETUP = """
h_0 = x with |x| = 1, h_l = m_l^-1/2 sigma(sigma_w W_l h_{l-1} + b_l), f = W_{H+1} h_H
without a bias; all entries of W and b are N(0, 1). sigma is softplus_a(z) = ln(1 +
e^{a z}) / a with sigma_w = 1, or the sigmoid of a z with sigma_w = 1.8, a = 5. (The
recursion and its scales are reconstructed; scales apart from 1 keep distinct inputs
apart in float64.) Losses are means over the n points.

Features: Phi is h_H at n points uniform on the sphere of R^20, of m_H units, 64 in each
layer below. Labels are N(0, 1); they are fitted if the least squares of the last layer,
where gradient descent on it ends, leave less than 1e-8 of |y|^2. The least m_H is found
by bisection, of each seed. Ranks count singular values above max(n, m) roundings of the
largest, in float64.

Rates: the last layer alone, two hidden layers, gradient descent in float64 at rate
1 / smoothness, that is 4 n / lambda_max(Phi Phi^T) for cross-entropy and n / lambda_max
for 1/(2n) |f - y|^2. Cross-entropy has the probabilities sigmoid(N(0, 1)), whose
minimum w_* is attained, or labels, that m_H > n units separate, so that it is not: the
approach to 1 / t is slow then, and exponents are those of the last decade.

Parameters: f = sum_r a_r tanh(w_r . x + b_r) of x ~ N(0, I_2) and labels N(0, 1), all
layers trained; fitted if the best of some initializations leaves less than 1e-4 of
|y|^2. BFGS stands for gradient descent, which takes very long where parameters are
barely enough.

Data: two hidden layers of softplus, all layers trained by Adam on cross-entropy.
Natural: handwritten digits. Random: images of independent pixels of the same norm, with
labels drawn apart. (The paper trains ResNet-18 on larger images.)
"""

FEATURES = Measurement(
    "features",
    measure_features,
    {
        "smoke": {
            "ns": (8, 16),
            "depths": (1, 3),
            "ratios": (0.5, 1.0, 2.0),
            "seeds": 3,
        },
        "default": {
            "ns": (16, 32, 64),
            "depths": (1, 2, 4),
            "ratios": (0.25, 0.5, 0.9, 1.0, 1.1, 2.0),
            "seeds": 8,
        },
        "paper": {
            "ns": (64, 128, 256, 512),
            "depths": (1, 2, 4),
            "ratios": (0.25, 0.5, 0.9, 1.0, 1.1, 2.0),
            "seeds": 20,
        },
    },
    seconds=40.0,
)
RATES = Measurement(
    "rates",
    measure_rates,
    {
        "smoke": {"n": 8, "width": 64, "seeds": 4, "steps": 20000},
        "default": {"n": 12, "width": 96, "seeds": 12, "steps": 40000},
        "paper": {"n": 64, "width": 2048, "seeds": 20, "steps": 1000000},
    },
    seconds=20.0,
)
PARAMETERS = Measurement(
    "parameters",
    measure_parameters,
    {
        "smoke": {"ns": (6, 12), "seeds": 4, "restarts": 4, "steps": 300},
        "default": {"ns": (16, 24, 32, 48), "seeds": 10, "restarts": 4, "steps": 3000},
        "paper": {"ns": (32, 64, 128, 256), "seeds": 20, "restarts": 8, "steps": 5000},
    },
    seconds=90.0,
)
DATA = Measurement(
    "data",
    measure_data,
    {
        "smoke": {
            "n_train": 64,
            "n_test": 256,
            "width": 64,
            "steps": 200,
            "seeds": 4,
        },
        "default": {
            "n_train": 200,
            "n_test": 1000,
            "width": 128,
            "steps": 400,
            "seeds": 8,
        },
        "paper": {
            "n_train": 600,
            "n_test": 597,
            "width": 2048,
            "steps": 4000,
            "seeds": 20,
        },
    },
    seconds=40.0,
)


def off_rank(arrays: Arrays) -> np.ndarray:
    """The largest |rank / min(n, m_H) - 1| of each seed."""
    return np.abs(arrays["rank"] - 1).max(axis=(1, 2, 3, 4))


def off_threshold(arrays: Arrays) -> np.ndarray:
    """The largest |m / n - 1| of each seed, m the least width that fits."""
    return np.abs(arrays["threshold"] - 1).max(axis=(1, 2, 3))


def exponent(times: np.ndarray, excess: np.ndarray, floor: float) -> np.ndarray:
    """Log-log slope over the last decade of times above a floor, of each seed."""
    out = []
    for values in excess:
        seen = np.cumprod(values > floor).astype(bool)
        last = times[seen][-1] if seen.any() else 0
        window = seen & (times > last / 10)
        enough = window.sum() >= 4
        x, y = np.log(times[window]), np.log(values[window])
        out.append(np.polyfit(x, y, 1)[0] if enough else np.nan)
    return np.asarray(out)


def rate_ratio(arrays: Arrays) -> np.ndarray:
    """Measured over predicted slope of the log of the square loss, of each seed.

    Between the times when the slowest direction has been alone for a while and when
    rounding stops the fall.
    """
    out, times = [], arrays["times"]
    for log, slow, slope in zip(
        arrays["square"], arrays["slow"], arrays["predicted"], strict=True
    ):
        window = (times > 2 * slow) & (log > log[0] - 45)
        x, y = times[window], log[window]
        out.append(np.polyfit(x, y, 1)[0] / slope if len(x) >= 2 else np.nan)
    return np.asarray(out)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """Features, rates, and the number of parameters."""
    out = []
    if "features" in found:
        a = found["features"]
        least, left = a["least"][:, 0, -1], np.maximum(a["left"][:, 0, -1], 1e-17)
        panels = [
            Axes(
                title,
                "m_H / n",
                label,
                [
                    Curve(f"H = {depth}", a["ratios"], y[:, i])
                    for i, depth in enumerate(a["depths"])
                ],
            )
            for title, label, y in (
                ("smallest singular value", "sigma_min(Phi) / m_H^1/2", least),
                ("random labels", "share of |y|^2 left", left),
            )
        ]
        caption = "The last features at initialization, against their number."
        out.append(Figure("features", caption, panels))
    if "rates" in found:
        a = found["rates"]
        t = a["times"]
        panel = Axes(
            "cross-entropy, last layer",
            "step t",
            "loss - minimum, over its start",
            [
                Curve("probabilities", t, np.maximum(a["excess"], 1e-16)),
                Curve("separable labels", t, a["separable"]),
                Curve("bound |w_0 - w_*|^2 / (2 eta t)", t, a["bound"], "dashed", True),
            ],
        )
        out.append(Figure("rates", "Gradient descent on the last layer.", [panel]))
    if "parameters" in found:
        a = found["parameters"]
        n = a["ns"]
        curves = [
            Curve("least P that fits", n, a["parameters"]),
            Curve("P = n", n, n, "dashed", True),
        ]
        panel = Axes("random labels, all layers", "points n", "parameters P", curves)
        out.append(Figure("parameters", "Parameters needed against points.", [panel]))
    return out


PAPER = Paper(
    "kawaguchi2019",
    "Kawaguchi & Huang 2019, Gradient Descent Finds Global Minima for Generalizable "
    "Deep Neural Networks of Practical Sizes",
    SETUP,
    (
        Claim(
            "rank",
            "The last features have full rank at any depth.",
            "max |rank(Phi) / min(n, m_H) - 1|",
            AtMost(1e-6),
            "main theorem's mechanism: a determinant that is analytic and not 0",
            "derived",
            FEATURES,
            off_rank,
        ),
        Claim(
            "threshold",
            "The last layer alone fits random labels from m_H = n, whatever the depth.",
            "max |least m_H that fits / n - 1|",
            AtMost(1e-6),
            "main theorem; rank n is needed and enough",
            "derived",
            FEATURES,
            off_threshold,
        ),
        Claim(
            "convex",
            "Cross-entropy of the last layer stays below the bound of convex losses.",
            "max_t (loss - min) 2 eta t / |w_0 - w_*|^2",
            AtMost(1.0),
            "main theorem, O(1 / t); the constant as is standard for 1 / smoothness",
            "derived",
            RATES,
            lambda a: (a["excess"] / a["bound"]).max(axis=1),
        ),
        Claim(
            "exponent",
            "It falls to its minimum at least as 1 / t (exponentially, where one is "
            "attained: the slope is that of the last decade seen).",
            "slope of log(loss - min) against log t, over the last decade above 1e-10",
            AtMost(-1.0),
            "main theorem, O(1 / t)",
            "derived",
            RATES,
            lambda a: exponent(a["times"], a["excess"], 1e-10),
        ),
        Claim(
            "separable",
            "Of labels that are separated, where no minimum is attained, it is 1 / t.",
            "slope of log loss against log t, over the last decade",
            Equals(-1.0),
            "O(1 / t) is attained: gradient flow of exponential tails",
            "derived",
            RATES,
            lambda a: exponent(a["times"], a["separable"], 0.0),
        ),
        Claim(
            "square",
            "The square loss falls by (1 - eta lambda_min / n)^2 a step.",
            "slope of log loss against t / (2 log(1 - eta lambda_min(Phi Phi^T) / n))",
            Equals(1.0),
            "least squares by gradient descent",
            "derived",
            RATES,
            rate_ratio,
        ),
        Claim(
            "linear",
            "With all layers trained, the number of parameters needed is linear in n.",
            "slope of log (least P that fits random labels) against log n",
            Equals(1.0),
            "abstract; Table I: Omega~(n)",
            "restated",
            PARAMETERS,
            lambda a: exponents(a["ns"], a["parameters"]),
        ),
        Claim(
            "needed",
            "No fewer parameters than points fit random labels.",
            "least P that fits / n, the mean over n",
            AtLeast(1.0),
            "optimality; a smooth map of R^P covers nothing of R^n if P < n",
            "derived",
            PARAMETERS,
            lambda a: (a["parameters"] / a["ns"]).mean(axis=1),
        ),
        *(
            Claim(
                f"{data}-train",
                f"The network fits {data} data to the last label.",
                "accuracy on train points",
                AtLeast(1.0),
                "experiments: 100 % on all data",
                "restated",
                DATA,
                lambda a, data=data: a[f"{data}_train"],
            )
            for data in ("natural", "random")
        ),
        Claim(
            "natural-test",
            "It generalizes on natural data: far above the chance of 0.1.",
            "accuracy on test points",
            AtLeast(0.5),
            "abstract; 0.5 is five times chance",
            "restated",
            DATA,
            lambda a: a["natural_test"],
        ),
        Claim(
            "random-test",
            "It does not on random data: chance.",
            "accuracy on test points",
            Equals(0.1, 0.05),
            "abstract; labels that nothing tells",
            "restated",
            DATA,
            lambda a: a["random_test"],
        ),
    ),
    figures,
)

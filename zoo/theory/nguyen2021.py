"""Nguyen 2021: one wide layer, of linear width.

"On the Proof of Global Convergence of Gradient Descent for Deep ReLU Networks with
Linear Widths".
"""

from collections.abc import Callable
from functools import partial
from typing import Any

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
    Prediction,
)
from zoo.theory.nguyen2021_conditions import measure_map
from zoo.theory.nguyen2021_training import (
    measure_features,
    measure_training,
    measure_width,
)
from zoo.theory.powers import exponents

SETUP = """
F_0 = X, F_l = relu(F_{l-1} W_l) for l < L, F_L = F_{L-1} W_L, without biases or factors
(standard parameterization); all layers are trained, by gradient descent on the sum
Phi = 1/2 |F_L - Y|_F^2. Inputs have norm sqrt(d), labels are N(0, 1). "LeCun": W_l has
entries N(0, 1/n_{l-1}); He: 2/n_{l-1}; Xavier: 2/(n_{l-1} + n_l). One layer is wide,
the last hidden one, of n = n_{L-1} units. alpha_0 is the smallest of the N singular
values of F_{L-1} at initialization, 0 where n < N; C_l > 0 are free, lam_l = |W_l|_2 +
C_l, Lam the product of all, Lam' that of all but lam_L. The conditions are

c1: alpha_0^2 >= 16 |X|_F max_l (Lam / (lam_l C_l)) (2 Phi_0)^1/2,
c2: alpha_0^3 >= 32 |X|_F^2 lam_L sum_{l<L} (Lam' / lam_l)^2 (2 Phi_0)^1/2,
c3: alpha_0^2 >= 16 |X|_F^2 lam_L^2 sum_{l<L} (Lam' / lam_l)^2.

The map of widths. The conditions ask for 10^4 to 10^12 units, so that the smallest
width from which they hold is found by bisection in the laws of large widths: alpha_0^2
= n lambda_min(K), with K the exact covariance of a unit over pairwise orthogonal inputs
(lambda_min(K) then does not depend on N, as the map of exponents assumes), outputs of
covariance K, and |W|_2 = sd (n_l^1/2 + n_{l-1}^1/2). "LeCun" in two layers has C_l = 1;
everywhere else C_l = |W_l|_2 for l < L and the best C_L is taken, with which LeCun's
own exponent is close to 3/2 (1.45 in a run of ours). "Scaled" multiplies the wide
layer's weights by 0.3 N^1/4 (two layers) or N / 10 (three). Three layers have n_1 =
2^14, a constant.

alpha_0 is 0 below n = N: from there alpha_0^2 first rises faster than n, and like n
once that is large against N log N. It is measured from n = 512 N on.

Training under the theorem's own learning rate needs a network that fulfils c1 to c3:
N = 4 inputs on the sphere, W_2 = 0, W_1 times 3 N^1/4, n = 8192, C_1 = |W_1|_2 / 4, C_2
half of what c3 leaves. It is slow, of relative steps below 1e-4: in the steps taken at
the default size Phi does not halve. The same networks are therefore trained to
convergence too, at 1 / lambda_max of the NTK, which the theorem does not allow; bounds
are judged on the worse of both runs, the contraction on the theorem's, and the rate at
the end on the fast one.

The smallest width that converges: inputs on the sphere in d = 16 dimensions, learning
rate 1 / lambda_max of the NTK at initialization, 40 N steps; a run converged if Phi
fell to a hundredth. The exponents of the theorem are upper bounds there.
"""

ALPHA = {"seeds": 16, "n": 8, "d": 16, "below": (2, 4, 7)}
WIDE = {
    "smoke": ALPHA | {"widths": (1024, 4096, 16384), "seeds": 8},
    "default": ALPHA | {"widths": (4096, 8192, 16384, 32768, 65536)},
    "paper": ALPHA
    | {"widths": tuple(2**i for i in range(13, 19)), "n": 64, "d": 256, "below": (63,)},
}


def features_of(name: str, depth: int, hidden_init: str) -> Measurement:
    """Of alpha_0^2, for a depth and an initialization."""
    run = partial(measure_features, depth=depth, hidden_init=hidden_init)
    return Measurement(name, run, WIDE, seconds=8)


def map_of(name: str, depth: int) -> Measurement:
    """Of the smallest widths by the conditions, for a depth."""
    sizes = {"sizes": (32, 64, 128, 256), "seeds": 48, "d": 256}
    many = {"sizes": tuple(2**i for i in range(4, 11)), "seeds": 100, "d": 1024}
    deep = {"narrow": 2**14} if depth > 1 else {}
    scales = {"smoke": sizes | deep, "default": sizes | deep, "paper": many | deep}
    return Measurement(name, partial(measure_map, depth), scales, seconds=5)


def width_of(name: str, **knobs: Any) -> Measurement:
    """Of the smallest width that converges, for an initialization."""
    size = {"sizes": (8, 16, 32, 64), "seeds": 12, "d": 16, "widest": 512, "steps": 40}
    scales = {
        "smoke": size | {"sizes": (4, 8, 16), "seeds": 6, "widest": 64},
        "default": size,
        "paper": size
        | {"sizes": (16, 32, 64, 128, 256, 512), "widest": 8192, "steps": 100},
    }
    return Measurement(name, partial(measure_width, **knobs), scales, seconds=40)


SHALLOW, DEEP = features_of("alpha", 1, "lecun"), features_of("alpha-deep", 2, "lecun")
XAVIER = features_of("alpha-xavier", 1, "xavier")
MAP, MAP_DEEP = map_of("map", 1), map_of("map-deep", 2)
RUN = {"n": 4, "d": 16, "width": 8192, "late_steps": 60}
TRAINING = Measurement(
    "training",
    measure_training,
    {
        "smoke": RUN | {"seeds": 12, "steps": 400},
        "default": RUN | {"seeds": 12, "steps": 6000},
        "paper": RUN | {"seeds": 20, "n": 8, "width": 65536, "steps": 10**6},
    },
    seconds=40,
)
WIDTH = width_of("width")
WIDTH_SCALED = width_of("width-scaled", sigma_last=0.0, power=0.25)
WIDTH_DEEP = width_of("width-deep", depth=2, sigma_last=0.0)

THEOREM = "Theorem 2.2, as restated by Cong et al. 2021, appendix D"
DERIVED = "Derived from the conditions"


def against_n(name: str) -> Callable[[Arrays], np.ndarray]:
    """The slope of a width against N."""
    return lambda a: exponents(a["sizes"], a[name])


def exponent(
    name: str, key: str, value: float, words: str, where: Measurement
) -> Claim:
    """A row of the map from initialization to width."""
    return Claim(
        name,
        f"The conditions hold from {words} on.",
        "slope of log (smallest n that fulfils c1, c2, c3) against log N",
        Equals(value),
        DERIVED,
        "derived",
        where,
        against_n(key),
    )


def earlier(number: int) -> Claim:
    """A condition beside c1, in two layers under LeCun's initialization, C_l = 1."""
    return Claim(
        f"c{number} lecun",
        f"Under LeCun's initialization, with C_l = 1, c{number} holds from a smaller "
        "width than c1.",
        f"max over N of (smallest n for c{number}) / (smallest n for c1)",
        AtMost(1.0),
        DERIVED,
        "derived",
        MAP,
        lambda a: (a["parts_lecun"][..., number - 1] / a["parts_lecun"][..., 0]).max(
            axis=1
        ),
    )


def along(
    name: str,
    statement: str,
    quantity: str,
    predicted: Prediction,
    key: str,
    source: str = THEOREM,
    trust: str = "restated",
) -> Claim:
    """Of the run that fulfils the conditions."""
    return Claim(
        name, statement, quantity, predicted, source, trust, TRAINING, lambda a: a[key]
    )


def grows(name: str, words: str, value: float, where: Measurement) -> Claim:
    """alpha_0^2 against the width."""
    return Claim(
        name,
        words,
        "slope of log alpha_0^2 against log n, from n = 512 N on",
        Equals(value),
        "derived: alpha_0^2 is n times lambda_min of the units' covariance, once n is "
        "large against N log N",
        "derived",
        where,
        lambda a: exponents(a["widths"], a["alpha"]),
    )


def converges(name: str, words: str, value: float, where: Measurement) -> Claim:
    """The smallest width in practice."""
    return Claim(
        name,
        f"{words}, gradient descent converges from a width of order N^{value:.0f} or "
        "less.",
        "slope of log (smallest n that converges) against log N",
        AtMost(value),
        "The exponents of the conditions bound it from above",
        "derived",
        where,
        against_n("width"),
    )


CLAIMS = (
    grows("alpha", "alpha_0^2 grows linearly with a large width.", 1.0, SHALLOW),
    grows("alpha deep", "So it does above a narrow layer.", 1.0, DEEP),
    grows(
        "alpha xavier",
        "Xavier's variance of the wide layer shrinks with its width, and alpha_0^2 "
        "does not grow.",
        0.0,
        XAVIER,
    ),
    Claim(
        "alpha zero",
        "alpha_0 is 0 where the last hidden layer has fewer units than there are "
        "points.",
        "max over n < N of lambda_min / lambda_max of F_{L-1} F_{L-1}^T",
        AtMost(1e-12),
        "The rank is at most n",
        "derived",
        SHALLOW,
        lambda a: a["below"],
    ),
    exponent("map lecun", "width_lecun", 2.0, "N^2 (LeCun, two layers)", MAP),
    exponent("map zero", "width_zero", 1.5, "N^3/2 (W_2 = 0)", MAP),
    exponent("map scaled", "width_scaled", 1.0, "N (W_2 = 0, W_1 scaled)", MAP),
    exponent("map deep", "width_zero", 3.0, "N^3 (three layers, W_3 = 0)", MAP_DEEP),
    exponent(
        "map deep scaled",
        "width_scaled",
        1.0,
        "N (three layers, W_3 = 0, W_2 scaled)",
        MAP_DEEP,
    ),
    earlier(2),
    earlier(3),
    Claim(
        "c3 deep lecun",
        "In three layers under LeCun's initialization c3 holds at no width, if N is "
        "large against n_1 / d (exact: no randomness, so that two seeds say all).",
        "min over C_3 of the right over the left side of c3, at n = 10^30 and the "
        "largest N",
        AtLeast(1.0),
        DERIVED,
        "derived",
        MAP_DEEP,
        lambda a: a["limit_lecun"][:2, -1],
    ),
    along(
        "conditions",
        "The trained network fulfils c1, c2 and c3.",
        "max over the three of the right over the left side",
        AtMost(1.0),
        "worst",
    ),
    along(
        "sigma",
        "The features stay of full rank.",
        "min_k sigma_min(F_{L-1}^k) / (alpha_0 / 2)",
        AtLeast(1.0),
        "least",
    ),
    along(
        "movement",
        "No layer moves further than the bound.",
        "max_{k,l} |W_l^k - W_l^0|_F / ((16 / alpha_0^2) (Lam / lam_l) |X|_F "
        "(2 Phi_0)^1/2)",
        AtMost(1.0),
        "moved",
    ),
    along(
        "ball",
        "No layer moves further than C_l.",
        "max_{k,l} |W_l^k - W_l^0|_F / C_l",
        AtMost(1.0),
        "within",
    ),
    along(
        "norms",
        "Weights keep their norms.",
        "max_{k,l} |W_l^k|_2 / lam_l",
        AtMost(1.0),
        "norms",
    ),
    along(
        "contraction",
        "Phi falls at least by the factor 1 - eta alpha_0^2 / 8 a step.",
        "min over records of the decrease of log Phi / -log(1 - eta alpha_0^2 / 8)",
        AtLeast(1.0),
        "rate",
    ),
    along(
        "lipschitz",
        "Features depend on weights as the proof has it.",
        "max_{k,l} |F_l^k - F_l^0|_F / (lam_1 .. lam_l |X|_F sum_{j<=l} "
        "|W_j^k - W_j^0|_2 / lam_j)",
        AtMost(1.0),
        "lipschitz",
    ),
    along(
        "gradient",
        "Gradients are bounded by the residual as the proof has it.",
        "max_{k,l} |dPhi / dW_l|_F / ((Lam / lam_l) |X|_F |F_L - Y|_F)",
        AtMost(1.0),
        "gradient",
    ),
    along(
        "rate",
        "At the end Phi falls by (1 - eta lambda_min)^2 a step, with the NTK's own "
        "smallest eigenvalue.",
        "decrease of log Phi a step / -2 log(1 - eta lambda_min(NTK))",
        Equals(1.0),
        "late",
        "derived from the linearization at the end",
        "derived",
    ),
    converges("width", "Under LeCun's initialization", 2.0, WIDTH),
    converges("width scaled", "With W_2 = 0 and W_1 scaled", 1.0, WIDTH_SCALED),
    converges("width deep", "In three layers with W_3 = 0", 3.0, WIDTH_DEEP),
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """alpha_0^2, the map, and training."""
    out = []
    names = {"alpha": "two layers", "alpha-deep": "three layers"}
    names |= {"alpha-xavier": "two layers, Xavier"}
    curves = [
        Curve(label, found[k]["widths"], found[k]["alpha"])
        for k, label in names.items()
        if k in found
    ]
    if curves:
        x, y = np.asarray(curves[0].x), np.asarray(curves[0].y)[:, 0].mean()
        curves.append(Curve("slope 1", x, y * x / x[0], "dashed", True))
        panel = Axes("last hidden layer", "width n", "alpha_0^2", curves)
        caption = "The smallest squared singular value of the last features."
        out.append(Figure("alpha", caption, [panel]))
    panels = []
    for key, title in (("map", "two layers"), ("map-deep", "three layers")):
        if key in found:
            a = found[key]
            labels = {"lecun": "LeCun", "zero": "W_L = 0"}
            labels |= {"scaled": "W_L = 0, wide layer scaled"}
            lines = [
                Curve(label, a["sizes"], a[f"width_{k}"])
                for k, label in labels.items()
                if np.isfinite(a[f"width_{k}"]).all()
            ]
            panels.append(Axes(title, "points N", "smallest width n", lines))
    if panels:
        caption = "The width from which the theorem's conditions hold."
        out.append(Figure("map", caption, panels))
    if "training" in found:
        a = found["training"]
        lines = [
            Curve("measured", a["times"], a["loss"]),
            Curve("(1 - eta alpha_0^2 / 8)^k", a["times"], a["bound"], "dashed"),
        ]
        panel = Axes("loss", "step k", "Phi / Phi_0", lines, log_x=False)
        fast = Curve("at 1 / lambda_max of the NTK", a["late_times"], a["fast"])
        other = Axes("loss, fast", "step k", "Phi / Phi_0", [fast], log_x=False)
        caption = "Training at the theorem's learning rate with its bound; and faster."
        out.append(Figure("training", caption, [panel, other]))
    widths = {"width": "LeCun", "width-scaled": "scaled", "width-deep": "three layers"}
    lines = [
        Curve(label, found[k]["sizes"], found[k]["width"])
        for k, label in widths.items()
        if k in found
    ]
    if lines:
        panel = Axes("convergence", "points N", "smallest width that converges", lines)
        caption = "The smallest width with which gradient descent fits N points."
        out.append(Figure("width", caption, [panel]))
    return out


PAPER = Paper(
    "nguyen2021",
    "Nguyen 2021, On the Proof of Global Convergence of Gradient Descent for Deep "
    "ReLU Networks with Linear Widths",
    SETUP,
    CLAIMS,
    figures,
)

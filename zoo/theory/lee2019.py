"""Lee et al. 2019: the table of slopes, the critical rate, the ensemble.

"Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent".
"""

from functools import partial

import numpy as np

from zoo.theory.claims import (
    Arrays,
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
from zoo.theory.lee2019_networks import (
    measure_edge,
    measure_ensemble,
    measure_evolution,
    measure_init,
)
from zoo.theory.powers import exponents

SETUP = """
Fully connected networks in the NTK parameterization, f = (sigma_w / n^1/2) h W with
entries N(0, 1) and no biases, all layers trained by gradient descent on the mean 1/(2N)
sum_i (f(x_i) - y_i)^2. sigma_w^2 = 2 for relu and 1.5 for tanh. Theta is the empirical
NTK on the N training points, K that of the last layer alone (the empirical NNGP
kernel).

The table of slopes (figures 1 and S6 of the paper; MNIST with 128 points and 2^17
steps there): handwritten digits of norm sqrt(d), y = +1 for an even digit and -1 for
an odd one, half of the critical learning rate. Three hidden layers of relu, three of
tanh, one of relu. Changes are from step 0 to the last one, relative, in Frobenius
norm; f - f_lin is the largest over 16 times of the root mean square over training and
test points. The slopes are observed ones in the paper, beside the bounds of its
theorem 2.1.

Kernels at initialization (figure S9): relu, inputs N(0, 1) in many dimensions.

The critical rate, here 2 N / (lambda_min + lambda_max) of the limit's kernel, as the
loss is a mean: the rate from which the residual along the top eigenvector of the own
kernel grows within 4 steps (longer runs above it grow and then find a flatter place);
one hidden layer of relu.

The ensemble (figure 2; 100 networks of width 8192, 128 points, up to step 65536
there): three layers of tanh, rate 0.5, against the Gaussian process of the limit at the
same step on test points. A sample is a group of 3 networks.
"""

RELU, TANH = ("relu", 2**0.5), ("tanh", 1.5**0.5)
TIMES = {
    "smoke": (0, 4, 8, 32),
    "default": (0, 8, 32, 64),
    "paper": (0, 16, 256, 65536),
}


def evolution_of(name: str, depth: int, kind: tuple[str, float]) -> Measurement:
    """Training of one kind of network."""
    run = partial(measure_evolution, depth=depth, activation=kind[0], sigma_w=kind[1])
    seeds = 48 if (depth, kind) == (3, RELU) else 24  # those with kinks scatter more
    size = {"seeds": seeds, "n": 16, "n_test": 8, "steps": 160}
    widths = (128, 256, 512, 1024) if depth > 1 else (256, 512, 1024, 2048, 4096)
    top = 13 if depth > 1 else 15
    scales = {
        "smoke": size | {"widths": (64, 256), "seeds": 6, "n": 8, "steps": 64},
        "default": size | {"widths": widths},
        "paper": size
        | {
            "widths": tuple(2**i for i in range(6, top)),
            "n": 128,
            "n_test": 128,
            "steps": 2**17,
        },
    }
    return Measurement(name, run, scales, seconds=45)


def init_of(name: str, depth: int) -> Measurement:
    """Kernels at initialization."""
    size = {"seeds": 24, "n": 16, "d": 256}
    scales = {
        "smoke": size | {"widths": (32, 128, 512), "seeds": 8},
        "default": size | {"widths": (64, 128, 256, 512, 1024)},
        "paper": size | {"widths": tuple(2**i for i in range(3, 13)), "d": 1024},
    }
    return Measurement(name, partial(measure_init, depth=depth), scales, seconds=15)


def edge_of(name: str, parameterization: str) -> Measurement:
    """The critical rate."""
    size = {"seeds": 16, "depth": 1, "n": 32}
    scales = {
        "smoke": size | {"widths": (256, 2048), "seeds": 8},
        "default": size | {"widths": (1024, 2048, 4096, 8192)},
        "paper": size | {"widths": tuple(2**i for i in range(8, 15)), "n": 128},
    }
    run = partial(measure_edge, parameterization=parameterization)
    return Measurement(name, run, scales, seconds=15)


EVOLUTION = {
    "relu 3": evolution_of("relu-3", 3, RELU),
    "tanh 3": evolution_of("tanh-3", 3, TANH),
    "relu 1": evolution_of("relu-1", 1, RELU),
}
INIT = {"1": init_of("init-1", 1), "3": init_of("init-3", 3)}
EDGE, EDGE_STANDARD = edge_of("edge", "ntk"), edge_of("edge-standard", "standard")
ENSEMBLE = Measurement(
    "ensemble",
    measure_ensemble,
    {
        scale: {"width": width, "groups": groups, "networks": 3, "depth": 3}
        | {"n": n, "n_test": n, "times": TIMES[scale]}
        for scale, width, groups, n in (
            ("smoke", 128, 24, 4),
            ("default", 1024, 110, 8),
            ("paper", 8192, 110, 128),
        )
    },
    seconds=40,
)

OBSERVED = "Figures 1 and S6, an observed slope; the bound of theorem 2.1 is -1/2"
NAMES = {
    "ntk": ("the NTK", "|Theta_T - Theta_0| / |Theta_0|", -1.0),
    "nngp": ("the empirical NNGP kernel", "|K_T - K_0| / |K_0|", -1.0),
    "first": ("the first layer's weights", "|W_T - W_0| / |W_0|", -0.5),
    "hidden": ("hidden weights", "|W_T - W_0| / |W_0|, mean over layers", -1.0),
    "last": ("the last layer's weights", "|W_T - W_0| / |W_0|", -0.5),
}
KINKS = (
    "A unit with a kink changes its derivative by flipping. Weights move by m^-1/2 "
    "each, a share m^-1/2 of the units flips at a point, and their terms have random "
    "signs, so that the NTK changes by (m m^-1/2)^1/2 / m = m^-3/4 beside a mean of "
    "order m^-1; a smooth unit has no such term, and K, which holds no derivative, has "
    "none either. The bound -1/2 holds."
)
NEAR = (
    "The theorem bounds it; at these widths and this training time the exponent of "
    "the next order still mixes in."
)


def slope(
    kind: str,
    key: str,
    what: str,
    quantity: str,
    predicted: Prediction,
    source: str,
    thought: str = NEAR,
) -> Claim:
    """A row of the table."""
    relation = "like" if isinstance(predicted, Equals) else "at least like"
    return Claim(
        f"{key} {kind}" + (" bound" if isinstance(predicted, AtMost) else ""),
        f"{kind}: the change of {what} falls {relation} m^{predicted.value:g}.",
        f"slope of log {quantity} against log m",
        predicted,
        source,
        "paper",
        EVOLUTION[kind],
        lambda a: exponents(a["widths"], a[key]),
        thought,
    )


def table(kind: str) -> list[Claim]:
    """The rows of one kind of network."""
    keys = [k for k in NAMES if k != "hidden" or kind.endswith("3")]
    rows = []
    for key in keys:
        what, quantity, value = NAMES[key]
        thought = KINKS if key == "ntk" and kind.startswith("relu") else NEAR
        predicted = Equals(value)
        rows.append(slope(kind, key, what, quantity, predicted, OBSERVED, thought))
    what, quantity, _ = NAMES["ntk"]
    rows.append(slope(kind, "ntk", what, quantity, AtMost(-0.5), "Theorem 2.1"))
    gap = ("f - f_lin", "max_t |f_t - f_t^lin|")
    rows.append(slope(kind, "linear", *gap, AtMost(-0.5), "Theorem 2.1"))
    rows.append(
        Claim(
            f"linearization {kind}",
            f"{kind}: the linearization with the network's own kernel is closer to it "
            "than that with the limit's.",
            "max_t |f_t - f_t^lin| / max_t |f_t - f_t^inf| at the largest width",
            AtMost(1.0),
            "Section 3: the kernel moves by 1/m, and is m^-1/2 from its limit",
            "paper",
            EVOLUTION[kind],
            lambda a: a["linear"][:, -1] / a["limit"][:, -1],
        )
    )
    return rows


def at_init(depth: str, key: str, name: str) -> Claim:
    """A distance from the limit."""
    return Claim(
        f"init {key} {depth}",
        f"{depth} hidden layers: {name} at initialization is m^-1/2 from its limit.",
        "slope of the log of the relative distance against log m",
        Equals(-0.5),
        "Figure S9",
        "paper",
        INIT[depth],
        lambda a: exponents(a["widths"], a[key]),
    )


def at_time(i: int, key: str, words: str, quantity: str) -> Claim:
    """The ensemble after the i-th of the recorded times."""
    steps = TIMES["default"][i]
    return Claim(
        f"{key} {i}",
        f"{words} (at the {i + 1}. recorded time, step {steps} by default).",
        quantity,
        Equals(1.0),
        "Figure 2; equations 14 and 15",
        "paper",
        ENSEMBLE,
        lambda a: a[key][:, i],
    )


MEAN = (
    "The mean of trained networks is the process's",
    "mean of (difference of means)^2 over the variance that chance gives it",
)
SPREAD = (
    "The variance of trained networks is the process's",
    "variance of a group / variance of the process",
)
CLAIMS = (
    *(row for kind in EVOLUTION for row in table(kind)),
    *(
        at_init(depth, key, name)
        for depth in INIT
        for key, name in (("ntk", "the NTK"), ("nngp", "the NNGP kernel"))
    ),
    Claim(
        "critical",
        "Gradient descent converges below the critical rate, and grows above it.",
        "rate from which the top mode grows / eta_critical, at the largest width",
        Equals(1.0),
        "Theorem 2.1, eta_critical = 2 / (lambda_min + lambda_max)",
        "paper",
        EDGE,
        lambda a: a["edge"][:, -1],
    ),
    Claim(
        "critical ntk",
        "In the NTK parameterization it does not depend on the width.",
        "slope of log (rate from which the top mode grows) against log m",
        Equals(0.0),
        "Figure S7, appendix F",
        "paper",
        EDGE,
        lambda a: exponents(a["widths"], a["edge"]),
    ),
    Claim(
        "critical standard",
        "In the standard one it falls like 1/m.",
        "slope of log (rate from which the top mode grows) against log m",
        Equals(-1.0),
        "Figure S7, appendix G: eta = eta_0 / m",
        "paper",
        EDGE_STANDARD,
        lambda a: exponents(a["widths"], a["edge"]),
    ),
    *(at_time(i, "mean", *MEAN) for i in range(1, 4)),
    *(at_time(i, "variance", *SPREAD) for i in range(1, 4)),
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """The table's quantities against width, the kernels, and the ensemble."""
    out = []
    labels = {"ntk": "NTK", "nngp": "NNGP kernel", "first": "first weights"}
    labels |= {"hidden": "hidden weights", "last": "last weights"}
    panels = []
    for kind, where in EVOLUTION.items():
        if where.name in found:
            a = found[where.name]
            w = a["widths"]
            lines = [
                Curve(label, w, a[key])
                for key, label in labels.items()
                if np.isfinite(a[key]).any()
            ]
            for value, dash in ((-0.5, "dashed"), (-1.0, "dotted")):
                y = a["last"][:, 0].mean() * (w / w[0]) ** value
                lines.append(Curve(f"slope {value:g}", w, y, dash, True))
            panels.append(Axes(kind, "width m", "relative change", lines))
    if panels:
        out.append(Figure("table", "What training changes, against width.", panels))
    lines = [
        Curve(f"{key}, {depth} hidden", a["widths"], a[name])
        for depth, where in INIT.items()
        for a in ([found[where.name]] if where.name in found else [])
        for name, key in (("ntk", "NTK"), ("nngp", "NNGP kernel"))
    ]
    if lines:
        panel = Axes("initialization", "width m", "relative distance", lines)
        caption = "Empirical kernels at initialization against their limits."
        out.append(Figure("init", caption, [panel]))
    if "ensemble" in found:
        a = found["ensemble"]
        t = np.maximum(a["times"], 1)
        rms = [np.abs(a[k][..., 0]).mean(1) for k in ("band", "process")]
        sds = [a[k][..., 1].mean(1) for k in ("band", "process")]
        panels = [
            Axes(
                title,
                "step t",
                title,
                [Curve("networks", t, y[0]), Curve("process", t, y[1], "dashed")],
                log_y=False,
            )
            for title, y in (("mean |E f|", rms), ("standard deviation", sds))
        ]
        caption = "Networks of many initializations and the process of their limit."
        out.append(Figure("ensemble", caption, panels))
    return out


PAPER = Paper(
    "lee2019",
    "Lee, Xiao, Schoenholz, Bahri, Novak, Sohl-Dickstein & Pennington 2019, Wide "
    "Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent",
    SETUP,
    CLAIMS,
    figures,
)

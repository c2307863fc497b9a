"""Terjek & Gonzalez-Sanchez 2022: figures."""

from typing import Any

import numpy as np

from zoo.theory.claims import Arrays, Axes, Curve, Figure
from zoo.theory.terjek2022_data import SMOOTH


def guide(label: str, widths: Any, start: Any, slope: float) -> Curve:
    """A power of the width through the first point of a curve [s, w]."""
    m = np.asarray(widths, float)
    line = np.mean(np.asarray(start)[..., 0]) * (m / m[0]) ** slope
    return Curve(label, m, line, "dashed", guide=True)


def _training(a: Arrays) -> Figure:
    times, widths = a["times"], a["widths"]
    shown = [0, len(widths) // 2, len(widths) - 1]
    curves = [Curve(f"m = {widths[i]}", times, a["loss"][:, i]) for i in shown]
    bound = Curve("guarantee", times, a["allowed"][:, -1].mean(0), "dashed", guide=True)
    lazy, drift = a["lazy"].max(axis=2), a["drift"].max(axis=2)
    far = a["off"] / a["least"]
    return Figure(
        "training",
        "Left: the loss, and what half of lambda_min(Theta_0) guarantees. Right: what "
        "is left of nonlinearity: the largest distance of outputs from those of the "
        "linearized network, the change of the kernel, and the distance of the "
        "solution from the nearest one of the linearized network.",
        [
            Axes("loss", "step t", "L_t / L_0", [*curves, bound], log_x=False),
            Axes(
                "nonlinearity",
                "width m",
                "relative distance",
                [
                    Curve("|theta_T - theta_lin|", widths, far),
                    Curve("sup |Theta_t - Theta_0|", widths, drift),
                    Curve("sup |f - f_lin|", widths, lazy),
                    guide("m^-1/2", widths, far, -0.5),
                    guide("m^-1", widths, lazy, -1.0),
                ],
            ),
        ],
    )


def _spectrum(a: Arrays) -> Figure:
    m, low = a["widths"], a["low"] / a["limit_low"]
    ones = Curve("infinite width", m, np.ones(len(m)), "dashed", guide=True)
    sd = low.std(axis=0, ddof=1)
    return Figure(
        "spectrum",
        "lambda_min(Theta_0) over that of the infinitely wide network: mean over "
        "initializations with its interval, and standard deviation.",
        [
            Axes(
                "mean",
                "width m",
                "lambda_min(Theta_0) / lambda_min(Theta_inf)",
                [Curve("mean", m, low), ones],
                log_y=False,
            ),
            Axes(
                "spread",
                "width m",
                "standard deviation",
                [Curve("measured", m, sd), guide("m^-1/2", m, sd[None], -0.5)],
            ),
        ],
    )


def _dependence(a: Arrays) -> Figure:
    bound, values = a["activation_bound"], a["by_activation"]
    names = SMOOTH[: values.shape[1]]
    order = np.argsort(bound.mean(0))
    places = np.arange(1, len(names) + 1)
    return Figure(
        "dependence",
        "lambda_min(Theta_0) against the number of points, the depth and the "
        "activation, with the lower bounds of the claims.",
        [
            Axes(
                "points",
                "points n",
                "lambda_min(Theta_0)",
                [Curve("two hidden layers", a["counts"], a["by_count"])],
            ),
            Axes(
                "depth",
                "hidden layers",
                "lambda_min(Theta_0)",
                [
                    Curve("measured", a["depths"], a["by_depth"]),
                    Curve("bound", a["depths"], a["depth_bound"], "dashed"),
                ],
                log_x=False,
            ),
            Axes(
                "activation",
                "activation, by bound",
                "lambda_min(Theta_0)",
                [
                    Curve("measured", places, values[:, order]),
                    Curve("bound", places, bound[:, order], "dashed"),
                ],
                log_x=False,
                names=tuple(names[i] for i in order),
            ),
        ],
    )


def _rates(found: dict[str, Arrays]) -> Figure:
    panels = []
    for name, title in (("rates", "NTK"), ("standard", "standard")):
        if name not in found:
            continue
        a = found[name]
        m = a["widths"]
        curves = [
            Curve("largest", m, a["edge"]),
            Curve("2 n / lambda_max", m, a["critical"], "dotted"),
            Curve("best", m, a["best"]),
        ]
        if name == "standard":
            curves.append(guide("m^-1", m, a["edge"], -1.0))
        panels.append(
            Axes(f"{title} parameterization", "width m", "learning rate", curves)
        )
    return Figure(
        "rates",
        "The largest rate without growth of the loss, the critical rate of Theta_0, "
        "and the rate of the smallest loss.",
        panels,
    )


def _moments(a: Arrays) -> Figure:
    fourth = a["fourth"].mean(axis=0)

    def panel(title: str, label: str, name: str) -> Axes:
        curves = [
            Curve(f"{depth} hidden", fourth, np.exp(np.log(a[name][:, i]).mean(0)))
            for i, depth in enumerate(a["depths"])
        ]
        return Axes(title, "mean |x|^4 / (mean |x|^2)^2", label, curves)

    return Figure(
        "moments",
        "Constants against the fourth moment of the data, at the same second moment: "
        "the conditioning of Theta_0, and how far training moves the kernel in units "
        "of its smallest eigenvalue, which a wide network keeps below 1/2. Geometric "
        "means over draws.",
        [
            panel("conditioning", "n lambda_min / trace", "share"),
            panel("width needed", "|Theta_T - Theta_0|_2 / lambda_min", "drift"),
        ],
    )


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """Training, spectrum, dependence, learning rates and moments."""
    draw = {
        "training": _training,
        "spectrum": _spectrum,
        "dependence": _dependence,
        "moments": _moments,
    }
    out = [make(found[name]) for name, make in draw.items() if name in found]
    if "rates" in found or "standard" in found:
        out.append(_rates(found))
    return out

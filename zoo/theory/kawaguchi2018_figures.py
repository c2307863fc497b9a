"""Kawaguchi, Huang & Kaelbling 2018: what is shown."""

import numpy as np

from zoo.theory.claims import Arrays, Axes, Curve, Figure
from zoo.theory.kawaguchi2018_minima import ACTIVATIONS
from zoo.theory.kawaguchi2018_sweeps import accepted

UNITS = "loss left, L / (|Y|^2 / 2)"


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """Shares of stationary points, terms by unit, values by width and depth, a line."""
    out = []
    if "stationary" in found:
        out += [_share(found["stationary"]), _terms(found["stationary"])]
    start = "values-"
    values = {k.removeprefix(start): a for k, a in found.items() if k.startswith(start)}
    if values:
        out.append(
            Figure(
                "values",
                "Loss at the stationary points where descents end, over |Y|^2 / 2 "
                "(solid), and that of the linear model of the tangent space there "
                "(dashed, in the colour of its data).",
                [
                    _panel(values, "width m", "widths", "wide"),
                    _panel(values, "depth H", "depths", "deep"),
                ],
            )
        )
        out.append(
            Figure(
                "ends",
                "Share of the descents that end at a stationary point: the others are "
                "left out of the values.",
                [
                    _counted(values, "width m", "widths", "wide"),
                    _counted(values, "depth H", "depths", "deep"),
                ],
            )
        )
    if "line" in found:
        out.append(_line(found["line"]))
    return out


def _share(a: Arrays) -> Figure:
    share = accepted(a).mean(axis=(1, 4))
    widths = np.arange(1, share.shape[-1] + 1)
    curves = [Curve(name, widths, share[:, i]) for i, name in enumerate(ACTIVATIONS)]
    panel = Axes("stationary points", "width", "share of descents", curves, log_x=False)
    return Figure(
        "share",
        "Share of descents that end at a differentiable stationary point, by place of "
        "the width in the sweep; the others end at kinks, or fall towards infinity.",
        [panel._replace(log_y=False)],
    )


def _terms(a: Arrays) -> Figure:
    """What is left of the loss after each unit, at the stationary points."""
    room = int(a["room"])

    def left(depth: int, place: int, sigma: int) -> np.ndarray:
        terms = a["terms"][:, place, sigma, -1, :, : depth * room + 1]
        mean = terms[accepted(a)[:, place, sigma, -1]].mean(axis=0)
        return 1.0 - np.cumsum(np.pad(mean, (1, 0)))

    def panel(depth: int, place: int) -> Axes:
        units = np.arange(depth * room + 2)
        curves = [
            Curve(name, units, left(depth, place, sigma))
            for sigma, name in enumerate(ACTIVATIONS)
        ]
        label = f"units counted: {depth} x {room} hidden, then the output"
        title = f"{depth} hidden layer{'s' * (depth > 1)}"
        return Axes(title, label, UNITS, curves, log_x=False, log_y=False)

    return Figure(
        "terms",
        "The decomposition of the loss at stationary points: what is left of |Y|^2 / 2 "
        "after the terms of the units, from the first layer on; mean over all "
        "stationary points of the widest networks. The last value is the loss itself.",
        [panel(int(depth), place) for place, depth in enumerate(a["depths"])],
    )


def _panel(values: dict[str, Arrays], label: str, x: str, y: str) -> Axes:
    solid = [Curve(name, a[x], a[y]) for name, a in values.items()]
    dashed = [
        Curve("", a[x], a[f"induced_{y}"], "dashed", beside=name)
        for name, a in values.items()
    ]
    title = f"against {label.split()[0]}"
    return Axes(title, label, "L / (|Y|^2 / 2)", solid + dashed, log_x=x == "widths")


def _counted(values: dict[str, Arrays], label: str, x: str, y: str) -> Axes:
    curves = [Curve(name, a[x], a[f"share_{y}"]) for name, a in values.items()]
    panel = Axes("ends that count", label, "share of descents", curves, x == "widths")
    return panel._replace(log_y=False)


def _line(a: Arrays) -> Figure:
    curves = [
        Curve("where descents end", a["ratios"], a["end"]),
        Curve("tangent space at the start", a["ratios"], a["start"]),
        Curve("1 - P / n", a["ratios"], 1 - a["ratios"], "dashed", guide=True),
    ]
    panel = Axes("random labels", "P / n", "L / (|Y|^2 / 2)", curves, log_x=False)
    return Figure(
        "line",
        "Random labels: the loss against the number of parameters P.",
        [panel._replace(log_y=False)],
    )

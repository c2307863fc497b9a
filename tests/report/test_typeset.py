"""Formulas typed on a terminal, on the figures' and the tables' side."""

import pytest

from zoo.report.tables import formula
from zoo.report.theorems import _panel, _typeset
from zoo.report.typeset import marked
from zoo.theory.claims import Axes, Curve

CASES = {
    "leaky_relu": "leaky_relu",
    "fashion_mnist": "fashion_mnist",
    "|w_0 - w_*|^2 / (2 eta t)": "|w_{0} - w_{*}|^{2} / (2 eta t)",
    "s^(2l)": "s^{2l}",
    "chi_1^(l/2)": "chi_{1}^{l/2}",
    "G^(l)|_F": "G^{(l)}|_{F}",
    "max_{k, m} h_{l-1}": "max_{k, m} h_{l-1}",
    "n_{l-1}^1/2).": "n_{l-1}^{1/2}).",
    "|W_l^k - W_l^0|_F": "|W_{l}^{k} - W_{l}^{0}|_{F}",
    "sigma_min(F_{L-1}^k)": "sigma_{min}(F_{L-1}^{k})",
    "e^{5 z}, m^-0.5.": "e^{5 z}, m^{-0.5}.",
    "dW_l, lam_j^2": "dW_{l}, lam_{j}^{2}",
}


@pytest.mark.parametrize("typed", CASES)
def test_marks(typed):
    assert marked(typed) == CASES[typed]


def test_tables_and_figures_follow_one_rule():
    assert formula("leaky_relu: w_*, s^(2l)") == (
        "leaky_relu: w<sub>*</sub>, s<sup>2l</sup>"
    )
    assert _typeset("lambda_min of fashion_mnist") == (
        "\N{GREEK SMALL LETTER LAMDA}_{min} of fashion_mnist"
    )


def test_curves_beside_others_share_their_colour_and_guides_keep_their_dash():
    curves = [
        Curve("a", [1, 2], [1.0, 2.0]),
        Curve("b", [1, 2], [1.0, 3e6]),
        Curve("", [1, 2], [2.0, 1.0], "dashed", beside="a"),
        Curve("up", [1, 2], [1.0, 2.0], "dotted", guide=True),
        Curve("down", [1, 2], [1.0, 2.0], guide=True),
    ]
    panel = _panel(Axes("", "depth", "y", curves, log_x=False, names=("one", "two")))
    a, b, beside, *guides = panel.lines
    assert a.colour == beside.colour != b.colour
    assert [line.dash for line in guides] == ["dotted", "dashed"]
    assert panel.x.ticks == ((1, "one"), (2, "two"))
    assert panel.y.high < 3e6  # it has diverged
    axes = Axes("", "depth", "y", curves, log_x=False, whole=True)
    assert _panel(axes).y.high > 3e6
    assert [text for _, text in _panel(axes).x.ticks] == ["1", "2"]

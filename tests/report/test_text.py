"""What a run says on a terminal, from a summary made by hand."""

from types import SimpleNamespace

import pytest

import zoo
from zoo.gap.config import Config
from zoo.models import Limit
from zoo.report import text

NAN = float("nan")
SLOPE = {"value": -0.489, "ci95": [-0.552, -0.431], "seeds": 8}
NONE = {"value": None, "ci95": [None, None], "seeds": 0}


def metric(slope=SLOPE, expected=-0.5, mean=(0.5, 0.25)):
    status = None if expected is None else "theory"
    expected = {"slope": expected, "status": status}
    found = {"mean": list(mean), "slope": slope, "expected": expected}
    return found | {"missing": ""}


@pytest.fixture
def summary():
    return {
        "widths": [64, 128],
        "seeds": 8,
        "metrics": {name: metric() for name in text.TITLES}
        | {"train_loss_final": metric(expected=None)},
        "equilibria": {"64": {}, "128": {}},
        "diverged": {"64": 0, "128": 0},
        "diverged_linear": {"64": 0, "128": 0},
        "diverged_infinite": {"64": 0, "128": 0},
    }


@pytest.mark.parametrize(
    "value, said",
    [(0.123456, "0.123"), (1e-7, "1e-07"), (12.0, "12"), (None, "-"), (NAN, "-")],
)
def test_number(value, said):
    assert text.number(value) == said


@pytest.mark.parametrize(
    "slope, said",
    [
        (SLOPE, "-0.49 [-0.55, -0.43]"),
        (SLOPE | {"ci95": [None, None]}, "-0.49"),
        (SLOPE | {"ci95": [NAN, NAN]}, "-0.49"),
        (NONE, "-"),
        ({"value": NAN, "ci95": [NAN, NAN]}, "-"),
    ],
)
def test_interval(slope, said):
    assert text.interval(slope) == said


def test_exponents_are_fractions():
    said = [text.exponent(v) for v in (-0.5, -0.75, -1.0, -1.5, -1 / 3, None)]
    assert said == ["-1/2", "-3/4", "-1", "-3/2", "-1/3", "-"]


def test_rows_have_a_mean_per_width(summary):
    summary["metrics"]["kernel_drift"] = metric(NONE, None, (0.5, None))
    rows = {row[0]: row[1:] for row in text.rows(summary)}
    assert list(rows) == list(text.TITLES.values())
    assert rows["kernel error at init"] == [
        "0.5",
        "0.25",
        "-0.49 [-0.55, -0.43]",
        "-1/2",
    ]
    assert rows["kernel drift"] == ["0.5", "-", "-", "-"]


def test_table_holds_every_row(summary):
    table = text.table(summary)
    assert all(cell in table for row in text.rows(summary) for cell in row)
    assert "64" in table and "128" in table


def test_sentences_state_exponent_and_theory(summary):
    said = text.sentences(summary)
    assert len(said) == len(text.FINDINGS)
    assert said[0].startswith("kernel error at init")
    assert "m^-0.49 [-0.55, -0.43]; theory: -1/2" in said[0]


def test_only_an_interval_below_zero_falls(summary):
    metrics = summary["metrics"]
    metrics["gap_total"] = metric(SLOPE | {"ci95": [None, None], "seeds": 1})
    metrics["gap_kernel"] = metric(SLOPE | {"ci95": [-1.2, 0.2]})
    metrics["kernel_drift"]["expected"]["status"] = "heuristic"
    said = text.sentences(summary)
    assert "total gap varies as m^-0.49 (1 of 8 seeds); theory: -1/2." in said
    assert "kernel gap varies as m^-0.49 [-1.20, 0.20]; theory: -1/2." in said
    assert "nonlinear gap falls as m^-0.49 [-0.55, -0.43]; theory: -1/2." in said
    assert "kernel drift falls as m^-0.49 [-0.55, -0.43]; heuristic: -1/2." in said


def test_sentences_state_what_is_missing(summary):
    summary["metrics"]["gap_total"] = metric(NONE)
    summary["metrics"]["gap_kernel"] = metric(expected=None)
    summary["diverged_linear"]["64"] = 3
    said = text.sentences(summary)
    assert any("total gap: no exponent" in sentence for sentence in said)
    assert any("kernel gap" in s and "no prediction" in s for s in said)
    assert "linearization: 3 at width 64" in said[-1]
    assert not any("of the network" in sentence for sentence in said)


def test_what_was_not_measured_is_named_once_with_its_reason(summary):
    for name in ("gap_total", "gap_kernel"):
        summary["metrics"][name] = metric(NONE) | {"missing": "features move"}
    said = text.sentences(summary)
    assert said[-1] == "not measured: kernel gap, total gap; features move."
    assert len(said) == len(text.FINDINGS) - 1
    assert "total gap" not in {row[0] for row in text.rows(summary)}


@pytest.mark.parametrize(
    "rates, chi1, lines",
    [((0.3, 0.3), None, 4), ((0.3, 0.15), None, 5), ((0.3, 0.3), 0.98, 5)],
)
def test_header_states_rates_and_time(rates, chi1, lines):
    config = Config(widths=(64, 128), steps=100)
    by_width = dict(zip(config.widths, rates, strict=True))
    experiment = SimpleNamespace(
        config=config,
        training=config.training(),
        learning_rate=lambda m: by_width[m],
        critical_rate=lambda m: 2 * by_width[m],
        net=zoo.MLP,
        limit_kind=Limit("exact"),
        chi1=chi1,
        too_wide={},
        rule=lambda: "2n / lambda_max of the infinite train kernel",
    )
    said = text.header(experiment).splitlines()
    assert len(said) == lines
    method = (
        "loss L = 1/(2n) sum_i |f(x_i) - y_i|^2; full-batch gradient descent, on all"
    )
    assert said[1].startswith(method)
    rate = said[3] if chi1 is None else said[4]
    assert "learning rate 0.3 = 0.50 x critical (0.6" in rate
    assert "100 steps reach time t = 30" in rate
    if chi1 is not None:
        assert "chi_1 = 0.98 in the limit (it needs < 1); above 0.7 some" in said[3]


def test_a_lost_equilibrium_is_said(summary):
    found = {"lost": 3, "steps": 1000, "residual": 0.1}
    summary["equilibria"]["64"] = found
    (said,) = (line for line in text.sentences(summary) if "equilibrium" in line)
    assert "in 3 of 8 seeds at width 64, after 1000 steps" in said


def test_a_condition_is_said_over_all_widths(summary):
    held = {"norm": 0.8, "condition": {"quantity": "norm", "bound": 1.0, "held": 3}}
    broken = {"norm": 1.3, "condition": {"quantity": "norm", "bound": 1.0, "held": 1}}
    summary["seeds"], summary["equilibria"] = 3, {"64": held, "128": held}
    (said,) = (line for line in text.sentences(summary) if "well posed" in line)
    assert said.endswith("it held in every seed, at most 0.8 along training.")
    summary["equilibria"]["128"] = broken
    (said,) = (line for line in text.sentences(summary) if "well posed" in line)
    assert "did not hold in 2 seeds at width 128, up to 1.3" in said

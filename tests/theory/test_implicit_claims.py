"""Every claim on implicit networks: sound settings hold, a broken one turns it."""

import functools

import pytest

from zoo.theory import find_papers
from zoo.theory.claims import judge

# (claim, what is broken) of every paper, at the smoke size.
BROKEN = {
    "ling2022": [
        ("norm", {"variance": 22.0}),  # W eleven times too large
        ("posed", {"s": 0.5, "size": 10.0}),  # s^2 above 1/8, large labels
        ("kept", {"s": 0.5, "size": 10.0}),
        ("rate", {"trained": "U", "steps": 200}),  # W and a frozen
        ("gradient", {"trained": "U", "steps": 200}),
        ("gram", {"variance": 8.0}),
        ("smallest", {"widths": (4, 8)}),  # too few units
        ("width", {"d": 2}),  # ever closer points in a plane
        ("depth", {"variance": 22.0}),
        ("limit depth", {"variance": 22.0}),
    ],
    "gao2023": [
        ("covariance", {"sigma_w": 1.2}),
        ("tied", {"symmetric": True}),  # W = W^T is no limit of untied ones
        ("commute", {"sigma_w": 1.2}),
        ("depth", {"sigma_w": 1.2}),
        ("gaussian", {"width": 1}),
        ("definite", {"antipodes": True}),  # x and -x
    ],
    "kawaguchi2021": [
        # rows are normalized, and B is frozen
        ("posed", {"axis": 1, "trained": "A"}),
        ("dynamics", {"axis": 1, "trained": "A"}),
        ("preconditioner", {"axis": 1, "trained": "A"}),
        ("rate", {"axis": 1, "trained": "A"}),
        ("uniform", {"axis": 1, "trained": "A"}),
    ],
    "gao2022": [
        ("explicit", {"positive": False}),  # W of both signs
        ("posed", {"gamma": 1.2, "share": 30.0}),  # beyond the critical rate
        ("rate", {"trained": "W", "steps": 200}),  # U and a frozen
        ("kept", {"ratio": 1, "size": 3.0, "steps": 100}),  # few units, large labels
    ],
    "gao2021": [
        ("posed", {"gamma": 0.6}),  # |gamma W / sqrt(m)| starts at 1.2
        ("gradient", {"trained": "W", "steps": 100}),  # U, a and b frozen
        ("kept", {"widths": (8,), "size": 10.0}),  # few units, large labels
        ("rate", {"trained": "W", "steps": 100}),
    ],
    "feng2020": [
        ("kernel", {"ones": True}),  # a readout that is not random
        ("layers", {"ones": True}),
        ("mean", {"ones": True}),
        ("diagonal", {"size": 1.5}),  # inputs of another norm
    ],
    "winston2020": [
        ("monotone", {"sign": 1.0, "sigma": 1.5}),  # + A^T A
        ("posed", {"sign": 1.0, "sigma": 1.5}),
        ("unique", {"sign": 1.0, "sigma": 1.5}),
        ("iteration", {"sign": 1.0, "sigma": 1.5}),
        ("lipschitz", {"sign": 1.0, "sigma": 1.5}),
    ],
}
CASES = [(paper, *case) for paper, cases in BROKEN.items() for case in cases]


@functools.cache
def measured(paper, name, knobs):
    """Arrays of a measurement at its smoke size, with other knobs."""
    measurement = next(m for m in find_papers(paper)[0].measurements if m.name == name)
    return measurement.run(**(dict(measurement.sizes["smoke"]) | dict(knobs)))


def verdict(paper, name, **knobs):
    """Of a claim."""
    claim = next(c for c in find_papers(paper)[0].claims if c.name == name)
    arrays = measured(paper, claim.measurement.name, tuple(sorted(knobs.items())))
    return judge(claim, arrays).verdict


@pytest.mark.parametrize(
    ("paper", "claim", "knobs"), CASES, ids=[f"{p}-{c}" for p, c, _ in CASES]
)
def test_broken_setting_turns_the_verdict(paper, claim, knobs):
    assert verdict(paper, claim) == "holds"
    assert verdict(paper, claim, **knobs) in ("violated", "inconclusive")


@pytest.mark.parametrize("paper", BROKEN)
def test_every_claim_is_broken_and_every_figure_drawn(paper):
    (found,) = find_papers(paper)
    assert [name for name, _ in BROKEN[paper]] == [claim.name for claim in found.claims]
    arrays = {m.name: measured(paper, m.name, ()) for m in found.measurements}
    for figure in found.figures(arrays):
        assert figure.panels
        for curve in (curve for panel in figure.panels for curve in panel.curves):
            assert len(curve.x) == curve.y.shape[-1]
    assert found.figures({}) == []

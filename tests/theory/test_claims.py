"""Verdicts from intervals, by hand-made samples; and the shape of every paper."""

import numpy as np
import pytest

from zoo.report import theorems as page
from zoo.theory import PAPERS, find_papers
from zoo.theory.claims import (
    SCALES,
    AtLeast,
    AtMost,
    Claim,
    Equals,
    Measurement,
    judge,
    unmeasured,
)

NOTHING = Measurement("nothing", dict, {})


def score(predicted, samples, trust="paper", certain=""):
    given = (trust, NOTHING, lambda a: np.asarray(samples))
    claim = Claim("c", "s", "q", predicted, "e", *given, certain=certain)
    return judge(claim, {})


def spread(mean, half, seeds=8):
    """Samples whose 99 % interval is mean +- half: 3.499483 is t_{0.995} of 7."""
    x = np.linspace(-1, 1, seeds)
    return mean + half * x / (3.499483 * np.std(x, ddof=1) / seeds**0.5)


@pytest.mark.parametrize(
    ("predicted", "mean", "half", "verdict"),
    [
        (Equals(-0.5), -0.45, 0.1, "holds"),
        (Equals(-0.5), -0.45, 0.149, "holds"),
        (Equals(-0.5), -0.45, 0.151, "inconclusive"),
        (Equals(-0.5), -0.45, 0.049, "violated"),
        (Equals(-0.5), 0.6, 1.0, "violated"),
        (Equals(1.0, widest=0.02), 1.0, 0.011, "inconclusive"),
        (AtMost(-0.5), -0.6, 0.09, "holds"),
        (AtMost(-0.5), -0.6, 0.11, "inconclusive"),
        (AtMost(-0.5), -0.3, 0.19, "violated"),
        (AtLeast(2.0), 2.1, 0.09, "holds"),
        (AtLeast(2.0), 1.9, 0.11, "inconclusive"),
        (AtLeast(2.0), 1.9, 0.09, "violated"),
    ],
)
def test_the_interval_decides(predicted, mean, half, verdict):
    samples = spread(mean, half)
    found = score(predicted, samples)
    assert found.verdict == verdict
    np.testing.assert_allclose(found.low, mean - half, rtol=1e-5)
    np.testing.assert_allclose(found.high, mean + half, rtol=1e-5)
    beyond = verdict == "holds" and predicted.beyond(samples) > 0
    assert bool(found.why) == (verdict == "inconclusive" or beyond)


def test_how_many_seeds_are_beyond_a_bound_that_holds_on_average():
    samples = [0.55, 0.65, 0.65, 0.75, 0.75, 1.05]
    assert score(AtMost(1.2), samples).why == ""
    assert score(AtMost(1.04), samples).why == "on average; 1 of 6 are beyond"
    low = [-sample for sample in samples]
    assert score(AtLeast(-1.04), low).why == "on average; 1 of 6 are beyond"
    assert score(Equals(0.75, widest=1.0), samples).why == ""
    found = score(AtMost(1.04), samples, certain="a square")
    assert (found.verdict, found.why) == ("holds", "by construction: a square")
    found = score(AtMost(0.1), samples, certain="a square")
    assert (found.verdict, found.why) == ("violated", "")


def test_the_number_of_seeds_that_would_settle_it():
    """Of half-width h over 8 seeds: the first s with t_s / sqrt(s) small enough."""
    found = score(Equals(-0.5), spread(-0.5, 0.3))
    assert found.why == "about 22 seeds would settle it"  # 2.8314 / sqrt 22 = 0.6037
    assert score(AtMost(0.0), spread(0.0, 1.0)).why.startswith("more than 10000")


def test_what_gives_no_number_does_not_hold():
    samples = [*spread(-0.5, 0.1), np.nan]
    found = score(Equals(-0.5), samples)
    assert (found.verdict, found.why) == ("inconclusive", "1 of 9 seeds were lost")
    assert (found.seeds, found.lost) == (8, 1)
    assert score(Equals(0.5), samples).verdict == "violated"
    assert score(Equals(0.5), [np.nan, 0.5, np.inf]).verdict == "unmeasured"
    assert unmeasured("no file").verdict == "unmeasured"


def test_a_fact_from_memory_is_not_judged():
    assert score(Equals(0.5), spread(3.0, 0.1), "memory").verdict == "unjudged"
    with pytest.raises(ValueError, match="unknown trust 'rumour' of claim c"):
        score(Equals(0.5), [1.0], "rumour")


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_is_whole(name):
    paper = PAPERS[name]
    names = [claim.name for claim in paper.claims]
    assert len(names) == len(set(names)) > 0
    assert len(paper.setup.split()) > 40
    for claim in paper.claims:
        assert claim.statement.endswith("."), claim.name
        assert claim.source and claim.quantity
        own = [m for m in paper.measurements if m is claim.measurement]
        assert len(own) == 1, f"two measurements are called {claim.measurement.name}"
        assert set(claim.measurement.sizes) == set(SCALES)
    lines = page.listing([paper])
    assert len(lines) == len(names)
    assert not any("\n" in line for line in lines)


def test_papers_by_name():
    assert [paper.name for paper in find_papers("all")] == list(PAPERS)
    with pytest.raises(ValueError, match="unknown --paper 'arora2018'; did you mean"):
        find_papers("arora2018")

"""What a theorem predicts, and what a measurement says of it.

A paper is a list of claims over a few measurements. A measurement gives arrays whose
first axis counts seeds; a claim reduces them to one number a seed, and is judged by the
99 % interval (Student's t) of their mean. Nothing else decides a verdict.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from zoo.gap.fit import t_interval

LEVEL = 0.99
WIDEST = 0.3  # an interval of an exponent that says something
SCALES = ("smoke", "default", "paper")
Arrays = Mapping[str, np.ndarray]

# How far a prediction is to be believed. That of a fact from memory is not judged.
TRUST = {
    "paper": "read in the paper itself",
    "restated": "as restated by papers that use it",
    "derived": "derived from the definitions",
    "memory": "from memory, to be checked: unjudged",
}
VERDICTS = ("holds", "violated", "inconclusive", "unjudged", "unmeasured")


class Equals(NamedTuple):
    """The quantity is `value`; an interval wider than `widest` does not settle it."""

    value: float | int
    widest: float | int = WIDEST

    def beyond(self, samples: np.ndarray) -> int:
        """How many samples break a statement about each: none is made."""
        return 0

    def verdict(self, low: float, high: float) -> str:
        """Of an interval."""
        if not low <= self.value <= high:
            return "violated"
        return "holds" if high - low <= self.widest else "inconclusive"

    def settles(self, mean: float, half: float) -> bool:
        """Whether an interval of this half-width would have a verdict."""
        return 2 * half <= self.widest or abs(mean - self.value) > half

    def __str__(self) -> str:
        return f"{self.value:.4g}"


class AtMost(NamedTuple):
    """The quantity is `value` or less."""

    value: float | int

    def beyond(self, samples: np.ndarray) -> int:
        """How many samples are above the bound."""
        return int(np.sum(samples > self.value))

    def verdict(self, low: float, high: float) -> str:
        """Of an interval."""
        if high <= self.value:
            return "holds"
        return "violated" if low > self.value else "inconclusive"

    def settles(self, mean: float, half: float) -> bool:
        """Whether an interval of this half-width would have a verdict."""
        return half < abs(mean - self.value)

    def __str__(self) -> str:
        return f"<= {self.value:.4g}"


class AtLeast(NamedTuple):
    """The quantity is `value` or more."""

    value: float | int

    def beyond(self, samples: np.ndarray) -> int:
        """How many samples are below the bound."""
        return int(np.sum(samples < self.value))

    def verdict(self, low: float, high: float) -> str:
        """Of an interval."""
        if low >= self.value:
            return "holds"
        return "violated" if high < self.value else "inconclusive"

    def settles(self, mean: float, half: float) -> bool:
        """Whether an interval of this half-width would have a verdict."""
        return half < abs(mean - self.value)

    def __str__(self) -> str:
        return f">= {self.value:.4g}"


Prediction = Equals | AtMost | AtLeast


@dataclass(frozen=True)
class Measurement:
    """One sweep, from which several claims are read.

    Attributes:
        name: of its folder.
        run: measures; its keyword arguments are a size's, and its arrays have seeds on
            the first axis wherever a claim reads them.
        sizes: those of each of `SCALES`.
        seconds: what the default size takes on two cores, about.
        dataset: read from disk; `run` takes it as `dataset` and `data_dir`. Where it is
            missing, the claims are unmeasured.
    """

    name: str
    run: Callable[..., dict[str, np.ndarray]]
    sizes: Mapping[str, Mapping[str, Any]]
    seconds: float | int = 30
    dataset: str = ""


@dataclass(frozen=True)
class Claim:
    """A statement of a paper that a measurement can decide.

    Attributes:
        name: one word or two, unique within the paper.
        statement: one sentence.
        quantity: what is measured, in symbols.
        predicted: the exponent, the bound or the threshold.
        source: section, theorem or equation; or how it was derived.
        trust: a key of `TRUST`.
        measurement: whose arrays it reads.
        samples: one number of each seed, from the arrays; NaN for a run that diverged.
        thought: of those who measured it, where it does not hold.
        certain: why it holds whatever the network does, if so: such a row checks the
            measurement and not the paper, and is counted apart.
    """

    name: str
    statement: str
    quantity: str
    predicted: Prediction
    source: str
    trust: str
    measurement: Measurement
    samples: Callable[[Arrays], np.ndarray]
    thought: str = ""
    certain: str = ""

    def __post_init__(self) -> None:
        if self.trust not in TRUST:
            raise ValueError(
                f"unknown trust '{self.trust}' of claim {self.name}; allowed: "
                f"{', '.join(TRUST)}."
            )


class Curve(NamedTuple):
    """A line of a figure: y against x, with seeds on the first axis of y if it has two.

    `dash` is "solid", "dashed" or "dotted"; a guide is what a theory predicts, in grey.
    A curve `beside` another, named by its label, has the colour of that one.
    """

    label: str
    x: Any
    y: Any
    dash: str = "solid"
    guide: bool = False
    beside: str = ""


class Axes(NamedTuple):
    """A panel: curves that share two axes, logarithmic unless said otherwise.

    `whole` shows a curve however far it rises, which else has diverged if it leaves its
    start by a factor of 10^4; `names` stand at 1, 2, .. of a linear x axis.
    """

    title: str
    x: str
    y: str
    curves: list[Curve]
    log_x: bool = True
    log_y: bool = True
    whole: bool = False
    names: tuple[str, ...] = ()


class Figure(NamedTuple):
    """Panels side by side, under one caption."""

    name: str
    caption: str
    panels: list[Axes]


@dataclass(frozen=True)
class Paper:
    """A paper, its set-up in words, its claims, and what it shows.

    Attributes:
        name: authors' first and year.
        title: with authors and year.
        setup: paragraphs: model, initialization, trained layers, loss, data, and where
            this set-up departs from the paper's.
        claims: in the order of the scoreboard.
        figures: from the arrays of each measurement that was taken, by its name.
    """

    name: str
    title: str
    setup: str
    claims: tuple[Claim, ...]
    figures: Callable[[dict[str, Any]], list[Figure]]

    @property
    def measurements(self) -> list[Measurement]:
        """Those of its claims, each once, in order."""
        return list({c.measurement.name: c.measurement for c in self.claims}.values())


@dataclass(frozen=True)
class Score:
    """What was measured of a claim.

    Attributes:
        mean: over seeds.
        low: lower end of the 99 % interval.
        high: its upper end.
        seeds: how many gave a number.
        lost: how many gave none.
        verdict: one of `VERDICTS`.
        why: where there is no verdict, what is missing; of a bound that holds on
            average, how many seeds are beyond it.
    """

    mean: float
    low: float
    high: float
    seeds: int
    lost: int
    verdict: str
    why: str = ""


def judge(claim: Claim, arrays: Arrays) -> Score:
    """The verdict, from the interval alone.

    A claim that some seeds gave no number for (they diverged, say) does not hold: it is
    inconclusive, unless the others violate it.
    """
    samples = np.asarray(claim.samples(arrays), float)
    finite = samples[np.isfinite(samples)]
    lost = len(samples) - len(finite)
    mean, low, high = t_interval(finite, LEVEL)
    score = Score(mean, low, high, len(finite), lost, "unmeasured")
    if len(finite) < 2:
        why = f"{len(finite)} of {len(samples)} seeds gave a number: two are needed"
        return _said(score, "unmeasured", why)
    if claim.trust == "memory":
        return _said(score, "unjudged", "the prediction itself is uncertain")
    verdict = claim.predicted.verdict(low, high)
    if verdict == "inconclusive":
        return _said(score, verdict, _needed(claim.predicted, finite))
    if verdict == "holds" and lost:
        return _said(score, "inconclusive", f"{lost} of {len(samples)} seeds were lost")
    if verdict == "holds" and claim.certain:
        return _said(score, verdict, f"by construction: {claim.certain}")
    beyond = claim.predicted.beyond(finite)
    if verdict == "holds" and beyond:
        return _said(
            score, verdict, f"on average; {beyond} of {len(finite)} are beyond"
        )
    return _said(score, verdict)


def unmeasured(why: str) -> Score:
    """The score of a claim whose measurement was not taken."""
    return Score(math.nan, math.nan, math.nan, 0, 0, "unmeasured", why)


def _said(score: Score, verdict: str, why: str = "") -> Score:
    return Score(
        score.mean, score.low, score.high, score.seeds, score.lost, verdict, why
    )


def _needed(predicted: Prediction, samples: np.ndarray) -> str:
    """How many seeds would settle it, if they scatter as these do."""
    mean, spread = float(np.mean(samples)), float(np.std(samples, ddof=1))
    for seeds in np.unique(np.geomspace(len(samples) + 1, 10_000, 400).astype(int)):
        half = stats.t.ppf((1 + LEVEL) / 2, seeds - 1) * spread / math.sqrt(seeds)
        if predicted.settles(mean, float(half)):
            return f"about {seeds} seeds would settle it"
    return "more than 10000 seeds would be needed"

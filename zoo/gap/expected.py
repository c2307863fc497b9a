"""The exponents that theory expects against width, and where it is silent.

Symbols: m width, n train points, k outputs. The loss is the square (what is said of
others is marked), steps, depth and data are fixed, and the learning rate moves
functions at a rate that does not depend on m: O(1) in the NTK parameterization, c / m
in the standard one.
"""

import dataclasses
from typing import Any

from zoo.models import Limit
from zoo.models.deq_base import Condition

THEORY, HEURISTIC = "theory", "heuristic"
CLT = "a mean over m random units; observed by Lee et al. 2019, figure S9"
FROM_CLT = "the kernel at initialization deviates from its limit as m^-1/2"
LEE = "Lee et al. 2019, Theorem 2.1 (first and last layer: as observed there)"
LEE_HIDDEN = "observed by Lee et al. 2019; the proven bound is -1/2"
SMOOTH = (
    "heuristic for smooth activations once m >> n k, from the m^-1 of the third-order "
    "tangent kernel (Huang & Yau 2020) and observed by Lee et al. 2019; the proven "
    "bound is -1/2"
)
KINKED = (
    "heuristic for relu: m^1/2 units flip, with random sign, each moving f, and the "
    "kernel, by 1/m; the proven bound is -1/2 (Lee et al. 2019, who observe about -1 "
    "for the drift of deep relu networks)"
)
STANDARD = "from the scales of Lee et al. 2019, appendix G, at learning rate c / m"
NO_POWER = "tends to its infinite-width value; no power law of its own"
UNSCALED = (
    "no prediction: the learning rate is above the critical one, or is not known to "
    "scale with the width as the parameterization asks"
)
OTHER_LOSS = "for another loss, or minibatches, by the same argument at fixed steps"
OTHER_WEIGHTS = "no prediction for the weights of this architecture"
ONE_HIDDEN = "the network has no hidden-to-hidden layer"
READOUT = (
    "no prediction: in the standard parameterization with one wide layer the readout "
    "alone moves the function to leading order"
)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the expected exponents depend on.

    Attributes:
        smooth: whether all activations have a continuous derivative; None if unknown.
        depth: number of hidden layers of a multilayer perceptron; None for other
            architectures, of whose weights nothing is predicted here.
        shallow: whether there is one wide layer.
        standard: whether the learning rate falls as 1 / width; None if unknown.
        lazy_rate: whether the learning rate is below the critical one and scales with
            width as the module says.
        limit: what stands for the infinite-width limit.
        no_kernel: why there is no tangent kernel at all; "" where there is one.
        condition: under which its equilibria are well posed; None if it has none.
        square: whether the loss is the mean square on all examples.
    """

    smooth: bool | None
    depth: int | None
    shallow: bool
    standard: bool | None
    lazy_rate: bool
    limit: Limit
    no_kernel: str = ""
    condition: Condition | None = None
    square: bool = True


def expected_slope(metric: str, facts: Facts) -> dict[str, Any]:
    """The exponent expected for a metric, or None, with its source.

    Returns:
        {"slope": number or None, "source": why, "status": "theory", "heuristic" or
        None}.
    """
    slope, source, status = _expectation(metric, facts)
    return {"slope": slope, "source": source, "status": status}


def missing(metric: str, facts: Facts) -> str:
    """Why a metric cannot be measured; "" if it can."""
    if metric.startswith(NEED_KERNEL) and facts.no_kernel:
        return facts.no_kernel
    if facts.limit.kind == "none" and (
        metric.startswith(NEED_LIMIT) or metric.endswith(OF_LIMIT)
    ):
        return f"no infinite-width side: {facts.limit.why}"
    return ""


NEED_LIMIT = ("gap_total", "gap_kernel", "kernel_error", "ensemble")
NEED_KERNEL = ("gap_nonlinear", "gap_kernel", "kernel", "critical_rate")
OF_LIMIT = ("_infinite", "_flow")


def _expectation(metric: str, facts: Facts) -> tuple[float | None, str, str | None]:
    absent = missing(metric, facts)
    if absent:
        return None, absent, None
    if metric.startswith("kernel_error_init"):
        return -0.5, CLT, THEORY
    if not facts.lazy_rate or facts.standard is None:
        return None, UNSCALED, None
    if facts.limit.kind == "none":
        return None, facts.limit.why, None
    if metric.startswith("weight_movement"):
        return _movement(metric, facts)
    if metric in EXPECTED:
        slope, source = EXPECTED[metric]
        if not facts.square:
            return slope, f"{source}; {OTHER_LOSS}", HEURISTIC
        return slope, source, THEORY
    if metric in OF_SECOND_ORDER:
        if facts.standard and facts.shallow:
            return None, READOUT, None
        if facts.smooth:
            return -1.0, SMOOTH, HEURISTIC
        return -0.75, KINKED, HEURISTIC
    return None, NO_POWER, None


def _movement(metric: str, facts: Facts) -> tuple[float | None, str, str | None]:
    if facts.depth is None:
        return None, OTHER_WEIGHTS, None
    if metric == "weight_movement_hidden" and facts.depth < 2:
        return None, ONE_HIDDEN, None
    if metric == "weight_movement_first" and facts.standard:
        return -1.5, STANDARD, THEORY
    return *EXPECTED[metric], THEORY


# What the second derivative of the network moves.
OF_SECOND_ORDER = ("gap_nonlinear", "kernel_drift", "kernel_drift_mean")
EXPECTED = {
    "gap_total": (-0.5, FROM_CLT),
    "gap_kernel": (-0.5, FROM_CLT),
    "weight_movement_first": (-0.5, LEE),
    "weight_movement_hidden": (-1.0, LEE_HIDDEN),
    "weight_movement_last": (-0.5, LEE),
}

"""The exponents that theory expects against width, and where it is silent.

Symbols: m width, n train points, k outputs. All layers are trained, the loss is the
square, depth and data are fixed, and the learning rate moves functions at a rate that
does not depend on m: O(1) in the NTK parameterization, c / m in the standard one.
"""

from typing import Any

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
    "no prediction: the learning rate is above the critical one of the limit, or does "
    "not fall as 1 / width in the standard parameterization"
)
ONE_HIDDEN = "the network has no hidden-to-hidden layer"
READOUT = (
    "no prediction: in the standard parameterization with one hidden layer the readout "
    "alone moves the function to leading order"
)


def expected_slope(
    metric: str,
    *,
    smooth: bool,
    depth: int,
    parameterization: str,
    lazy_rate: bool,
) -> dict[str, Any]:
    """The exponent expected for a metric, or None, with its source.

    Returns:
        {"slope": number or None, "source": why, "status": "theory", "heuristic" or
        None}.

    Args:
        metric: its name in the summary.
        smooth: whether the activation has a continuous derivative.
        depth: number of hidden layers.
        parameterization: "ntk" or "standard".
        lazy_rate: whether the learning rate is below the critical one and scales with
            width as the module says.
    """
    slope, source, status = _expectation(
        metric, smooth, depth, parameterization, lazy_rate
    )
    return {"slope": slope, "source": source, "status": status}


def _expectation(
    metric: str, smooth: bool, depth: int, parameterization: str, lazy_rate: bool
) -> tuple[float | None, str, str | None]:
    standard = parameterization == "standard"
    if metric.startswith("kernel_error_init"):
        return -0.5, CLT, THEORY
    if not lazy_rate:
        return None, UNSCALED, None
    if metric == "weight_movement_hidden" and depth < 2:
        return None, ONE_HIDDEN, None
    if metric == "weight_movement_first" and standard:
        return -1.5, STANDARD, THEORY
    if metric in EXPECTED:
        return *EXPECTED[metric], THEORY
    if metric in OF_SECOND_ORDER:
        if standard and depth < 2:
            return None, READOUT, None
        return (-1.0, SMOOTH, HEURISTIC) if smooth else (-0.75, KINKED, HEURISTIC)
    return None, NO_POWER, None


# What the second derivative of the network moves.
OF_SECOND_ORDER = ("gap_nonlinear", "kernel_drift", "kernel_drift_mean")
EXPECTED = {
    "gap_total": (-0.5, FROM_CLT),
    "gap_kernel": (-0.5, FROM_CLT),
    "weight_movement_first": (-0.5, LEE),
    "weight_movement_hidden": (-1.0, LEE_HIDDEN),
    "weight_movement_last": (-0.5, LEE),
}

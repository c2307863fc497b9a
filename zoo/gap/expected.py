"""The exponents that theory expects against width, and where it is silent.

Symbols: m width, n train points, k outputs. All layers are trained, the loss is the
square, depth and data are fixed, and the learning rate moves functions at a rate that
does not depend on m: O(1) in the NTK parameterization, c / m in the standard one.
"""

from typing import Any

LEE = "Lee et al. 2019, Theorem 2.1"
LEE_OBSERVED = "Lee et al. 2019, observed; the proven bound is -1/2"
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
    "no prediction: in the standard parameterization a learning rate that does not "
    "fall as 1 / width leaves the lazy regime"
)
ONE_HIDDEN = "the network has no hidden-to-hidden layer"


def expected_slope(
    metric: str,
    *,
    smooth: bool,
    depth: int,
    parameterization: str,
    lazy_rate: bool,
) -> dict[str, Any]:
    """The exponent expected for a metric: {"slope": number or None, "source": why}.

    Args:
        metric: its name in the summary.
        smooth: whether the activation has a continuous derivative.
        depth: number of hidden layers.
        parameterization: "ntk" or "standard".
        lazy_rate: whether the learning rate scales with width as the module says.
    """
    if metric.startswith("kernel_error_init"):
        return {"slope": -0.5, "source": LEE}
    if not lazy_rate:
        return {"slope": None, "source": UNSCALED}
    if metric == "weight_movement_hidden" and depth < 2:
        return {"slope": None, "source": ONE_HIDDEN}
    if metric == "weight_movement_first" and parameterization == "standard":
        return {"slope": -1.5, "source": STANDARD}
    if metric in EXPECTED:
        slope, source = EXPECTED[metric]
        return {"slope": slope, "source": source}
    if metric in OF_SECOND_ORDER:
        slope, source = (-1.0, SMOOTH) if smooth else (-0.75, KINKED)
        return {"slope": slope, "source": source}
    return {"slope": None, "source": NO_POWER}


# What the second derivative of the network moves.
OF_SECOND_ORDER = ("gap_nonlinear", "kernel_drift", "kernel_drift_mean")
EXPECTED = {
    "gap_total": (-0.5, LEE),
    "gap_kernel": (-0.5, LEE),
    "weight_movement_first": (-0.5, LEE_OBSERVED),
    "weight_movement_hidden": (-1.0, LEE_OBSERVED),
    "weight_movement_last": (-0.5, LEE_OBSERVED),
}

"""What theory says depends on the setting, and it may say nothing."""

import pytest

from zoo.gap.expected import Facts, expected_slope, missing
from zoo.models import Limit

NTK = {
    "smooth": False,
    "depth": 2,
    "shallow": False,
    "standard": False,
    "lazy_rate": True,
    "limit": Limit("exact"),
}
NONE = {"limit": Limit("none", "features move")}
ALONE = {"no_kernel": "its examples interact"}


@pytest.mark.parametrize(
    ("metric", "change", "slope"),
    [
        ("gap_total", {}, -0.5),
        ("gap_kernel", {}, -0.5),
        ("gap_nonlinear", {}, -0.75),
        ("gap_nonlinear", {"smooth": True}, -1.0),
        ("kernel_drift", {}, -0.75),
        ("kernel_drift", {"smooth": True}, -1.0),
        ("kernel_error_init", {"lazy_rate": False}, -0.5),
        ("kernel_drift", {"lazy_rate": False}, None),
        ("gap_total_flow", {}, None),
        ("train_loss_final", {}, None),
        ("weight_movement_first", {}, -0.5),
        ("weight_movement_first", {"standard": True}, -1.5),
        ("weight_movement_hidden", {}, -1.0),
        ("weight_movement_hidden", {"depth": 1}, None),
        ("kernel_drift", {"standard": True, "shallow": True}, None),
        ("gap_nonlinear", {"standard": True}, -0.75),
        ("weight_movement_last", {"standard": True}, -0.5),
        # Other architectures than the MLP: nothing is said of their weights.
        ("weight_movement_first", {"depth": None}, None),
        ("gap_kernel", {"depth": None}, -0.5),
        # A user's own module, of which nothing is known.
        ("gap_nonlinear", {"standard": None, "smooth": None}, None),
        ("gap_nonlinear", NONE, None),
        ("gap_total", NONE, None),
    ],
)
def test_expected_slope(metric, change, slope):
    found = expected_slope(metric, Facts(**NTK | change))
    assert found["slope"] == slope
    assert found["source"]


@pytest.mark.parametrize(
    ("metric", "change", "why"),
    [
        ("gap_total", NONE, "features move"),
        ("kernel_error_init", NONE, "features move"),
        ("train_loss_final_infinite", NONE, "features move"),
        ("gap_nonlinear", NONE, ""),
        ("kernel_drift", NONE, ""),
        ("gap_nonlinear", ALONE, "its examples interact"),
        ("train_loss_final", ALONE, ""),
        ("gap_total", {}, ""),
    ],
)
def test_what_cannot_be_measured_says_why(metric, change, why):
    said = missing(metric, Facts(**NTK | change))
    assert (why in said) if why else said == ""

"""What theory says depends on the setting, and it may say nothing."""

import pytest

from zoo.gap.expected import expected_slope

NTK = {"smooth": False, "depth": 2, "parameterization": "ntk", "lazy_rate": True}


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
        ("weight_movement_first", {"parameterization": "standard"}, -1.5),
        ("weight_movement_hidden", {}, -1.0),
        ("weight_movement_hidden", {"depth": 1}, None),
        ("kernel_drift", {"parameterization": "standard", "depth": 1}, None),
        ("gap_nonlinear", {"parameterization": "standard"}, -0.75),
        ("weight_movement_last", {"parameterization": "standard"}, -0.5),
    ],
)
def test_expected_slope(metric, change, slope):
    found = expected_slope(metric, **NTK | change)
    assert found["slope"] == slope
    assert found["source"]

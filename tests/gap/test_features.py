"""Where features move there is no lazy limit: muP beside the NTK parameterization."""

import pytest

from zoo.gap import store
from zoo.gap.config import Config
from zoo.gap.run import Experiment, run


@pytest.mark.slow
@pytest.mark.parametrize("parameterization", ["mup", "mean_field", "ntk"])
def test_the_nonlinear_gap_vanishes_in_the_lazy_regime_alone(
    parameterization, tmp_path
):
    """At a learning rate that moves functions at a rate of O(1) in the width.

    Smooth activation, 16 points: the NTK parameterization's slope is near -1 from width
    64 on; muP's (at depth 1 that is the mean-field one) near 0 from width 256 on.
    """
    lazy = parameterization == "ntk"
    config = Config(
        dataset="sphere",
        widths=(64, 256, 1024) if lazy else (256, 1024, 4096),
        depth=1,
        activation="erf",
        parameterization=parameterization,
        seeds=8 if lazy else 16,
        cell_seeds=16,
        n_train=16,
        n_test=16,
        steps=200,
        records=4,
    )
    experiment = Experiment(config)
    store.open_workdir(tmp_path, config.as_dict())
    metrics = run(experiment, tmp_path, lambda message, share: None)["metrics"]
    low, high = metrics["gap_nonlinear"]["slope"]["ci95"]
    if lazy:
        assert high < -0.4
        return
    assert low > -0.2
    assert metrics["kernel_drift"]["mean"][-1] > 0.3
    for name in ("gap_total", "gap_kernel"):
        assert "features move at any width" in metrics[name]["missing"]
        assert metrics[name]["seeds"] == [0, 0, 0]

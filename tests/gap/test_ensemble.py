"""Seeds as draws of the infinite network's Gaussian process."""

import numpy as np
import pytest

from zoo.gap import summary


def cell(factor, seeds=400, points=30):
    """Outputs that are draws of the process, their deviations times a factor."""
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=(points, 2)), rng.uniform(0.5, 2, (points, 1))
    noise = rng.normal(size=(seeds, 1, points, 2))
    f = mean + factor * np.sqrt(variance) * noise
    return {
        "outputs": f,
        "n_test": np.asarray(20),
        "ensemble_mean": mean,
        "ensemble_variance": variance,
        "train_loss": np.ones((seeds, 1)),
    }


@pytest.mark.parametrize(("factor", "share"), [(1.0, 0.95), (1.5, 0.8086)])
def test_coverage_of_draws_of_the_process(factor, share):
    """Of a Gaussian 1.5 times as wide, 80.86 % lie within its neighbour's 95 %."""
    found = summary._ensemble_metrics([8], {8: cell(factor)})
    coverage = found["ensemble_coverage"]
    assert abs(coverage["mean"][0] - share) < 4 * coverage["stderr"][0] < 0.02
    assert found["ensemble_mean_error"]["mean"][0] == pytest.approx(factor, rel=0.3)
    assert found["ensemble_variance_ratio"]["mean"][0] == pytest.approx(
        factor**2, rel=0.05
    )

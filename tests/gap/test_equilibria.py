"""What is said of a cell's equilibria, and of their solvers' steps."""

import numpy as np
import pytest

import zoo
from zoo.gap.config import Config
from zoo.gap.equilibria import count_steps, deviations, limit_chi
from zoo.gap.run import Experiment, run
from zoo.gap.summary import equilibria
from zoo.models import ConvDEQ, MonDEQ
from zoo.models.deq_base import Condition

X = np.random.default_rng(0).normal(size=(4, 6))


def arrays(norm):
    """Three seeds, two recorded steps."""
    return {
        "equilibrium_lost": np.array([[False, False], [False, True], [False, False]]),
        "equilibrium_steps": np.array([[5, 6], [7, 8], [5, 5]]),
        "equilibrium_residual": np.full((3, 2), 1e-6),
        "equilibrium_chi1": np.array([[0.1, 0.2], [0.3, 0.4], [0.1, 0.1]]),
        "equilibrium_norm": np.asarray(norm),
    }


def test_conditions_are_counted_at_the_start_and_along_training():
    found = equilibria(
        arrays([[0.5, 0.6], [0.9, 1.1], [1.2, 0.8]]), Condition("norm", 1.0)
    )
    assert found["lost"] == 1 and found["steps"] == 8
    assert (found["chi1_init"], found["chi1"]) == (0.3, 0.4)
    assert (found["norm_init"], found["norm"]) == (1.2, 1.2)
    assert found["condition"]["held_init"] == 2 and found["condition"]["held"] == 1


def test_a_value_that_is_no_number_does_not_hold():
    found = equilibria(arrays(np.full((3, 2), np.nan)), Condition("norm", 1.0))
    assert found["condition"]["held"] == 0


def test_networks_without_equilibria_or_condition_say_nothing():
    assert equilibria({}, None) == {}
    assert "condition" not in equilibria(arrays(np.ones((3, 2))), Condition(""))


@pytest.mark.slow
def test_newton_takes_few_steps_and_plain_iteration_many():
    """chi_1 = sigma_w^2 / 2 of relu; plain iteration gains a factor of it a step."""
    for sigma, least in ((0.8, 15), (1.4, 100)):
        found = count_steps(zoo.DEQ(width=64, sigma_w=sigma), X, ("picard",), 2)
        assert abs(found.chi1 - sigma**2 / 2) < 1e-12
        assert found.newton <= 10 and found.plain > least
    near = count_steps(zoo.DEQ(width=64, sigma_w=0.5), X, ("picard", "anderson"), 2)
    assert near.lost == {"picard": 0, "anderson": 0}
    assert near.finite["anderson"] <= near.finite["picard"]


def test_chi_of_the_limit():
    """Of relu sigma_w^2 / 2; nothing of networks without an analytic equilibrium."""
    assert abs(limit_chi(zoo.DEQ(width=8, sigma_w=1.2), X) - 0.72) < 1e-12
    images = np.random.default_rng(1).normal(size=(2, 4, 4, 1))
    net = ConvDEQ(width=4, sigma_w=1.0, padding="CIRCULAR")
    assert abs(limit_chi(net, images) - 0.5) < 1e-6
    for other in (zoo.MLP(width=8, depth=1, activation="relu"), MonDEQ(width=8)):
        assert limit_chi(other, X) is None


@pytest.mark.slow
def test_deviations_are_those_of_the_empirical_kernel():
    net = zoo.DEQ(width=1, activation="erf", sigma_w=0.4)
    off = deviations(net, X, (32, 512), 6)
    assert off.shape == (6, 2)
    assert 0.1 < off[:, 1].mean() / off[:, 0].mean() < 0.5  # 16^-1/2


@pytest.mark.slow
def test_lost_equilibria_are_counted_not_fatal(tmp_path):
    """Above chi_1 of 0.7 some narrow networks have none; what uses them is null."""
    config = Config(
        arch="deq",
        sigma_w=1.15,
        net=("max_steps=300",),
        widths=(32,),
        seeds=6,
        n_train=6,
        n_test=3,
        steps=4,
    )
    found = run(Experiment(config), tmp_path, lambda *_: None)
    lost = found["equilibria"]["32"]["lost"]
    assert 0 < lost < 6
    assert 0 < found["diverged"]["32"] <= lost  # at a test point it is no divergence
    assert 6 - lost <= found["metrics"]["kernel_error_init"]["seeds"][0] < 6
    assert np.isfinite(found["equilibria"]["32"]["chi1"])


def test_a_tolerance_that_float32_cannot_reach_is_refused():
    with pytest.raises(ValueError, match="tolerance=1e-12 is below the reach"):
        Experiment(Config(arch="deq", net=("tolerance=1e-12",)))

"""Losses, optimizers, batches, scales and frozen layers: f beside f_lin and f_inf."""

import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.data import load
from zoo.descent.losses import find_loss
from zoo.descent.optimizers import Optimizer, batch_order
from zoo.finite.linear import train_linearized
from zoo.finite.mirrored import Mirrored
from zoo.finite.ntk import empirical_ntk, ntk_by_output
from zoo.finite.train import Objective, train
from zoo.gap.cell import measure_cell
from zoo.gap.config import Config
from zoo.gap.run import Experiment
from zoo.gap.training import Training
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import nt

N, OUT = 6, 3
TIMES = np.asarray([0, 1, 5, 25])
NET = zoo.MLP(width=8, depth=2, out=OUT, activation="erf", sigma_b=0.2)
CASES = [
    ("mse", "sgd", None, 1.0, False, NET),
    ("mse", "momentum", None, 1.0, False, NET),
    ("mse", "sgd", 2, 8.0, True, NET),
    ("xent", "nesterov", None, 1.0, True, NET),
    ("logistic", "momentum", 4, 0.25, True, NET),
    ("huber", "sgd", None, 3.0, True, Mirrored(NET)),
    ("hinge", "nesterov", 3, 3.0, True, NET.clone(train_layers="hidden")),
    ("xent", "adam", None, 2.0, True, NET),
]


@pytest.mark.parametrize(("loss", "name", "size", "alpha", "center", "net"), CASES)
def test_a_linear_network_has_no_nonlinear_gap(
    loss, name, size, alpha, center, net, x64
):
    """The linearization trained by its parameters, against it in function space."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(9, 4)))
    y = jnp.asarray(np.eye(OUT)[rng.integers(OUT, size=N)] - 1 / OUT)
    params = net.init(jax.random.key(1), x)["params"]
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)

    def apply_fn(params, x):
        return net.apply({"params": params}, x)

    linear, optimizer = nt.linearize(apply_fn, params), Optimizer(name, 0.8)
    batches = None if size is None else batch_order(0, N, size, 25)
    objective = Objective(
        find_loss(loss),
        None if batches is None else jnp.asarray(batches),
        alpha,
        apply_fn(params, x) if center else None,
    )
    rate, times = jnp.asarray(0.05), jnp.asarray(TIMES)
    steps = optimizer.transformation(rate)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam counts in int32
        f = jax.jit(
            lambda p: train(linear, p, x, y, steps, times, objective=objective).outputs
        )(params)
    want = objective.outputs(f)
    theta = ntk_by_output(net, params, x[:N])
    with jax.numpy_dtype_promotion("standard"):
        got = jax.jit(
            lambda p, theta: (
                train_linearized(
                    apply_fn, p, theta, x, y, rate, times, 25, optimizer, objective
                ).outputs
            )
        )(params, theta)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)
    assert np.abs(want[-1] - want[0]).max() > 1e-2


FLAGS = {
    "mse": {"optimizer": "nesterov", "alpha": 4.0},
    "xent": {"optimizer": "momentum", "batch_size": 5},
    "hinge": {"antisymmetric_init": True, "alpha": 4.0},
}


@pytest.mark.parametrize("loss", FLAGS)
def test_a_network_linear_in_what_it_trains(loss):
    """f is f_lin, and f_inf is what the infinite network's kernel makes of it."""
    config = Config(
        arch="random_features",
        widths=(32,),
        n_train=10,
        n_test=6,
        steps=30,
        records=4,
        loss=loss,
        **FLAGS[loss],
    )
    experiment = Experiment(config)
    cell = experiment.measure(32, np.arange(2))
    size = np.abs(cell["outputs"]).max()
    assert cell["gap_nonlinear"].max() < 1e-5 * size
    assert cell["gap_total"][:, -1].min() > 1e-2 * size
    if config.alpha != 1:
        assert np.abs(cell["outputs"][:, 0]).max() < 1e-5
        assert "ensemble_mean" not in cell
    assert ("gap_total_flow" in cell) == (loss == "mse")


def test_steps_do_not_depend_on_alpha_in_the_linear_regime():
    """F moves by -eta Theta dL/dF whatever alpha is; with a factor left out it does."""
    data = load("digits", 8, 4)
    net = zoo.models.RandomFeatures(width=64, out=10)
    config = Config(arch="random_features", widths=(64,), n_train=8, center=True)
    outputs = []
    for alpha in (0.5, 1.0, 16.0):
        training = dataclasses.replace(config, alpha=alpha).training()
        times, seeds = np.asarray([0, 10]), np.arange(1)
        cell = measure_cell(
            net, 64, data, None, 0.5, times, seeds, 1e9, 2**30, training
        )
        outputs.append(cell["outputs"])
    for other in outputs[1:]:
        np.testing.assert_allclose(other, outputs[0], atol=2e-5)
    assert np.abs(outputs[0][:, 1]).max() > 0.05


def test_mirrored_copies_start_at_zero_with_the_kernel_of_one():
    x = jax.random.normal(jax.random.key(3), (3, 4))
    pair = Mirrored(NET)
    params = pair.init(jax.random.key(0), x)["params"]
    assert not np.any(pair.apply({"params": params}, x))
    both = empirical_ntk(pair, params, x, full=True)
    one = empirical_ntk(NET, params["plus"], x, full=True)
    np.testing.assert_allclose(both, one, rtol=1e-5, atol=1e-5)
    moved = jax.tree.map(
        lambda a: a + 0.1 * jnp.sin(jnp.arange(a.size).reshape(a.shape)), params
    )
    leaves = jax.tree.leaves(jax.jacrev(lambda p: pair.apply({"params": p}, x))(moved))
    J = np.concatenate([np.reshape(leaf, (3 * OUT, -1)) for leaf in leaves], axis=1)
    theta = empirical_ntk(pair, moved, x, full=True).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(theta.reshape(9, 9), J @ J.T, rtol=1e-4, atol=1e-4)


NETS = [
    zoo.MLP(width=8, depth=3, sigma_b=0.3),
    zoo.models.ResNet(width=4, depth=1),
    zoo.DEQ(width=8, sigma_w=0.5, sigma_b=0.2),
]


@pytest.mark.parametrize("net", NETS, ids=lambda net: type(net).__name__)
def test_kernels_of_some_layers_add_up_to_the_whole(net):
    """Finite and infinite; the shares are those of disjoint sets of parameters."""
    shape = (3, 4, 4, 2) if net.inputs == "image" else (3, 5)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    params = net.init(jax.random.key(0), jnp.asarray(x))["params"]
    parts = (
        ["first", "last"] if isinstance(net, zoo.DEQ) else ["first", "hidden", "last"]
    )
    some = [net.clone(train_layers=part) for part in parts]
    whole = empirical_ntk(net, params, jnp.asarray(x))
    shares = [empirical_ntk(each, params, jnp.asarray(x)) for each in some]
    np.testing.assert_allclose(sum(shares), whole, rtol=1e-4)
    assert all(np.diag(share).min() > 1e-3 for share in shares)
    limits = [kernel_matrix(each, x) for each in some]
    np.testing.assert_allclose(sum(limits), kernel_matrix(net, x), rtol=1e-10)


def test_batches_are_epochs_in_random_order():
    order = batch_order(5, 7, 3, 4)
    assert order.shape == (4, 3)
    for epoch in order.reshape(2, 6):
        assert len(set(epoch)) == 6
    assert (order[:2] != order[2:]).any()
    assert (order != batch_order(6, 7, 3, 4)).any()


@pytest.mark.parametrize("size", [1, 3, 7])
def test_no_batch_drives_a_linear_model_away(size):
    """Below the critical rate no batch has a larger eigenvalue, with outputs or not."""
    rng = np.random.default_rng(size)
    J = rng.normal(size=(7, 2, 9)) * rng.uniform(0.2, 3.0, size=(7, 1, 1))
    training = Training(batch_size=size)
    for theta in (J[:, 0] @ J[:, 0].T, J.reshape(14, 9) @ J.reshape(14, 9).T):
        k = len(theta) // 7
        critical = 2 * 7 / np.linalg.eigvalsh(theta)[-1]
        rate = training.batch_critical(theta, 7, critical)
        blocks = theta.reshape(7, k, 7, k)
        tops = [
            np.linalg.eigvalsh(
                blocks[np.ix_(B, range(k), B, range(k))].reshape(size * k, size * k)
            )[-1]
            for B in map(list, itertools.combinations(range(7), size))
        ]
        exact = 2 * size / max(tops)
        assert rate <= exact * (1 + 1e-9)
        assert rate > 0.4 * exact  # and is not much smaller
    assert rate >= training.batch_critical(None, 7, critical)
    heavy = Training(batch_size=size, optimizer=Optimizer("momentum", 0.75))
    slower = heavy.batch_critical(theta, 7, critical)
    assert slower == pytest.approx(rate / 4)
    assert heavy.stable(slower) == slower
    assert Training().batch_critical(theta, 7, critical) == critical


class Plain(nn.Module):
    """A user's network."""

    width: int
    out: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.out)(nn.relu(nn.Dense(self.width)(x)))


REFUSED = [
    ({"loss": "msee"}, "unknown --loss 'msee'; did you mean 'mse'"),
    ({"optimizer": "sdg"}, "unknown --optimizer 'sdg'; did you mean 'sgd'"),
    ({"momentum": 1.0}, r"--momentum=1.0 is not allowed: it takes a number in \[0, 1"),
    ({"momentum": 0.5}, "--momentum=0.5 is not allowed beside --optimizer=sgd"),
    ({"batch_size": 0}, "--batch_size=0 is not allowed: it takes 1 to n_train=128"),
    ({"batch_size": 999}, "--batch_size=999"),
    ({"alpha": 2.0, "center": False}, "--nocenter is not allowed beside --alpha=2"),
    ({"alpha": -1.0}, "--alpha=-1.0 is not allowed"),
    ({"train_layers": "midle"}, "unknown --train_layers 'midle'"),
    ({"train_layers": "hidden", "depth": 1}, "--train_layers=hidden is not allowed"),
    ({"optimizer": "adam"}, "--optimizer=adam needs --learning_rate"),
    ({"loss": "xent", "dataset": "sphere"}, "it takes data of classes, and sphere"),
    (
        {"arch": f"{__name__}:Plain", "train_layers": "last"},
        "has no hyper-parameter train_layers=last",
    ),
    (
        {"arch": "wu_transformer", "train_layers": "last"},
        "--train_layers cannot freeze the weights of Attention",
    ),
]


@pytest.mark.parametrize(("bad", "said"), REFUSED)
def test_what_cannot_be_trained_is_refused_by_value(bad, said):
    with pytest.raises(ValueError, match=said):
        Experiment(Config(**bad))


def test_adam_has_no_limit_and_says_why():
    config = Config(widths=(8,), n_train=4, n_test=4, steps=5, records=2)
    adam = dataclasses.replace(config, optimizer="adam", learning_rate=0.01)
    experiment = Experiment(adam)
    assert experiment.limit_kind.kind == "none"
    assert "not linear in gradients" in experiment.limit_kind.why
    assert not experiment.lazy_rate()

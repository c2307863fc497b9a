"""From flags to networks: options, a user's own module, data and limit."""

import dataclasses
import json
import re
import sys

import jax
import numpy as np
import pytest

from zoo.gap import nets, store
from zoo.gap.cell import TooWide
from zoo.gap.config import Config
from zoo.gap.nets import example
from zoo.gap.run import Experiment, run
from zoo.gap.sides import facts
from zoo.gap.sweep import Unfinished
from zoo.layers import ACTIVATIONS
from zoo.models import ARCHITECTURES, MLP, PINN, NeuralField
from zoo.report import page, text

SMALL = Config(
    widths=(8, 16), seeds=2, n_train=8, n_test=4, steps=5, records=3, depth=1
)
MODULE = """
import flax.linen as nn
import jax.numpy as jnp
import zoo

class MyNet(nn.Module):
    width: int
    out: int
    gain: float = 1.0
    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.tanh(nn.Dense(self.width)(self.gain * x)))
        return nn.Dense(self.out)(x)

class Tokens(nn.Module):
    width: int
    out: int
    vocabulary: int = 7
    @nn.compact
    def __call__(self, x):
        x = nn.Embed(self.vocabulary, self.width)(x)
        return nn.Dense(self.out)(nn.tanh(nn.Dense(self.width)(x)).mean(1))

class Fixed(nn.Module):
    out: int = 3
    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.out)(x)

class Deaf(nn.Module):
    width: int
    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(x)

class Pair(Deaf):
    def __call__(self, x):
        return x, x

class Picky(Deaf):
    def __call__(self, x):
        raise RuntimeError("I take\\nno vectors")

class Mine(zoo.MLP):
    pass

class Huge(Tokens):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.width)(x)
        if self.width == 16:
            x += jnp.sort(jnp.full((2**20, 2**22), x.sum()))[3, 5]
        return nn.Dense(self.out)(x)

def kernel(x1, x2, get):
    x2 = x1 if x2 is None else x2
    return jnp.exp(-jnp.sum((x1[:, None] - x2[None]) ** 2, -1) / x1.shape[1])

def function(x):
    return x
"""


@pytest.fixture(autouse=True)
def users_module(tmp_path, monkeypatch):
    (tmp_path / "users_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("users_module", None)


def do(workdir, **changes):
    config = dataclasses.replace(SMALL, **changes)
    experiment = Experiment(config)
    store.open_workdir(workdir, config.as_dict())
    summary = run(experiment, workdir, lambda message, share: None)
    page.write(workdir, summary)
    return json.loads((workdir / "summary.json").read_text())


def missing(summary):
    gaps = ("gap_total", "gap_nonlinear", "gap_kernel")
    return [bool(summary["metrics"][name]["missing"]) for name in gaps]


def test_options_are_read_by_type():
    net = nets.build("cnn", 8, 3, {"stride": "2", "sigma_b": "0.5", "readout": "gap"})
    assert (net.width, net.out, net.stride, net.sigma_b) == (8, 3, 2, 0.5)
    assert not nets.build("cnn", 8, 3, {"ends_trained": "false"}).ends_trained
    # The activation brings its own default scale; a scale that is given stays.
    assert nets.build("mlp", 8, 1, {"activation": "erf"}).sigma_w == 1.5
    given = nets.build("mlp", 8, 1, {"activation": "erf", "sigma_w": 1.0})
    assert given.sigma_w == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"strid": "2"},
            "--arch=cnn has no hyper-parameter strid=2; it has ",
        ),
        ({"stride": "two"}, "--net=stride=two is not allowed"),
        ({"ends_trained": "yes"}, "--net=ends_trained=yes is not allowed"),
        ({"width": "3"}, "--net=width=3 is not allowed: width is given"),
        ({"depth": "0"}, "CNN needs depth >= 1, got depth=0"),
        ({"padding": "SMAE"}, "did you mean 'SAME'"),
    ],
)
def test_bad_options_are_refused_by_value(options, message):
    with pytest.raises(ValueError, match=message):
        nets.build("cnn", 8, 3, options)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("users_module:None", "cannot be imported"),
        ("no_such_module:Net", "cannot be imported"),
        ("users_module:function", "not a class of Flax Linen modules"),
        ("mpl", "did you mean 'mlp'"),
    ],
)
def test_unknown_networks_are_refused(arch, message):
    with pytest.raises(ValueError, match=message):
        Config(arch=arch)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Fixed", "--arch=users_module:Fixed has no field 'width'"),
        (
            "Deaf",
            r"Deaf maps inputs \(2, 64\) of digits to \(2, 8\); allowed is \(2, 10",
        ),
        (
            "Pair",
            r"Pair maps inputs \(2, 64\) of digits to no array; allowed is \(2, 10",
        ),
        ("Picky", r"Picky cannot be applied to inputs \(2, 64\) of digits: I take$"),
    ],
)
def test_modules_that_cannot_be_measured_are_refused(name, message):
    config = dataclasses.replace(SMALL, depth=None, arch=f"users_module:{name}")
    with pytest.raises(ValueError, match=message):
        Experiment(config)


def test_examples_of_all_architectures_can_be_built():
    for name in ARCHITECTURES:
        net, data = nets.example(name, 8)
        assert jax.eval_shape(net.init, jax.random.key(0), data.x_train)["params"]


def test_a_users_module_has_a_nonlinear_gap(tmp_path):
    summary = do(tmp_path / "w", arch="users_module:MyNet", depth=None)
    assert missing(summary) == [True, False, True]
    assert summary["limit"]["kind"] == "none"
    (cell,) = (tmp_path / "w").glob("cells/users_module.MyNet-w16-*/traj.npz")
    assert np.load(cell)["gap_nonlinear"].max() > 0


def test_widths_whose_kernel_finds_no_memory_fail_as_cells(tmp_path):
    """16 terabytes at width 16; nobody gave a learning rate."""
    said = []
    config = dataclasses.replace(SMALL, depth=None, arch="users_module:Huge")
    with pytest.raises(TooWide, match=r"width 16.*no memory: RESOURCE_EXHAUSTED"):
        Experiment(config)
    experiment = Experiment(config, skip_wide=True)
    assert "learning rate" in text.header(experiment)
    store.open_workdir(tmp_path / "w", config.as_dict())
    with pytest.raises(Unfinished, match=r"w16-s0-1 \(failed: TooWide: the k") as e:
        run(experiment, tmp_path / "w", lambda message, share: said.append(message))
    assert e.value.failed == 1
    assert re.match(r"users_module.Huge-w8-s0-1: [\d.]+ s", said[0])


def tokens(folder):
    """A file of 12 + 6 sequences of 5 tokens, below 7."""
    rng, path = np.random.default_rng(0), folder / "tokens.npz"
    x, y = rng.integers(0, 7, (18, 5)), rng.normal(size=18)
    np.savez(path, x_train=x[:12], y_train=y[:12], x_test=x[12:], y_test=y[12:])
    return {"arch": "users_module:Tokens", "dataset": str(path), "depth": None}


def test_a_users_embedding_trains_on_tokens(tmp_path):
    summary = do(tmp_path / "w", **tokens(tmp_path))
    assert missing(summary) == [True, False, True]
    (cell,) = (tmp_path / "w").glob("cells/users_module.Tokens-w16-*/traj.npz")
    arrays = np.load(cell)
    assert np.all(arrays["train_loss"][:, -1] < arrays["train_loss"][:, 0])
    assert np.all(arrays["gap_nonlinear"][:, -1] > 0)


def test_tokens_beyond_the_vocabulary_are_refused(tmp_path):
    """Their embedding is NaN, and so would every number be."""
    mine = tokens(tmp_path) | {"net": ("vocabulary=3",)}
    with pytest.raises(ValueError, match=r"width 8 the kernel .*npz is not finite"):
        Experiment(dataclasses.replace(SMALL, **mine))


@pytest.mark.parametrize(
    "changes",
    [
        {"arch": "mlp"},
        {"arch": "mlp", "limit": "monte_carlo", "mc_samples": 2},
        {"arch": "mlp", "parameterization": "mup"},
        {"arch": "users_module:Mine", "limit": "none"},
    ],
    ids=["analytic", "sampled", "own", "none"],
)
def test_inputs_that_are_all_zero_are_refused(changes, tmp_path):
    path, y = tmp_path / "zero.npz", np.arange(8.0)
    np.savez(
        path, x_train=np.zeros((8, 5)), y_train=y, x_test=np.ones((8, 5)), y_test=y
    )
    config = dataclasses.replace(SMALL, dataset=str(path), **changes)
    with pytest.raises(ValueError, match="is 0: no parameter moves an output"):
        Experiment(config)
    assert Experiment(dataclasses.replace(config, sigma_b=0.5)).learning_rate(8) > 0


def test_its_kernel_can_be_sampled_or_given(tmp_path):
    """Of unknown scaling with width, so it is sampled at each width."""
    mine = {"arch": "users_module:MyNet", "depth": None, "lr_fraction": 0.1}
    sampled = do(tmp_path / "mc", limit="monte_carlo", mc_samples=4, **mine)
    assert missing(sampled) == [False, False, False]
    assert sampled["limit"]["relative_stderr"] > 0
    assert len(set(sampled["critical_rates"])) == 2
    given = do(tmp_path / "given", limit="users_module:kernel", **mine)
    assert missing(given) == [False, False, False]
    assert given["limit"]["kind"] == "given"


def test_a_users_architecture_brings_its_limit(tmp_path):
    summary = do(tmp_path / "w", arch="users_module:Mine")
    assert missing(summary) == [False, False, False]
    assert summary["limit"]["kind"] == "exact"


def test_a_sampled_limit_is_the_limit_within_its_error():
    """The kernel gap's other side: relative Frobenius distance in standard errors."""
    exact = Experiment(SMALL).limit(8).dynamics.theta[:8]
    config = dataclasses.replace(SMALL, limit="monte_carlo", mc_samples=32)
    side = Experiment(config).limit(8)
    off = np.linalg.norm(side.dynamics.theta[:8] - exact) / np.linalg.norm(exact)
    assert 0 < side.error < 0.03
    assert off < 5 * side.error


def test_no_kernels_are_sampled_where_there_is_no_lazy_limit():
    config = dataclasses.replace(SMALL, limit="monte_carlo", parameterization="mup")
    with pytest.raises(ValueError, match="--limit=monte_carlo is not allowed: Dense"):
        Experiment(config)


def test_networks_whose_examples_interact_need_a_rate(tmp_path):
    changes = {"arch": "macdonald_resnet", "net": ("norm=batch",), "depth": None}
    with pytest.raises(ValueError, match="give --learning_rate"):
        Experiment(dataclasses.replace(SMALL, **changes))
    summary = do(tmp_path / "w", learning_rate=0.01, **changes)
    assert missing(summary) == [True, True, True]
    assert "interact" in summary["metrics"]["gap_nonlinear"]["missing"]


def test_full_kernels_of_coupled_outputs_are_predicted(tmp_path):
    """A PINN: the prediction from all pairs of outputs, against explicit steps."""
    config = dataclasses.replace(SMALL, arch="pinn", dataset=None, depth=None)
    experiment = Experiment(config)
    side, y = experiment.limit(8), experiment.data.y_train
    n, k = y.shape
    assert side.dynamics.coupled == k
    f0 = np.random.default_rng(0).normal(size=(n + 4, k))
    rate = experiment.learning_rate(8)
    want, theta = f0.reshape(-1).copy(), side.dynamics.theta
    for _ in range(5):
        want = want - rate / n * theta @ (want[: n * k] - y.reshape(-1))
    got = side.dynamics.outputs(f0, y, rate, [5])[0]
    np.testing.assert_allclose(got, want.reshape(n + 4, k), rtol=1e-9, atol=1e-9)


FIELD = ("net=neural_field", "net.omega=2", "net.depth=2", "operator=advection")


def test_the_network_inside_a_pinn_is_chosen_by_options(tmp_path):
    net = Config(arch="pinn", net=FIELD).network(8, 2)
    assert net == PINN(8, "advection", NeuralField(1, 2, omega=2.0))
    erf = nets.build("pinn", 8, 2, {"net": "mlp", "net.activation": "erf"})
    assert erf.net == MLP(1, activation="erf", sigma_w=1.5)
    assert nets.build("pinn", 8, 2, {"net": erf.net}) == erf
    mine = {"arch": "pinn", "dataset": None, "depth": None, "net": FIELD}
    summary = do(tmp_path / "w", **mine)
    assert missing(summary) == [False, False, False]
    assert summary["network"]["net"].startswith("NeuralField(depth 2, activation sin, ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"net": "cnn"}, "--net=net=cnn is not allowed: its inputs are .* 'image'"),
        ({"net": "gcn"}, "--net=net=gcn is not allowed: its inputs are .* 'nodes'"),
        ({"net": "users_module:MyNet"}, "MyNet is not allowed: .* kind 'any', not"),
        ({"net": "mlpp"}, "--net=net=mlpp is not allowed: unknown .* mean 'mlp'"),
        ({"net": "mlp"}, "PINN needs net of smooth layers .*, got net=MLP.$"),
        ({"net": "mlp", "net.dpth": "2"}, "net=mlp is not .* no hyper-parameter dpth"),
        ({"net": "mlp", "net.width": "2"}, "net=mlp is not .* width is given"),
        ({"net.depth": "2"}, "no hyper-parameter net.depth=2; it has net, operator"),
        ({"operator": "heat", "operator.t": "2"}, "no hyper-parameter operator.t=2"),
    ],
)
def test_networks_that_no_pinn_holds_are_refused(options, message):
    with pytest.raises(ValueError, match=message) as error:
        nets.build("pinn", 8, 2, options)
    assert "\n" not in str(error.value)


def test_naming_the_default_activation_changes_nothing():
    for arch, network in ARCHITECTURES.items():
        if {"activation", "sigma_w"} <= set(network.__dataclass_fields__):
            named, _ = example(arch, 8, 4, activation=network.activation)
            default = network.smoke.get("sigma_w", network.sigma_w)
            assert named.sigma_w == default, arch
    tanh, _ = example("mlp", 8, 4, activation="tanh")
    assert tanh.sigma_w == ACTIVATIONS["tanh"].sigma_w


@pytest.mark.parametrize(
    ("arch", "options", "shallow", "smooth"),
    [
        ("mlp", {}, False, False),
        ("mlp", {"depth": "1", "activation": "gelu"}, True, True),
        ("gcn", {"depth": "1"}, True, False),
        ("wu_transformer", {}, True, False),
        ("neural_field", {}, True, True),
        ("gcnii", {}, False, False),
        ("res_gcn", {}, False, False),
        ("xie_mcn", {}, False, False),
        ("du_resnet", {"activation": "gelu"}, False, True),
    ],
)
def test_facts(arch, options, shallow, smooth):
    net, _ = example(arch, 8, 4, **options)
    found = facts(net, net.limit(), True)
    assert (found.shallow, found.smooth) == (shallow, smooth)

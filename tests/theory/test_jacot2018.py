"""Jacot et al.: the kernel by Jacobians, components by hand, what breaks each claim."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.theory import jacot2018_networks as networks
from zoo.theory.claims import judge
from zoo.theory.jacot2018 import PAPER

CLAIMS = {claim.name: claim for claim in PAPER.claims}
MEASUREMENTS = {m.name: m for m in PAPER.measurements}
UNSETTLED = {"variance start", "orthogonal", "decay"}  # few seeds at the smoke size


@functools.cache
def found(name, knobs=()):
    """A measurement at its smoke size, with some arguments replaced."""
    size = MEASUREMENTS[name].sizes["smoke"] | {k: thawed(v) for k, v in knobs}
    return MEASUREMENTS[name].run(**size)


def thawed(value):
    return dict(value) if isinstance(value, frozenset) else value


def knobs(**fields):
    return (("knobs", frozenset(fields.items())),)


FEATURES = knobs(parameterization="mup")
BROKEN = [
    ("variance start", "start", knobs(parameterization="standard")),
    ("variance end", "circle", FEATURES),
    ("constant", "circle", FEATURES),
    ("inflation", "circle", (("target", 0.0),)),  # nothing to learn
    ("band", "band", knobs(sigma_w=2.0)),
    ("median", "band", (("rate", 50.0),)),  # beyond the critical rate
    ("decay", "components", (("train_layers", "last"),)),
    ("orthogonal", "components", (("train_layers", "last"),)),
]


@pytest.mark.parametrize("name", CLAIMS)
def test_sound_settings(name):
    claim = CLAIMS[name]
    said = judge(claim, found(claim.measurement.name))
    allowed = ("holds", "inconclusive") if name in UNSETTLED else ("holds",)
    assert said.verdict in allowed, said


@pytest.mark.parametrize(("name", "measurement", "knobs"), BROKEN, ids=str)
def test_broken_settings_do_not_hold(name, measurement, knobs):
    claim = CLAIMS[name]
    said = judge(claim, found(measurement, knobs))
    assert said.verdict != "holds", said
    if name in UNSETTLED:
        sound = judge(claim, found(claim.measurement.name))
        off = [abs(s.mean - claim.predicted.value) for s in (said, sound)]
        assert off[0] > off[1]


def test_every_claim_is_broken_once():
    assert sorted(name for name, *_ in BROKEN) == sorted(CLAIMS)


def test_the_kernel_on_the_circle_by_jacobians():
    seen = networks.measure_circle((6,), 1, n=4, angles=4, steps=0, inits=2)
    net = networks.network(6)
    for seed in (0, 1):
        key = jax.random.fold_in(jax.random.key(seed), 6)
        x = jnp.asarray(networks.circle(np.append(0.0, seen["angles"])))
        params = net.init(key, x[:1])["params"]
        jacobian = jax.jacrev(lambda p, x=x: net.apply({"params": p}, x)[:, 0])(params)
        rows = np.concatenate(
            [np.asarray(a).reshape(5, -1) for a in jax.tree.leaves(jacobian)], axis=1
        )
        expected = rows[1:] @ rows[0]
        for when in (0, 1):  # no step was taken
            got = seen["kernels"][seed, 0, when]
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_components_of_a_linear_network_decay_as_predicted():
    """The last layer alone trained: f is linear, and its kernel K / n acts."""
    size = {"widths": (512,), "seeds": 2, "n": 8, "train_layers": "last"}
    seen = networks.measure_components(**size)
    assert (seen["along"][:, 0, 0] < 0.5).all()
    squares = seen["along"] ** 2 + seen["across"] ** 2
    assert (np.diff(squares, axis=-1) <= 1e-6).all()  # the loss falls
    assert (seen["rate"] < 1).all()  # its kernel is a part of Theta


def test_figures():
    shown = PAPER.figures({name: found(name) for name in MEASUREMENTS})
    assert [figure.name for figure in shown] == ["circle", "band", "components"]
    for figure in shown:
        for axes in figure.panels:
            for curve in axes.curves:
                assert np.shape(curve.y)[-1] == len(curve.x)

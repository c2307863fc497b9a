"""Terjek & Gonzalez-Sanchez: every claim, and a setting that breaks it; oracles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from zoo.data import load
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.precision import float64
from zoo.models import TerjekMLP
from zoo.theory.claims import judge
from zoo.theory.terjek2022 import PAPER
from zoo.theory.terjek2022_data import hermite_squares, points, schur_bound
from zoo.theory.terjek2022_init import DIMENSION, SIGMA_W, network, tangent_kernel
from zoo.theory.terjek2022_train import first_growth, late_rate, measure_training

CLAIMS = {claim.name: claim for claim in PAPER.claims}
RUNS = {m.name: m.run for m in PAPER.measurements}
SMALL = {
    "spectrum": {"widths": (64, 1024), "seeds": 256, "n": 4, "depth": 1},
    "training": {"widths": (32, 1024), "seeds": 64, "n": 4, "steps": 60, "depth": 1},
    "rates": {"widths": (1024, 8192), "seeds": 6, "n": 8, "steps": 12, "depth": 1},
    "dependence": {
        "width": 256,
        "seeds": 8,
        "counts": (4, 8),
        "depths": (2,),
        "activations": ("erf", "gelu"),
    },
    "moments": {
        "width": 64,
        "seeds": 32,
        "n": 4,
        "steps": 400,
        "tails": (0.0, 0.7),
        "depths": (1, 2),
    },
    "labels": {"width": 64, "draws": 4, "n_train": 64, "n_test": 96, "steps": 100},
}
STANDARD = {"parameterization": "standard"}
MUP = {"parameterization": "mup", "depth": 2, "widths": (32, 256), "steps": 100}
FAST = {"share": 1.8}  # of 2 n / lambda_max
DULL = {"sigma_w": 0.5, "growth": 1.0}  # small weights; norms that grow with n
BLIND = {"shuffled": True, "norm": 300.0}  # no true labels; inputs of another norm
SPHERE = {"tails": (0.0, 0.0)}  # no tail is heavier
BROKEN = {
    "spread": STANDARD,
    "limit": STANDARD,
    "positive": {"sigma_w": 0.5},
    "kernel": STANDARD,
    "points": DULL,
    "depth": DULL,
    "activation": DULL,
    "guarantee": FAST,
    "half": FAST,
    "rate": MUP,
    "grows": MUP,
    "saturates": MUP,
    "kept": FAST,
    "radius": FAST,
    "nearest": MUP,
    "solution": MUP,
    "lazy": MUP,
    "drift": MUP,
    "edge": STANDARD,
    "critical": STANDARD,
    "stable": {"sigma_w": 0.2, "widths": (32,)},
    "best": STANDARD,
    "standard": {"parameterization": "ntk"},
    "labels": BLIND,
    "true": BLIND,
    "random": BLIND,
    "conditioning": SPHERE,
    "layers": SPHERE,
    "concentration": SPHERE,
    "width": SPHERE,
}


def as_key(knobs):
    """Hashable; the defaults are no knobs."""
    return tuple(item for item in knobs.items() if item[1] != "ntk")


def measured(name, knobs=()):
    """A measurement at its small size, with some arguments set otherwise."""
    if name == "standard":  # is that of the rates
        return run("rates", as_key(STANDARD | dict(knobs)))
    return run(name, knobs)


@functools.cache
def run(name, knobs):
    return RUNS[name](**SMALL[name] | dict(knobs))


def first(arrays, seeds):
    """Fewer seeds, which do not resolve what a finite width leaves of a limit."""
    return {k: v[:seeds] if np.ndim(v) > 1 else v for k, v in arrays.items()}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_until_its_setting_is_broken(name):
    claim = CLAIMS[name]
    where = claim.measurement.name
    sound = measured(where)
    sound = first(sound, 12) if name == "rate" else sound
    assert judge(claim, sound).verdict == "holds"
    broken = judge(claim, measured(where, tuple(BROKEN[name].items())))
    assert broken.verdict in ("violated", "inconclusive")


def test_the_network_is_terjeks():
    x = jnp.asarray(load("sphere", 3, 1).x_train)
    ours, theirs = network(16), TerjekMLP(16, activation="erf")
    params = ours.init(jax.random.key(0), x)
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x))


def test_training_is_descent_by_hand():
    """Explicit steps in NumPy on one hidden layer, and its kernel by the Jacobian."""
    size = {"widths": (8,), "seeds": 1, "n": 3, "steps": 31, "depth": 1}
    found = measure_training(**size)
    data = load("sphere", 3, 1)
    x, y = data.x_train.astype(float), data.y_train[:, 0].astype(float)
    with float64():
        key = jax.random.fold_in(jax.random.key(0), 8)
        tree = network(8, 1).init(key, jnp.asarray(x))["params"]
        W, V = (np.asarray(tree[f"dense_{i}"]["W"]) for i in (0, 1))
        b, c = (np.asarray(tree[f"dense_{i}"]["b"]) for i in (0, 1))
    start = [np.array(p, float) for p in (W, b, V, c)]

    def forward(W, b, V, c):
        u = SIGMA_W * x @ W / DIMENSION**0.5 + 0.1 * b
        return u, special.erf(u), SIGMA_W * special.erf(u) @ V[:, 0] / 8**0.5 + 0.1 * c

    def jacobian(W, b, V, c):
        u, h, _ = forward(W, b, V, c)
        back = SIGMA_W / 8**0.5 * V[:, 0] * 2 / np.pi**0.5 * np.exp(-(u**2))
        by_W = SIGMA_W / DIMENSION**0.5 * x[:, :, None] * back[:, None]
        parts = [by_W, 0.1 * back, SIGMA_W / 8**0.5 * h, np.full((3, 1), 0.1)]
        return [part.reshape(3, -1) for part in parts]

    J = np.concatenate(jacobian(*start), axis=1)
    values = np.linalg.eigvalsh(J @ J.T)
    params, rate = start, 3 / values[-1]
    f0 = forward(*start)[2]
    for _ in range(31):
        r = forward(*params)[2] - y
        steps = jacobian(*params)
        params = [
            p - rate / 3 * (r @ j).reshape(p.shape)
            for p, j in zip(params, steps, strict=True)
        ]
    end = forward(*params)[2]
    linear = y + np.linalg.matrix_power(np.eye(3) - rate / 3 * J @ J.T, 31) @ (f0 - y)
    size0 = np.linalg.norm(f0 - y)
    nearest = np.linalg.lstsq(J, y - f0, rcond=None)[0]
    gone = np.concatenate([(p - q).ravel() for p, q in zip(params, start, strict=True)])
    now = np.concatenate(jacobian(*params), axis=1)
    drift = np.linalg.norm(now @ now.T - J @ J.T) / np.linalg.norm(J @ J.T)
    expected = {
        "loss": np.sum((end - y) ** 2) / size0**2,
        "lazy": np.linalg.norm(end - linear) / size0,
        "moved": np.linalg.norm(gone),
        "drift": drift,
        "low": np.linalg.eigvalsh(now @ now.T)[0] / values[0],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name][0, 0, -1], value, rtol=1e-6)
    np.testing.assert_allclose(found["least"][0, 0], np.linalg.norm(nearest), rtol=1e-9)
    off = np.linalg.norm(gone - nearest)
    np.testing.assert_allclose(found["off"][0, 0], off, rtol=1e-6)
    decay = -2 * np.log(1 - rate * values[0] / 3)
    np.testing.assert_allclose(found["decay"][0, 0], decay, rtol=1e-9)


def test_late_rate_and_first_growth():
    times = np.arange(0, 100, 5)
    loss = np.exp(-0.7 * times)[None, None]
    arrays = {"loss": loss, "times": times, "decay": np.ones((1, 1))}
    np.testing.assert_allclose(late_rate(arrays), 0.7)
    rates = np.array([[1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0]])
    peak = np.array([[1.0, 1.0, 3.0, np.nan], [1.0, 1.0, 1.0, 1.0]])
    found = first_growth({"rates": rates, "peak": peak, "start": np.ones((2, 4))})
    np.testing.assert_allclose(found, [8**0.5, np.nan])


@pytest.mark.parametrize("activation", ["erf", "gelu"])
def test_hermite_coefficients_by_quadrature(activation):
    """Against adaptive quadrature of phi He_k; and their sum, the diagonal."""
    q = SIGMA_W**2 + 0.1**2
    phi = {
        "erf": special.erf,
        "gelu": lambda u: u * (1 + special.erf(u / 2**0.5)) / 2,
    }[activation]
    for k in (1, 2, 3):
        he = special.hermitenorm(k)

        def integrand(z, he=he):
            return phi(q**0.5 * z) * he(z) * np.exp(-(z**2) / 2)

        a = integrate.quad(integrand, -12, 12)[0] / (2 * np.pi) ** 0.5
        expected = SIGMA_W**2 * (1 + k) * a**2 / special.factorial(k)
        np.testing.assert_allclose(
            hermite_squares(activation)[k], expected, rtol=1e-9, atol=1e-12
        )


def test_schur_bound_is_below_the_limit_and_near():
    with float64():
        x = points(jax.random.key(3), 6)
        bound = float(schur_bound(2, x))
    theta = kernel_matrix(network(1, 2), np.asarray(x))
    one, K = (
        kernel_matrix(network(1, depth), np.asarray(x), get=get)
        for depth, get in ((1, "ntk"), (2, "nngp"))
    )
    gain = np.min(np.diag(theta - K) / np.diag(one))
    np.testing.assert_allclose(bound, np.linalg.eigvalsh(one)[0] * gain, rtol=1e-9)
    assert bound < np.linalg.eigvalsh(theta)[0]


def test_points_have_equal_second_moments_and_heavy_tails():
    x = np.asarray(points(jax.random.key(0), 4000, 0.5))
    squares = np.sum(x**2, axis=1) / DIMENSION
    np.testing.assert_allclose(squares.mean(), 1, rtol=1e-4)
    np.testing.assert_allclose(np.mean(squares**2), np.exp(4 * 0.5**2), rtol=0.25)
    sphere = np.asarray(points(jax.random.key(0), 5))
    np.testing.assert_allclose(np.sum(sphere**2, axis=1), DIMENSION, rtol=1e-5)


def test_tangent_kernel_by_the_jacobian():
    x = jnp.asarray(load("sphere", 3, 1).x_train)
    net = network(5, 2)
    params = net.init(jax.random.key(1), x)["params"]
    rows = jax.jacrev(lambda p: net.apply({"params": p}, x)[:, 0])(params)
    J = np.concatenate([leaf.reshape(3, -1) for leaf in jax.tree.leaves(rows)], axis=1)
    np.testing.assert_allclose(tangent_kernel(net, params, x), J @ J.T, rtol=1e-4)

"""Terjek & Gonzalez-Sanchez: what is guaranteed of descent, and Cao & Gu's bound."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from zoo.data import load
from zoo.infinite.precision import float64
from zoo.models import MLP
from zoo.theory.terjek2022 import PAPER
from zoo.theory.terjek2022_init import network
from zoo.theory.terjek2022_labels import measure_labels
from zoo.theory.terjek2022_train import measure_training

CLAIMS = {claim.name: claim for claim in PAPER.claims}


def test_guarantees_of_descent_by_hand():
    """One hidden layer, its kernel by the Jacobian, steps of n / lambda_max."""
    n, m, d, steps = 3, 8, 10, 124
    arrays = measure_training((m,), 1, n, steps, depth=1)
    data = load("sphere", n, 1)
    x, y = data.x_train.astype(float), data.y_train[:, 0].astype(float)
    with float64():
        key = jax.random.fold_in(jax.random.key(0), m)
        tree = network(m, 1).init(key, jnp.asarray(x))["params"]
    start = [np.asarray(tree[f"dense_{i}"][k]) for i in (0, 1) for k in "Wb"]

    def outputs(W, b, V, c):
        u = 1.5 * x @ W / d**0.5 + 0.1 * b
        return 1.5 * special.erf(u) @ V[:, 0] / m**0.5 + 0.1 * c

    def jacobian(W, b, V, c):
        u = 1.5 * x @ W / d**0.5 + 0.1 * b
        back = 1.5 / m**0.5 * V[:, 0] * 2 / np.pi**0.5 * np.exp(-(u**2))
        of_W = 1.5 / d**0.5 * x[:, :, None] * back[:, None]
        of_V = 1.5 / m**0.5 * special.erf(u)
        parts = [of_W, 0.1 * back, of_V, np.full((n, 1), 0.1)]
        return [part.reshape(n, -1) for part in parts]

    J = np.concatenate(jacobian(*start), axis=1)
    values = np.linalg.eigvalsh(J @ J.T)
    eta = n / values[-1]  # half of the critical rate
    params, loss, moved, low = start, [], [], []
    for _ in range(steps + 1):
        r, steep = outputs(*params) - y, jacobian(*params)
        far = sum(np.sum((p - q) ** 2) for p, q in zip(params, start, strict=True))
        now = np.concatenate(steep, axis=1)
        loss.append(r @ r)
        moved.append(far**0.5)
        low.append(np.linalg.eigvalsh(now @ now.T)[0])
        params = [
            p - eta / n * (r @ j).reshape(p.shape)
            for p, j in zip(params, steep, strict=True)
        ]
    times = arrays["times"]
    loss, moved, low = (np.take(a, times) for a in (loss, moved, low))
    share = loss / loss[0]
    late = np.flatnonzero((share < 1e-8) & (share > 1e-24))
    first, last = late[[0, -1]]
    assert len(late) > 3
    rate = np.log(loss[first] / loss[last]) / (times[last] - times[first])
    kernel_rate = -2 * np.log(1 - eta * values[0] / n)
    radius = 4 * values[-1] ** 0.5 * loss[0] ** 0.5 / values[0]
    expected = {
        "guarantee": (share / (1 - eta * values[0] / (2 * n)) ** times)[1:].max(),
        "half": rate / kernel_rate,
        "rate": rate / kernel_rate,
        "radius": moved.max() / radius,
        "kept": low.min() / values[0],
    }
    for name, value in expected.items():
        got = CLAIMS[name].samples(arrays)
        np.testing.assert_allclose(got, [value], rtol=1e-4, err_msg=name)


def test_the_bound_of_cao_and_gu_by_hand():
    """L (y^T Theta^-1 y / n)^1/2 of three layers, and the errors of a relu network."""
    n, n_test, m, steps = 10, 30, 8, 40
    arrays = measure_labels(m, 2, n, n_test, steps)
    data = load("digits", 1796, 1)
    digits = np.concatenate([data.y_train, data.y_test]).argmax(1)
    every = np.concatenate([data.x_train, data.x_test]).astype(float)
    every /= np.linalg.norm(every, axis=1, keepdims=True)
    signs = np.where(digits % 2, -1.0, 1.0)
    d = every.shape[1]
    for seed in range(2):
        with float64():
            key = jax.random.fold_in(jax.random.key(seed), 0)
            for_points, for_coins, for_net = jax.random.split(key, 3)
            order = np.asarray(jax.random.permutation(for_points, 1797))
            coins = jax.random.rademacher(for_coins, (2, n + n_test, 1), float)
            x = every[order[: n + n_test]]
            y = [signs[order[: n + n_test]], np.asarray(coins)[0, :, 0]]
            net = MLP(m, 2, 1, "relu", 2**0.5)
            tree = net.init(for_net, jnp.asarray(x * d**0.5, jnp.float32))["params"]
        weights = [np.asarray(tree[f"dense_{i}"]["W"], float) for i in range(3)]
        cov = theta = x[:n] @ x[:n].T
        for _ in range(2):  # Sigma_l = 2 E relu relu, Sigma(x, x) = 1
            angle = np.arccos(np.clip(cov, -1, 1))
            cov = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
            theta = theta * (np.pi - angle) / np.pi + cov
        inverse = np.linalg.inv((theta + cov) / 2)
        bounds = [3 * (a[:n] @ inverse @ a[:n] / n) ** 0.5 for a in y]
        rate = n / (2 * np.linalg.eigvalsh(theta)[-1])  # the network's kernel is twice
        errors = []
        for a in y:
            W = weights
            for k in range(steps + 1):
                u = 2**0.5 * x @ W[0]  # x is of norm 1
                v = (2 / m) ** 0.5 * np.maximum(u, 0) @ W[1]
                f = (2 / m) ** 0.5 * np.maximum(v, 0) @ W[2][:, 0]
                if k == steps:
                    break
                r = np.append((f - a)[:n], np.zeros(n_test)) / n
                by_v = (2 / m) ** 0.5 * r[:, None] * W[2][:, 0] * (v > 0)
                by_u = (2 / m) ** 0.5 * by_v @ W[1].T * (u > 0)
                down = [2**0.5 * x.T @ by_u, (2 / m) ** 0.5 * np.maximum(u, 0).T @ by_v]
                down.append((2 / m) ** 0.5 * np.maximum(v, 0).T @ r[:, None])
                W = [w - rate * g for w, g in zip(W, down, strict=True)]
            errors.append(np.mean(np.sign(f[n:]) != a[n:]))
        expected = {
            "labels": bounds[0] / bounds[1],
            "true": errors[0] / bounds[0],
            "random": errors[1] / bounds[1],
        }
        assert min(errors) > 0
        for name, value in expected.items():
            got = CLAIMS[name].samples(arrays)[seed]
            np.testing.assert_allclose(got, value, rtol=1e-5, err_msg=name)

"""Nguyen: what is said of a training run, by descent in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.infinite.precision import float64
from zoo.models import NguyenMLP
from zoo.theory.nguyen2021 import PAPER
from zoo.theory.nguyen2021_conditions import sphere
from zoo.theory.nguyen2021_training import measure_training

CLAIMS = {claim.name: claim for claim in PAPER.claims}
N, D, WIDTH, STEPS, LATE = 3, 4, 16, 40, 30
# The first: as in the paper's page, where W_2 moves most; in the others W_1 does, or
# the rate is of a size that tells log(1 - x) from -x.
KNOBS = [
    {"scale": 1.0, "step": 1.0, "sigma_last": 0.0},
    {"scale": 0.2, "step": 2.0, "sigma_last": 3.0},
]


def forward(X, W):
    F = np.maximum(X @ W[0], 0)
    return F, F @ W[1]


def gradients(X, Y, W):
    F, f = forward(X, W)
    r = f - Y
    return [X.T @ (r @ W[1].T * (F > 0)), F.T @ r]


def tangent(X, W):
    """J J^T of one output, from J by hand."""
    F, _ = forward(X, W)
    of_first = (X[:, :, None] * ((F > 0) * W[1][:, 0])[:, None]).reshape(len(X), -1)
    J = np.concatenate([of_first, F], axis=1)
    return J @ J.T


def path(X, Y, W, eta, steps):
    out = [W]
    for _ in range(steps):
        down = gradients(X, Y, out[-1])
        out.append([w - eta * g for w, g in zip(out[-1], down, strict=True)])
    return out


def by_hand(knobs):
    """Every quantity of the claims, as the paper's page defines it."""
    with float64():
        key = jax.random.fold_in(jax.random.key(0), WIDTH)
        data, target, start = jax.random.split(key, 3)
        X = np.asarray(sphere(data, N, D))
        Y = np.asarray(jax.random.normal(target, (N, 1)))
        net = NguyenMLP(WIDTH, 1, sigma_last=knobs["sigma_last"], hidden_init="lecun")
        tree = net.init(start, jnp.asarray(X))["params"]
    W = [np.asarray(tree[f"dense_{i}"]["W"]) for i in (0, 1)]
    W[0] = W[0] * knobs["scale"] * N**0.25
    F0, f0 = forward(X, W)
    alpha = np.linalg.svd(F0, compute_uv=False)[-1]
    x, r0 = np.linalg.norm(X), np.linalg.norm(f0 - Y)
    # c3 leaves lam_2 <= alpha / (4 |X|), of which C_2 is half.
    C = np.array([np.linalg.norm(W[0], 2) / 4, alpha / (4 * x) / 2])
    lam = np.array([np.linalg.norm(w, 2) for w in W]) + C
    Lam = lam.prod()
    safe = lam[0] ** -2 / (Lam**2 * x**2 * (lam**-2).sum() ** 2)
    eta = knobs["step"] * min(8 / alpha**2, safe)

    def seen(now):
        F, f = forward(X, now)
        r, moves = np.linalg.norm(f - Y), [a - b for a, b in zip(now, W, strict=True)]
        far = np.array([np.linalg.norm(a) for a in moves])
        reach = np.cumsum([np.linalg.norm(a, 2) for a in moves] / lam)
        changes = np.array([np.linalg.norm(F - F0), np.linalg.norm(f - f0)])
        slopes = np.array([np.linalg.norm(g) for g in gradients(X, Y, now)])
        top = np.array([np.linalg.norm(a, 2) for a in now])
        return {
            "phi": r**2 / 2,
            "sigma": np.linalg.svd(F, compute_uv=False)[-1] / (alpha / 2),
            "movement": (far / (16 / alpha**2 * Lam / lam * x * r0)).max(),
            "ball": (far / C).max(),
            "norms": (top / lam).max(),
            "lipschitz": (
                changes[reach > 0] / (np.cumprod(lam) * x * reach)[reach > 0]
            ).max(initial=0),
            "gradient": (slopes / (Lam / lam * x * r)).max(),
        }

    found = [seen(now) for now in path(X, Y, W, eta, STEPS)]
    fast = 1 / np.linalg.eigvalsh(tangent(X, W))[-1]
    late = path(X, Y, W, fast, LATE)
    both = found + [seen(late[k]) for k in np.linspace(0, LATE, 13).astype(int)]
    said = {
        name: max(each[name] for each in both)
        for name in ("movement", "ball", "norms", "lipschitz", "gradient")
    }
    said["sigma"] = min(each["sigma"] for each in both)
    fall = -np.diff(np.log([each["phi"] for each in found]))
    said["contraction"] = fall.min() / -np.log(1 - eta * alpha**2 / 8)
    said["conditions"] = max(
        16 * x * (Lam / (lam * C)).max() * r0 / alpha**2,
        32 * x**2 * lam[1] * r0 / alpha**3,
        16 * x**2 * lam[1] ** 2 / alpha**2,
    )
    half, end = (0.5 * np.sum((forward(X, late[k])[1] - Y) ** 2) for k in (15, LATE))
    slowest = -2 * np.log(1 - fast * np.linalg.eigvalsh(tangent(X, late[-1]))[0])
    said["rate"] = np.log(half / end) / (LATE - 15) / slowest
    return said


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_every_quantity_of_training_by_hand(knobs):
    arrays = measure_training(1, N, D, WIDTH, STEPS, LATE, records=STEPS + 1, **knobs)
    expected = by_hand(knobs)
    along = {c.name for c in PAPER.claims if c.measurement.name == "training"}
    assert set(expected) == along
    for name, value in expected.items():
        np.testing.assert_allclose(
            CLAIMS[name].samples(arrays), [value], rtol=1e-5, err_msg=name
        )

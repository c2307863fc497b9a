"""Every claim turns when its setting is broken; key quantities against brute force."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import Dense, Nonlinear, Serial
from zoo.models import AllenZhuCNN, AllenZhuMLP, AllenZhuResNet
from zoo.models.base import Architecture
from zoo.theory import allenzhu2018_ball as ball
from zoo.theory import allenzhu2018_deep as deep
from zoo.theory import allenzhu2018_training as training
from zoo.theory.allenzhu2018 import PAPER, figures
from zoo.theory.claims import judge

CLAIMS = {claim.name: claim for claim in PAPER.claims}
MEASUREMENTS = {m.name: m for m in PAPER.measurements}


class Scaled(Architecture):
    """`AllenZhuMLP` with other variances: of A and W, and B over the fan-in."""

    width: int
    depth: int = 2
    out: int = 1
    sigma_w: float = 2**0.5
    readout: str = "out"

    def layers(self):
        def dense(width, sigma_w, trained, fan="out"):
            return Dense(width, sigma_w, 0.0, "standard", trained, fan=fan)

        phi, m, s = Nonlinear("relu"), self.width, self.sigma_w
        hidden = (dense(m, s, True), phi) * self.depth
        last = dense(self.out, 1.0, False, self.readout)
        return Serial(dense(m, s, False), phi, *hidden, last)


def large(width, depth, out):
    return Scaled(width=width, depth=depth, out=out, sigma_w=2 * 2**0.5)


def huge(width, depth, out):
    return Scaled(width=width, depth=depth, out=out, sigma_w=16 * 2**0.5)


def small(width, depth, out):
    return Scaled(width=width, depth=depth, out=out, sigma_w=0.3 * 2**0.5)


def vanishing(width, depth, out):
    """Outputs of size m^-1/2, so that features have to move."""
    return Scaled(width=width, depth=depth, out=out, readout="in")


def shallow(width, depth, out):
    return AllenZhuMLP(width=width, depth=depth, out=out)


def dense_head(kind, width, out):
    """A CNN whose convolution is frozen."""
    return AllenZhuCNN(width=width, depth=1, out=out)


def by_kind(build):
    """With one trained matrix, which is closer to its limit."""
    return lambda kind, width, out: build(width, 1, out)


SIZES = {
    "descent-fc": {"widths": (128, 512), "build": by_kind(shallow), "seeds": 24},
    "descent-cnn": {"widths": (32, 128), "build": dense_head},
    "descent-resnet": {"widths": (128, 512)},
    "sgd-fc": {"width": 64, "seeds": 2, "n": 20, "batch": 10, "epochs": 100},
    "sgd-cnn": {"width": 32, "seeds": 2, "n": 20, "batch": 10, "epochs": 200},
    "sgd-resnet": {"width": 64, "seeds": 2, "n": 20, "batch": 10, "epochs": 150},
    "ball": {"widths": (256, 1024), "depth": 1, "seeds": 32, "n": 2, "draws": 1},
    "perturbation": {"width": 512, "omegas": (0.01, 0.2), "seeds": 32, "n": 4},
    "smoothness": {"width": 512, "omegas": (0.02, 0.2), "seeds": 24, "n": 2},
    "depth": {"width": 512, "depth": 8, "seeds": 12, "n": 4},
    "growth": {"width": 512, "depths": (10, 30), "seeds": 8, "n": 4},
    "landscape": {"width": 32, "seeds": 4, "n": 20, "epochs": (1, 20)},
}
for kind in training.DEPTHS:
    size = SIZES[f"descent-{kind}"]
    size |= {"factors": (1.0, 1 / 16), "steps": 12, "n": 2, "seeds": 64}
    size["rate_width"] = size["widths"][0]


@cache
def arrays(measurement, broken=()):
    """What a small size of a measurement gives, its setting broken or not."""
    found = MEASUREMENTS[measurement]
    size = dict(found.sizes["smoke"]) | SIZES[measurement] | dict(broken)
    return found.run(**size)


MOVING = (("build", by_kind(vanishing)), ("decay", 0.0), ("share", 2.0 * 512))
# The largest rate is near the critical one; it follows m^-1/2.
CRITICAL = (("share", 9.0), ("decay", 0.5))
# It is above, where the objective grows.
ABOVE = {
    "fc": (("build", by_kind(large)), ("share", 4.0)),
    "cnn": (("share", 18.0), ("decay", 0.5)),
    "resnet": (("share", 14.0), ("decay", 0.5)),
}
THAWED = (("thaw", 1.0),)
FLAT = (("build", vanishing),)
LARGE, SMALL = (("build", large),), (("build", small),)
BROKEN = {
    **{f"linear-{kind}": broken for kind, broken in ABOVE.items()},
    **{f"rate-{kind}": broken for kind, broken in ABOVE.items()},
    **{f"width-{kind}": broken for kind, broken in ABOVE.items()},
    **{f"{name}-fc": CRITICAL for name in ("rate", "width")},
    **{f"sgd-{kind}": (("share", 1e-3),) for kind in training.DEPTHS},
    **dict.fromkeys(
        ["flat-minimum-training", "flat-maximum-training", "lower-training"], MOVING
    ),
    **dict.fromkeys(["moved", "relative", "kernel", "gradient"], MOVING),
    "upper-training": ABOVE["fc"],
    **dict.fromkeys(
        [
            "flat-minimum-start",
            "flat-minimum-ball",
            "flat-maximum-ball",
            "lower-ball",
            "smooth-square",
        ],
        FLAT,
    ),
    "upper-ball": LARGE,
    **{
        name: THAWED
        for name in CLAIMS
        if name.startswith(("flips", "forward", "backward", "smooth-"))
        and name != "smooth-square"
    },
    "fit-linear": THAWED,
    "fit-square": (("build", huge),),
    "norms": LARGE,
    "product": LARGE,
    "separation": SMALL,
    "resnet-stable": (("variance", 4.0),),
    "resnet-edge": (("variance", 4.0),),
    "resnet-explosion": (("variance", 0.02),),
    "landscape": (("scale", 1e-3), ("reach", 30.0), ("epochs", (0, 1))),
}


def verdict(name, broken=()):
    claim = replace(CLAIMS[name], trust="derived")  # what is unjudged counts too
    return judge(claim, arrays(claim.measurement.name, broken)).verdict


NEAR = ("gradient", "fit-linear")  # to their bounds, -1/6 and 1/3, at these widths


def test_every_claim_has_a_broken_setting():
    assert set(BROKEN) == set(CLAIMS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_and_turns_when_its_setting_is_broken(name):
    if name in NEAR:
        assert verdict(name) == "inconclusive"
        assert verdict(name, BROKEN[name]) == "violated"
        return
    assert verdict(name) == "holds"
    assert verdict(name, BROKEN[name]) in ("violated", "inconclusive")


def drawn(width=24, depth=2, out=1, n=4):
    x, y = ball.data(n)
    net = ball.draw_net(ball.build_mlp(width, depth, out), depth, jax.random.key(1), x)
    return net, x, y


def test_the_matrices_are_the_networks_own():
    model, (x, _) = AllenZhuMLP(width=24, depth=3, out=2), ball.data(4)
    net = ball.draw_net(model, 3, jax.random.key(1), x)
    expected = model.apply(model.init(jax.random.key(1), x[:1]), x)
    np.testing.assert_allclose(ball.forward(net, net.W, x).f, expected, atol=1e-5)


def test_backward_is_the_derivative_by_hidden_layers():
    net, x, _ = drawn()
    found = ball.forward(net, net.W, x)

    def rest(h, place):
        for matrix in net.W[place:]:
            h = jax.nn.relu(h @ matrix)
        return (h @ net.B)[0]

    for place in range(2):
        for point in range(4):
            got = ball.backward(net, net.W, found)[place, point]
            expected = jax.grad(rest)(found.h[place, point], place)
            np.testing.assert_allclose(got, expected, atol=1e-5)


def test_mirror_flips_the_smallest_within_the_norm():
    net, x, _ = drawn(64)
    h = jax.nn.relu(x[0] @ net.A)
    g, omega = h @ net.W[0], 0.2
    change = np.asarray(ball.mirror(g, h, omega, True))
    norm = np.linalg.norm(change, 2)
    flipped = np.sign(h @ (net.W[0] + change)) != np.sign(g)
    order = np.argsort(np.abs(g))
    count = flipped.sum()
    assert 0 < count < 64 and set(np.flatnonzero(flipped)) == set(order[:count])
    assert norm <= omega < np.linalg.norm(2 * g[order[: count + 1]] / np.linalg.norm(h))
    np.testing.assert_allclose(h @ change, np.where(flipped, -2 * g, 0), atol=1e-6)


@pytest.mark.parametrize("omega", [0.01, 0.3])
def test_changes_have_their_spectral_norm(omega):
    net, x, y = drawn(256)
    for change in (
        *ball.random_change(jax.random.key(2), net.W, omega),
        *ball.gradient_change(net, net.W, x, y, omega),
    ):
        np.testing.assert_allclose(np.linalg.norm(change, 2), omega, rtol=0.05)
    for change in ball.flip_change(net, net.W, x, omega):
        assert np.linalg.norm(change, 2) <= 1.0001 * omega


def test_departure_is_the_remainder_of_the_objective():
    net, x, y = drawn(64)
    step = ball.random_change(jax.random.key(2), net.W, 0.3)

    def F(W):
        return training.objective(ball.forward(net, W, x).f, y)

    linear = sum(np.vdot(g, s) for g, s in zip(jax.grad(F)(net.W), step, strict=True))
    remainder = F(ball.moved(net.W, step)) - F(net.W) - linear
    first, second, value = ball.departure(net, net.W, step, x, y)
    np.testing.assert_allclose(value, F(net.W), rtol=1e-6)
    np.testing.assert_allclose(first, abs(remainder - second), rtol=1e-3)
    assert first > 0.01 * second  # both parts are seen


def test_products_and_distances_against_dense_algebra():
    got = ball.measure_depth(32, 4, 1, 3)
    x, _ = ball.data(3)
    key = jax.random.fold_in(jax.random.key(0), 32)
    net = ball.draw_net(ball.build_mlp(32, 4, 1), 4, key, x)
    h = np.asarray(jax.nn.relu(x @ net.A))
    delta = min(np.linalg.norm(x[i] - x[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    product, norms = np.eye(32), []
    for place in range(5):
        near = min(np.linalg.norm(h[i] - h[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
        np.testing.assert_allclose(got["closest"][0, place], near / delta, rtol=1e-4)
        if place == 4:
            break
        g = h @ np.asarray(net.W[place])
        product = product @ np.asarray(net.W[place]) * (g[0] > 0)
        norms.append(np.linalg.norm(product, 2))
        h = np.maximum(g, 0)
    np.testing.assert_allclose(got["product"][0], np.take(norms, [0, 1, 3]), rtol=1e-2)


def test_the_residual_stack_is_the_network():
    x = jnp.asarray(training.problem("resnet", 3)[0])
    net = AllenZhuResNet(width=16, depth=4, out=1, tau=0.3)
    params = net.init(jax.random.key(0), x)["params"]
    W = jnp.stack([params[f"residual_{i}"]["branch"]["W"] for i in range(3)])
    h = jax.nn.relu(x @ params["dense_0"]["W"])
    h = deep.residual_stack(h, W, params["dense_1"]["W"], 0.3)
    expected = net.apply({"params": params}, x)
    np.testing.assert_allclose(h @ params["dense_2"]["W"], expected, atol=1e-5)


def test_lowest_against_a_dense_matrix():
    A = jax.random.normal(jax.random.key(0), (40, 40))
    A = A + A.T
    value, v = deep.lowest(lambda v: {"v": A @ v["v"]}, {"v": jnp.ones(40)}, 30)
    values, vectors = np.linalg.eigh(A)
    np.testing.assert_allclose(value, values[0], rtol=1e-3)
    assert abs(vectors[:, 0] @ v["v"]) > 0.99


def test_extra_decrease_reads_the_best_length_of_the_gradient():
    down, bent = [5.0, 4.0, 3.0, 9.0], [5.0, 4.9, 4.5, 0.0]
    got = deep.extra_decrease(np.asarray([[[down, bent]]]))
    np.testing.assert_allclose(got, [0.25])


def test_gradient_change_against_whole_jacobians():
    net, (x, _) = AllenZhuMLP(width=8, out=2), ball.data(3)
    one, two = (net.init(jax.random.key(i), x)["params"] for i in (0, 1))

    def apply(params, x):
        return net.apply({"params": params}, x)

    def jacobian(params):
        tree = jax.jacrev(apply)(params, x)
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])

    before, after = jacobian(one), jacobian(two)
    expected = np.linalg.norm(after - before) / np.linalg.norm(before)
    got = training.gradient_change(apply, one, two, x)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_descent_against_backpropagation_by_hand():
    size = {"widths": (16,), "factors": (1.0,), "rate_width": 16, "seeds": 1}
    got = training.measure_descent("fc", **size, n=3, steps=3)
    points, classes = map(np.asarray, training.problem("fc", 3))
    x, y = points.astype(float), training.parity(classes)
    key = jax.random.fold_in(jax.random.key(0), 16)
    params = AllenZhuMLP(width=16).init(key, jnp.asarray(points[:1]))["params"]
    start = [np.asarray(params[f"dense_{i}"]["W"], float) for i in range(4)]
    A, W, V, B = (matrix.copy() for matrix in start)
    eta = 2.0 / (3 * 2 * 16)
    for step in range(4):
        h = [np.maximum(x @ A, 0)]
        h.append(np.maximum(h[-1] @ W, 0))
        h.append(np.maximum(h[-1] @ V, 0))
        r = h[2] @ B - y
        back_v = (r @ B.T) * (h[2] > 0)
        back_w = (back_v @ V.T) * (h[1] > 0)
        squares = [((h[0].T @ back_w) ** 2).sum(), ((h[1].T @ back_v) ** 2).sum()]
        if step:
            F = 0.5 * (r**2).sum()
            places = {"loss": F, "ratio": sum(squares) / (F * 16)}
            places |= {"last": squares[1] / (F * 16), "layer": max(squares) / (F * 16)}
            for name, expected in places.items():
                np.testing.assert_allclose(
                    got[name][0, 0, step - 1], expected, rtol=1e-3
                )
        if step < 3:
            W, V = W - eta * h[0].T @ back_w, V - eta * h[1].T @ back_v
    moved = [np.linalg.norm(W - start[1]), np.linalg.norm(V - start[2])]
    sizes = [np.linalg.norm(start[1]), np.linalg.norm(start[2])]
    np.testing.assert_allclose(got["moved"][0, 0], max(moved), rtol=1e-3)
    relative = max(np.divide(moved, sizes))
    np.testing.assert_allclose(got["relative"][0, 0], relative, rtol=1e-3)


def test_images_and_vectors_have_norm_one():
    for kind in training.DEPTHS:
        x = training.problem(kind, 5)[0]
        norms = np.linalg.norm(x.reshape(5, -1), axis=1)
        np.testing.assert_allclose(norms, 1, rtol=1e-5)
    x = jnp.asarray(training.problem("cnn", 5)[0])
    net = training.build_network("cnn", 8, 3)
    assert isinstance(net, AllenZhuCNN)
    assert net.apply(net.init(jax.random.key(0), x), x).shape == (5, 3)


def test_figures_of_what_was_measured():
    found = {name: arrays(name) for name in ("perturbation", "growth", "landscape")}
    assert [f.name for f in figures(found)] == ["stability", "growth", "landscape"]
    found = {name: arrays(name) for name in MEASUREMENTS if "descent" in name}
    assert [f.name for f in figures(found)] == ["convergence", "changes"]
    assert len(figures(found)[0].panels) == 3

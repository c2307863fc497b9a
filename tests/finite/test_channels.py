"""Which results reach the outputs channel by channel, and the NTK where they do."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.finite.channels import apart

N, P, M, K = 5, 4, 6, 3


def reads(function):
    """(W, h) -> f, of a function of the result h, [n, p, m], to features [n, m]."""
    return lambda W, h: function(h) @ W


def example(seed=0):
    keys = jax.random.split(jax.random.key(seed), 2)
    return jax.random.normal(keys[0], (M, K)), jax.random.normal(keys[1], (N, P, M))


MIX = np.random.default_rng(0).normal(size=(N, P, P)).astype(np.float32)
SQUARE = np.random.default_rng(1).normal(size=(M, M)).astype(np.float32)


@jax.custom_jvp
def own_derivative(h):
    """Elementwise, but for what it calls its derivative."""
    return 2.0 * h


own_derivative.defjvp(
    lambda primals, tangents: (2.0 * primals[0], tangents[0][..., ::-1])
)


@jax.custom_jvp
def relu(h):
    """Of another one's name."""
    return jnp.maximum(h, 0.0)


relu.defjvp(lambda primals, tangents: (relu(primals[0]), tangents[0][..., ::-1]))

APART = {
    "mean": reads(lambda h: nn.relu(h).mean(1)),
    "shifted": lambda W, h: 2.0 - 0.5 * (nn.softplus(h).sum(1) @ W) / 3.0,
    "gate": reads(lambda h: (h * nn.sigmoid(h) + nn.gelu(h))[:, None].sum((1, 2))),
    "residual": reads(lambda h: (h + jnp.tanh(h)).reshape(N, 2, 2, M).mean((1, 2))),
    "attention": reads(lambda h: jnp.einsum("nts,nsm->ntm", MIX, h).sum(1)),
    "frozen": lambda W, h: jnp.sin(h).sum(1) @ jax.lax.stop_gradient(W),
    "twice": lambda W, h: h.sum(1) @ W + (h**2).sum(1) @ W,
    "jit": lambda W, h: jax.jit(lambda a, b: nn.relu(a).sum(1) @ b)(h, W),
    "broadcast": reads(
        lambda h: jnp.broadcast_to(h[:, None], (N, 2, P, M)).sum((1, 2))
    ),
}
MIXED = {
    "norm": reads(lambda h: (h - h.mean(-1, keepdims=True)).sum(1)),
    "softmax": reads(lambda h: nn.softmax(h.sum(1))),
    "dense": reads(lambda h: nn.relu(h.sum(1) @ SQUARE)),
    "squared": lambda W, h: (h.sum(1) @ W) ** 2,
    "tanh": lambda W, h: jnp.tanh(h.sum(1) @ W),
    "product": lambda W, h: (h.sum(1) @ W) * (h.mean(1) @ W),
    "example's own factor": lambda W, h: (h.sum(1) @ W) * MIX[:, :K, 0],
    "tied": lambda W, h: (h + (MIX[0] @ jnp.ones((P, K)) @ W.T)[None]).sum(1) @ W,
    "scaled weights": lambda W, h: (
        h.sum(1) @ (W / jnp.linalg.norm(W, axis=0, keepdims=True))
    ),
    "around": lambda W, h: h.sum(1) @ W + h.sum((1, 2))[:, None],
    "order": reads(lambda h: h.sum(1)[:, ::-1]),
    "turned": reads(
        lambda h: jnp.einsum("npm,nqm->npq", h, h)[:, :, :1].sum(1) * h[:, 0]
    ),
    "stopped": reads(lambda h: jax.lax.stop_gradient(h).sum(1)),
    "constant": lambda W, h: jnp.ones((N, M)) @ W,
    "own derivative of a known name": reads(lambda h: relu(h).sum(1)),
    "own derivative": reads(lambda h: own_derivative(h).sum(1)),
}


@pytest.mark.parametrize("name", APART)
def test_apart(name):
    """Then derivatives by the result are W[m, k] times one signal for all outputs."""
    W, h = example()
    assert apart(APART[name], W, h)
    d = np.asarray(jax.jacrev(lambda h: APART[name](W, h))(h))
    own = np.stack([d[i, :, i] for i in range(N)])  # [n, k, p, m]
    alone = jax.grad(lambda h: APART[name](jnp.ones_like(W), h)[:, 0].sum())(h)
    wanted = np.einsum("mk,npm->nkpm", W, alone)
    np.testing.assert_allclose(own, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MIXED)
def test_mixed(name):
    assert not apart(MIXED[name], *example())


def test_as_many_outputs_as_channels():
    """A sum of features and outputs is of both."""
    W, h = jnp.ones((M, M)), example()[1]
    assert apart(lambda W, h: h.sum(1) @ W, W, h)
    assert not apart(lambda W, h: h.sum(1) + h.sum(1) @ W, W, h)
    assert not apart(lambda W, h: h.sum(1) @ W + h.sum(1), W, h)


class Net(nn.Module):
    """Two layers before the mean of all positions: one whose channels stay apart."""

    mixed: bool = False
    out: int = 3

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(6, (3, 3), param_dtype=x.dtype)(x))
        x = nn.Conv(5, (3, 3), param_dtype=x.dtype)(x)
        x = x * nn.sigmoid(x.mean(-1, keepdims=True)) if self.mixed else nn.tanh(x)
        return 2.0 * nn.Dense(self.out, param_dtype=x.dtype)(x.mean((1, 2)))


@functools.cache
def theta(net, points):
    """The kernel from one Jacobian, [n, n, k, k]."""
    x = inputs(points)
    params = net.init(jax.random.key(1), x)["params"]
    jacobian = jax.jit(jax.jacrev(lambda p: net.apply({"params": p}, x)))(params)
    leaves = [np.reshape(j, (points, net.out, -1)) for j in jax.tree.leaves(jacobian)]
    flat = np.concatenate(leaves, axis=-1)
    return params, np.einsum("akp,bjp->abkj", flat, flat)


def inputs(points):
    return jax.random.normal(jax.random.key(0), (points, 4, 4, 2), jnp.float64)


WHOLE, FEW = 2**30, 30_000  # bytes: one block, and many
CASES = [
    (Net(), *case)
    for case in itertools.product((False, True), (WHOLE, FEW), (2**22, 100))
] + [
    (net, full, WHOLE, 100)
    for net in (Net(mixed=True), Net(out=1))
    for full in (False, True)
]


@pytest.mark.parametrize(("net", "full", "max_bytes", "numbers"), CASES)
def test_kernel(x64, monkeypatch, net, full, max_bytes, numbers):
    """Against the Jacobian; in one block and many, all units at once and a few."""
    monkeypatch.setattr("zoo.finite.gram.NUMBERS", numbers)
    monkeypatch.setattr("zoo.finite.gram.ENTRY", 0)  # multiplications alone decide
    jax.clear_caches()
    params, wanted = theta(net, 6)
    if not full:
        wanted = np.einsum("abkk->ab", wanted) / net.out
    x, options = inputs(6), {"full": full, "max_bytes": max_bytes}
    got = zoo.empirical_ntk(net, params, x, **options)
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-11)
    got = zoo.empirical_ntk(net, params, x[:4], x[3:], **options)
    np.testing.assert_allclose(got, wanted[:4, 3:], rtol=1e-11, atol=1e-11)

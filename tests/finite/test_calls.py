"""What is kept between calls, and networks of which nothing can be kept."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.finite.calls import cached, record


class Holding(nn.Module):
    """A user's module with an array among its fields: it has no hash."""

    scale: Any

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.tanh(nn.Dense(4)(x * self.scale)))


def test_modules_that_hold_arrays_have_kernels():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)
    for scale in (1.0, 2.0):  # one after the other: nothing of the first is kept
        net = Holding(jnp.full((1, 4), scale))
        with pytest.raises(TypeError, match="unhashable"):
            hash(net)
        params = net.init(jax.random.key(0), x)["params"]
        jacobian = jax.jacobian(lambda p, net=net: net.apply({"params": p}, x))(params)
        leaves = jax.tree.leaves(jacobian)
        want = sum(jnp.einsum("ac...,bc...->ab", a, a) for a in leaves) / 2
        got = zoo.empirical_ntk(net, params, x)
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_forward_pass_is_recorded_once():
    x = jnp.ones((3, 4))
    net = zoo.MLP(width=8)
    params = net.init(jax.random.key(0), x)
    first = record(net, params, x)
    assert record(zoo.MLP(width=8), params, x + 1) is first
    assert record(net, params, x[:2]) is not first


def test_an_error_of_the_function_is_its_own():
    calls = []

    @cached
    def fails(a):
        calls.append(a)
        raise TypeError("unhashable, said inside")

    with pytest.raises(TypeError, match="said inside"):
        fails(1)
    assert calls == [1]

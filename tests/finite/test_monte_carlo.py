"""Kernels by sampling, against an explicit loop over the same networks."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo

X1, X2 = np.random.default_rng(0).normal(size=(2, 4, 3))


class Normed(nn.Module):
    """Of two collections; its statistics are not the default ones."""

    width: int = 8

    @nn.compact
    def __call__(self, x):
        scale = self.variable(
            "stats",
            "scale",
            lambda: 2 + jnp.cos(jnp.arange(1.0 * self.width))[None],
        )
        x = nn.Dense(self.width)(x) / scale.value
        x = nn.BatchNorm(use_running_average=True)(x)
        return nn.Dense(2)(nn.tanh(x))


NETS = {"mlp": zoo.MLP(width=8, out=2, sigma_b=0.3), "normed": Normed()}


@partial(jax.jit, static_argnames=("net", "get"))
def by_jacobians(net, variables, x1, x2, get):
    """One network's kernel, from the definition."""

    def f(params, x):
        return net.apply({**variables, "params": params}, x)

    if get == "nngp":
        return f(variables["params"], x1) @ f(variables["params"], x2).T / 2
    one, two = (jax.jacobian(f)(variables["params"], x) for x in (x1, x2))
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return sum(jnp.einsum("ac...,bc...->ab", a, b) for a, b in leaves) / 2


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("mlp", "float32"), ("mlp", "float64"), ("normed", "float32")],
)
def test_the_mean_and_its_error_are_those_of_the_samples(name, dtype):
    """Under JAX's x64 switch in float64 throughout; with all collections."""
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    with jax.enable_x64(dtype == "float64"):
        net, key = NETS[name], jax.random.key(1)
        x1, x2 = (jnp.asarray(x, dtype) for x in (X1, X2))
        kernel = zoo.monte_carlo_kernel_fn(net, key, n_samples=3)
        drawn = [net.init(each, x1[:1]) for each in jax.random.split(key, 3)]
        for get, second in (("ntk", None), ("nngp", x2)):
            other = x1 if second is None else second
            each = [by_jacobians(net, v, x1, other, get) for v in drawn]
            each = np.asarray(each, np.float64)
            found = kernel(x1, second, get=get)
            error, near = each.std(0, ddof=1) / 3**0.5, tolerance * np.abs(each).max()
            np.testing.assert_allclose(found.mean, each.mean(0), atol=near)
            np.testing.assert_allclose(found.stderr, error, atol=near)


def test_two_samples_have_an_error():
    """Rounding does not make the variance of nearly equal values negative."""
    x = jax.random.normal(jax.random.key(0), (12, 64))
    kernel = zoo.monte_carlo_kernel_fn(
        zoo.MLP(width=1024, out=10), jax.random.key(0), 2
    )
    assert np.all(kernel(x).stderr >= 0)


def test_what_is_refused():
    with pytest.raises(ValueError, match="n_samples=1 leaves no standard error"):
        zoo.monte_carlo_kernel_fn(NETS["mlp"], jax.random.key(0), 1)
    kernel = zoo.monte_carlo_kernel_fn(NETS["mlp"], jax.random.key(0), 2)
    with pytest.raises(ValueError, match="unknown kernel 'ntkk'; did you mean 'ntk'"):
        kernel(X1, get="ntkk")

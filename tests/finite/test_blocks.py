"""The empirical NTK under a memory budget, and in float64."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.finite.blocks import Size, _numbers, plan
from zoo.finite.ntk import plan_blocks
from zoo.models import CNN

SIZES = [Size(300, 120, 900, (16, 18, 5), False), Size(70, 30, 2100, None, False)]


class Odd(nn.Module):
    """A scale that all points share, and layers without a rule."""

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], x.dtype)
        x = nn.Dense(6, param_dtype=x.dtype)(x * scale[None])
        x = nn.LayerNorm(param_dtype=x.dtype, force_float32_reductions=False)(x)
        return nn.Dense(4, param_dtype=x.dtype)(nn.tanh(x))


NETS = {
    "mlp": (zoo.MLP(width=9, depth=2, out=7, sigma_b=0.3), (7, 5)),
    "cnn": (CNN(width=3, out=3, sigma_b=0.3), (7, 5, 5, 2)),
    "odd": (Odd(), (7, 5)),
}


def drawn(name, dtype="float64"):
    net, shape = NETS[name]
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)
    params = net.init(jax.random.key(1), x)["params"]
    return net, jax.tree.map(lambda leaf: leaf.astype(dtype), params), x


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", sorted(NETS))
def test_blocks_do_not_change_the_kernel(x64, name, full):
    net, params, x = drawn(name)
    for second in (None, x[2:]):
        seen = set()
        whole = zoo.empirical_ntk(net, params, x, second, full=full)
        for max_bytes in (1, 4_000, 8_000, 12_000, 20_000, 30_000, 60_000, 120_000):
            blocks = plan_blocks(net, params, x, second, full=full, max_bytes=max_bytes)
            if blocks in seen:
                continue
            seen.add(blocks)
            got = zoo.empirical_ntk(
                net, params, x, second, full=full, max_bytes=max_bytes
            )
            np.testing.assert_allclose(got, whole, rtol=1e-10, atol=1e-12)
        assert len(seen) >= 3, seen


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("n2", [None, 50])
def test_plan_is_the_cheapest_that_fits(full, n2):
    before = 0
    for max_numbers in (10.0, 1e4, 1e5, 1e6, 1e7, 1e9):
        blocks = plan(SIZES, 64, n2, 10, full, max_numbers)
        assert blocks == plan(SIZES, 64, n2, 10, full, max_numbers)
        columns = 64 if n2 is None else n2
        if max_numbers > 10:
            need = _numbers(SIZES, blocks, full, 64, columns, 10, n2 is None)
            assert need <= max_numbers
        size = blocks.rows * blocks.columns * blocks.outputs
        assert size >= before
        before = size
    assert blocks == (64, columns, 10)
    assert plan(SIZES, 64, n2, 10, full, 10.0) == (1, 1, 1)


def test_budget_is_positive():
    net, params, x = drawn("mlp", "float32")
    with pytest.raises(ValueError, match=r"max_bytes has to be positive, got .*=0"):
        zoo.empirical_ntk(net, params, x, max_bytes=0)


@pytest.mark.parametrize("full", [False, True])
def test_float64_accumulation(full):
    """Of derivatives in float32: the sum alone is exact."""
    net, params, x = drawn("cnn", "float32")
    got = zoo.empirical_ntk(net, params, x, full=full, accumulate="float64")
    assert isinstance(got, np.ndarray) and got.dtype == np.float64
    single = zoo.empirical_ntk(net, params, x, full=full)
    assert single.dtype == np.float32
    distance = np.linalg.norm(got - single) / np.linalg.norm(got)
    assert 1e-9 < distance < 1e-6
    swapped = got.transpose(1, 0, 3, 2) if full else got.T
    assert np.linalg.norm(got - swapped) < 1e-14 * np.linalg.norm(got)


def test_float64_accumulation_that_cannot_be_is_refused():
    net, params, x = drawn("mlp", "float32")
    with pytest.raises(ValueError, match="accumulate='float16'"):
        zoo.empirical_ntk(net, params, x, accumulate="float16")
    with pytest.raises(ValueError, match="under jit or vmap"):
        jax.jit(lambda x: zoo.empirical_ntk(net, params, x, accumulate="float64"))(x)

"""Any Flax module has an empirical NTK: against Jacobians of all parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo

N = 5


class Convolutional(nn.Module):
    """Strides, dilation, groups: with a rule and without."""

    @nn.compact
    def __call__(self, x):
        options = {"param_dtype": x.dtype}
        x = nn.Conv(4, (3, 2), strides=(2, 1), padding="VALID", **options)(x)
        x = nn.Conv(6, (2, 3), kernel_dilation=(1, 2), use_bias=False, **options)(x)
        x = nn.Conv(6, 3, feature_group_count=2, **options)(nn.relu(x))
        return nn.Dense(2, **options)(nn.tanh(x).mean((1, 2)))


class Tokens(nn.Module):
    """An embedding, attention of two heads, a scale shared by all positions."""

    @nn.compact
    def __call__(self, x):
        x = nn.Embed(11, 6, param_dtype="float64", dtype="float64")(x)
        x = nn.MultiHeadDotProductAttention(2, param_dtype=x.dtype)(x)
        x = nn.RMSNorm(param_dtype=x.dtype, force_float32_reductions=False)(x)
        return nn.DenseGeneral(3, axis=(-2, -1), param_dtype=x.dtype)(x)


class Shared(nn.Module):
    """One layer called three times, the last time on another number of rows."""

    @nn.compact
    def __call__(self, x):
        layer = nn.Dense(x.shape[-1], param_dtype=x.dtype)
        x = nn.tanh(layer(nn.tanh(layer(x))))
        return nn.Dense(2, param_dtype=x.dtype)(x + layer(jnp.ones_like(x[:1])))


class Step(nn.Module):
    @nn.compact
    def __call__(self, h, _):
        return nn.tanh(nn.Dense(h.shape[-1], param_dtype=h.dtype)(h)), None


class Scanned(nn.Module):
    """Four steps of one scan, with parameters of their own."""

    @nn.compact
    def __call__(self, x):
        steps = nn.scan(
            Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=4
        )
        x, _ = steps()(x, None)
        return nn.Dense(2, param_dtype=x.dtype)(x)


class Bare(nn.Module):
    """Parameters of the network itself, one of which is not used."""

    @nn.compact
    def __call__(self, x):
        W = self.param("W", nn.initializers.normal(1.0), (x.shape[-1], 2), x.dtype)
        self.param("unused", nn.initializers.normal(1.0), (3,), x.dtype)
        return jnp.sin(x @ W)


class Frozen(nn.Module):
    """A stop_gradient of the user's own."""

    @nn.compact
    def __call__(self, x):
        x = jax.lax.stop_gradient(nn.Dense(4, param_dtype=x.dtype)(x))
        return nn.Dense(2, param_dtype=x.dtype)(nn.tanh(x))


class Tied(nn.Module):
    """The embedding is also the readout."""

    @nn.compact
    def __call__(self, x):
        embed = nn.Embed(11, 4, param_dtype="float64", dtype="float64")
        h = nn.Dense(4, param_dtype="float64")(nn.tanh(embed(x).mean(1)))
        return h @ embed.embedding.T


class Reused(nn.Module):
    """A child's kernel, transposed, as an autoencoder ties it."""

    @nn.compact
    def __call__(self, x):
        dense = nn.Dense(3, param_dtype=x.dtype)
        h = nn.tanh(dense(x))
        return h @ dense.variables["params"]["kernel"].T


class Mapped(nn.Module):
    """A frozen layer and a reparametrized one, by lifted transforms."""

    @nn.compact
    def __call__(self, x):
        def lifted(fn):
            return nn.map_variables(
                nn.Dense, "params", lambda v: jax.tree.map(fn, v), init=True
            )

        x = nn.tanh(lifted(jax.lax.stop_gradient)(4, param_dtype=x.dtype)(x))
        return lifted(lambda a: 3 * jnp.tanh(a))(2, param_dtype=x.dtype)(x)


class Reordered(nn.Module):
    """Examples go through one layer in another order."""

    @nn.compact
    def __call__(self, x):
        h = nn.Dense(4, param_dtype=x.dtype)(x[::-1])[::-1]
        return nn.Dense(2, param_dtype=x.dtype)(nn.tanh(h))


def drawn(net):
    rng = np.random.default_rng(0)
    shapes = {Convolutional: (N, 7, 6, 3), Tokens: (N, 4)}
    x = jnp.asarray(rng.normal(size=shapes.get(type(net), (N, 4))))
    if isinstance(net, Tokens | Tied):
        x = jnp.asarray(rng.integers(0, 11, (N, 4)))
    variables = net.init(jax.random.key(0), x)
    keys = iter(jax.random.split(jax.random.key(1), 99))
    params = jax.tree.map(  # nothing at its special initial value
        lambda leaf: (
            leaf.astype("float64")
            + 0.3 * jax.random.normal(next(keys), leaf.shape, "float64")
        ),
        variables["params"],
    )
    return params, x


@pytest.mark.parametrize(
    "net",
    [
        Convolutional(),
        Tokens(),
        Shared(),
        Scanned(),
        Bare(),
        Frozen(),
        Tied(),
        Reused(),
        Mapped(),
        Reordered(),
    ],
    ids=lambda net: type(net).__name__,
)
def test_equals_the_product_of_jacobians(x64, net):
    params, x = drawn(net)

    def jacobian(x):
        tree = jax.jacobian(lambda p: net.apply({"params": p}, x))(params)
        leaves = [leaf.reshape(*leaf.shape[:2], -1) for leaf in jax.tree.leaves(tree)]
        return jnp.concatenate(leaves, axis=-1)

    for second in (None, x[1:4]):
        d, e = jacobian(x), jacobian(x if second is None else second)
        want = jnp.einsum("acp,bdp->abcd", d, e)
        got = zoo.empirical_ntk(net, params, x, second, full=True)
        assert jnp.linalg.norm(got - want) < 1e-12 * jnp.linalg.norm(want)
        got = zoo.empirical_ntk(net, params, x, second)
        want = jnp.einsum("abcc->ab", want) / want.shape[2]
        assert jnp.linalg.norm(got - want) < 1e-12 * jnp.linalg.norm(want)


class Normalized(nn.Module):
    train: bool

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=not self.train)(nn.Dense(4)(x))
        return nn.Dense(2)(nn.relu(x))


def test_batch_statistics_are_refused_by_name_and_running_ones_are_not():
    x = jax.random.normal(jax.random.key(0), (N, 3))
    variables = Normalized(False).init(jax.random.key(1), x)
    params, other = variables["params"], {"batch_stats": variables["batch_stats"]}
    theta = zoo.empirical_ntk(Normalized(False), params, x, variables=other)
    one = zoo.empirical_ntk(Normalized(False), params, x[:1], variables=other)
    np.testing.assert_allclose(theta[0, 0], one[0, 0], rtol=1e-5)
    with pytest.raises(ValueError, match="BatchNorm"):
        zoo.empirical_ntk(Normalized(True), params, x, variables=other)


def test_outputs_are_a_matrix():
    x = jnp.ones((N, 3))
    net = nn.Sequential([nn.Dense(4), lambda h: h[:, 0]])
    params = net.init(jax.random.key(0), x)["params"]
    with pytest.raises(ValueError, match=r"\[n, k\]"):
        zoo.empirical_ntk(net, params, x)


class Normed(nn.Module):
    """Convolutions with LayerNorm between them."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), use_bias=False, param_dtype=x.dtype)(x)
        for _ in range(3):
            x = x - x.mean(-1, keepdims=True)
            x = nn.relu(x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6))
            x = nn.Conv(8, (3, 3), use_bias=False, param_dtype=x.dtype)(x)
        return nn.Dense(10, param_dtype=x.dtype)(x.mean((1, 2)))


def test_the_compiler_sums_products(x64):
    """Float32 against float64: with its YNN fusions jaxlib 0.10.2 is 0.3 off."""
    x = jax.random.normal(jax.random.key(0), (16, 8, 8, 1), jnp.float64)
    params = Normed().init(jax.random.key(1), x)["params"]
    want = zoo.empirical_ntk(Normed(), params, x, full=True)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    got = zoo.empirical_ntk(Normed(), half, x.astype(jnp.float32), full=True)
    error = jnp.linalg.norm(got.astype(jnp.float64) - want) / jnp.linalg.norm(want)
    assert error < 1e-5

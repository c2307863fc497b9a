"""Networks on the nodes of one graph: their recursions, and their limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.data import load
from zoo.graphs import Graph
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import stax
from zoo.models import APPNP, ARCHITECTURES, GCN, GCNII, ResGCN, XuLinearGNN

# Six nodes of unequal norms with unequal weights; one of them is alone.
RNG = np.random.default_rng(1)
X = (RNG.normal(size=(6, 3)) + 0.5) * np.array([[1.0, 0.6, 1.7, 1.1, 0.8, 1.3]]).T
X = X.astype(np.float32).astype(np.float64)
A = np.zeros((6, 6))
for a, b, w in ((0, 1, 1.0), (1, 2, 0.3), (2, 0, 2.0), (3, 1, 0.8), (3, 4, 1.0)):
    A[a, b] = A[b, a] = w
GRAPH = Graph.from_adjacency(X, A)
LOOPS = A + np.eye(6)
P = LOOPS / np.sqrt(np.outer(LOOPS.sum(0), LOOPS.sum(0)))
ALL = np.arange(6, dtype=np.int32)
MEMBERS = {
    "gcn": (GCN, {}),
    "gcn_erf": (GCN, {"activation": "erf"}),
    "res_gcn": (ResGCN, {}),
    "appnp": (APPNP, {"alpha": 0.7}),
    "gcnii": (GCNII, {"alpha": 0.6, "beta": 0.3}),
    "gcnii_exact": (GCNII, {"alpha": 0.6, "beta": 1.0}),
    "xu": (XuLinearGNN, {"multiscale": False}),
    "xu_multiscale": (XuLinearGNN, {"multiscale": True}),
}
SCALES = {"sigma_w": 1.3, "sigma_b": 0.4}


def make(name, **changes):
    cls, options = MEMBERS[name]
    return cls(**({"width": 8, "out": 2, "graph": GRAPH} | SCALES | options | changes))


def init(net, seed=0):
    return net.init(jax.random.key(seed), jnp.asarray(ALL))["params"]


def weights(params):
    """The affine maps in the order of their use, as functions in NumPy (ntk)."""
    leaves = {
        "/".join(str(k.key) for k in path): np.asarray(leaf, np.float64)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }

    def affine(prefix, h):
        W, b = leaves[f"{prefix}/W"], leaves[f"{prefix}/b"]
        return 1.3 / np.sqrt(len(W)) * h @ W + 0.4 * b

    return affine


def relu(x):
    return np.maximum(x, 0)


def gcn(affine, activation=relu):
    h = activation(affine("dense_0", P @ X))
    return affine("dense_2", activation(affine("dense_1", P @ h)))


def res_gcn(affine):
    h = affine("dense_0", X)
    for step in range(2):
        h = relu(affine(f"residualaggregation_0/dense_{step}", P @ h)) + h
    return affine("dense_1", h)


def appnp(affine):
    h = first = relu(affine("dense_0", X))
    for _ in range(2):
        h = 0.7 * P @ h + 0.3 * affine("initialpropagation_0/dense_0", first)
    return affine("dense_1", h)


def gcnii(affine, beta=0.3):
    h = first = relu(affine("dense_0", X))
    for step in range(2):
        z = 0.6 * P @ h + 0.4 * first
        out = affine(f"initialresidual_0/dense_{step}", z)
        h = relu(beta * out + (1 - beta) * z)
    return affine("dense_1", h)


def xu(affine):
    return affine("dense_2", affine("dense_1", P @ affine("dense_0", P @ X)))


def xu_multiscale(affine):
    inner = "residual_0/branch/residual_0"
    h1 = affine("residual_0/branch/dense_0", P @ X)
    h2 = affine(f"{inner}/branch/dense_0", P @ h1)
    readouts = ("residual_0/shortcut", f"{inner}/shortcut", f"{inner}/branch/dense_1")
    return sum(affine(r, h) for r, h in zip(readouts, (X, h1, h2), strict=True))


BY_HAND = {
    "gcn": gcn,
    "gcn_erf": functools.partial(
        gcn, activation=lambda x: np.asarray(jax.scipy.special.erf(x))
    ),
    "res_gcn": res_gcn,
    "appnp": appnp,
    "gcnii": gcnii,
    "gcnii_exact": functools.partial(gcnii, beta=1.0),
    "xu": xu,
    "xu_multiscale": xu_multiscale,
}


@pytest.mark.parametrize("name", MEMBERS)
def test_forward_pass_by_hand(name, x64):
    params = jax.tree.map(lambda a: a.astype(jnp.float64), init(make(name)))
    nodes = jnp.asarray([4, 0, 4], jnp.int32)
    want = BY_HAND[name](weights(params))[np.asarray(nodes)]
    for sparse in (False, True):
        got = make(name, sparse=sparse).apply({"params": params}, nodes)
        np.testing.assert_allclose(got, want, rtol=1e-10)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
@pytest.mark.parametrize("name", MEMBERS)
def test_distribution_of_every_weight(name, parameterization):
    params = init(make(name, width=300, parameterization=parameterization))
    standard = parameterization == "standard"
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        std = 1.0
        if standard:
            std = 0.4 if path[-1].key == "b" else 1.3 / leaf.shape[0] ** 0.5
        sample = np.asarray(leaf, np.float64).ravel()
        # The variance of N(0, s^2) is known to s^2 sqrt(2 / n).
        error = 5 * np.sqrt(2 / sample.size)
        assert abs(np.mean(sample**2) / std**2 - 1) < error


def kernels(net, nodes=ALL):
    return kernel_matrix(net, nodes, get=("nngp", "ntk"))


@pytest.mark.parametrize("activation", ["relu", "erf"])
@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_gcn_is_neural_tangents_own(activation, parameterization):
    dense = [
        stax.Dense(m, W_std=1.3, b_std=0.4, parameterization=parameterization)
        for m in (32, 32, 2)
    ]
    phi = {"relu": stax.Relu, "erf": stax.Erf}[activation]()
    aggregate = stax.Aggregate()
    layers = (aggregate, dense[0], phi, aggregate, dense[1], phi, dense[2])
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        x, pattern = jnp.asarray(X[None]), jnp.asarray(P[None])
        want = stax.serial(*layers)[2](x, None, pattern=(pattern, pattern))
    options = {"width": 32, "parameterization": parameterization}
    got = kernels(make("gcn", activation=activation, **options))
    # neural-tangents' relu uses arccos, which has half the digits on the diagonal.
    np.testing.assert_allclose(got.nngp, want.nngp[0, 0], rtol=1e-8)
    np.testing.assert_allclose(got.ntk, want.ntk[0, 0], rtol=1e-7)


def test_linear_networks_in_closed_form():
    """Without biases: K_l = s^2 P K_{l-1} P, and every matrix adds as much again."""
    net = make("xu", sigma_b=0.0, depth=3)
    K = X @ X.T / 3
    powers = [np.linalg.matrix_power(P, n) for n in range(4)]
    covariances = [1.69 ** (n + 1) * p @ K @ p for n, p in enumerate(powers)]
    got = kernels(net)
    np.testing.assert_allclose(got.nngp, covariances[3], rtol=1e-12)
    np.testing.assert_allclose(got.ntk, 4 * covariances[3], rtol=1e-12)
    got = kernels(net.clone(multiscale=True))
    np.testing.assert_allclose(got.nngp, sum(covariances), rtol=1e-12)
    ntk = sum((n + 1) * c for n, c in enumerate(covariances))
    np.testing.assert_allclose(got.ntk, ntk, rtol=1e-12)


def test_gcnii_without_its_residuals_is_a_gcn():
    dense, phi = stax.Dense(1, W_std=1.3, b_std=0.4), stax.Relu()
    aggregate = stax.Aggregate()
    layers = (dense, phi, *(aggregate, dense, phi) * 2, dense)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        x, pattern = jnp.asarray(X[None]), jnp.asarray(P[None])
        want = stax.serial(*layers)[2](x, None, pattern=(pattern, pattern))
    got = kernels(make("gcnii", alpha=1.0, beta=1.0))
    np.testing.assert_allclose(got.nngp, want.nngp[0, 0], rtol=1e-8)
    np.testing.assert_allclose(got.ntk, want.ntk[0, 0], rtol=1e-7)


def test_res_gcn_of_a_lone_node_by_hand():
    """K -> K + v / 2 + 2 mu sum(mu), with v = s^2 K and mu = sqrt(v / 2 pi)."""
    x = X[:1]
    net = ResGCN(width=4, depth=3, sigma_w=1.3, graph=Graph(x, [], []))
    K = 1.69 * np.sum(x**2) / 3
    T, mean = K, 0.0
    for _ in range(3):
        v = 1.69 * K
        mu = np.sqrt(v / (2 * np.pi))
        T += (1.69 * T + v) / 2
        K += v / 2 + 2 * mu * mean
        mean += mu
    got = kernels(net, ALL[:1])
    np.testing.assert_allclose(got.nngp, [[1.69 * K]], rtol=1e-12)
    np.testing.assert_allclose(got.ntk, [[1.69 * (T + K)]], rtol=1e-12)


def samples(net, seeds=160):
    """Empirical NNGP and NTK of every seed, means over the outputs; [s, 6, 6]."""

    def sample(key):
        params = net.init(key, jnp.asarray(ALL))["params"]

        def outputs(p):
            return net.apply({"params": p}, jnp.asarray(ALL))

        f, jacobian = outputs(params), jax.jacrev(outputs)(params)
        flat = [j.reshape(len(f), -1) for j in jax.tree.leaves(jacobian)]
        theta = sum(j @ j.T for j in flat)
        return f @ f.T / f.shape[1], theta / f.shape[1]

    keys = jax.random.split(jax.random.key(7), seeds)
    found = jax.jit(lambda keys: jax.lax.map(sample, keys))(keys)
    return [np.asarray(a, np.float64) for a in found]


@pytest.mark.parametrize("name", ["res_gcn", "appnp", "gcnii_exact"])
def test_mean_over_seeds_is_the_limit(name):
    means, errors = {}, {}
    for width in (48, 192):
        net = make(name, width=width)
        limit = kernels(net)
        nngp, ntk = samples(net)
        ratio = ntk / limit.ntk
        means[width] = ratio.mean(0) - 1
        errors[width] = ratio.std(0, ddof=1) / np.sqrt(len(ratio))
        error = nngp.std(0, ddof=1) / np.sqrt(len(nngp))
        bias = 3 * limit.nngp / width
        assert np.all(np.abs(nngp.mean(0) - limit.nngp) < 5 * error + bias)
    assert errors[192].max() < 0.03
    # bias(m) = c / m, from the difference of the two widths, with its own error.
    bias = (np.abs(means[48] - means[192]) + 5 * errors[48]) / 3
    assert bias.max() < 0.12
    assert np.all(np.abs(means[192]) < 5 * errors[192] + bias)


def test_the_identity_mapping_of_gcnii_is_left_to_sampling():
    kind, why = make("gcnii").limit()
    assert kind == "monte carlo"
    assert "beta=0.3" in why
    assert make("gcnii_exact").limit().kind == "exact"
    with pytest.raises(NotImplementedError, match="not Gaussian"):
        zoo.kernel_fn(make("gcnii"))


@pytest.mark.parametrize("name", sorted(MEMBERS.keys() - {"gcnii"}))
def test_kernels_are_those_of_the_nodes_that_are_asked_for(name):
    net = make(name)
    whole = kernels(net)
    left, right = np.asarray([5, 2], np.int32), np.asarray([0, 2, 3], np.int32)
    got = kernel_matrix(net, left, right, get=("nngp", "ntk"))
    for part, full in zip(got, whole, strict=True):
        np.testing.assert_allclose(part, full[np.ix_(left, right)], rtol=1e-12)
        np.testing.assert_allclose(full, full.T, rtol=1e-12)
        assert np.linalg.eigvalsh(full).min() > -1e-12 * full.max()  # xu has rank 4
    single = zoo.kernel_fn(net)(jnp.asarray(left), jnp.asarray(right))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, got.ntk, rtol=1e-5)


@pytest.mark.parametrize("name", ["gcn", "res_gcn", "appnp", "gcnii", "xu_linear_gnn"])
def test_runs_on_its_natural_data(name):
    data = load(ARCHITECTURES[name].data, n_train=8, n_test=4)
    net = ARCHITECTURES[name](width=8, out=10, graph=data.graph)
    params = net.init(jax.random.key(0), jnp.asarray(data.x_train))["params"]
    out = jax.jit(net.apply)({"params": params}, jnp.asarray(data.x_test))
    assert out.shape == data.y_test.shape
    assert np.isfinite(np.asarray(out)).all()


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("gcn", {"width": 0}, "GCN needs width >= 1, got width=0"),
        ("res_gcn", {"depth": 0}, "ResGCN needs depth >= 1, got depth=0"),
        ("xu", {"out": 0}, "out >= 1, got out=0"),
        ("gcn", {"activation": "rleu"}, "did you mean 'relu'"),
        ("appnp", {"parameterization": "nkt"}, "did you mean 'ntk'"),
        ("appnp", {"alpha": 1.1}, r"alpha in \[0, 1\], got alpha=1.1"),
        ("gcnii", {"beta": 0.0}, r"beta in \(0, 1\], got beta=0.0"),
        ("gcnii", {"sigma_w": 0.0}, "sigma_w > 0, got sigma_w=0.0"),
        ("xu", {"sigma_b": -0.1}, "sigma_b >= 0, got sigma_b=-0.1"),
    ],
)
def test_bad_arguments_are_refused_by_value(name, bad, message):
    with pytest.raises(ValueError, match=message):
        make(name, **bad)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (jnp.asarray([0, 6]), "from 0 to 5, got 6"),
        (jnp.asarray([-1, 2]), "from 0 to 5, got -1"),
        (jnp.asarray([0.0, 1.0]), "whole numbers of nodes, got float32"),
        (jnp.zeros((2, 3), jnp.int32), r"got inputs of shape \(2, 3\)"),
    ],
)
def test_what_is_no_node_is_refused_by_value(nodes, message):
    net = make("gcn")
    params = {"params": init(net)}
    for use in (lambda: net.apply(params, nodes), lambda: net.kernels(nodes)):
        with pytest.raises(ValueError, match=message):
            use()

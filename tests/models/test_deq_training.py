"""Equilibria that are trained, unrolled, or at a large chi_1, held to their theory."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from scipy import optimize

import zoo
from zoo.finite.train import train
from zoo.gap import fit
from zoo.infinite.kernels import kernel_matrix
from zoo.layers import Serial, input_kernel
from zoo.layers.base import Finite
from zoo.layers.kernel_roots import apply_cell
from zoo.models import GaoDEQ, KawaguchiDEQ, LingDEQ


def inputs(n, d=5, spread=0.2, dtype=np.float32):
    """Random directions, of norms d^1/2 (1 - spread) to d^1/2 (1 + spread)."""
    x = np.random.default_rng(0).normal(size=(n, d))
    norms = np.random.default_rng(1).permutation(np.linspace(-spread, spread, n))
    x *= d**0.5 * (1 + norms[:, None]) / np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(dtype)


def initial(net, seed, x):
    """Parameters in the dtype of the inputs."""
    params = net.init(jax.random.key(seed), jnp.asarray(x))["params"]
    return jax.tree.map(lambda a: a.astype(x.dtype), params)


def descend(net, params, x, y, rate, times):
    """Outputs [t, N, k] and parameters after so many steps on the mean of squares."""

    def apply(params, x):
        return net.apply({"params": params}, x)

    def observe(params, x):
        return apply(params, x), params

    x, y, times = jnp.asarray(x), jnp.asarray(y), jnp.asarray(times)
    return train(apply, params, x, y, optax.sgd(rate), times, observe)[0]


def over_seeds(one, seeds):
    """One seed after another, in one program."""
    return jax.jit(lambda s: jax.lax.map(one, s))(jnp.arange(seeds))


def ntks(net, x, seeds):
    """Empirical NTKs [s, n, n], and which seeds have no equilibrium."""

    x = jnp.asarray(x)

    def one(seed):
        params = initial(net, seed, x)
        _, said = net.apply({"params": params}, x, mutable=["equilibrium"])
        lost = [a.any() for name, a in flatten_dict(said).items() if "lost" in name]
        return zoo.empirical_ntk(net, params, x), jnp.asarray(lost).any()

    found = over_seeds(one, seeds)
    return np.asarray(found[0], np.float64), np.asarray(found[1])


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "sigma_w"), [("relu", 0.63), ("erf", 0.62)])
def test_trained_networks_come_to_the_limit_as_the_root_of_the_width(
    activation, sigma_w
):
    """Test points after 200 steps, beside the limit's dynamics from the same f_0.

    Errors scatter by a third over networks: 16 of them give their means' ratio, 1/2, to
    0.5 (2/16)^1/2 / 3 = 0.06, and the slope to (2/16)^1/2 / 3 / log 4 = 0.09.
    """
    scales = {"activation": activation, "sigma_w": sigma_w, "sigma_b": 0.3}
    x, errors, widths = inputs(18), [], (128, 512)
    y = np.sin(x[:10, :4] - 0.5 * x[:10, 1:])
    theta = kernel_matrix(zoo.DEQ(1, **scales), x, x[:10])
    rate = 10 / np.linalg.eigvalsh(theta[:10])[-1]  # half of the critical one
    for width in widths:
        net = zoo.DEQ(width, out=4, **scales)

        def one(seed, net=net):
            return descend(net, initial(net, seed, x), x, y, rate, [0, 200])[0]

        out = np.asarray(over_seeds(one, 16), np.float64)
        f = out[:, 0]
        for _ in range(200):
            f = f - rate / 10 * theta @ (f[:, :10] - y)
        errors.append(np.sqrt(np.mean((out[:, 1, 10:] - f[:, 10:]) ** 2, (1, 2))))
        assert np.sqrt(np.mean((out[:, 1, :10] - y) ** 2)) < 0.1
    assert errors[1].mean() < 0.65 * errors[0].mean()
    slope, low, high = fit.t_interval(fit.slopes(widths, np.stack(errors, 1)))
    assert low < -0.45 and high > -0.55 and high - low < 0.5, (slope, low, high)


@pytest.mark.slow
@pytest.mark.parametrize(("m", "k", "gamma"), [(4, 1, 0.3), (10, 3, 0.9), (3, 5, 0.9)])
def test_linear_equilibria_learn_at_kawaguchis_rate_at_any_width(x64, m, k, gamma):
    """A theorem of gradient flow on the sum of squares: there are no statistics.

    The paper trains B, the network V = m^1/2 B, by which B moves m times more slowly:
    its share in the preconditioner, and the bound, have another 1 / m, unless V has m
    times the rate.
    """
    net, x = (
        KawaguchiDEQ(m, out=k, gamma=gamma, tolerance=1e-9),
        inputs(30, dtype=float),
    )
    x, y = jnp.asarray(x), jnp.asarray(np.random.default_rng(m).normal(size=(30, k)))
    params = initial(net, m, x)
    start = (params["equilibrium_0"]["cell"]["A"], params["dense_1"]["W"])

    def loss(weights):
        cell = {"equilibrium_0": {"cell": {"A": weights[0]}}}
        changed = params | cell | {"dense_1": {"W": weights[1]}}
        return jnp.sum((net.apply({"params": changed}, x) - y) ** 2)

    def W(weights):
        S = jax.nn.softmax(weights[0], axis=0)
        return weights[1].T / m**0.5 @ jnp.linalg.inv(jnp.eye(m) - gamma * S)

    def lambda_min(weights, share):
        A, V = (j.reshape(k * m, -1) for j in jax.jacobian(W)(weights))
        return jnp.linalg.eigvalsh(A @ A.T + share * V @ V.T)[0]

    @jax.jit
    def run(weights, share, lr):
        def step(_, weights):
            A, V = jax.grad(loss)(weights)
            return weights[0] - lr * A, weights[1] - lr * share * V

        weights = jax.lax.fori_loop(0, 50, step, weights)
        return weights, loss(weights), lambda_min(weights, share)

    phi = np.maximum(x @ params["dense_0"]["W"] / 5**0.5, 0)
    optimum = np.sum((phi @ np.linalg.lstsq(phi, y)[0] - y) ** 2)
    sigma = np.linalg.svd(phi, compute_uv=False)
    kappa = 2 * sigma[sigma > 1e-9 * sigma[0]][-1] ** 2
    for share in (1.0, float(m)):
        lr, weights = 0.01 / sigma[0] ** 2 / share, start
        above, least = [loss(start) - optimum], [lambda_min(start, share)]
        for t in 50 * lr * np.arange(1, 11):
            weights, value, eigenvalue = run(weights, share, lr)
            least.append(min(eigenvalue, least[-1]))
            above.append(value - optimum)
            assert above[-1] < above[0] * np.exp(-2 * kappa * least[-1] * t)
        assert least[-1] > share / m / (m * (1 + gamma) ** 2)
        assert 0 < above[-1] < 0.3 * above[0]


@pytest.mark.slow
@pytest.mark.parametrize("model", [LingDEQ, GaoDEQ])
def test_equilibria_stay_well_posed_and_learn_at_the_rate_of_their_features(model):
    """On 1/2 sum_i |f - y|^2, at the rate eta = 1 / lambda_max(NTK) of the start.

    The features: Ling's z, Gao's u / m^1/2. Their least eigenvalue stays above lambda_0
    / 2, the weights' norm below 1, the loss below (1 - eta lambda_0 / 2)^t.
    """
    net, x, times = model(400), inputs(8, 8, 0.0), 10 * np.arange(11)
    y = np.sin(x[:, :1] - 0.5 * x[:, 1:2])
    for seed in range(2):
        params = initial(net, seed, x)
        eta = 1 / np.linalg.eigvalsh(zoo.empirical_ntk(net, params, jnp.asarray(x)))[-1]
        f, params = descend(net, params, x, y, eta * 8, times)
        norms, least = [], []
        for i in range(len(times)):
            p = flatten_dict(jax.tree.map(lambda a, i=i: np.float64(a[i]), params))
            (W,) = (a for a in p.values() if a.shape == (400, 400))
            (U,) = (a for a in p.values() if a.shape == (8, 400))
            (a,) = (a for a in p.values() if a.shape[1] == 1)
            if model is GaoDEQ:
                W, U, a = W * net.gamma / 20, U / 8**0.5, a / 20
            u = np.asarray(x) @ U if model is LingDEQ else np.maximum(x @ U, 0)
            z = 0 * u
            for _ in range(60):
                z = np.maximum(z @ W + u, 0)
            read = z if model is LingDEQ else np.concatenate([z, u], 1)
            np.testing.assert_allclose(f[i], read @ a, atol=1e-4)
            features = z if model is LingDEQ else u / 20
            norms.append(np.linalg.svd(W, compute_uv=False)[0])
            least.append(np.linalg.eigvalsh(features @ features.T)[0])
        loss = 0.5 * np.sum((np.float64(f) - y) ** 2, axis=(1, 2))
        assert 0.7 < min(norms) and max(norms) < 1
        assert min(least) > least[0] / 2
        assert np.all(loss[1:] < (1 - eta * least[0] / 2) ** times[1:] * loss[0])


class Unrolled(nn.Module):
    """So many applications of a cell, whose weights are the same at each or not."""

    layers: Serial
    tied: bool
    steps: int = 24

    @nn.compact
    def __call__(self, x):
        root, *read = self.layers.layers
        u = h = Finite(root.inject, name="inject")(x)
        count = 1 if self.tied else self.steps
        cells = [Finite(root.cell, name=f"cell_{i}") for i in range(count)]
        for i in range(self.steps):
            h = cells[i % count](h) + u
        return Finite(Serial(*read), name="read")(h)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_untied_weights_have_one_limit(tied):
    """24 applications at chi_1 = 0.32 are all of them, to 1e-11.

    The ratio of deviations is 8^-1/2 = 0.35; they scatter by a quarter over networks,
    so that 8 of these give it to 0.04.
    """
    x, limit = inputs(5), kernel_matrix(zoo.DEQ(1, sigma_w=0.8), inputs(5))
    nets = [Unrolled(zoo.DEQ(m, sigma_w=0.8).layers(), tied) for m in (128, 1024)]
    off = [np.linalg.norm(ntks(net, x, 8)[0] - limit, axis=(1, 2)) for net in nets]
    assert 0.2 < off[1].mean() / off[0].mean() < 0.55
    assert off[1].mean() < 0.15 * np.linalg.norm(limit)


@pytest.mark.slow
def test_depth_and_width_commute(x64):
    """Networks approach equilibrium as chi_1^(L/2), their limit as chi_1^L.

    The spectral radius is chi_1^1/2 (1 + O(m^-1/2)); the NTK's error is L chi_1^L.
    """
    x, chi1, depths = jnp.asarray(inputs(5, dtype=float)), 0.8**2 / 2, range(4, 22, 4)
    net = zoo.DEQ(512, sigma_w=0.8)

    def one(seed):
        p = initial(net, seed, x)
        root, read = p["equilibrium_0"], {"dense_0": p["dense_0"]}
        same = {"inject": root["inject"], "cell_0": root["cell"], "read": read}
        nets = [Unrolled(net.layers(), True, steps) for steps in depths]
        f = jnp.stack([each.apply({"params": same}, x) for each in nets])
        return jnp.mean((f - net.apply({"params": p}, x)[None]) ** 2, (1, 2))

    off = np.log(np.asarray(over_seeds(one, 12)).mean(0)) / 2
    rate = np.exp(np.polyfit(depths, off, 1)[0])
    assert 0.85 < rate / chi1**0.5 < 1.15, rate

    root, k = net.layers().layers[0], input_kernel(x, None, True)
    u, want, errors = root.inject.limit(k), root.limit(k), []
    k = u
    for _ in range(16):
        k = apply_cell(root.cell, k)
        sums = {name: getattr(k, name) + getattr(u, name) for name in ("ntk", "nngp")}
        k = k.replace(**sums, cov1=k.cov1 + u.cov1)
        errors.append([np.linalg.norm(sums[s] - getattr(want, s)) for s in sums])
    ntk, nngp = np.divide(errors[9:], errors[8:-1]).T / chi1
    np.testing.assert_allclose(nngp, 1, atol=0.01)
    np.testing.assert_allclose(ntk, 1 + 1 / np.arange(10, 17), rtol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "sigma_w"), [("relu", 1.05), ("erf", 0.9)])
def test_the_limit_holds_at_a_large_chi1(activation, sigma_w):
    """At 0.55 the weights' norm, twice sigma_w, is far above the literature's bound.

    16 networks that scatter by 40 % give each mean to 10 %, and over a factor of
    four in width the slope to 0.10: the least squares of the fit have that weight.
    """
    net = {"activation": activation, "sigma_w": sigma_w}
    x, widths = inputs(5), np.asarray([512.0, 1024, 2048])
    limit = kernel_matrix(zoo.DEQ(1, **net), x)
    found = [ntks(zoo.DEQ(int(m), **net), x, 16) for m in widths]
    off, lost = (np.stack(each) for each in zip(*found, strict=True))
    errors = np.linalg.norm(off - limit, axis=(2, 3)) / np.linalg.norm(limit)
    assert lost.sum() <= 2
    np.testing.assert_array_equal(np.isnan(errors), lost)
    mean = np.nanmean(errors, 1)
    assert -0.75 < np.polyfit(np.log(widths), np.log(mean), 1)[0] < -0.3, mean
    powers = widths[:, None] ** -np.asarray([0.5, 1])
    (a, b), misfit = optimize.nnls(powers, mean)
    assert misfit < 0.2 * np.linalg.norm(mean) and a > b / 2048**0.5, (a, b, misfit)


def closed(x, sigma_w, power=2, injected=1.0):
    """The NTK of erf by the recursion of S and T in NumPy, or with a mistake in it."""
    S = S_u = x @ x.T / x.shape[1]
    T = 0 * S
    for _ in range(300):
        d = np.outer(1 + 2 * np.diag(S), 1 + 2 * np.diag(S))
        F = 2 / np.pi * np.arcsin(2 * S / np.sqrt(d))
        K1 = 4 / np.pi / np.sqrt(d - 4 * S**2)
        T = sigma_w**2 * F + injected * S_u + sigma_w**power * K1 * T
        S = sigma_w**2 * F + S_u
    return F + K1 * T


@pytest.mark.slow
def test_mistakes_in_the_recursion_are_seen():
    """32 networks' mean tells the limit from others, by 5 of its standard errors.

    The bias is c / m, of which a width of 128 has 3 c / 512 more than one of 512.
    """
    x = inputs(4)
    right, *wrong = (closed(np.float64(x), 0.7, *a) for a in ((), (1,), (2, 0.0)))
    nets = [zoo.DEQ(m, activation="erf", sigma_w=0.7) for m in (128, 512)]
    np.testing.assert_allclose(kernel_matrix(nets[0], x), right, rtol=1e-9)
    narrow, wide = (ntks(net, x, 32)[0] for net in nets)
    bias = np.abs(narrow.mean(0) - wide.mean(0)) / 3
    allowed = 5 * wide.std(0, ddof=1) / 32**0.5 + bias
    assert np.all(np.abs(wide.mean(0) - right) < allowed)
    for other in wrong:
        assert np.max(np.abs(wide.mean(0) - other) / allowed) > 1


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_a_system_that_is_not_transposed_is_another_gradient(x64, activation):
    """df/dx = U^T (1 - D M^T)^-1 D v of h = M phi(h) + U x, D = phi'(h), by hand."""
    net, x = (
        zoo.DEQ(64, activation=activation, sigma_w=0.8),
        jnp.asarray(inputs(3, dtype=float)),
    )
    params = initial(net, 0, x)
    f = jax.jit(lambda x: net.apply({"params": params}, x).sum())
    found = np.asarray(jax.grad(f)(x))
    for step in 1e-5 * np.random.default_rng(0).normal(size=(4, 3, 5)):
        slope = (f(x + step) - f(x - step)) / 2
        np.testing.assert_allclose(np.sum(found * step), slope, rtol=1e-5)
    cell, U = (params["equilibrium_0"][name] for name in ("cell", "inject"))
    M, U, v = cell["dense_0"]["W"].T / 10, U["W"] / 5**0.5, params["dense_0"]["W"] / 8
    phi = {"erf": jax.scipy.special.erf, "relu": jax.nn.relu}[activation]
    h = x @ U
    for _ in range(200):
        h = phi(h) @ M.T + x @ U
    D = np.asarray(jax.vmap(jax.vmap(jax.grad(phi)))(h))[:, None]
    for operator, agrees in (
        (np.swapaxes(np.asarray(M) * D, 1, 2), True),
        (np.asarray(M) * D, False),
    ):
        g = np.linalg.solve(np.eye(64) - operator, np.swapaxes(D, 1, 2) * np.asarray(v))
        off = np.linalg.norm(g[..., 0] @ np.asarray(U).T - found) / np.linalg.norm(
            found
        )
        assert off < 1e-9 if agrees else off > 0.1

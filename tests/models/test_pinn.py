"""The pair (u, N[u]): its values, and the blocks of its kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.models import MLP, PINN, NeuralField, TerjekMLP, XieMCN
from zoo.models.pinn import OPERATORS

# Unequal norms; the last point comes twice, as x and as x'.
X = np.asarray([[0.5, -0.3], [-0.2, 0.9], [0.8, 0.6]])
X2 = np.asarray([[-0.7, 0.1], [0.8, 0.6]])
SIGMA_W, SIGMA_B = 1.2, 0.7
LINEAR = sorted(name for name in OPERATORS if OPERATORS[name].linear)
DERIVATIVES = {  # phi and its first three derivatives
    "sin": (jnp.sin, jnp.cos, lambda z: -jnp.sin(z), lambda z: -jnp.cos(z)),
    "erf": (
        jax.scipy.special.erf,
        lambda z: 2 / np.pi**0.5 * jnp.exp(-(z**2)),
        lambda z: -4 * z / np.pi**0.5 * jnp.exp(-(z**2)),
        lambda z: (8 * z**2 - 4) / np.pi**0.5 * jnp.exp(-(z**2)),
    ),
    "tanh": (
        jnp.tanh,
        lambda z: 1 - jnp.tanh(z) ** 2,
        lambda z: -2 * jnp.tanh(z) * (1 - jnp.tanh(z) ** 2),
        lambda z: (6 * jnp.tanh(z) ** 2 - 2) * (1 - jnp.tanh(z) ** 2),
    ),
}


def net(activation="erf", depth=1, **options):
    u = TerjekMLP(1, depth, 1, activation, SIGMA_W, SIGMA_B)
    return PINN(**({"width": 8, "net": u} | options))


def residual(operator, a, z, phi):
    """N of x -> phi(a . x + b) at z = a . x + b, by hand."""
    return {
        "laplacian": lambda: (a @ a) * phi[2](z),
        "advection": lambda: jnp.sum(a) * phi[1](z),
        "heat": lambda: a[1] * phi[1](z) - a[0] ** 2 * phi[2](z),
        "allen_cahn": lambda: (a @ a) * phi[2](z) + phi[0](z) - phi[0](z) ** 3,
    }[operator]()


def unit(operator, activation, theta, x):
    """(phi, N[phi]) of one hidden unit with parameters theta = (w, b)."""
    phi = DERIVATIVES[activation]
    a = SIGMA_W / 2**0.5 * theta[:2]
    z = a @ x + SIGMA_B * theta[2]
    return jnp.stack([phi[0](z), residual(operator, a, z, phi)])


def by_quadrature(operator, activation, nodes=48):
    """NNGP and NTK of one hidden layer: Gauss-Hermite over a unit's (w, b)."""
    t, weight = np.polynomial.hermite_e.hermegauss(nodes)
    theta = np.stack(np.meshgrid(t, t, t), axis=-1).reshape(-1, 3)
    p = np.einsum("i,j,k->ijk", *[weight / weight.sum()] * 3).swapaxes(0, 1).ravel()

    def over_units(f, x):  # [points, units, ...]
        each = jax.vmap(jax.vmap(f, (0, None)), (None, 0))
        return np.asarray(each(jnp.asarray(theta), jnp.asarray(x)))

    def one(theta, x):
        return unit(operator, activation, theta, x)

    f, f2 = over_units(one, X), over_units(one, X2)
    g, g2 = over_units(jax.jacfwd(one), X), over_units(jax.jacfwd(one), X2)
    nngp = SIGMA_W**2 * np.einsum("u,aui,buj->abij", p, f, f2)
    nngp[..., 0, 0] += SIGMA_B**2  # the last bias is in u alone
    return nngp, nngp + SIGMA_W**2 * np.einsum("u,auip,bujp->abij", p, g, g2)


@pytest.mark.parametrize("operator", LINEAR)
@pytest.mark.parametrize("activation", ["erf", "sin"])
def test_blocks_are_those_of_quadrature(operator, activation, x64):
    nngp, ntk = by_quadrature(operator, activation)
    got = kernel_matrix(net(activation, operator=operator), X, X2, ("nngp", "ntk"))
    assert got.ntk.shape == (3, 2, 2, 2)
    # 48 nodes in three dimensions: 1e-9 of the largest entry.
    for have, want in ((got.nngp, nngp), (got.ntk, ntk)):
        np.testing.assert_allclose(have, want, atol=1e-9 * np.abs(want).max())


def test_blocks_of_a_numeric_dual(x64):
    _, ntk = by_quadrature("laplacian", "tanh", nodes=72)
    got = kernel_matrix(net("tanh"), X, X2)
    np.testing.assert_allclose(got, ntk, atol=1e-8 * np.abs(ntk).max())
    assert "within 1e-8" in net("tanh").limit().why


def test_kernel_of_one_set_is_symmetric_and_positive():
    theta = kernel_matrix(net(depth=2), X)
    np.testing.assert_allclose(theta, kernel_matrix(net(depth=2), X, X), rtol=1e-12)
    flat = theta.transpose(0, 2, 1, 3).reshape(6, 6)
    np.testing.assert_allclose(flat, flat.T, rtol=1e-10)
    assert np.linalg.eigvalsh(flat).min() > 0


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_second_output_is_the_operator_of_the_first(operator):
    pinn, x = net("sin", operator=operator), jnp.asarray(X, jnp.float32)
    params = pinn.init(jax.random.key(0), x)["params"]
    u, Nu = np.asarray(pinn.apply({"params": params}, x)).T
    first, last = params["u"]["dense_0"], params["u"]["dense_1"]
    thetas = np.concatenate([first["W"], first["b"][None]]).T
    scale = SIGMA_W / 8**0.5
    f, r = [], []
    for point in X:
        hidden = np.asarray([unit("laplacian", "sin", t, point) for t in thetas])
        f.append(scale * hidden[:, 0] @ last["W"] + SIGMA_B * last["b"])
        linear = operator if operator != "allen_cahn" else "laplacian"
        hidden = np.asarray([unit(linear, "sin", t, point) for t in thetas])
        r.append(scale * hidden[:, 1] @ last["W"])
    f, r = np.ravel(f), np.ravel(r)
    np.testing.assert_allclose(u, f, rtol=1e-4, atol=1e-5)
    want = r + f - f**3 if operator == "allen_cahn" else r
    np.testing.assert_allclose(Nu, want, rtol=1e-4, atol=1e-5)


def test_mean_over_seeds_is_the_limit():
    """Two hidden layers; every entry of the blocks in standard errors."""
    seeds, x = 256, jnp.asarray(X[:2], jnp.float32)
    pinn = net(depth=2, operator="advection", width=128)

    def sample(key):
        params = pinn.init(key, x)["params"]
        return zoo.empirical_ntk(pinn, params, x, full=True)

    keys = jax.random.split(jax.random.key(3), seeds)
    theta = np.asarray(jax.jit(lambda k: jax.lax.map(sample, k))(keys), np.float64)
    limit = kernel_matrix(pinn, X[:2])
    error = theta.std(0, ddof=1) / np.sqrt(seeds)
    unit = np.sqrt(np.einsum("aacc->ac", limit))
    unit = unit[:, None, :, None] * unit[None, :, None, :]
    assert (error / unit).max() < 0.03
    # The bias is O(1 / width): 3 / 128.
    assert np.all(np.abs(theta.mean(0) - limit) < 5 * error + 3 / 128 * unit)


def test_what_is_known_of_the_limit():
    assert net().limit().kind == "exact"
    assert net("tanh").limit().kind == "numeric"
    kind, why = net(operator="allen_cahn").limit()
    assert kind == "none"
    assert "allen_cahn is not linear" in why
    assert net(width=9).limit_key() == net(width=4).limit_key()
    field = PINN(width=4, net=NeuralField(width=1))
    assert field.rate == -1
    assert field.limit_key() == field


def test_any_smooth_member_of_vectors_will_do():
    for u in (NeuralField(width=1, encoding=1.0), MLP(width=1, activation="gelu")):
        pinn = PINN(width=6, net=u)
        x = jnp.asarray(X, jnp.float32)
        params = pinn.init(jax.random.key(0), x)["params"]
        assert pinn.apply({"params": params}, x).shape == (3, 2)
        assert np.all(np.isfinite(kernel_matrix(pinn, X)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"width": 0}, "width >= 1, got width=0"),
        ({"operator": "laplace"}, "did you mean 'laplacian'"),
        ({"net": MLP(width=1, activation="relu")}, "net of smooth layers"),
        ({"net": XieMCN(width=1)}, "net of smooth layers .*, got net=XieMCN.$"),
        ({"net": PINN(width=1)}, "net of one output, got net=PINN"),
    ],
)
def test_bad_arguments_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        net(**bad)


def test_heat_needs_a_coordinate_beside_time():
    pinn = net(operator="heat")
    with pytest.raises(ValueError, match=r"PINN needs operator .* \(3, 1\)"):
        pinn.init(jax.random.key(0), jnp.ones((3, 1)))
    with pytest.raises(ValueError, match=r"PINN needs operator .* \(3, 1\)"):
        kernel_matrix(pinn, np.ones((3, 1)))

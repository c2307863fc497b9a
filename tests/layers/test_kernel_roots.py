"""Kernels of equilibria: oracles that share no code, conditions, derivatives."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy import special

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import stax
from zoo.layers import (
    Conv,
    Dense,
    Equilibrium,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    Nonlinear,
    Residual,
    Serial,
    input_kernel,
)
from zoo.layers.kernel_roots import by_entry, point_variances
from zoo.models import ConvDEQ, LingDEQ
from zoo.models.base import Architecture


def drawn(*shape, seed=0):
    """Normal numbers that do not depend on which tests ran before."""
    return np.random.default_rng(seed).normal(size=shape)


def points(n=7, d=5):
    """Unequal norms of order sqrt(d); parallel, opposite and nearly equal inputs."""
    x = drawn(n, d)
    x *= (
        np.linspace(0.7, 1.2, n)[:, None]
        * (d**0.5 / np.linalg.norm(x, axis=1))[:, None]
    )
    near = [x[0] * (1 + 1e-9), x[1] + 1e-6, x[2] + 1e-13, 1.3 * x[3], -x[4]]
    return np.concatenate([x, near])


X = points()
SCALES = {"sigma_u": 1.2, "sigma_b": 0.3, "sigma_v": 1.1}


def relu_moments(c, a, b):
    """E phi phi' and E phi' phi' by the angle (Cho & Saul 2009)."""
    norm = np.sqrt(a * b)
    theta = np.arccos(np.clip(c / norm, -1, 1))
    value = norm / (2 * np.pi) * (np.sin(theta) + (np.pi - theta) * np.cos(theta))
    return value, (np.pi - theta) / (2 * np.pi)


def erf_moments(c, a, b):
    """Williams 1997."""
    s = np.sqrt((1 + 2 * a) * (1 + 2 * b))
    return 2 / np.pi * np.arcsin(2 * c / s), 4 / np.pi / np.sqrt(s**2 - 4 * c**2)


def smooth_moments(phi, slope):
    """By the trapezoid rule over the plane."""
    x = np.arange(-60, 61) * 0.15
    w = np.exp(-(x**2) / 2) * 0.15 / np.sqrt(2 * np.pi)

    def moments(c, a, b):
        rho = np.clip(c / np.sqrt(a * b), -1, 1)[..., None, None]
        u = np.sqrt(a)[..., None, None] * x[:, None]
        v = np.sqrt(b)[..., None, None] * (
            rho * x[:, None] + np.sqrt(1 - rho**2) * x[None, :]
        )
        return tuple(np.einsum("...ij,i,j", f(u) * f(v), w, w) for f in (phi, slope))

    return moments


def gelu_slope(h):
    return special.ndtr(h) + h * np.exp(-(h**2) / 2) / np.sqrt(2 * np.pi)


MOMENTS = {
    "relu": relu_moments,
    "erf": erf_moments,
    "tanh": smooth_moments(np.tanh, lambda h: 1 - np.tanh(h) ** 2),
    "gelu": smooth_moments(lambda h: h * special.ndtr(h), gelu_slope),
}


def plain_iteration(moments, x, sw, su, sb, sv, steps):
    """S and T by as many layers; the kernels of the readout."""
    s = su**2 * x @ x.T / x.shape[1] + sb**2
    S, T = s, s
    for _ in range(steps):
        a = np.diag(S)
        F, K = moments(S, *np.meshgrid(a, a, indexing="ij"))
        S, T = sw**2 * F + s, sw**2 * F + s + sw**2 * K * T
    a = np.diag(S)
    F, K = moments(S, *np.meshgrid(a, a, indexing="ij"))
    return sv**2 * F, sv**2 * (F + K * T)


@pytest.mark.parametrize(
    ("activation", "sigma_w", "steps", "rtol"),
    [
        ("relu", 0.8, 60, 1e-7),  # arccos near 1 costs the oracle half its digits
        ("relu", 1.3, 400, 1e-6),
        ("erf", 0.9, 120, 1e-11),
        ("tanh", 0.9, 60, 1e-9),
        ("gelu", 0.9, 60, 1e-9),
    ],
)
def test_kernels_are_those_of_many_layers(activation, sigma_w, steps, rtol):
    net = zoo.DEQ(width=1, activation=activation, sigma_w=sigma_w, **SCALES)
    found = kernel_matrix(net, X, get=("nngp", "ntk"))
    scales = (sigma_w, *SCALES.values())
    want = plain_iteration(MOMENTS[activation], X, *scales, steps)
    for got, reference in zip(found, want, strict=True):
        np.testing.assert_allclose(got, reference, rtol=rtol, atol=rtol)
        assert np.linalg.eigvalsh(got)[0] > -1e-11
    cross = kernel_matrix(net, X[:3], X[2:], get=("nngp", "ntk"))
    np.testing.assert_allclose(cross.ntk, found.ntk[:3, 2:], rtol=1e-6)
    np.testing.assert_allclose(cross.nngp, found.nngp[:3, 2:], rtol=1e-9)


def test_kernel_of_ling_et_al():
    """Their equation (14), for inputs of norm sqrt(d)."""
    x = X[:7] / np.linalg.norm(X[:7], axis=1, keepdims=True)
    square = 0.08
    cos = x @ x.T
    for _ in range(200):
        theta = np.arccos(np.clip(cos, -1, 1))
        q = (np.sqrt(1 - np.cos(theta) ** 2) + (np.pi - theta) * np.cos(theta)) / np.pi
        cos = square * q + (1 - square) * x @ x.T
    want = q / (1 - square)
    found = kernel_matrix(LingDEQ(width=64), x * 5**0.5, get="nngp")
    np.testing.assert_allclose(found, want, rtol=1e-7)


@dataclasses.dataclass
class Root(Architecture):
    """An equilibrium of any cell, its readout, and what neural-tangents makes of it."""

    equilibrium: Equilibrium = None
    read: tuple = ()
    inputs = "image"

    def layers(self):
        return Serial(self.equilibrium, *self.read)


class VectorRoot(Root):
    """The same of vectors."""

    inputs = "vector"


def unrolled_by_neural_tangents(branch, inject, read, x, steps):
    """`steps` layers of stax, each with weights of its own, added to the injection."""
    start = stax.serial(inject, stax.Identity())[2](x, None)
    add, tail = stax.FanInSum()[2], stax.serial(*read)[2]
    k = start
    for _ in range(steps):
        out = branch[2](k)
        if out.is_reversed != start.is_reversed:
            out = out.reverse()
        k = add([out, start])
    return tail(k)


def affine(width, w, b=None):
    return stax.Dense(width, W_std=w, b_std=b)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["two layers", "norm", "residual", "conv", "gap"])
def test_any_cell_is_that_of_unrolled_layers_of_neural_tangents(x64, name):
    """Layers, normalization and convolutions are neural-tangents' own."""
    relu, erf = Nonlinear("relu"), Nonlinear("erf")
    conv = {"kernel_size": 3, "padding": "CIRCULAR"}
    nt_conv = lambda w, b=None: stax.Conv(  # noqa: E731
        8, (3, 3), padding="CIRCULAR", W_std=w, b_std=b
    )
    cell, inject, read, theirs = {
        "two layers": (
            Serial(relu, Dense(8, 1.0, 0.2), erf, Dense(8, 0.9)),
            Dense(8, 1.0, 0.3),
            (erf, Dense(1)),
            (
                stax.serial(
                    stax.Relu(), affine(8, 1.0, 0.2), stax.Erf(), affine(8, 0.9)
                ),
                affine(8, 1.0, 0.3),
                (stax.Erf(), affine(1, 1.0)),
            ),
        ),
        "norm": (
            Serial(LayerNorm(eps=1e-12), erf, Dense(8, 0.6)),
            Dense(8, 1.0, 0.3),
            (Dense(1),),
            (
                stax.serial(stax.LayerNorm(), stax.Erf(), affine(8, 0.6)),
                affine(8, 1.0, 0.3),
                (affine(1, 1.0),),
            ),
        ),
        "residual": (
            Serial(Residual(Serial(erf, Dense(8, 0.5)), 0.6), Dense(8, 0.5)),
            Dense(8),
            (erf, Dense(1)),
            (
                stax.serial(
                    stax.FanOut(2),
                    stax.parallel(
                        stax.Identity(), stax.serial(stax.Erf(), affine(8, 0.5 * 0.6))
                    ),
                    stax.FanInSum(),
                    affine(8, 0.5),
                ),
                affine(8, 1.0),
                (stax.Erf(), affine(1, 1.0)),
            ),
        ),
        "conv": (
            Serial(erf, Conv(8, 0.9, **conv)),
            Conv(8, 1.0, 0.2, **conv),
            (erf, Flatten(), Dense(1)),
            (
                stax.serial(stax.Erf(), nt_conv(0.9)),
                nt_conv(1.0, 0.2),
                (stax.Erf(), stax.Flatten(), affine(1, 1.0)),
            ),
        ),
        "gap": (
            Serial(relu, Conv(8, 0.9, **conv)),
            Conv(8, 1.0, 0.2, **conv),
            (relu, GlobalAvgPool(), Dense(1)),
            (
                stax.serial(stax.Relu(), nt_conv(0.9)),
                nt_conv(1.0, 0.2),
                (stax.Relu(), stax.GlobalAvgPool(), affine(1, 1.0)),
            ),
        ),
    }[name]
    image = name in ("conv", "gap")
    x = drawn(3, 4, 3, 2) if image else X[:5]
    net = (Root if image else VectorRoot)(Equilibrium(cell, inject), read)
    found = kernel_matrix(net, x, get=("nngp", "ntk"))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        want = unrolled_by_neural_tangents(*theirs, jnp.asarray(x), 60)
    rtol = 2e-8 if "relu" in str(cell) else 1e-9  # theirs takes arccos near 1
    np.testing.assert_allclose(found.nngp, want.nngp, rtol=rtol)
    if name != "residual":  # the branch's weights are scaled, and so is their NTK
        np.testing.assert_allclose(found.ntk, want.ntk, rtol=rtol)


def steps_of(net, x):
    """Newton's iterations: of the variances, of the pairs; and the largest chi_1."""
    root = net.layers().layers[0]
    u = root.inject.limit(input_kernel(jnp.asarray(x), None, True))
    first = point_variances(root.cell, u, u.cov1)
    counts = []

    def spy(*args):
        found = by_entry(*args)
        counts.append(found[1])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.layers.kernel_roots.by_entry", spy)
        root.limit(input_kernel(jnp.asarray(x), None, True))
    return int(first.steps.max()), int(counts[-1]), float(first.chi1.max())


@pytest.mark.parametrize(
    ("activation", "sigma_w", "sigma_u"),
    [
        ("relu", 0.8, 1.0),
        ("relu", 1.4, 1.0),
        ("erf", 0.9, 1.0),
        ("erf", 1.1, 0.55),
        ("tanh", 1.3, 0.7),
        ("gelu", 1.36, 1.0),
    ],
)
def test_newton_takes_at_most_10_steps(x64, activation, sigma_w, sigma_u):
    """Up to chi_1 = 0.98; parallel, opposite and nearly equal inputs included."""
    scales = {"activation": activation, "sigma_w": sigma_w, "sigma_u": sigma_u}
    x = np.concatenate([X, points(40)])
    variances, pairs, chi1 = steps_of(zoo.DEQ(width=1, **scales), x)
    assert variances <= 10 and pairs <= 10
    assert chi1 < 0.981
    assert sigma_w < 1.3 or chi1 > 0.8


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ({"activation": "tanh", "sigma_w": 1.5, "sigma_u": 0.3}, r"chi_1 = 1\.\d"),
        ({"activation": "relu", "sigma_w": 1.5}, "chi_1 = 1.125"),
        ({"activation": "relu", "sigma_w": 2**0.5}, "chi_1 = 1 "),
    ],
)
def test_ill_posed_limits_are_refused_with_the_value(scales, message):
    """The variance of the first converges all the same, and a kernel with it."""
    net = zoo.DEQ(width=1, **scales)
    for kernel in (kernel_matrix, lambda net, x: zoo.kernel_fn(net)(jnp.asarray(x))):
        with pytest.raises(ValueError, match=f"not well posed.*{message}"):
            kernel(net, X)
    traced = jax.jit(lambda x: zoo.kernel_fn(net)(x))(jnp.asarray(X, jnp.float32))
    assert np.isnan(traced).any()


def test_an_input_of_zeros_has_a_kernel_of_zeros():
    found = kernel_matrix(zoo.DEQ(width=1), np.zeros((2, 3)), get=("nngp", "ntk"))
    np.testing.assert_array_equal(np.stack(found), 0.0)


def test_one_ill_posed_input_costs_its_pairs_alone(x64):
    """tanh: a small input lies in the steep part, a large one does not."""
    net = zoo.DEQ(width=1, activation="tanh", sigma_w=1.05, sigma_u=1.0)
    x = np.array([[1.0, 0.5], [0.01, 0.0], [0.3, -1.0]])
    found = np.isnan(jax.jit(lambda x: zoo.kernel_fn(net)(x))(jnp.asarray(x)))
    bad = np.array([False, True, False])
    np.testing.assert_array_equal(found, bad[:, None] | bad[None])


def test_images_are_refused_likewise():
    with pytest.raises(ValueError, match=r"not well posed.*chi_1 = 1\.\d+"):
        kernel_matrix(ConvDEQ(width=1, sigma_w=1.6), drawn(2, 4, 4, 1))


def test_cell_and_injection_must_end_in_weights():
    relu, dense = Nonlinear("relu"), Dense(4, 0.5)
    for name, cell, inject in (
        ("cell", Serial(dense, relu), dense),
        ("inject", Serial(relu, dense), Serial(dense, relu)),
    ):
        with pytest.raises(ValueError, match=f"its {name} has to end"):
            kernel_matrix(VectorRoot(Equilibrium(cell, inject), (dense,)), X)


def test_shares_of_the_parameters_add_up():
    """Frozen groups leave the NTK; the shares are those of the closed form."""
    sw, su, sb, sv = 0.8, 1.2, 0.3, 1.1
    parts = {}
    for group in ("", "W", "U", "v"):
        cell = Serial(Nonlinear("relu"), Dense(4, sw, trained=group in ("", "W")))
        inject = Dense(4, su, sb, trained=group in ("", "U"))
        read = (Nonlinear("relu"), Dense(1, sv, trained=group in ("", "v")))
        net = VectorRoot(Equilibrium(cell, inject), read)
        parts[group] = kernel_matrix(net, X[:7], get=("nngp", "ntk"))
    total = sum(parts[group].ntk for group in "WUv")
    np.testing.assert_allclose(total, parts[""].ntk, rtol=1e-10)
    F = parts[""].nngp / sv**2
    s = su**2 * X[:7] @ X[:7].T / 5 + sb**2
    S = sw**2 * F + s
    a = np.diag(S)
    _, K = relu_moments(S, *np.meshgrid(a, a, indexing="ij"))
    B = K / (1 - sw**2 * K)
    for group, want in (("v", F), ("W", B * sw**2 * F), ("U", B * s)):
        np.testing.assert_allclose(parts[group].ntk, sv**2 * want, rtol=1e-7)


@pytest.mark.parametrize("activation", ["relu"])
def test_derivatives_by_inputs_and_scales(x64, monkeypatch, activation):
    """First by both modes and second, against differences; no NaN at equal inputs."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x = jnp.asarray(np.concatenate([X[:4], X[:1]]))
    weight = jnp.cos(jnp.arange(50.0).reshape(2, 5, 5))
    names = ("sigma_w", "sigma_u", "sigma_b", "sigma_v")

    def f(scales, x):
        net = zoo.DEQ(
            width=1, activation=activation, **dict(zip(names, scales, strict=True))
        )
        found = zoo.kernel_fn(net)(x, get=("nngp", "ntk"))
        return jnp.sum(weight * jnp.stack(found))

    # The last input is the first one, moved along with it: no pair leaves a kink.
    moves = jnp.asarray(drawn(4, 5, seed=1))
    direction = jnp.concatenate([moves, moves[:1]])
    scales = jnp.array([0.8, 1.1, 0.3, 1.2])

    def along(t):
        return f(scales + t * jnp.array([1.0, -0.5, 0.7, 0.3]), x + t * direction)

    zero, h = jnp.zeros(()), 1e-5
    slope = jax.jit(jax.grad(along))
    first = (along(h) - along(-h)) / (2 * h)
    second = (slope(h) - slope(-h)) / (2 * h)
    np.testing.assert_allclose(slope(zero), first, rtol=1e-6)
    np.testing.assert_allclose(jax.jacfwd(along)(zero), slope(zero), rtol=1e-10)
    np.testing.assert_allclose(jax.jacfwd(jax.grad(along))(zero), second, rtol=1e-5)
    by_input = jax.grad(f, 1)(scales, x)
    assert np.isfinite(by_input).all()

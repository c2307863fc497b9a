"""Gao, Huo, Liu & Gao 2023: wide equilibria are Gaussian processes.

"Wide Neural Networks as Gaussian Processes: Lessons from Deep Equilibrium Models".
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import stats

from zoo.gap.equilibria import limit_chi
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.precision import float64
from zoo.layers import Serial, input_kernel
from zoo.layers.kernel_roots import apply_cell
from zoo.models import GaoGaussianDEQ
from zoo.theory.claims import (
    Arrays,
    AtLeast,
    Axes,
    Claim,
    Curve,
    Equals,
    Figure,
    Measurement,
    Paper,
)
from zoo.theory.implicit import root
from zoo.theory.powers import exponents
from zoo.theory.runs import by_seed, sweep

SETUP = """
h_1 = tanh(U x), h_l = tanh(W h_{l-1} + U x), f = V h, or h = h* = tanh(W h* + U x):
W_ij ~ N(0, 0.6^2 / m), U_ij ~ N(0, 1 / d), V_i ~ N(0, 1 / m). Nothing is trained. The
untied network has its own W in every layer. G_l = h_l^T h_l / m is the covariance of f
given W and U, Sigma_l its limit of infinite width at depth l, and Sigma* that of
infinite depth: Sigma_l = E tanh tanh of N(0, S_l), S_{l+1} = 0.6^2 Sigma_l + x . x' /
d. Data: fixed points, uniform on the sphere of radius sqrt(d), d = 10. The scales are
those of the paper's experiments, outside of its condition 2 sigma_w < 1.

The paper compares covariances over 100 networks; here the covariance given W and U,
over which the networks would be averaged, is compared network by network.
"""

SIGMA_W, D = 0.6, 10
# E sqrt(N) sup |F_N - F| of N samples of F itself, as N grows (Kolmogorov).
KOLMOGOROV = float(np.sqrt(np.pi / 2) * np.log(2))


def points(n: int, seed: int = 0) -> Float[np.ndarray, "n d"]:
    """Uniform on the sphere of radius sqrt(d)."""
    x = np.random.default_rng(seed).standard_normal((n, D))
    return x * D**0.5 / np.linalg.norm(x, axis=1, keepdims=True)


def limit_grams(x: Float[np.ndarray, "n d"], depth: int) -> np.ndarray:
    """Sigma_1, ..., Sigma_depth, [depth, n, n]."""
    layers = GaoGaussianDEQ(1, sigma_w=SIGMA_W).layers()
    equilibrium: Any = layers.layers[0]
    read = Serial(*layers.layers[1:])

    def all_depths(x: jax.Array) -> jax.Array:
        u = equilibrium.inject.limit(input_kernel(x, None, True))

        def step(state: tuple, _: None) -> tuple:
            k = u.replace(nngp=state[0], cov1=state[1])
            out = apply_cell(equilibrium.cell, k)
            return (out.nngp + u.nngp, out.cov1 + u.cov1), read.limit(k).nngp

        return jax.lax.scan(step, (u.nngp, u.cov1), None, length=depth)[1]

    with float64():
        return np.asarray(jax.jit(all_depths)(np.asarray(x, np.float64)))


def draw(
    key: jax.Array, m: int, sigma_w: float, symmetric: bool
) -> tuple[jax.Array, jax.Array]:
    """W and U."""
    for_W, for_U = jax.random.split(key)
    W = jax.random.normal(for_W, (m, m)) * sigma_w * m**-0.5
    W = (W + W.T) * 2**-0.5 if symmetric else W
    return W, jax.random.normal(for_U, (m, D)) * D**-0.5


def measure_covariance(
    widths: tuple[int, ...],
    seeds: int,
    n: int,
    depth: int,
    sigma_w: float = SIGMA_W,
    symmetric: bool = False,
) -> dict[str, np.ndarray]:
    """Covariances of tied, untied and infinitely deep networks beside their limits.

    Returns:
        widths [w], depths [l], chi1; error of G* to Sigma*, untied of G_depth to it,
        apart of both [s, w]; over_depths |G_l - Sigma_l| / |Sigma_l| and lacking
        |h_l - h*| / |h*| [s, w, l].
    """
    x, chi1 = points(n), limit_chi(GaoGaussianDEQ(1, sigma_w=SIGMA_W), points(n))
    limits = limit_grams(x, depth + 30)
    sigma = jnp.asarray(limits, jnp.float32)
    size = jnp.linalg.norm(sigma[-1])

    def at(m: int) -> dict[str, np.ndarray]:
        def measure(key: jax.Array) -> dict[str, jax.Array]:
            W, U = draw(key, m, sigma_w, symmetric)
            u = U @ jnp.asarray(x, jnp.float32).T
            equilibrium = root(jnp.tanh, W, u)

            def tied(h: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
                h = jnp.tanh(W @ h + u)
                return h, h

            def untied(h: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
                W, _ = draw(key, m, sigma_w, symmetric)
                return jnp.tanh(W @ h + u), None

            zero, keys = jnp.zeros_like(u), jax.random.split(jax.random.fold_in(key, 1))
            _, h = jax.lax.scan(tied, zero, None, length=depth)
            last, _ = jax.lax.scan(untied, zero, jax.random.split(keys[0], depth))
            grams, gram, other = (z.mT @ z / m for z in (h, equilibrium, last))
            off = jnp.linalg.norm(grams - sigma[:depth], axis=(1, 2))
            return {
                "error": jnp.linalg.norm(gram - sigma[-1]) / size,
                "untied": jnp.linalg.norm(other - sigma[-1]) / size,
                "apart": jnp.linalg.norm(gram - other) / size,
                "over_depths": off / jnp.linalg.norm(sigma[:depth], axis=(1, 2)),
                "lacking": jnp.linalg.norm(h - equilibrium[None], axis=(1, 2))
                / jnp.linalg.norm(equilibrium),
            }

        return by_seed(measure, seeds, m, together=1)

    depths = np.arange(1, depth + 1)
    found = {"widths": np.asarray(widths), "depths": depths, "chi1": np.asarray(chi1)}
    return found | sweep(widths, at)


def measure_outputs(
    width: int, seeds: int, networks: int, n: int, sigma_w: float = SIGMA_W
) -> dict[str, np.ndarray]:
    """Outputs of many networks, summed over points with random weights c.

    Returns:
        outputs c . f / (c^T Sigma* c)^1/2, [s, networks].
    """
    x = points(n)
    sigma = kernel_matrix(GaoGaussianDEQ(1, sigma_w=SIGMA_W), x, get="nngp")
    factor = jnp.asarray(np.linalg.cholesky(sigma), jnp.float32)

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        for_c, for_nets = jax.random.split(key)
        c = jax.random.normal(for_c, (n,))

        def one(key: jax.Array) -> jax.Array:
            for_V, for_rest = jax.random.split(key)
            W, U = draw(for_rest, width, sigma_w, False)
            h = root(jnp.tanh, W, U @ jnp.asarray(x, jnp.float32).T)
            V = jax.random.normal(for_V, (width,)) * width**-0.5
            return V @ h @ c / jnp.linalg.norm(factor.T @ c)

        keys = jax.random.split(for_nets, networks)
        return {"outputs": jax.lax.map(one, keys, batch_size=10)}

    return by_seed(measure, seeds, width, together=1)


def distances(outputs: Float[np.ndarray, "s N"]) -> np.ndarray:
    """sqrt(N) sup |F_N - F|, F that of N(0, 1), of every seed.

    With the correction of Stephens (1970) for a finite N.
    """
    found = [
        stats.kstest(each, "norm").statistic if np.isfinite(each).all() else np.nan
        for each in outputs
    ]
    unit = np.sqrt(outputs.shape[1])
    return (unit + 0.12 + 0.11 / unit) * np.asarray(found)


def measure_definite(draws: int, n: int, antipodes: bool = False) -> dict:
    """The smallest eigenvalue of Sigma* over draws of distinct points.

    Args:
        draws: how many.
        n: points; the second is twice the first, which is distinct.
        antipodes: the second is the first, negative; tanh is odd.

    Returns:
        smallest [s], in units of the mean of the eigenvalues.
    """
    x = np.stack([points(n, 1 + i) for i in range(draws)])
    x[:, 1] = -x[:, 0] if antipodes else 2 * x[:, 0]
    net = GaoGaussianDEQ(1, sigma_w=SIGMA_W)
    whole = kernel_matrix(net, x.reshape(-1, D), get="nngp")
    blocks = [whole[i : i + n, i : i + n] for i in range(0, draws * n, n)]
    values = np.stack([np.linalg.eigvalsh(block) for block in blocks])
    return {"smallest": values[:, 0] / values.mean(axis=1)}


def factors(arrays: Arrays) -> np.ndarray:
    """By which |h_l - h*| falls per layer, of the widest networks, [s]."""
    depths, lacking = arrays["depths"], arrays["lacking"][:, -1]
    return np.exp(np.polyfit(depths[1:], np.log(lacking[:, 1:]).T, 1)[0])


COVARIANCE = Measurement(
    "covariance",
    measure_covariance,
    {
        "smoke": {"widths": (32, 512), "seeds": 16, "n": 4, "depth": 6},
        "default": {
            "widths": (32, 64, 128, 256, 512, 1024),
            "seeds": 24,
            "n": 6,
            "depth": 8,
        },
        "paper": {
            "widths": (32, 64, 128, 256, 512, 1024, 2048, 4096),
            "seeds": 100,
            "n": 10,
            "depth": 10,
        },
    },
    seconds=14.0,
)
OUTPUTS = Measurement(
    "outputs",
    measure_outputs,
    {
        "smoke": {"width": 48, "seeds": 60, "networks": 60, "n": 3},
        "default": {"width": 128, "seeds": 48, "networks": 150, "n": 4},
        "paper": {"width": 1000, "seeds": 40, "networks": 1000, "n": 4},
    },
    seconds=6.0,
)
DEFINITE = Measurement(
    "definite",
    measure_definite,
    {
        "smoke": {"draws": 4, "n": 6},
        "default": {"draws": 12, "n": 24},
        "paper": {"draws": 20, "n": 100},
    },
    seconds=2.0,
)


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """Width and depth, and the distribution of outputs."""
    out = []
    if "covariance" in found:
        out.append(_covariance_figure(found["covariance"]))
    if "outputs" in found:
        f = np.sort(found["outputs"]["outputs"].ravel())
        some = np.linspace(0, len(f) - 1, 200).astype(int)
        measured = Curve("networks", f[some], (some + 0.5) / len(f))
        exact = Curve("N(0, 1)", f[some], stats.norm.cdf(f[some]), "dashed", True)
        out.append(
            Figure(
                "outputs",
                "The distribution of outputs, standardized by Sigma*, over networks.",
                [
                    Axes(
                        "outputs",
                        "c . f / (c^T Sigma* c)^1/2",
                        "share below",
                        [measured, exact],
                        log_x=False,
                        log_y=False,
                    )
                ],
            )
        )
    return out


def _covariance_figure(a: Arrays) -> Figure:
    m, depths = a["widths"], a["depths"]
    guide = a["error"].mean(axis=0)[0] * (m / m[0]) ** -0.5
    rate = np.sqrt(a["chi1"]) ** (depths - 1.0)
    start = a["lacking"].mean(axis=0)[-1, 0]
    some = range(0, len(m), max(1, len(m) // 3))
    named = [("equilibrium", "error"), ("untied", "untied"), ("difference", "apart")]
    return Figure(
        "covariance",
        "Left: covariances of networks approach that of the Gaussian process, whether "
        "weights are tied or not. Middle: they do at every depth alike, by which the "
        "limits of width and depth commute. Right: layers approach the equilibrium.",
        [
            Axes(
                "infinite depth",
                "width m",
                "|G - Sigma*|_F / |Sigma*|_F",
                [
                    *(Curve(label, m, a[name]) for label, name in named),
                    Curve("m^-1/2", m, guide, "dashed", True),
                ],
            ),
            Axes(
                "every depth",
                "depth l",
                "|G_l - Sigma_l|_F / |Sigma_l|_F",
                [Curve(f"m = {m[i]}", depths, a["over_depths"][:, i]) for i in some],
                log_x=False,
            ),
            Axes(
                "depth",
                "depth l",
                "|h_l - h*| / |h*|",
                [
                    *(Curve(f"m = {m[i]}", depths, a["lacking"][:, i]) for i in some),
                    Curve("chi_1^(l/2)", depths, start * rate, "dashed", True),
                ],
                log_x=False,
            ),
        ],
    )


PAPER = Paper(
    "gao2023",
    "Gao, Huo, Liu & Gao 2023, Wide Neural Networks as Gaussian Processes: Lessons "
    "from Deep Equilibrium Models",
    SETUP,
    (
        Claim(
            "covariance",
            "The covariance of the equilibrium network approaches that of the process.",
            "slope of log |G* - Sigma*|_F / |Sigma*|_F against log m",
            Equals(-0.5),
            "section 5: the squared error falls as 1 / m",
            "paper",
            COVARIANCE,
            lambda a: exponents(a["widths"], a["error"]),
        ),
        Claim(
            "tied",
            "Networks of tied and of untied weights have the same limit.",
            "slope of log |G* - G_untied|_F / |Sigma*|_F against log m",
            Equals(-0.5),
            "the recursion of Theorem 4.4 is that of untied weights",
            "derived",
            COVARIANCE,
            lambda a: exponents(a["widths"], a["apart"]),
        ),
        Claim(
            "commute",
            "The limits of depth and width commute: the error of width vanishes at "
            "every depth alike.",
            "slope of log max_l |G_l - Sigma_l|_F / |Sigma_l|_F against log m",
            Equals(-0.5),
            "Theorem 4.4; the exponent as that of the covariance",
            "derived",
            COVARIANCE,
            lambda a: exponents(a["widths"], a["over_depths"].max(axis=-1)),
        ),
        Claim(
            "depth",
            "Layers approach the equilibrium geometrically, by chi_1^1/2 a layer.",
            "factor of |h_l - h*| per layer / chi_1^1/2, widest networks",
            Equals(1.0),
            "section 5: depth error falls geometrically; the factor is the spectral "
            "radius of sigma_w m^-1/2 W diag(phi')",
            "derived",
            COVARIANCE,
            lambda a: factors(a) / np.sqrt(a["chi1"]),
        ),
        Claim(
            "gaussian",
            "Outputs over networks are Gaussian, of covariance Sigma*, at all points "
            "together.",
            "sqrt(N) sup |F_N - F| of N networks' c . f, mean over random c",
            Equals(KOLMOGOROV),
            "Theorem 4.4; the mean of Kolmogorov's distribution, (pi/2)^1/2 log 2",
            "paper",
            OUTPUTS,
            lambda a: distances(a["outputs"]),
        ),
        Claim(
            "definite",
            "Sigma* is strictly positive definite for distinct points.",
            "lambda_min(Sigma*) over the mean eigenvalue",
            AtLeast(1e-6),
            "Theorem 4.5; not of x and -x, for tanh is odd, nor of parallel inputs of "
            "relu without biases",
            "paper",
            DEFINITE,
            lambda a: a["smallest"],
        ),
    ),
    figures,
)

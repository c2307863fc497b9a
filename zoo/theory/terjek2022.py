"""Terjek & Gonzalez-Sanchez 2022: "A framework for overparameterized learning"."""

from collections.abc import Callable

import numpy as np

from zoo.theory.claims import (
    Arrays,
    AtLeast,
    AtMost,
    Claim,
    Equals,
    Paper,
)
from zoo.theory.powers import exponents
from zoo.theory.terjek2022_data import log_ratio
from zoo.theory.terjek2022_figures import figures
from zoo.theory.terjek2022_init import distance, spread
from zoo.theory.terjek2022_sizes import (
    DEPENDENCE,
    LABELS,
    MOMENTS,
    RATES,
    SPECTRUM,
    STANDARD,
    TRAINING,
)
from zoo.theory.terjek2022_train import excess, late_rate

SETUP = """
f(x) = sigma_w V h_D / sqrt(m) + sigma_b c, h_l = phi(sigma_w W_l h_{l-1} / sqrt(n_l) +
sigma_b b_l), h_0 = x, D = 2 hidden layers of m units, all entries N(0, 1), all layers
trained, sigma_w = 1.5, sigma_b = 0.1, phi = erf unless said otherwise. Gradient descent
on L = 1/(2n) sum_i (f(x_i) - y_i)^2, at half of the critical rate 2 n / lambda_max of
the tangent kernel Theta_0 at initialization, in float64. Data: n points, uniform on the
sphere of radius sqrt(d), d = 10, with a cubic polynomial as target. f_lin is the
network linearized at its initialization, of the same initial outputs and the same
steps, in closed form from the spectrum of Theta_0; theta_lin is where that one ends,
the solution nearest to theta_0.

Learning rates: float32, 32 steps at rates that are a sixth of an octave apart; an edge
is where the loss first exceeds its start, the best rate that of the smallest last loss.
Dependence: points drawn anew for each seed; bounds are those of the infinitely wide
network. Moments: x = sqrt(d) r u with u uniform on the unit sphere, log r normal of
standard deviation 0, 0.35 and 0.7 and scaled so that the mean of r^2 is 1; random
signs as labels; phi = gelu, which does not saturate; trained until the slowest residual
of f_lin is e^-3 of its start. Labels: handwritten digits of norm 1, signs of parity or
random signs; relu, 2 hidden layers, sigma_w = sqrt(2), no biases; Theta = (Theta_NTK +
Sigma_NNGP) / 2 in units where Sigma(x, x) = 1, as Cao & Gu define it; L = 3.

Of the paper its abstract and introduction were read. The architecture is reconstructed,
and the inequalities with constants are those of the standard argument for a Lipschitz
gradient and a Polyak-Lojasiewicz inequality, not the paper's own. The paper allows any
smooth loss with such an inequality, and a population; here: the square, on a sample.
"""


def _slope(name: str) -> Callable[[Arrays], np.ndarray]:
    return lambda a: exponents(a["widths"], a[name])


def _wide(name: str, least: int = 256) -> Callable[[Arrays], np.ndarray]:
    """Exponent over the widths from `least` on, or the last two."""

    def slope(a: Arrays) -> np.ndarray:
        first = min(np.searchsorted(a["widths"], least), len(a["widths"]) - 2)
        return exponents(a["widths"][first:], a[name][:, first:])

    return slope


CATAPULT = (
    "What transfers is the critical rate, and that every rate below it is stable, at "
    "any width. Beyond it the kernel shrinks until the rate is stable again, in narrow "
    "networks before the loss exceeds its start: the edge falls from 1.5 critical ones "
    "at m = 64 to 1.1 at m = 1024, and the best rate a little."
)
TEMPLATE = "the standard argument from a Polyak-Lojasiewicz inequality"
CLAIMS = (
    Claim(
        "spread",
        "The smallest eigenvalue of the tangent kernel concentrates.",
        "slope of log sd of lambda_min(Theta_0) over seeds against log m",
        Equals(-0.5),
        "abstract (the assumption); exponent: the kernel is a mean over units",
        "derived",
        SPECTRUM,
        lambda a: exponents(a["widths"], spread(a)),
    ),
    Claim(
        "limit",
        "It concentrates at that of the infinitely wide network.",
        "slope of log rms of lambda_min(Theta_0) - lambda_min(Theta_inf) over seeds "
        "against log m",
        Equals(-0.5),
        "the kernel is a mean over units",
        "derived",
        SPECTRUM,
        lambda a: exponents(a["widths"], distance(a)),
    ),
    Claim(
        "positive",
        "A wide network's smallest eigenvalue is away from zero.",
        "lambda_min(Theta_0) / lambda_min(Theta_inf) at the largest m",
        AtLeast(0.5),
        "abstract: the one assumption that is not mild; half of it suffices",
        "restated",
        SPECTRUM,
        lambda a: a["low"][:, -1] / a["limit_low"],
    ),
    Claim(
        "kernel",
        "The tangent kernel itself is at a distance m^-1/2 from its limit.",
        "slope of log |Theta_0 - Theta_inf|_F / |Theta_inf|_F against log m",
        Equals(-0.5),
        "the kernel is a mean over units",
        "derived",
        SPECTRUM,
        _slope("distance"),
    ),
    Claim(
        "points",
        "The smallest eigenvalue falls as points are added.",
        "largest log lambda_min(Theta_0 on n' points) / lambda_min(on n of them), of "
        "neighbouring n < n'",
        AtMost(0.0),
        "Cauchy's interlacing",
        "derived",
        DEPENDENCE,
        lambda a: np.diff(np.log(a["by_count"])).max(axis=1),
    ),
    Claim(
        "depth",
        "It grows with depth at least as Schur's product theorem has it.",
        "least over depths L of lambda_min(Theta_0) / (lambda_min(Theta_inf of depth "
        "L - 1) sigma_w^2 min_i E phi'(u_i)^2)",
        AtLeast(1.0),
        "Theta_L = K_L + sigma_w^2 K'_L o Theta_{L-1}, all positive semidefinite",
        "derived",
        DEPENDENCE,
        lambda a: (a["by_depth"] / a["depth_bound"]).min(axis=1),
    ),
    Claim(
        "activation",
        "It is at least what one degree of the activation's Hermite series gives.",
        "least over activations of lambda_min(Theta_0) / max_k sigma_w^2 (1 + k) a_k^2 "
        "lambda_min(rho^k), one hidden layer",
        AtLeast(1.0),
        "Theta = sigma_b^2 + sigma_w^2 sum_k (1 + k) a_k^2 rho^k on the sphere",
        "derived",
        DEPENDENCE,
        lambda a: (a["by_activation"] / a["activation_bound"]).min(axis=1),
    ),
    Claim(
        "guarantee",
        "Gradient descent converges linearly, at least at half of the kernel's rate.",
        "max_{t, m} L_t / (L_0 (1 - eta lambda_min(Theta_0) / (2n))^t)",
        AtMost(1.0),
        TEMPLATE,
        "derived",
        TRAINING,
        lambda a: (a["loss"] / a["allowed"])[..., 1:].max(axis=(1, 2)),
    ),
    Claim(
        "half",
        "The late rate is at least half of what lambda_min(Theta_0) gives.",
        "least over m of late -d log L / dt over -2 log(1 - eta lambda_min / n)",
        AtLeast(0.5),
        TEMPLATE,
        "derived",
        TRAINING,
        lambda a: (late_rate(a) / a["decay"]).min(axis=1),
    ),
    Claim(
        "rate",
        "In a wide network the late rate is that of lambda_min(Theta_0).",
        "late -d log L / dt over -2 log(1 - eta lambda_min / n) at the largest m",
        Equals(1.0),
        "P2.1: the kernel does not move in the limit",
        "derived",
        TRAINING,
        lambda a: (late_rate(a) / a["decay"])[:, -1],
    ),
    Claim(
        "grows",
        "The rate does not fall with width.",
        "slope of log of the late rate against log m",
        AtLeast(0.0),
        "abstract: constants improve with width",
        "restated",
        TRAINING,
        lambda a: exponents(a["widths"], late_rate(a)),
    ),
    Claim(
        "saturates",
        "It saturates at the rate of the infinitely wide network.",
        "late rate at the largest m over that of Theta_inf",
        Equals(1.0),
        "lambda_min(Theta_0) tends to lambda_min(Theta_inf)",
        "derived",
        TRAINING,
        lambda a: late_rate(a)[:, -1] / a["limit_decay"],
    ),
    Claim(
        "kept",
        "The kernel keeps half of its smallest eigenvalue along training.",
        "min_{t, m} lambda_min(Theta_t) / lambda_min(Theta_0)",
        AtLeast(0.5),
        TEMPLATE,
        "derived",
        TRAINING,
        lambda a: a["low"].min(axis=(1, 2)),
    ),
    Claim(
        "radius",
        "Parameters stay in the ball of the argument.",
        "max_{t, m} |theta_t - theta_0| lambda_min / (4 lambda_max^1/2 |f_0 - y|)",
        AtMost(1.0),
        "the sum of a geometric series of steps",
        "derived",
        TRAINING,
        lambda a: (a["moved"].max(axis=2) / a["radius"]).max(axis=1),
    ),
    Claim(
        "nearest",
        "Implicit regularization: the distance gone tends to that of the nearest "
        "solution of the linearized network.",
        "slope of log rms over seeds of |theta_T - theta_0| / |J_0^+ (y - f_0)| - 1 "
        "against log m",
        AtMost(-0.5),
        "P2.3, from a derivative that is Lipschitz with a constant O(m^-1/2)",
        "derived",
        TRAINING,
        lambda a: exponents(a["widths"], excess(a)),
    ),
    Claim(
        "solution",
        "The solution found tends to that nearest one.",
        "slope of log |theta_T - theta_lin| / |theta_lin - theta_0| against log m",
        Equals(-0.5),
        "J_t - J_0 is of relative size m^-1/2",
        "derived",
        TRAINING,
        lambda a: exponents(a["widths"], a["off"] / a["least"]),
    ),
    Claim(
        "lazy",
        "Lazy training: outputs are those of the linearized network.",
        "slope of log sup_t |f_t - f_lin,t| against log m",
        AtMost(-0.5),
        "P2.4",
        "derived",
        TRAINING,
        lambda a: exponents(a["widths"], a["lazy"].max(axis=2)),
    ),
    Claim(
        "drift",
        "Lazy training: the kernel does not move.",
        "slope of log sup_t |Theta_t - Theta_0| / |Theta_0| against log m",
        AtMost(-0.5),
        "P2.4",
        "derived",
        TRAINING,
        lambda a: exponents(a["widths"], a["drift"].max(axis=2)),
    ),
    Claim(
        "edge",
        "The largest learning rate transfers between widths.",
        "slope of log of the largest rate without growth of the loss against log m, "
        "m >= 256",
        Equals(0.0),
        "P2.5",
        "derived",
        RATES,
        _wide("edge"),
        CATAPULT,
    ),
    Claim(
        "critical",
        "So does the critical rate of the tangent kernel.",
        "slope of log 2 n / lambda_max(Theta_0) against log m, m >= 256",
        Equals(0.0),
        "P2.5",
        "derived",
        RATES,
        _wide("critical"),
    ),
    Claim(
        "stable",
        "Every rate below the critical one is stable.",
        "least over m of the largest rate / (2 n / lambda_max(Theta_0))",
        AtLeast(1.0),
        "gradient descent on the linearized network",
        "derived",
        RATES,
        lambda a: (a["edge"] / a["critical"]).min(axis=1),
    ),
    Claim(
        "best",
        "The best learning rate transfers between widths.",
        "slope of log argmin_eta L_T against log m",
        Equals(0.0),
        "P2.5",
        "derived",
        RATES,
        _slope("best"),
        CATAPULT,
    ),
    Claim(
        "standard",
        "In the standard parameterization it does not: the rate falls as 1 / m.",
        "slope of log of the largest rate without growth of the loss against log m",
        Equals(-1.0),
        "P2.5: the kernel grows as m",
        "derived",
        STANDARD,
        _slope("edge"),
    ),
    Claim(
        "labels",
        "The bound of the test error tells true labels from random ones.",
        "bound of true labels / bound of random labels",
        AtMost(1.0),
        "Cao & Gu 2019, the bound by the kernel of the labels",
        "paper",
        LABELS,
        lambda a: a["bound"][:, 0] / a["bound"][:, 1],
    ),
    Claim(
        "true",
        "The bound holds for true labels, with 1 for its hidden constant and without "
        "its second term.",
        "share of test errors / (L (y^T Theta^-1 y / n)^1/2)",
        AtMost(1.0),
        "Cao & Gu 2019, the bound by the kernel of the labels",
        "paper",
        LABELS,
        lambda a: (a["error"] / a["bound"])[:, 0],
    ),
    Claim(
        "random",
        "The bound holds for random labels.",
        "share of test errors / (L (y^T Theta^-1 y / n)^1/2)",
        AtMost(1.0),
        "Cao & Gu 2019, the bound by the kernel of the labels",
        "paper",
        LABELS,
        lambda a: (a["error"] / a["bound"])[:, 1],
    ),
    Claim(
        "conditioning",
        "Heavy tails, at the same second moment, make the kernel worse conditioned.",
        "log of n lambda_min / trace of Theta_0, heavy tails over sphere, two layers",
        AtMost(0.0),
        "abstract: constants depend on even moments of the data",
        "restated",
        MOMENTS,
        lambda a: log_ratio(a, "share")[:, 1],
    ),
    Claim(
        "layers",
        "The more so, the deeper the network.",
        "that of the deepest network minus that of one hidden layer",
        AtMost(0.0),
        "abstract: up to an order set by the number of layers",
        "restated",
        MOMENTS,
        lambda a: log_ratio(a, "share")[:, -1] - log_ratio(a, "share")[:, 0],
    ),
    Claim(
        "concentration",
        "They take more width for lambda_min(Theta_0) to concentrate.",
        "log of |Theta_0 - Theta_inf|_2 / lambda_min(Theta_inf), heavy tails over "
        "sphere, two layers",
        AtLeast(0.0),
        "abstract: constants depend on even moments of the data",
        "restated",
        MOMENTS,
        lambda a: log_ratio(a, "start")[:, 1],
    ),
    Claim(
        "width",
        "They take more width for training to be lazy.",
        "log of |Theta_T - Theta_0|_2 / lambda_min(Theta_0), heavy tails over sphere, "
        "two layers",
        AtLeast(0.0),
        "abstract: constants depend on even moments of the data",
        "restated",
        MOMENTS,
        lambda a: log_ratio(a, "drift")[:, 1],
    ),
)

PAPER = Paper(
    "terjek2022",
    "Terjek & Gonzalez-Sanchez 2022, A Framework for Overparameterized Learning",
    SETUP,
    CLAIMS,
    figures,
)

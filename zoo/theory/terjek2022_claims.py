"""Terjek & Gonzalez-Sanchez 2022: what is claimed."""

from collections.abc import Callable

import numpy as np

from zoo.theory.claims import Arrays, AtLeast, AtMost, Claim, Equals
from zoo.theory.powers import exponents
from zoo.theory.terjek2022_data import log_ratio
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
    "networks before the loss exceeds its start: their edge lies further above the "
    "critical rate, and the best rate a little."
)
LIPSCHITZ = "derived: the derivative is Lipschitz with a constant O(m^-1/2)"
VACUOUS = "at this size the bound exceeds 1, and no share of errors does"
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
        certain="interlacing holds of any matrix",
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
        "derived: the kernel does not move in the limit",
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
        LIPSCHITZ,
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
        LIPSCHITZ,
        "derived",
        TRAINING,
        lambda a: exponents(a["widths"], a["lazy"].max(axis=2)),
    ),
    Claim(
        "drift",
        "Lazy training: the kernel does not move.",
        "slope of log sup_t |Theta_t - Theta_0| / |Theta_0| against log m",
        AtMost(-0.5),
        LIPSCHITZ,
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
        "derived: Theta_0 tends to Theta_inf, and with it 2 n / lambda_max",
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
        "derived: Theta_0 tends to Theta_inf, and with it 2 n / lambda_max",
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
        "derived: Theta_0 tends to Theta_inf, and with it 2 n / lambda_max",
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
        "derived: the kernel grows as m",
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
        certain=VACUOUS,
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
        certain=VACUOUS,
    ),
    Claim(
        "conditioning",
        "Heavy tails, at the same second moment, make the kernel worse conditioned.",
        "log of n lambda_min / trace of Theta_0, heavy tails over sphere, two layers",
        AtMost(0.0),
        "abstract: constants depend on even moments of the data; the direction derived",
        "derived",
        MOMENTS,
        lambda a: log_ratio(a, "share")[:, 1],
    ),
    Claim(
        "layers",
        "The more so, the deeper the network.",
        "that of the deepest network minus that of one hidden layer",
        AtMost(0.0),
        "abstract: up to an order set by the number of layers; the direction derived",
        "derived",
        MOMENTS,
        lambda a: log_ratio(a, "share")[:, -1] - log_ratio(a, "share")[:, 0],
    ),
    Claim(
        "concentration",
        "They take more width for Theta_0 to concentrate to a share of lambda_min, "
        "which is smaller itself (conditioning).",
        "log of |Theta_0 - Theta_inf|_2 / lambda_min(Theta_inf), heavy tails over "
        "sphere, two layers",
        AtLeast(0.0),
        "abstract: constants depend on even moments of the data; the direction derived",
        "derived",
        MOMENTS,
        lambda a: log_ratio(a, "start")[:, 1],
    ),
    Claim(
        "width",
        "They take more width for Theta to move by a share of lambda_min alone, which "
        "is smaller itself (conditioning).",
        "log of |Theta_T - Theta_0|_2 / lambda_min(Theta_0), heavy tails over sphere, "
        "two layers",
        AtLeast(0.0),
        "abstract: constants depend on even moments of the data; the direction derived",
        "derived",
        MOMENTS,
        lambda a: log_ratio(a, "drift")[:, 1],
    ),
)

"""Allen-Zhu, Li & Song 2018: "A Convergence Theory for Deep Learning ..."."""

import numpy as np

from zoo.theory.allenzhu2018_ball import DIRECTIONS
from zoo.theory.allenzhu2018_claims import CLAIMS
from zoo.theory.allenzhu2018_sizes import NETWORKS
from zoo.theory.allenzhu2018_smooth import figure as smoothness
from zoo.theory.claims import Arrays, Axes, Curve, Figure, Paper

SETUP = """
Fully connected: h_0 = relu(A x), h_l = relu(W_l h_{l-1}) for l = 1 .. L, f = B h_L, no
biases, A_ij and (W_l)_ij ~ N(0, 2/m), B_ij ~ N(0, 1/k) for width m and k outputs; L = 2
unless said otherwise. tau-ResNet: h_l = relu(h_{l-1} + tau W_l h_{l-1}) for l < L, h_L
= relu(W_L h_{L-1}), tau = 1 / L, L = 3. Convolutional: A and W_1 are convolutions of m
channels and 3 x 3 patches with entries N(0, 2/(9 m)), W_2 is fully connected from all
positions, with entries N(0, 2/m). A and B are frozen; W_1 .. W_L are trained, in the
standard parameterization.

Gradient descent minimizes the sum F = 1/2 sum_i |f(x_i) - y_i|^2 at eta = c / m, where
c = 2 / (n L) (1 / (2 n L) for the CNN), below half of the critical rate. n = 4 points
at the default size, one output, y = +-1 the parity of a handwritten digit. (The theory
needs a width that is a large power of n; at eight points the rate still rises as m^0.2
for m = 128 .. 1024, for the kernel is not yet that of the limit.) Rates at several c
are of networks drawn apart. Inputs have norm 1 and the last coordinate 2^-1/2; images
for the CNN, 4 x 4 means of the digits, have norm 1 without it. delta is the smallest
distance of two points.

SGD minimizes the mean cross-entropy of ten classes in small batches drawn with
replacement, at a constant rate proportional to 1/m.

Near the initialization, omega is the spectral norm of the change W'_l of every matrix:
0.003 to 0.2, where the lemmas ask for omega below O(L^-9/2 log(m)^-3), which no
computer's width meets with flips to count.
Random: Gaussian entries of variance omega^2 / (4 m). Gradient: a step against the
gradient of F. Adversarial, for flips: layer after layer the smallest matrix that takes
g_r = (W_l h_{l-1})_r to -g_r for as many r as omega allows, at one point. Adversarial,
for the remainder of F: the same in W_L alone, with those r whose flip raises F at the
point of the largest error, starting from a random point of the ball. The remainder
F(W + W') - F(W) - <grad F(W), W'> is read in the two parts of the paper's proof: with
the residual r of f - y, sum_i r_i times what f departs from linear, and the square 1/2
sum_i |f(W + W') - f(W)|_i^2. One output (and ten in the claims on the ball); a network
of its own for every omega. As the theorem has it, as a |W'| + b |W'|^2, it is fitted to
five lengths of W' from omega / 4 to omega, by least squares of R / |W'|, for the same
networks at every omega.

The landscape is that of the fully connected network on 100 digits of ten classes under
SGD with momentum 0.9; the most negative curvature is that of the Hessian's lowest Ritz
vector (Lanczos, from the gradient; the paper uses Oja's method on a smoothed Hessian,
ResNet-32 and VGG-19, and CIFAR-10). ReLU networks are piecewise smooth, and the Hessian
is that of the piece.
"""


def figures(found: dict[str, Arrays]) -> list[Figure]:
    """Convergence, changes with width, stability, deep ResNets, the landscape."""
    out = []
    runs = {k: found[f"descent-{k}"] for k in NETWORKS if f"descent-{k}" in found}
    if runs:
        out.append(_convergence(runs))
    if "descent-fc" in found:
        out.append(_changes(found["descent-fc"]))
    if "perturbation" in found:
        out.append(_stability(found["perturbation"]))
    if "smoothness" in found:
        out.append(smoothness(found["smoothness"]))
    if "growth" in found:
        out.append(_growth(found["growth"]))
    if "landscape" in found:
        out.append(_landscape(found["landscape"]))
    return out


def _convergence(runs: dict[str, Arrays]) -> Figure:
    panels = [
        Axes(
            NETWORKS[kind],
            "step t",
            "F_t / F_0",
            [
                Curve(f"m = {m}", a["times"], a["loss"][:, i] / a["start"][:, i, None])
                for i, m in enumerate(a["widths"])
            ],
            log_x=False,
        )
        for kind, a in runs.items()
    ]
    return Figure(
        "convergence",
        "Gradient descent at eta = c / m: the objective falls linearly, at a rate that "
        "does not depend on the width.",
        panels,
    )


def _power(
    x: np.ndarray, y: np.ndarray, exponent: float, label: str, dash: str = "dotted"
) -> Curve:
    """A guide through the first point of a mean over seeds."""
    line = np.nanmean(y, axis=0)[0] * (np.asarray(x) / x[0]) ** exponent
    return Curve(label, x, line, dash, guide=True)


def _changes(a: Arrays) -> Figure:
    m = a["widths"]
    names = {"moved": "|W(T) - W(0)|", "relative": "over |W(0)|"}
    weights = [Curve(label, m, a[name]) for name, label in names.items()]
    guides = [
        _power(m, a["moved"], -0.5, "m^-1/2", "dashed"),
        _power(m, a["relative"], -1.0, "m^-1"),
    ]
    lazy = [
        Curve("NTK", m, a["kernel"]),
        Curve("derivative of f", m, a["gradient"]),
        _power(m, a["gradient"], -1 / 6, "bound m^-1/6"),
    ]
    return Figure(
        "changes",
        "What training changes, fully connected network. Left: the matrix that moves "
        "most. Right: the NTK and the derivative of the outputs, over their norms.",
        [
            Axes("weights", "width m", "distance", [*weights, *guides]),
            Axes("lazy training", "width m", "relative change", lazy),
        ],
    )


def _stability(a: Arrays) -> Figure:
    omega = a["omegas"]

    def panel(name: str, title: str, y: str, guides: dict[str, tuple]) -> Axes:
        curves = [Curve(d, omega, a[name][:, :, i]) for i, d in enumerate(DIRECTIONS)]
        lines = [
            _power(omega, a[name][:, :, place], power, label, dash)
            for (label, (place, power)), dash in zip(
                guides.items(), ("dotted", "dashed"), strict=False
            )
        ]
        return Axes(title, "omega", y, [*curves, *lines])

    return Figure(
        "stability",
        "Changes of spectral norm omega. The exponents of the paper, 2/3 and 1/3, are "
        "those of an adversary; random matrices and the gradient do better.",
        [
            panel("most", "flips", "max flips", {"2/3": (0, 2 / 3), "1": (1, 1.0)}),
            panel("backward", "backward", "change / m^1/2", {"1/3": (0, 1 / 3)}),
            panel("first", "remainder", "a / (F m)^1/2", {"1/3": (0, 1 / 3)}),
        ],
    )


def _growth(a: Arrays) -> Figure:
    curves = [
        Curve(f"tau = L^-{power:g}", a["depths"], a["square"][:, :, i])
        for i, power in enumerate(a["powers"])
    ]
    return Figure(
        "growth",
        "The last hidden layer of tau-ResNets at initialization.",
        [Axes("tau-ResNet", "depth L", "|h_L|^2", curves, whole=True)],
    )


def _landscape(a: Arrays) -> Figure:
    lengths = a["lengths"][1:]
    here = a["value"].mean(axis=0)[:, None] * np.ones(len(lengths))
    panels = [
        Axes(
            f"epoch {epoch}",
            "distance / |W|",
            "objective",
            [
                Curve("along -gradient", lengths, a["along"][:, i, 0, 1:]),
                Curve(
                    "most negative curvature",
                    lengths,
                    a["along"][:, i, 1, 1:],
                    "dashed",
                ),
                Curve("iterate", lengths, here[i], "dotted", guide=True),
            ],
        )
        for i, epoch in enumerate(a["epochs"])
    ]
    return Figure(
        "landscape",
        "The objective around iterates of SGD, along the gradient and along the most "
        "negative curvature (the better sign of it).",
        panels,
    )


PAPER = Paper(
    "allenzhu2018",
    "Allen-Zhu, Li & Song 2018, A Convergence Theory for Deep Learning via "
    "Over-Parameterization",
    SETUP,
    CLAIMS,
    figures,
)

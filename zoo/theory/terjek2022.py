"""Terjek & Gonzalez-Sanchez 2022: "A framework for overparameterized learning"."""

from zoo.theory.claims import Paper
from zoo.theory.terjek2022_claims import CLAIMS
from zoo.theory.terjek2022_figures import figures

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

PAPER = Paper(
    "terjek2022",
    "Terjek & Gonzalez-Sanchez 2022, A Framework for Overparameterized Learning",
    SETUP,
    CLAIMS,
    figures,
)

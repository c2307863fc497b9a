"""The encoder-only shallow transformer."""

from zoo.layers import Attention, Dense, GlobalAvgPool, Nonlinear, Serial
from zoo.layers.attention import INITS
from zoo.models.base import RATES, Architecture, Exponents
from zoo.names import check_name

POWERS = {"sqrt": 0.5, "linear": 1.0}  # of 1/width in tau0


class WuTransformer(Architecture):
    r"""One attention head, relu, the mean over tokens, a linear readout; no biases.

    For an example X of t tokens with d channels and width d_m,

        A1 = softmax_row(tau0 (X W_Q) (X W_K)^T)          [t, t]
        A2 = tau1 relu(A1 X W_V)                          [t, d_m]
        f  = (mean over tokens of A2) w_O                 [k]

    with tau0 = d_m^-1/2 ("sqrt") or d_m^-1 ("linear"). All of W_Q, W_K, W_V [d, d_m]
    and w_O [d_m, k] are trained on L = 1/2 sum_i |f(x_i) - y_i|^2, and are independent
    Gaussians:

    * "lecun": W_ij ~ N(0, 1/d), w_O ~ N(0, 1/d_m), tau1 = 1;
    * "he": twice these variances, tau1 = 1;
    * "ntk": all N(0, 1), tau1 = d_m^-1/2, which here stands before w_O.

    Limit (derived): at tau0 = 1/d_m attention becomes uniform, and the network is a
    two-layer relu network of the mean token. "lecun" and "he" are standard
    parameterizations: the share of w_O grows with the width, which the limit takes for
    the width at hand. At tau0 = d_m^-1/2 there is no limit.

    Wu et al. 2023 ("On the convergence of encoder-only shallow transformers"). The
    architecture is written from memory and was not checked against the paper; that
    quadratic width suffices at tau0 = 1/d_m is its abstract's claim, and that it trains
    from "lecun" with "sqrt" is known from a summary.

    Args:
        width: size d_m of queries, keys and values.
        out: number of outputs k.
        tau: "linear" or "sqrt".
        initialization: "lecun", "he" or "ntk".

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Wu et al. 2023"
    inputs = "tokens"
    variants = (
        {"initialization": "ntk"},
        {"initialization": "ntk", "tau": "sqrt"},
        {"initialization": "he"},
        {"initialization": "he", "tau": "sqrt"},
    )

    width: int
    out: int = 1
    tau: str = "linear"
    initialization: str = "lecun"

    def __post_init__(self):
        self.require_sizes("width", "out")
        check_name("tau", self.tau, POWERS)
        check_name("initialization", self.initialization, INITS)
        super().__post_init__()

    def layers(self) -> Serial:
        """Attention, relu, mean, Dense."""
        head = Attention(self.width, POWERS[self.tau], self.initialization)
        variance = INITS[self.initialization]
        readout = Dense(self.out)  # N(0, 1) and d_m^-1/2
        if variance is not None:
            readout = Dense(self.out, variance**0.5, parameterization="standard")
        return Serial(head, Nonlinear("relu"), GlobalAvgPool(), readout)

    @property
    def rate(self) -> int:
        """LeCun and He are standard parameterizations: O(1/width)."""
        return RATES["ntk" if self.initialization == "ntk" else "standard"]

    @property
    def exponents(self) -> Exponents:
        """Of changes (derived): projections move by rate * width^-1/2, and less.

        Scores move by rate * tau0^2 * width, and with them what the head returns; at
        tau0 = width^-1/2 that is the larger of the two.
        """
        own = self.rate - 0.5
        scores = self.rate + 1 - 2 * POWERS[self.tau]
        return Exponents(hidden_change=max(own, scores))

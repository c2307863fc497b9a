"""The pyramid of Nguyen: one wide layer, the last hidden one."""

from zoo.layers import Dense, Nonlinear, Serial
from zoo.models.base import RATES, Architecture, Exponents, Limit
from zoo.names import check_name

# sigma_w and the fan that the variance sigma_w^2 / fan is over.
INITIALIZERS = {"lecun": (1.0, "in"), "he": (2**0.5, "in"), "xavier": (1.0, "avg")}


class NguyenMLP(Architecture):
    r"""A relu network with `depth` - 1 narrow hidden layers and then a wide one.

        F_0 = x,  F_l = relu(F_{l-1} W_l) for l = 1 .. depth,  f = F_depth W_{depth+1},

    without biases or factors in the forward pass: standard parameterization. F_1 ..
    F_{depth-1} have `narrow` units, whatever the width, and F_depth has m = `width`. A
    hidden weight is N(0, v), with v = 1/fan_in ("lecun"), 2/fan_in ("he") or
    2/(fan_in + fan_out) ("xavier"); the last one is N(0, sigma_last^2 / m), and 0 for
    sigma_last = 0. All layers are trained, on the sum L = 1/2 sum_i |f(x_i) - y_i|^2,
    at a learning rate O(1/m); at O(1) for "xavier", under which v shrinks with m, the
    NTK does not grow, and wide units move by as much as they are (derived).

    The theorem asks that the smallest singular value of F_depth at initialization be
    large against the operator norms of the weights. It holds for m linear in the number
    of points to cubic in it, by initialization; a small or zero sigma_last is the case
    of the linear one.

    Source: Nguyen 2021, "On the Proof of Global Convergence of Gradient Descent for
    Deep ReLU Networks with Linear Widths", as restated by Cong et al. 2021 (appendix
    D); which width belongs to which initialization is derived from that theorem.

    Args:
        width: units m of the last hidden layer.
        depth: number of hidden layers, at least 1.
        out: number of outputs k.
        narrow: units of every other hidden layer.
        hidden_init: of hidden weights, "lecun", "he" or "xavier".
        sigma_last: scale of the last layer's weights, 0 included.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Nguyen 2021"
    parameterization = "standard"
    smoke = {"depth": 2}
    variants = (
        {"depth": 1, "hidden_init": "lecun"},
        {"hidden_init": "xavier", "sigma_last": 0.0},
    )

    width: int
    depth: int = 2
    out: int = 1
    narrow: int = 32
    hidden_init: str = "he"
    sigma_last: float = 1.0

    def __post_init__(self):
        self.require_sizes("width", "depth", "out", "narrow")
        check_name("hidden_init", self.hidden_init, INITIALIZERS)
        self.require(self.sigma_last >= 0, "sigma_last", ">= 0")
        super().__post_init__()

    @property
    def rate(self) -> int:
        """Standard, but for Xavier's variance of the wide layer, O(1/m)."""
        return RATES["ntk" if self.hidden_init == "xavier" else "standard"]

    @property
    def exponents(self) -> Exponents:
        """Of the wide layer: no wide layer is before it whose change would add up."""
        shrink = -0.5 if self.hidden_init == "xavier" else 0.0
        output = None if self.sigma_last == 0 else shrink
        change = -1.0 if self.depth > 1 else -1.5 if self.sigma_last else -2.0
        return Exponents(shrink, output, shrink if shrink else change)

    def limit(self) -> Limit:
        """Of one hidden layer exact; narrow layers stay random at any width."""
        why = ""
        if self.hidden_init == "xavier":
            why = "with hidden_init=xavier features move at any width"
        elif self.depth > 1:
            why = (
                f"the hidden layers of narrow={self.narrow} units stay random at any "
                "width of the last one, and with them the NTK"
            )
        return Limit("none", why) if why else super().limit()

    def layers(self) -> Serial:
        """Dense, relu, ..., Dense."""
        sigma_w, fan = INITIALIZERS[self.hidden_init]
        narrow, wide = (
            (Dense(m, sigma_w, 0.0, "standard", fan=fan), Nonlinear("relu"))
            for m in (self.narrow, self.width)
        )
        last = Dense(self.out, self.sigma_last, 0.0, "standard")
        return Serial(*narrow * (self.depth - 1), *wide, last)

"""Skip connections with normalization, as MacDonald et al. study them."""

from zoo.layers import (
    ACTIVATIONS,
    BatchNorm,
    Dense,
    Layer,
    LayerNorm,
    Nonlinear,
    Residual,
    Serial,
    WeightNormDense,
)
from zoo.models.base import Architecture, Limit
from zoo.names import check_name

NORMS = ("none", "layer", "batch", "weight")


class MacDonaldResNet(Architecture):
    r"""Fully connected ResNet of `depth` blocks with a normalization in each branch.

        h_0 = A_0(x),    h_l = h_{l-1} + A_l(phi(N(A'_l(h_{l-1})))) for l = 1 .. depth,
        f = A(h_depth)

    with affine maps in the NTK parameterization: all entries of W and b are N(0, 1) and
    a map of fan-in n is (sigma_w / sqrt(n)) h W + sigma_b b. All layers are trained on
    L = 1/(2n) sum_i |f(x_i) - y_i|^2. N is

    * "none": the identity;
    * "layer": layer normalization over the units, without gain or offset;
    * "batch": batch normalization by the statistics of the batch at hand. Examples
      interact: there is no kernel of pairs of points, finite or infinite;
    * "weight": weight normalization of A'_l, W_j -> g_j W_j / |W_j| with trained gains
      g_j = 1 and no biases (`zoo.layers.WeightNormDense`). The NTK's limit is
      deterministic, but the gains' share has no form of covariances.

    Source: MacDonald, Valmadre, Saratchandran & Lucey 2023, "On skip connections and
    normalisation layers in deep optimisation". The block is reconstructed from the
    paper's description, which covers skips around normalized layers in general; not
    checked against it.

    Args:
        width: units m of every layer.
        depth: number of blocks, at least 1.
        out: number of outputs k.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        norm: "none", "layer", "batch" or "weight".
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "MacDonald et al. 2023"
    variants = ({"norm": "batch"}, {"norm": "weight"})

    width: int
    depth: int = 2
    out: int = 1
    activation: str = "relu"
    norm: str = "layer"
    sigma_w: float = 1.0
    sigma_b: float = 0.0

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        check_name("activation", self.activation, ACTIVATIONS)
        check_name("norm", self.norm, NORMS)
        super().__post_init__()

    def limit(self) -> Limit:
        """By sampling with weight normalization; otherwise as the layers say."""
        if self.norm == "weight":
            why = "the NTK of weight normalization's gains is no map of covariances"
            return Limit("monte carlo", why)
        return super().limit()

    def layers(self) -> Serial:
        """Dense, blocks, Dense."""
        first, last = self.dense(self.width), self.dense(self.out)
        return Serial(first, *[Residual(self.branch())] * self.depth, last)

    def branch(self) -> Serial:
        """A'_l, the normalization, the activation, A_l."""
        norms: dict[str, tuple[Layer, ...]] = {
            "none": (self.dense(self.width),),
            "layer": (self.dense(self.width), LayerNorm()),
            "batch": (self.dense(self.width), BatchNorm()),
            "weight": (WeightNormDense(self.width, self.sigma_w),),
        }
        phi = Nonlinear(self.activation)
        return Serial(*norms[self.norm], phi, self.dense(self.width))

    def dense(self, width: int) -> Dense:
        """An affine map with the network's scales."""
        return Dense(width, self.sigma_w, self.sigma_b)

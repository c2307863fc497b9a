"""Kawaguchi, Huang & Kaelbling 2018: the values of local minima, by width and depth.

"Effect of Depth and Width on Local Minima in Deep Learning" (Neural Computation 2019).
"""

from zoo.data import DATASETS, ON_DISK
from zoo.theory.claims import (
    AtLeast,
    AtMost,
    Claim,
    Equals,
    Measurement,
    Paper,
)
from zoo.theory.kawaguchi2018_figures import figures
from zoo.theory.kawaguchi2018_minima import ACTIVATIONS, SMOOTH
from zoo.theory.kawaguchi2018_sweeps import (
    above_line,
    accepted,
    gap,
    line_slope,
    measure_classical,
    measure_line,
    measure_stationary,
    measure_values,
    relative_gap,
    undecomposed,
    worst,
    worst_step,
)

IMAGES = ("digits", "fashion_mnist", "mnist", "cifar10", "svhn")  # where given

SETUP = """
f = h_H W_{H+1}, h_l = sigma(h_{l-1} W_l), h_0 = x, without biases, of H hidden layers
of m units, W_ij ~ N(0, 1 / fan-in) at the start, all layers trained. sigma is tanh,
ln(1 + e^{5 z}) / 5, relu, or leaky relu of slope 0.3. L = 1/2 |f - Y|_F^2, a sum over
the points. J is the Jacobian of vec f by all parameters, P_J the projection on its
span; losses are given in units of |Y|^2 / 2.

Ends of descents: BFGS in float64, from random weights, until it stops, then Levenberg
and Marquardt's method. An end counts as a stationary point if |J^T r| < 1e-9 |Y|, with
r = f - vec Y and the columns of J scaled to norm 1, and no weight exceeds 16: others
are on their way to infinity, where the gradient vanishes and there is no stationary
point (every end whose gradient passed and whose formula failed had a larger weight,
which is how the bound was found). The filter does not bound the gap between L and the
formula by itself; what is tested is that f is in the span of J. Networks of relu mostly
end at kinks, where they are not differentiable and the theorem is silent; a figure
shows the share that counts. P_J is by the singular values above 1e-10 of the largest;
the decomposition by Gram and Schmidt's method, layer by layer and unit by unit.

Values by width and depth: several descents a seed, of which those count whose loss has
settled: the second half of polishing takes less than 1e-4 of |Y|^2 / 2 off it. A seed's
value is their mean, and a seed without any at some size is lost. Many such ends are on
their way to infinity, towards steps of tanh, where the infimum is no minimum: their
values are what the descent tends to, and the figure shows how far the formula is from
them. Another shows the share that counts. Depths are 1 and 2, of 3 units a layer: few
ends of depth 3 settle in the time that there is.

Data. Stationary points and the synthetic set: x ~ N(0, I_d), y the standardized output
of a network of one hidden layer of 8 units of the same activation with weights twice as
large, and noise. Images: the d largest principal components of n images, of mean square
1 together, and y = +1 for an even class and -1 for an odd one. The networks of the
values have tanh. (The paper's sizes and optimizer are not known to us; its images have
all their pixels and classes.) Random labels: x ~ N(0, I_d), y ~ N(0, 1), tanh.

The classical model: f = x R_0 + h_1 R_1 + h_2 R_2, whose structure holds at any weights
what the paper asks for near a minimum; least squares on x, or on x and h_1 of the
trained network.
"""


STATIONARY = Measurement(
    "stationary",
    measure_stationary,
    {
        "smoke": {
            "n": 30,
            "d": 3,
            "widths": (1, 2),
            "depths": (1,),
            "seeds": 4,
            "restarts": 16,
            "steps": 400,
        },
        "default": {
            "n": 60,
            "d": 4,
            "widths": (1, 2),
            "depths": (1, 2),
            "seeds": 12,
            "restarts": 16,
            "steps": 1000,
        },
        "paper": {
            "n": 1000,
            "d": 10,
            "widths": (1, 2, 4, 8),
            "depths": (1, 2, 3),
            "seeds": 40,
            "restarts": 16,
            "steps": 10000,
        },
    },
    seconds=40.0,
)
VALUE_SIZES = {
    "smoke": {
        "n": 40,
        "d": 4,
        "widths": (1, 2, 3),
        "depths": (1, 2),
        "deep_width": 2,
        "seeds": 6,
        "restarts": 3,
        "steps": 300,
        "polish": 60,
    },
    "default": {
        "n": 150,
        "d": 4,
        "widths": (1, 2, 4, 8),
        "depths": (1, 2),
        "deep_width": 3,
        "seeds": 20,
        "restarts": 3,
        "steps": 1000,
        "polish": 200,
    },
    "paper": {
        "n": 1000,
        "d": 10,
        "widths": (1, 2, 4, 8, 16, 32),
        "depths": (1, 2, 3, 4),
        "deep_width": 8,
        "seeds": 40,
        "restarts": 8,
        "steps": 5000,
        "polish": 2000,
    },
}


def values_of(name: str) -> Measurement:
    """The measurement of the values on a dataset."""
    extra = {} if name in ON_DISK else {"dataset": name}
    sizes = {scale: size | extra for scale, size in VALUE_SIZES.items()}
    on_disk = name if name in ON_DISK else ""
    return Measurement(f"values-{name}", measure_values, sizes, 40.0, on_disk)


VALUES = {
    name: values_of(name)
    for name in ("synthetic", *(name for name in IMAGES if name in DATASETS))
}
CLASSICAL = Measurement(
    "classical",
    measure_classical,
    {
        "smoke": {"n": 40, "d": 4, "width": 2, "seeds": 4, "steps": 150},
        "default": {"n": 200, "d": 5, "width": 3, "seeds": 20, "steps": 600},
        "paper": {"n": 1000, "d": 10, "width": 16, "seeds": 40, "steps": 5000},
    },
    seconds=10.0,
)
LINE = Measurement(
    "line",
    measure_line,
    {
        "smoke": {"n": 40, "d": 3, "widths": (2, 5, 8), "seeds": 24, "steps": 800},
        "default": {
            "n": 100,
            "d": 4,
            "widths": (2, 6, 10, 14, 18),
            "seeds": 20,
            "steps": 1000,
        },
        "paper": {
            "n": 1000,
            "d": 10,
            "widths": (9, 18, 36, 54, 72, 81),
            "seeds": 40,
            "steps": 10000,
        },
    },
    seconds=15.0,
)


FORMULA = "local-minimum formula; derived: J^T r = 0 and f in the span of J"


def exact(name, statement, quantity, error, activations) -> Claim:
    """A claim that an error is nothing at stationary points."""
    return Claim(
        name,
        statement,
        quantity,
        AtMost(1e-6),
        FORMULA,
        "derived",
        STATIONARY,
        lambda a: worst(a, error(a), activations),
    )


KINKED = tuple(name for name in ACTIVATIONS if name not in SMOOTH)
BY_SIZE = tuple(
    Claim(
        f"{size}-{name}",
        f"The value of local minima falls with {size} on {name}.",
        f"the least fall of L / (|Y|^2 / 2) between neighbouring {size}s",
        AtMost(0.0),
        "abstract and experiments; the formula has more terms, none negative",
        "restated",
        measurement,
        lambda a, key=key: worst_step(a[key]),
    )
    for name, measurement in VALUES.items()
    for size, key in (("width", "wide"), ("depth", "deep"))
)

PAPER = Paper(
    "kawaguchi2018",
    "Kawaguchi, Huang & Kaelbling 2018, Effect of Depth and Width on Local Minima in "
    "Deep Learning",
    SETUP,
    (
        exact(
            "formula",
            "At a stationary point of a smooth network the loss is that of the linear "
            "model of its tangent space.",
            "max |L - 1/2 |(1 - P_J) vec Y|^2| / (|Y|^2 / 2)",
            gap,
            SMOOTH,
        ),
        exact(
            "kinked-formula",
            "So it is at differentiable stationary points of relu and leaky relu.",
            "max |L - 1/2 |(1 - P_J) vec Y|^2| / (|Y|^2 / 2)",
            gap,
            KINKED,
        ),
        exact(
            "relative-formula",
            "The same, relative to the loss where it exceeds |Y|^2 / 2000.",
            "max |L - 1/2 |(1 - P_J) vec Y|^2| / L",
            relative_gap,
            tuple(ACTIVATIONS),
        ),
        exact(
            "decomposition",
            "The loss is |Y|^2 / 2 less one term for every unit of every layer, each a "
            "squared norm.",
            "max |L - |Y|^2 / 2 + 1/2 sum_lk |P[N_k^l] vec Y|^2| / (|Y|^2 / 2)",
            undecomposed,
            tuple(ACTIVATIONS),
        ),
        Claim(
            "below",
            "At any weights, kinks included, the formula is no more than the loss (an "
            "identity where f is in the span of J).",
            "min (L - 1/2 |(1 - P_J) vec Y|^2) / (|Y|^2 / 2)",
            AtLeast(-1e-6),
            "derived: the gap is 1/2 |P_J r|^2",
            "derived",
            STATIONARY,
            lambda a: (a["loss"] - a["induced"]).min(axis=(1, 2, 3, 4)),
            certain="the gap is a square",
        ),
        Claim(
            "kinks",
            "Descents of relu end at differentiable points (nothing is predicted: the "
            "share is reported).",
            "share of stationary points among ends of relu and leaky relu",
            AtLeast(0.5),
            "none",
            "memory",
            STATIONARY,
            lambda a: accepted(a)[:, :, -len(KINKED) :].mean(axis=(1, 2, 3, 4)),
        ),
        *BY_SIZE,
        Claim(
            "linear",
            "With the structure built in, no worse than least squares on the inputs.",
            "L / min_R 1/2 |x R - Y|^2",
            AtMost(1.0),
            "abstract: no worse than globally optimal classical models",
            "restated",
            CLASSICAL,
            lambda a: a["loss"] / a["linear"],
        ),
        Claim(
            "basis",
            "Nor worse than least squares on the inputs and the first layer's units.",
            "L / min_R 1/2 |[x, h_1] R - Y|^2",
            AtMost(1.0),
            "abstract: no worse than globally optimal classical models",
            "restated",
            CLASSICAL,
            lambda a: a["loss"] / a["basis"],
        ),
        Claim(
            "line",
            "Of random labels, every parameter takes one part in n, or more: where "
            "descents end, J depends on them.",
            "max over P/n of mean L / (|Y|^2 / 2) - (1 - P/n) where descents end",
            AtMost(0.0),
            "derived: P columns chosen after Y was seen fit at least as much as P "
            "fixed ones on average",
            "derived",
            LINE,
            above_line,
        ),
        Claim(
            "line-start",
            "So it is with the tangent space of random weights.",
            "slope of 1/2 |(1 - P_J) vec Y|^2 / (|Y|^2 / 2) against P / n at the start",
            Equals(-1.0),
            "derived: counting ranks, J being free of Y",
            "derived",
            LINE,
            lambda a: line_slope(a, "start"),
        ),
    ),
    figures,
)

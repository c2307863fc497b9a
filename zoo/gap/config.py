"""What one experiment measures, checked before anything is computed."""

import dataclasses
import math
from typing import Any

from zoo.data import DATASETS
from zoo.layers import ACTIVATIONS
from zoo.layers.linear import PARAMETERIZATIONS
from zoo.models import ARCHITECTURES, Architecture
from zoo.names import check_name


@dataclasses.dataclass(frozen=True)
class Config:
    """The lazy-regime gap of one architecture over widths.

    Attributes:
        arch: name in `zoo.models.ARCHITECTURES`.
        dataset: name in `zoo.data.DATASETS`.
        widths: widths m, increasing.
        depth: hidden layers.
        activation: name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the weights; None takes the activation's default.
        sigma_b: scale of the biases.
        parameterization: "ntk" or "standard".
        seeds: initializations per width.
        seed: the first of them.
        n_train: train points.
        n_test: test points.
        data_seed: which points are drawn.
        steps: gradient descent steps.
        records: steps at which outputs are kept, log-spaced, the first being 0.
        learning_rate: eta of L = 1/(2n) sum_i |f - y|^2; None means `lr_fraction`.
        lr_fraction: eta as a fraction of 2 n / lambda_max(Theta_inf).
        cell_seeds: seeds measured, and stored, together.
        memory_gb: budget that bounds how many seeds train at once; the kernels of one
            seed, about six times 4 (n_train k)^2 bytes, come on top.
    """

    arch: str = "mlp"
    dataset: str = "digits"
    widths: tuple[int, ...] = (128, 256, 512, 1024)
    depth: int = 2
    activation: str = "relu"
    sigma_w: float | None = None
    sigma_b: float = 0.0
    parameterization: str = "ntk"
    seeds: int = 8
    seed: int = 0
    n_train: int = 128
    n_test: int = 128
    data_seed: int = 0
    steps: int = 500
    records: int = 16
    learning_rate: float | None = None
    lr_fraction: float = 0.3
    cell_seeds: int = 8
    memory_gb: float = 4.0

    def __post_init__(self):
        check_name("--arch", self.arch, ARCHITECTURES)
        check_name("--dataset", self.dataset, DATASETS)
        check_name("--activation", self.activation, ACTIVATIONS)
        check_name("--parameterization", self.parameterization, PARAMETERIZATIONS)
        for name in ("depth", "seeds", "n_train", "n_test", "steps", "cell_seeds"):
            self._require(name, getattr(self, name) >= 1, "a whole number >= 1")
        for name in ("seed", "data_seed"):
            self._require(name, getattr(self, name) >= 0, "a whole number >= 0")
        self._require("records", self.records >= 2, "a whole number >= 2")
        for name in ("sigma_w", "learning_rate", "lr_fraction", "memory_gb"):
            value = getattr(self, name)
            positive = value is None or (value > 0 and math.isfinite(value))
            self._require(name, positive, "a finite number > 0")
        last = self.seed + self.seeds
        self._require("seed", last <= 2**31, "seeds below 2^31")
        finite = self.sigma_b >= 0 and math.isfinite(self.sigma_b)
        self._require("sigma_b", finite, "a finite number >= 0")
        self._check_widths()

    def _check_widths(self) -> None:
        widths = self.widths
        self._require("widths", bool(widths), "at least one width")
        self._require("widths", all(w >= 1 for w in widths), "whole numbers >= 1")
        distinct = len(set(widths)) == len(widths)
        self._require("widths", distinct, "each width once")
        object.__setattr__(self, "widths", tuple(sorted(widths)))

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            value = getattr(self, name)
            if isinstance(value, tuple):
                value = ",".join(map(str, value))
            raise ValueError(f"--{name}={value} is not allowed: it takes {allowed}.")

    def net(self, width: int, out: int) -> Architecture:
        """The network of this width with `out` outputs."""
        sigma_w = self.sigma_w
        return ARCHITECTURES[self.arch](
            width=width,
            depth=self.depth,
            out=out,
            activation=self.activation,
            sigma_w=DEFAULT_SIGMA_W[self.activation] if sigma_w is None else sigma_w,
            sigma_b=self.sigma_b,
            parameterization=self.parameterization,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self) | {"widths": list(self.widths)}


# Scales that keep the variance of deep pre-activations of unit inputs of order one.
DEFAULT_SIGMA_W = {
    "relu": 2**0.5,
    "erf": 1.5,
    "gelu": 1.5,
    "tanh": 1.5,
    "identity": 1.0,
}

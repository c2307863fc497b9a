"""What one experiment measures, checked before anything is computed."""

import dataclasses
import math
from typing import Any

import flax.linen as nn

from zoo.data import DATASETS
from zoo.descent.losses import LOSSES, find_loss
from zoo.descent.optimizers import Optimizer
from zoo.gap.nets import build, find_architecture
from zoo.gap.training import Training
from zoo.layers import TRAIN_LAYERS
from zoo.names import check_name

MOMENTUM = 0.9
LIMITS = ("auto", "monte_carlo", "none")
COMMON = (
    "depth",
    "activation",
    "sigma_w",
    "sigma_b",
    "parameterization",
    "train_layers",
)


@dataclasses.dataclass(frozen=True)
class Config:
    """The lazy-regime gap of one architecture over widths.

    Attributes:
        arch: name in `zoo.models.ARCHITECTURES`, or "package.module:Class" of a Flax
            Linen module.
        dataset: name in `zoo.data.DATASETS` or path of a .npz file; None takes the
            architecture's natural one.
        widths: widths m, increasing.
        depth: hidden layers; None takes the architecture's default, as for the next
            four.
        activation: name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the weights; None takes the activation's default.
        sigma_b: scale of the biases.
        parameterization: "ntk", "standard", ...
        net: other hyper-parameters of the architecture, "name=value" each.
        limit: "auto": the analytic limit, or sampled kernels where an architecture's
            limit has no other form; "monte_carlo"; "none"; or "package.module:name" of
            a function kernel(x1, x2, get).
        mc_samples: networks whose kernels are averaged by "monte_carlo".
        mc_width: their width.
        seeds: initializations per width.
        seed: the first of them.
        n_train: train points.
        n_test: test points.
        data_seed: which points are drawn.
        loss: L, a name in `zoo.descent.losses.LOSSES`.
        optimizer: "sgd", "momentum", "nesterov", or "adam", which has no limit.
        momentum: mu of "momentum" and "nesterov".
        batch_size: examples of a step; None is all of them. Every network of a seed,
            finite or not, sees the same ones.
        alpha: scale of the outputs: F = alpha (f - f_0) is trained on L(F) / alpha^2.
        center: whether f_0 is subtracted; None: if alpha is not 1.
        matmul_precision: of the products of a step: "highest", or what accelerators
            take for less time, "high" and "default"; kernels are at the highest.
        antisymmetric_init: whether the network is (u_1 - u_2) / sqrt 2 of two equal
            copies, so that f_0 = 0.
        train_layers: "first", "hidden" or "last": these alone; None is all.
        steps: steps of the optimizer.
        records: steps at which outputs are kept, log-spaced, the first being 0.
        learning_rate: eta of L; None means `lr_fraction`.
        lr_fraction: eta as a fraction of 2 n / lambda_max(Theta_inf); without a limit,
            of the smallest 2 n / lambda_max(Theta_0) of the first cell's seeds.
        cell_seeds: seeds measured, and stored, together.
        memory_gb: budget that bounds how many seeds train at once; the kernels of one
            seed, about six times 4 (n_train k)^2 bytes, come on top.
        ntk_gb: budget of the derivatives from which an empirical NTK is made; see
            `zoo.finite.ntk.plan_blocks`.
    """

    arch: str = "mlp"
    dataset: str | None = None
    widths: tuple[int, ...] = (128, 256, 512, 1024)
    depth: int | None = None
    activation: str | None = None
    sigma_w: float | None = None
    sigma_b: float | None = None
    parameterization: str | None = None
    net: tuple[str, ...] = ()
    limit: str = "auto"
    mc_samples: int = 32
    mc_width: int = 1024
    seeds: int = 8
    seed: int = 0
    n_train: int = 128
    n_test: int = 128
    data_seed: int = 0
    loss: str = "mse"
    optimizer: str = "sgd"
    momentum: float = MOMENTUM
    batch_size: int | None = None
    alpha: float = 1.0
    center: bool | None = None
    antisymmetric_init: bool = False
    matmul_precision: str = "highest"
    train_layers: str | None = None
    steps: int = 500
    records: int = 16
    learning_rate: float | None = None
    lr_fraction: float = 0.3
    cell_seeds: int = 8
    memory_gb: float = 4.0
    ntk_gb: float = 1.0

    def __post_init__(self):
        network = find_architecture(self.arch)
        if self.dataset is None:
            natural = getattr(network, "data", "digits")
            object.__setattr__(self, "dataset", natural)
        if not str(self.dataset).endswith(".npz"):
            check_name("--dataset", str(self.dataset), DATASETS)
        if ":" not in self.limit:
            check_name("--limit", self.limit, LIMITS)
        for name in POSITIVE:
            self._require(name, getattr(self, name) >= 1, "a whole number >= 1")
        self._require("mc_samples", self.mc_samples >= 2, "a whole number >= 2")
        for name in ("seed", "data_seed"):
            self._require(name, getattr(self, name) >= 0, "a whole number >= 0")
        self._require("records", self.records >= 2, "a whole number >= 2")
        for name in FINITE:
            value = getattr(self, name)
            positive = value is None or (value > 0 and math.isfinite(value))
            self._require(name, positive, "a finite number > 0")
        last = self.seed + self.seeds
        self._require("seed", last <= 2**31, "seeds below 2^31")
        finite = self.sigma_b is None or 0 <= self.sigma_b < math.inf
        self._require("sigma_b", finite, "a finite number >= 0")
        self._check_widths()
        self._check_training()
        self.options()

    def _check_widths(self) -> None:
        widths = self.widths
        self._require("widths", bool(widths), "at least one width")
        self._require("widths", all(w >= 1 for w in widths), "whole numbers >= 1")
        distinct = len(set(widths)) == len(widths)
        self._require("widths", distinct, "each width once")
        object.__setattr__(self, "widths", tuple(sorted(widths)))

    def _check_training(self) -> None:
        check_name("--loss", self.loss, LOSSES)
        check_name("--matmul_precision", self.matmul_precision, PRECISIONS)
        self._require("momentum", 0 <= self.momentum < 1, "a number in [0, 1)")
        if self.train_layers is not None:
            check_name("--train_layers", self.train_layers, TRAIN_LAYERS)
        if self.momentum != MOMENTUM and self.optimizer not in ("momentum", "nesterov"):
            raise ValueError(
                f"--momentum={self.momentum:g} is not allowed beside "
                f"--optimizer={self.optimizer}, which has none."
            )
        size = self.batch_size
        fits = size is None or 1 <= size <= self.n_train
        self._require("batch_size", fits, f"1 to n_train={self.n_train}")
        if self.center is False and self.alpha != 1:
            raise ValueError(
                f"--nocenter is not allowed beside --alpha={self.alpha:g}: what is "
                "trained is alpha (f - f_0)."
            )
        rate = self.optimizer != "adam" or self.learning_rate is not None
        if not rate:
            raise ValueError(
                "--optimizer=adam needs --learning_rate: a critical rate, of which it "
                "could be a fraction, is gradient descent's."
            )
        self.training()

    def training(self) -> Training:
        """How the networks are trained."""
        centred = self.alpha != 1 if self.center is None else self.center
        return Training(
            find_loss(self.loss),
            Optimizer(self.optimizer, self.momentum),
            None if self.batch_size == self.n_train else self.batch_size,
            self.alpha,
            centred,
            self.antisymmetric_init,
            self.matmul_precision,
        )

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            value = getattr(self, name)
            if isinstance(value, tuple):
                value = ",".join(map(str, value))
            raise ValueError(f"--{name}={value} is not allowed: it takes {allowed}.")

    def _require_fixed(self, *names: str) -> None:
        """Refuses what a program that extends this configuration does not vary."""
        for name in names:
            fixed = Config.__dataclass_fields__[name].default
            same = getattr(self, name) == fixed
            self._require(name, same, f"{fixed} in this program")

    def options(self) -> dict[str, Any]:
        """Hyper-parameters that were asked for, by name."""
        found = {
            name: getattr(self, name)
            for name in COMMON
            if getattr(self, name) is not None
        }
        for text in self.net:
            name, equals, value = text.partition("=")
            self._require("net", bool(name and equals), "name=value, ...")
            self._require("net", name not in found, "each name once")
            found[name] = value
        return found

    def network(self, width: int, out: int, **given: Any) -> nn.Module:
        """The network of this width with `out` outputs; see `zoo.gap.nets.build`."""
        return build(self.arch, width, out, self.options(), **given)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self) | {
            "widths": list(self.widths),
            "net": list(self.net),
        }


FINITE = ("sigma_w", "learning_rate", "lr_fraction", "alpha", "memory_gb", "ntk_gb")
# How networks are trained, but for the loss, the rate and the layers.
METHOD = ("optimizer", "momentum", "batch_size", "alpha", "center")
METHOD += ("antisymmetric_init", "matmul_precision")
PRECISIONS = ("default", "high", "highest")
POSITIVE = ("seeds", "n_train", "n_test", "steps", "cell_seeds", "mc_width")

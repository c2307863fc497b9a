"""Flags from a frozen configuration, and the configuration that the flags state."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import flags

from zoo.data import DATASETS
from zoo.descent.losses import LOSSES
from zoo.descent.optimizers import OPTIMIZERS
from zoo.gap.config import PRECISIONS
from zoo.layers import ACTIVATIONS, TRAIN_LAYERS

flags.disclaim_key_flags()  # the flags belong to the program that calls `define`

DEFINE: dict[Any, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    str | None: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    int | None: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    float | None: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    bool | None: flags.DEFINE_bool,
    tuple[int, ...]: flags.DEFINE_list,
    tuple[float, ...]: flags.DEFINE_list,
    tuple[str, ...]: flags.DEFINE_list,
}
LISTS: dict[Any, tuple[Callable[[str], Any], str]] = {
    tuple[int, ...]: (int, "whole numbers"),
    tuple[float, ...]: (float, "numbers"),
    tuple[str, ...]: (str, "words"),
}
# Of the fields of `zoo.gap.config.Config`, which other configurations extend.
HELP = {
    "arch": "Architecture: a name (python -m experiments.zoo lists them), or "
    "package.module:Class of a Flax Linen module.",
    "dataset": f"{', '.join(sorted(DATASETS))}, or file.npz; default by architecture.",
    "widths": "Widths, separated by commas.",
    "depth": "Hidden layers; default by architecture, as for the next four.",
    "activation": f"{', '.join(sorted(ACTIVATIONS))}.",
    "sigma_w": "Scale of the weights; default by activation (relu: sqrt 2), or the "
    "architecture's own.",
    "sigma_b": "Scale of the biases; 0 means no biases.",
    "parameterization": "ntk, standard, ...",
    "net": "Other hyper-parameters of the architecture: name=value,...; for a network "
    "inside of it (pinn): net=neural_field,net.omega=2,...",
    "limit": "auto, monte_carlo, none, or package.module:name of kernel(x1, x2, get).",
    "mc_samples": "Networks whose kernels are averaged by --limit=monte_carlo.",
    "mc_width": "Their width.",
    "seeds": "Initializations per width.",
    "seed": "The first of them.",
    "n_train": "Train points.",
    "n_test": "Test points.",
    "data_seed": "Which points are drawn.",
    "loss": f"{', '.join(LOSSES)}; the mean over examples.",
    "optimizer": f"{', '.join(OPTIMIZERS)}; adam has no limit.",
    "momentum": "mu of --optimizer=momentum and nesterov.",
    "batch_size": "Examples of a step, the same for all networks; default: all.",
    "alpha": "Trains F = alpha (f - f_0) on L(F) / alpha^2; implies --center.",
    "center": "Trains f - f_0.",
    "antisymmetric_init": "f_0 = 0 by the difference of two equal copies.",
    "matmul_precision": f"{', '.join(PRECISIONS)}: products of a training step; "
    "kernels are always at the highest.",
    "train_layers": f"{', '.join(TRAIN_LAYERS)}: which layers are trained.",
    "steps": "Steps of the optimizer.",
    "records": "Steps at which outputs are kept, log-spaced.",
    "learning_rate": "eta of L (mse: 1/(2n) sum_i |f(x_i) - y_i|^2); default: "
    "--lr_fraction.",
    "lr_fraction": "eta as a fraction of the critical rate 2 n / lambda_max(Theta).",
    "cell_seeds": "Seeds that are measured and stored together.",
    "memory_gb": "Bounds how many seeds train at once.",
    "ntk_gb": "Bounds the derivatives that an empirical NTK holds at a time.",
}
C = TypeVar("C")


def define(
    kind: type,
    about: dict[str, str] | None = None,
    fixed: Sequence[str] = (),
    **defaults: Any,
) -> None:
    """Defines a flag for every field of a dataclass.

    Args:
        kind: the configuration.
        about: help of the fields that `HELP` does not describe, or not rightly here.
        fixed: fields that the program does not vary, and that have no flag.
        defaults: of fields, instead of the dataclass's own.
    """
    said = HELP | (about or {})
    for field in dataclasses.fields(kind):
        if field.name in fixed:
            continue
        value: Any = defaults.get(field.name, field.default)
        if isinstance(value, tuple):
            value = list(map(str, value))
        DEFINE[field.type](field.name, value, said[field.name])


def read(kind: type[C]) -> C:
    """The configuration that the flags state.

    Raises:
        ValueError: it refuses a value, or a list holds what is no number.
    """
    every: Any = dataclasses.fields(kind)  # type: ignore[arg-type]
    fields = [field for field in every if field.name in flags.FLAGS]
    values: dict[str, Any] = {f.name: flags.FLAGS[f.name].value for f in fields}
    for field in fields:
        if field.type in LISTS:
            reader, allowed = LISTS[field.type]
            given = values[field.name]
            try:
                values[field.name] = tuple(map(reader, given))
            except ValueError:
                raise ValueError(
                    f"--{field.name}={','.join(given)} is not allowed: it takes "
                    f"{allowed}, separated by commas."
                ) from None
    return kind(**values)

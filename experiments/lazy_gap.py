"""Measures the lazy-regime gap of a network against its width.

    python -m experiments.lazy_gap --widths=64,128,256,512 --workdir=runs/lazy_gap

Trains networks of several widths, several seeds each, beside their linearization and
their infinite-width limit, and fits how the gaps between them fall with width. The
same command goes on where an earlier one was stopped.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from experiments import edge
from experiments.progress import progress
from zoo.data import DATASETS
from zoo.gap import store
from zoo.gap.config import Config
from zoo.gap.run import Experiment, run
from zoo.layers import ACTIVATIONS
from zoo.report import page, text

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
    "steps": "Steps of full-batch gradient descent.",
    "records": "Steps at which outputs are kept, log-spaced.",
    "learning_rate": "eta of L = 1/(2n) sum_i |f - y|^2; default: --lr_fraction.",
    "lr_fraction": "eta as a fraction of the critical rate 2 n / lambda_max(Theta).",
    "cell_seeds": "Seeds that are measured and stored together.",
    "memory_gb": "Bounds how many seeds train at once.",
    "ntk_gb": "Bounds the derivatives that an empirical NTK holds at a time.",
}
DEFINE: dict[Any, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    str | None: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    int | None: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    float | None: flags.DEFINE_float,
    tuple[int, ...]: flags.DEFINE_list,
    tuple[str, ...]: flags.DEFINE_list,
}
for field in dataclasses.fields(Config):
    value: Any = field.default
    if isinstance(value, tuple):
        value = list(map(str, value))
    DEFINE[field.type](field.name, value, HELP[field.name])

WORKDIR = flags.DEFINE_string("workdir", "runs/lazy_gap", "Where results are kept.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data files.")
ALLOW_DIVERGENCE = flags.DEFINE_bool(
    "allow_divergence", False, "Accept a learning rate above the critical one."
)


def config_from_flags() -> Config:
    """The configuration that the flags state."""
    values: dict[str, Any] = {
        f.name: flags.FLAGS[f.name].value for f in dataclasses.fields(Config)
    }
    try:
        values["widths"] = tuple(int(width) for width in values["widths"])
    except ValueError:
        given = ",".join(values["widths"])
        raise ValueError(
            f"--widths={given} is not allowed: it takes whole numbers >= 1."
        ) from None
    values["net"] = tuple(values["net"])
    return Config(**values)


def main() -> None:
    """Measures, reports, and says what was found."""
    try:
        experiment = Experiment(
            config_from_flags(), DATA_DIR.value, ALLOW_DIVERGENCE.value
        )
    except (ValueError, FileNotFoundError) as e:
        edge.fail(e)
    workdir = Path(WORKDIR.value)
    store.open_workdir(workdir, experiment.config.as_dict())
    store.write_text(workdir / "flags.txt", edge.flags_text())
    print(text.header(experiment), flush=True)
    with progress("lazy gap") as report:
        summary = run(experiment, workdir, report)
    path = page.write(workdir, summary)
    print(text.table(summary))
    print(f"Report: {path}")
    for sentence in text.sentences(summary):
        print(sentence)


if __name__ == "__main__":
    edge.run(main)

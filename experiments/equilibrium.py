"""Deep equilibrium networks beside their limit: three figures.

    python -m experiments.equilibrium --workdir=runs/equilibrium

Deviation of the empirical NTK from the limit against width; the lazy-regime gaps beside
those of a multilayer perceptron; steps of the solvers against chi_1. Where the same
command was stopped, what it trained is not trained again.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments import cells, edge
from experiments.progress import progress
from zoo.gap import fit, store
from zoo.gap.config import Config
from zoo.gap.equilibria import Steps, count_steps, deviations
from zoo.gap.run import Experiment, run
from zoo.gap.sweep import Arrays, Cell, Report, Shard, measure_cells
from zoo.models import DEQ
from zoo.report import equilibria, figures, page
from zoo.report.text import interval

# relu's chi_1 is sigma_w^2 / 2; at inputs of |x|^2 = d the others' is 0.40 and 0.33.
NETWORKS = {
    "relu, chi_1 = 0.20": {"activation": "relu", "sigma_w": 0.632},
    "relu, chi_1 = 0.55": {"activation": "relu", "sigma_w": 1.049},
    "erf": {"activation": "erf", "sigma_w": 0.9},
    "tanh": {"activation": "tanh", "sigma_w": 0.9},
}
SOLVERS = ("picard", "anderson")
TITLES = {"deq": "deep equilibrium network", "mlp": "multilayer perceptron"}
WIDTHS = flags.DEFINE_list("widths", ["128", "256", "512", "1024"], "Widths.")
SEEDS = flags.DEFINE_integer("seeds", 8, "Initializations per width.", lower_bound=2)
KERNEL_SEEDS = flags.DEFINE_integer(
    "kernel_seeds", 32, "Those of the deviation, which are not trained.", lower_bound=2
)
POINTS = flags.DEFINE_integer("n_train", 32, "Train points.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 300, "Gradient descent steps.", lower_bound=1)
SIGMAS = flags.DEFINE_list(
    "sigma_w", ["0.4", "0.6", "0.8", "1.0", "1.15", "1.3", "1.4"], "For the steps."
)
cells.define("runs/equilibrium")


def config(arch: str, widths: tuple[int, ...]) -> Config:
    """The main job's configuration for one of the two networks."""
    return Config(
        arch=arch,
        widths=widths,
        seeds=SEEDS.value,
        cell_seeds=SEEDS.value,
        n_train=POINTS.value,
        n_test=POINTS.value,
        steps=STEPS.value,
    )


def pieces(widths: tuple[int, ...], nets: list[DEQ], x: np.ndarray) -> list[Cell]:
    """Cells of the kernels, one for each of `NETWORKS`, and of the solvers' steps."""

    def kernels(options: dict[str, Any]) -> Arrays:
        net = DEQ(width=1, **options)
        return {"deviations": deviations(net, x, widths, KERNEL_SEEDS.value)}

    def steps(net: DEQ) -> Arrays:
        found = count_steps(net, x, SOLVERS, SEEDS.value)._asdict()
        for name in ("finite", "lost"):
            found[name] = [found[name][solver] for solver in SOLVERS]
        return {name: np.asarray(value) for name, value in found.items()}

    return [
        Cell(
            f"kernels-{options['activation']}-{options['sigma_w']:g}",
            0.75 / len(NETWORKS),
            partial(kernels, options),
        )
        for options in NETWORKS.values()
    ] + [
        Cell(f"steps-{net.sigma_w:g}", 0.25 / len(nets), partial(steps, net))
        for net in nets
    ]


def counted(found: Arrays) -> Steps:
    """Steps from the arrays of their cell."""
    finite, lost = (
        dict(zip(SOLVERS, found[name].tolist(), strict=True))
        for name in ("finite", "lost")
    )
    newton, plain = int(found["newton"]), int(found["plain"])
    return Steps(float(found["chi1"]), newton, plain, finite, lost)


def one_job(
    job: Experiment, folder: Path, report: Report, shard: Shard
) -> dict[str, Any]:
    """The summary of one network's lazy-regime gaps, with its page."""
    store.open_workdir(folder, job.config.as_dict())
    summary = run(job, folder, report, shard)
    page.write(folder, summary)
    return summary


def main() -> None:
    """Measures, draws, and says where."""
    try:
        shard = cells.begin()
        widths = tuple(map(int, WIDTHS.value))
        nets = [DEQ(width=widths[-1], sigma_w=float(s)) for s in SIGMAS.value]
        jobs = {a: Experiment(config(a, widths)) for a in TITLES}
    except ValueError as e:
        edge.fail(e)
    asked = {
        "kernel_seeds": KERNEL_SEEDS.value,
        "widths": list(widths),
        "sigma_w": SIGMAS.value,
        "networks": NETWORKS,
    }
    asked |= {arch: job.config.as_dict() for arch, job in jobs.items()}
    asked = json.loads(json.dumps(asked))
    workdir = cells.open_workdir(asked)
    own = pieces(widths, nets, jobs["deq"].data.x_train)
    with progress("equilibria") as report:

        def within(first: float, size: float) -> Report:
            return lambda message, share: report(message, first + size * share)

        (found, _), *summaries = cells.each(
            partial(measure_cells, own, workdir, asked, within(0.0, 0.4), shard),
            *(
                partial(one_job, job, workdir / arch, within(first, 0.3), shard)
                for first, (arch, job) in zip((0.4, 0.7), jobs.items(), strict=True)
            ),
        )
    kernels = [arrays["deviations"] for arrays in found[: len(NETWORKS)]]
    errors = dict(zip(NETWORKS, kernels, strict=True))
    counts = [counted(arrays) for arrays in found[len(NETWORKS) :]]
    say(workdir, widths, errors, counts, dict(zip(jobs, summaries, strict=True)))


def say(
    workdir: Path,
    widths: tuple[int, ...],
    errors: dict[str, np.ndarray],
    counts: list[Steps],
    summaries: dict[str, dict[str, Any]],
) -> None:
    """Writes numbers and figures, and prints what was found."""
    found = {name: values.tolist() for name, values in errors.items()}
    said = {"deviations": found, "steps": [each._asdict() for each in counts]}
    store.write_json(workdir / "equilibrium.json", said)
    folder = workdir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for plot in (
        equilibria.deviation(list(widths), errors),
        equilibria.gaps({TITLES[a]: s for a, s in summaries.items()}),
        equilibria.steps(counts, widths[-1]),
    ):
        figures.save(plot, folder)
    for name, values in errors.items():
        kept = int(np.all(np.isfinite(values), axis=1).sum())
        slope = interval(fit.slope_fit(widths, values))
        print(
            f"{name}: kernel deviates as m^{slope}; all equilibria in {kept} of "
            f"{len(values)} seeds."
        )
    for arch, summary in summaries.items():
        slope = interval(summary["metrics"]["gap_total"]["slope"])
        print(f"{arch}: total gap varies as m^{slope}; theory: -1/2.")
    print(f"Figures: {folder}")


if __name__ == "__main__":
    edge.run(main)

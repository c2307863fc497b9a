"""Deep equilibrium networks beside their limit: three figures.

    python -m experiments.equilibrium --workdir=runs/equilibrium

Deviation of the empirical NTK from the limit against width; the lazy-regime gaps beside
those of a multilayer perceptron; steps of the solvers against chi_1. Where the same
command was stopped, what it trained is not trained again.
"""

import json
from pathlib import Path

import numpy as np
from absl import flags

from experiments import edge
from experiments.progress import progress
from zoo.gap import fit, store
from zoo.gap.config import Config
from zoo.gap.equilibria import Steps, count_steps, deviations
from zoo.gap.run import Experiment, run
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
WORKDIR = flags.DEFINE_string("workdir", "runs/equilibrium", "Where results are kept.")


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


def main() -> None:
    """Measures, draws, and says where."""
    try:
        widths = tuple(map(int, WIDTHS.value))
        nets = [DEQ(width=widths[-1], sigma_w=float(s)) for s in SIGMAS.value]
        jobs = {a: Experiment(config(a, widths)) for a in TITLES}
    except ValueError as e:
        edge.fail(e)
    workdir = Path(WORKDIR.value)
    asked = {
        "kernel_seeds": KERNEL_SEEDS.value,
        "widths": widths,
        "sigma_w": SIGMAS.value,
        "networks": NETWORKS,
    }
    asked |= {arch: job.config.as_dict() for arch, job in jobs.items()}
    store.open_workdir(workdir, json.loads(json.dumps(asked)))
    x = jobs["deq"].data.x_train
    with progress("equilibria") as report:
        errors = {}
        for place, (name, options) in enumerate(NETWORKS.items()):
            report(f"kernels of {name}", 0.3 * place / len(NETWORKS))
            net = DEQ(width=1, **options)  # type: ignore[arg-type]
            errors[name] = deviations(net, x, widths, KERNEL_SEEDS.value)
        counts: list[Steps] = []
        for place, net in enumerate(nets):
            report(f"steps at sigma_w = {net.sigma_w:g}", 0.3 + 0.1 * place / len(nets))
            counts.append(count_steps(net, x, SOLVERS, SEEDS.value))
        summaries = {}
        for place, (arch, job) in enumerate(jobs.items()):
            folder = workdir / arch
            store.open_workdir(folder, job.config.as_dict())
            start = 0.4 + 0.3 * place
            summaries[arch] = run(
                job, folder, lambda m, s, start=start: report(m, start + 0.3 * s)
            )
            page.write(folder, summaries[arch])
    found = {name: values.tolist() for name, values in errors.items()}
    said = {"deviations": found, "steps": [each._asdict() for each in counts]}
    store.write_text(workdir / "equilibrium.json", json.dumps(said, indent=1))
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

"""From the lazy to the rich regime, over width and output scale.

    python -m experiments.lazy_scale --workdir=runs/lazy_scale

Trains alpha (f - f_0) by gradient flow at several widths and scales alpha, beside the
linearization, and fits the laws of Chizat et al. and Geiger et al. The same command
goes on where an earlier one was stopped.
"""

from absl import flags

from experiments import cells, edge, settings
from experiments.progress import progress
from zoo.gap.config import METHOD
from zoo.gap.lazy_scale import ScaleConfig, flow_times, run
from zoo.gap.run import Experiment, trained
from zoo.report import scales

settings.define(
    ScaleConfig,
    {
        "alphas": "Scales of the outputs, separated by commas.",
        "steps": "The flow lasts --steps times the learning rate.",
        "records": "Times at which outputs are kept, log-spaced.",
    },
    METHOD,
)
cells.define("runs/lazy_scale")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data files.")


def main() -> None:
    """Measures, reports, and says what was found."""
    try:
        shard = cells.begin()
        # A flow has no edge of stability: the rate sets the time it lasts.
        experiment = Experiment(settings.read(ScaleConfig), DATA_DIR.value, True)
    except (ValueError, FileNotFoundError) as e:
        edge.fail(e)
    config = experiment.config
    workdir = cells.open_workdir(config.as_dict())
    widest = config.widths[-1]
    print(
        f"{config.arch} on {config.dataset}: {config.n_train} train points, "
        f"{config.seeds} seeds, widths {', '.join(map(str, config.widths))}, alpha "
        f"{', '.join(f'{a:g}' for a in config.alphas)}\n"
        f"gradient flow of L(F) / alpha^2, F = alpha (f - f_0), L = "
        f"{experiment.training.loss.formula}, on {trained(experiment.net(widest))}, to "
        f"time t = {flow_times(experiment, widest)[-1]:.4g}",
        flush=True,
    )
    with progress("lazy scale") as report:
        summary = run(experiment, workdir, report, shard)
    path = scales.write(workdir, summary)
    for sentence in scales.sentences(summary):
        print(sentence)
    print(f"Report: {path}")


if __name__ == "__main__":
    edge.run(main)

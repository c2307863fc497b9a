"""Measures the lazy-regime gap of a network against its width.

    python -m experiments.lazy_gap --widths=64,128,256,512 --workdir=runs/lazy_gap

Trains networks of several widths, several seeds each, beside their linearization and
their infinite-width limit, and fits how the gaps between them fall with width. The
same command goes on where an earlier one was stopped.
"""

import time

import psutil
from absl import flags

from experiments import cells, edge, settings
from experiments.progress import progress
from zoo.gap.cell import TooWide
from zoo.gap.config import Config
from zoo.gap.plan import plan
from zoo.gap.run import Experiment, run
from zoo.report import page, plans, text

settings.define(Config)
cells.define("runs/lazy_gap")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data files.")
ALLOW_DIVERGENCE = flags.DEFINE_bool(
    "allow_divergence", False, "Accept a learning rate above the critical one."
)
MESH = flags.DEFINE_string(
    "mesh",
    None,
    "seed:S,width:W: all S W devices, S to share the seeds of a cell, and W the width "
    "of each; default: the first device.",
)
PLAN = flags.DEFINE_bool(
    "plan", False, "Prints what every width will take, and ends before it runs."
)


def main() -> None:
    """Measures, reports, and says what was found."""
    try:
        shard = cells.begin()
        experiment = Experiment(
            settings.read(Config),
            DATA_DIR.value,
            ALLOW_DIVERGENCE.value,
            MESH.value,
            skip_wide=not PLAN.value,
        )
    except (ValueError, FileNotFoundError) as e:
        edge.fail(e)
    if PLAN.value:
        started = time.time() - psutil.Process().create_time()
        print(plans.table(plan(experiment)))
        print(f"Beside it the start, {plans.seconds(started)}, and the report.")
        return
    workdir = cells.open_workdir(experiment.config.as_dict())
    print(text.header(experiment), flush=True)
    try:
        with progress("lazy gap") as report:
            summary = run(experiment, workdir, report, shard)
    except TooWide as e:  # of cells that a larger machine measured
        edge.fail(e)
    path = page.write(workdir, summary)
    print(text.table(summary))
    print(f"Report: {path}")
    for sentence in text.sentences(summary):
        print(sentence)


if __name__ == "__main__":
    edge.run(main)

"""Measures the final loss over learning rates and widths, in several parameterizations.

    python -m experiments.lr_transfer --workdir=runs/lr_transfer

Trains networks of several widths at a grid of learning rates, several seeds each, and
says how the critical, the largest stable and the best learning rate follow the width.
The same command goes on where an earlier one was stopped.
"""

from absl import flags

from experiments import cells, edge, settings
from experiments.progress import progress
from zoo.gap.lr_transfer import Transfer, TransferConfig, run
from zoo.report import lr_text, lr_transfer

ABOUT = {
    "parameterizations": "Parameterizations of the architecture, each measured alone.",
    "below": "Octaves by which the grid of rates begins below the critical one.",
    "above": "Octaves by which it ends above the critical one.",
    "per_octave": "Rates in an octave.",
    "refinements": "How often as many rates again are placed where edges and minima "
    "lie.",
    "runs_at_once": "Runs that train at the same time, at most.",
    "memory_gb": "Bounds how many runs train at once.",
}
settings.define(TransferConfig, ABOUT)
cells.define("runs/lr_transfer")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data files.")


def main() -> None:
    """Measures, reports, and says what was found."""
    try:
        shard = cells.begin()
        transfer = Transfer(settings.read(TransferConfig), DATA_DIR.value)
    except (ValueError, FileNotFoundError) as e:
        edge.fail(e)
    workdir = cells.open_workdir(transfer.config.as_dict())
    print(lr_text.header(transfer), flush=True)
    with progress("learning rates") as report:
        summary = run(transfer, workdir, report, shard)
    path = lr_transfer.write(workdir, summary)
    print(lr_text.table(summary))
    print(f"Report: {path}")
    for sentence in lr_text.sentences(summary):
        print(sentence)


if __name__ == "__main__":
    edge.run(main)

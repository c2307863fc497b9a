"""Follows the tangent kernel along training, and what it is worth as a kernel.

    python -m experiments.kernel_evolution --workdir=runs/kernel_evolution

Trains networks of several widths in the NTK parameterization and in muP, keeps their
empirical NTK at some steps, and draws its distance from the start, its velocity, its
alignment with the labels, its spectrum, and the test error of kernel machines built on
it. The same command goes on where an earlier one was stopped.
"""

from absl import flags

from experiments import cells, edge, settings
from experiments.progress import progress
from zoo.gap.config import METHOD
from zoo.gap.kernel_evolution import Evolution, KernelConfig, run
from zoo.report import kernel_page

ABOUT = {
    "parameterizations": "Each measured, separated by commas; empty takes the "
    "architecture's own.",
    "parameterization": "Not used here; see --parameterizations.",
    "ridge": "Of the kernel machines, over the mean eigenvalue of the train kernel; 0 "
    "takes the interpolant of least norm.",
    "full_kernel": "Measures also the kernel of all pairs of outputs, start and end.",
}
settings.define(KernelConfig, ABOUT, ("loss", *METHOD))
cells.define("runs/kernel_evolution")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data files.")
ALLOW_DIVERGENCE = flags.DEFINE_bool(
    "allow_divergence", False, "Accept a learning rate above the critical one."
)


def main() -> None:
    """Measures, reports, and says what was found."""
    try:
        shard = cells.begin()
        evolution = Evolution(
            settings.read(KernelConfig), DATA_DIR.value, ALLOW_DIVERGENCE.value
        )
    except (ValueError, FileNotFoundError) as e:
        edge.fail(e)
    workdir = cells.open_workdir(evolution.config.as_dict())
    print(kernel_page.header(evolution), flush=True)
    with progress("kernel evolution") as report:
        summary, results = run(evolution, workdir, report, shard)
    path = kernel_page.write(workdir, summary, results)
    print(f"Report: {path}")
    for sentence in kernel_page.sentences(summary):
        print(sentence)


if __name__ == "__main__":
    edge.run(main)

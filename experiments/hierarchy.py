"""Measures the neural tangent hierarchy, and the kernel drift that it predicts.

    python -m experiments.hierarchy --workdir=runs/hierarchy

Higher tangent kernels K3 and K4 at initialization against width; the drift of the NTK
along training beside what its derivatives at initialization, and the hierarchy
truncated at K3 or K4, predict. The same command goes on where an earlier one stopped.
"""

from absl import flags
from rich.console import Console
from rich.table import Table

from experiments import cells, edge, settings
from experiments.progress import progress
from zoo.gap.hierarchy import header, prepare, run
from zoo.gap.hierarchy_config import HierarchyConfig
from zoo.layers import ACTIVATIONS
from zoo.report import hierarchy_page as page

settings.define(
    HierarchyConfig,
    {
        "limit": "Whose largest eigenvalue sets the learning rate: auto, monte_carlo, "
        "none, or package.module:name of kernel(x1, x2, get).",
        "depth": "Hidden layers; default by architecture, of mlp 1.",
        "activation": f"{', '.join(sorted(ACTIVATIONS))}; default by architecture, of "
        "mlp tanh.",
        "order": "The highest tangent kernel: 3 or 4.",
        "n_train": "Train points n; with k outputs K4 has (n k)^4 entries.",
        "records": "Steps at which the kernel is kept, log-spaced.",
        "memory_gb": "Bounds the highest tangent kernel of one seed.",
    },
)
cells.define("runs/hierarchy")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data files.")
ALLOW_DIVERGENCE = flags.DEFINE_bool(
    "allow_divergence", False, "Accept a learning rate above the critical one."
)


def table(summary: dict) -> str:
    """The table of exponents as text."""
    grid = Table(title="mean over seeds at each width, and exponent against width")
    for column in ("", *map(str, summary["widths"]), *page.HEAD):
        grid.add_column(column, justify="left" if column == "" else "right")
    for row in page.rows(summary):
        grid.add_row(*row)
    console = Console(width=160)
    with console.capture() as capture:
        console.print(grid)
    return capture.get().rstrip()


def main() -> None:
    """Measures, reports, and says what was found."""
    try:
        shard = cells.begin()
        config = settings.read(HierarchyConfig)
        experiment = prepare(config, DATA_DIR.value, ALLOW_DIVERGENCE.value)
    except (ValueError, FileNotFoundError) as e:
        edge.fail(e)
    workdir = cells.open_workdir(config.as_dict())
    print("\n".join(page.opening(header(config, experiment))), flush=True)
    with progress("hierarchy") as report:
        summary, arrays = run(config, experiment, workdir, report, shard)
    path = page.write(workdir, summary, arrays)
    print(table(summary))
    print(f"Report: {path}")
    for sentence in page.sentences(summary):
        print(sentence)


if __name__ == "__main__":
    edge.run(main)

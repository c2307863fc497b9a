"""Measures the theorems of the papers, each prediction beside its measurement.

    python -m experiments.theorems --paper=allenzhu2018 --workdir=runs/theorems
    python -m experiments.theorems --paper=all --workdir=runs/theorems

Prints and renders a scoreboard, and a page per paper. The same command goes on where an
earlier one stopped; other papers of the same --scale may share the folder.
"""

import sys

from absl import flags
from rich.console import Console
from rich.table import Table

from experiments import cells, edge
from experiments.progress import progress
from zoo.gap import store
from zoo.report import theorems as page
from zoo.theory import PAPERS, find_papers
from zoo.theory.claims import SCALES
from zoo.theory.score import measure, summarize

PAPER = flags.DEFINE_string("paper", "all", f"all, or one of {', '.join(PAPERS)}.")
SCALE = flags.DEFINE_enum(
    "scale", "default", SCALES, "Sizes: seconds, minutes on two cores, or the papers'."
)
cells.define("runs/theorems")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data files.")
LIST = flags.DEFINE_bool("list", False, "Prints every claim, one a line, and ends.")


def scoreboard(summary: dict) -> str:
    """The table of claims as text."""
    grid = Table(title=page.opening(summary))
    for column in ("paper", *page.COLUMNS):
        grid.add_column(column, overflow="fold")
    for row in summary["rows"]:
        grid.add_row(row["paper"], *page.cells(row))
    console = Console(width=None if sys.stdout.isatty() else 160)
    with console.capture() as capture:
        console.print(grid)
    return capture.get().rstrip()


def main() -> None:
    """Measures, reports, and says what was found."""
    try:
        shard = cells.begin()
        papers = find_papers(PAPER.value)
    except ValueError as e:
        edge.fail(e)
    if LIST.value:
        print("\n".join(page.listing(papers)))
        return
    workdir = cells.open_workdir({"scale": SCALE.value})
    with progress("theorems") as report:
        found, seconds = measure(
            papers, SCALE.value, workdir, report, DATA_DIR.value, shard
        )
    summary = summarize(papers, SCALE.value, found, seconds)
    store.write_json(workdir / "summary.json", summary)
    path = page.write(workdir, papers, summary, found)
    print(scoreboard(summary))
    print(f"Report: {path}")


if __name__ == "__main__":
    edge.run(main)

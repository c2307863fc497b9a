"""Lists the architectures of the zoo: paper, trained layers, infinite-width limit.

    python -m experiments.zoo

`--format=markdown` prints the same table for a text.
"""

import sys

from absl import flags
from rich.console import Console
from rich.table import Table

from experiments import edge
from zoo.report.members import COLUMNS, members

FORMAT = flags.DEFINE_enum(
    "format", "terminal", ["terminal", "markdown"], "Of the table."
)


def main() -> None:
    """Prints the table."""
    rows = members()
    if FORMAT.value == "markdown":
        lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))
        return
    table = Table(*COLUMNS, title=f"{len(rows)} architectures")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table)


if __name__ == "__main__":
    edge.run(main)

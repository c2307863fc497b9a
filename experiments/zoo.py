"""Lists the architectures of the zoo: paper, trained layers, infinite-width limit.

    python -m experiments.zoo

`--format=markdown` prints the same as a page, with what every architecture is, and
`--format=overview` README's table.
"""

import sys

from absl import flags
from rich.console import Console
from rich.table import Table

from experiments import edge
from zoo.report.members import COLUMNS, members, overview, page

PAGES = {"markdown": page, "overview": lambda: overview() + "\n"}
FORMATS = ["terminal", *PAGES]
FORMAT = flags.DEFINE_enum("format", FORMATS[0], FORMATS, "Of the table.")


def main() -> None:
    """Prints the table."""
    if FORMAT.value in PAGES:
        print(PAGES[FORMAT.value](), end="")
        return
    rows = members()
    table = Table(*COLUMNS, title="--arch of experiments.lazy_gap; variants by --net")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table)


if __name__ == "__main__":
    edge.run(main)

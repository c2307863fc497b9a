"""What the architectures say of themselves, as a table and as a page."""

import inspect

from zoo import data
from zoo.gap.nets import build, from_data
from zoo.models import ARCHITECTURES

COLUMNS = ["--arch", "hyper-parameters", "network", "paper", "trained", "limit", "data"]
PAGE = """# The architectures

Made by `python -m experiments.zoo --format=markdown`. A limit is *exact*, *numeric* (to
the error given), *monte carlo* (deterministic, but known by sampling alone) or *none*
(no lazy limit), with the reason.
"""


def members() -> list[list[str]]:
    """A row for each architecture at its defaults, and for each variant it names."""
    rows = []
    for name, network in ARCHITECTURES.items():
        points = data.load(network.data, 8, 4).shaped(network.inputs)
        for options in ({}, *network.variants):
            net = build(name, 8, 1, options, **from_data(points))
            kind, why = net.limit()
            limit = f"{kind}: {why}" if why else kind
            said = ",".join(f"{k}={v}" for k, v in options.items())
            row = [name, said, network.__name__, network.paper, network.trains]
            rows.append([*row, limit, network.data])
    return rows


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def overview() -> str:
    """The table in short: without reasons and class names."""
    rows = [
        [arch, options, paper, trained, limit.partition(":")[0]]
        for arch, options, _, paper, trained, limit, _ in members()
    ]
    return markdown(["`--arch`", "`--net`", "paper", "trained", "limit"], rows)


def page() -> str:
    """The table, and what every architecture is: its documentation."""
    parts = [PAGE, markdown(COLUMNS, members())]
    for name, network in ARCHITECTURES.items():
        parts += [f"\n## {network.__name__}\n\n`--arch={name}`. {network.paper}.\n"]
        parts += [f"```\n{inspect.getdoc(network)}\n```"]
    return "\n".join(parts) + "\n"

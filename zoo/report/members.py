"""The table of the architectures, from what they say of themselves."""

from zoo.gap.nets import example
from zoo.models import ARCHITECTURES

COLUMNS = ["--arch", "network", "paper", "trained", "limit", "data"]


def members() -> list[list[str]]:
    """A row for each architecture, with its default hyper-parameters."""
    rows = []
    for name, network in ARCHITECTURES.items():
        kind, why = example(name, width=8)[0].limit()
        limit = f"{kind}: {why}" if why else kind
        row = [name, network.__name__, network.paper, network.trains, limit]
        rows.append([*row, network.data])
    return rows

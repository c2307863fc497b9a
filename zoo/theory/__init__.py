"""The theorems of the papers, each a prediction beside its measurement."""

from zoo.names import check_name
from zoo.theory import arora2019
from zoo.theory.claims import Paper

PAPERS: dict[str, Paper] = {module.PAPER.name: module.PAPER for module in (arora2019,)}


def find_papers(name: str) -> list[Paper]:
    """The paper of this name, or all of them for "all".

    Raises:
        ValueError: the name is unknown.
    """
    if name == "all":
        return list(PAPERS.values())
    check_name("--paper", name, [*PAPERS, "all"])
    return [PAPERS[name]]


__all__ = ["PAPERS", "Paper", "find_papers"]

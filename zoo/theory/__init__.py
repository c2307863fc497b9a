"""The theorems of the papers, each a prediction beside its measurement."""

from zoo.names import check_name
from zoo.theory import (
    allenzhu2018,
    arora2019,
    du2019,
    feng2020,
    gao2021,
    gao2022,
    gao2023,
    jacot2018,
    kawaguchi2018,
    kawaguchi2019,
    kawaguchi2021,
    lee2019,
    ling2022,
    nguyen2021,
    terjek2022,
    winston2020,
)
from zoo.theory.claims import Paper

PAPERS: dict[str, Paper] = {
    module.PAPER.name: module.PAPER
    for module in (
        allenzhu2018,
        terjek2022,
        kawaguchi2018,
        kawaguchi2019,
        nguyen2021,
        ling2022,
        gao2021,
        gao2022,
        gao2023,
        kawaguchi2021,
        feng2020,
        winston2020,
        lee2019,
        jacot2018,
        arora2019,
        du2019,
    )
}


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

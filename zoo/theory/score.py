"""The scoreboard: every measurement taken once, every claim judged."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.data import load
from zoo.gap.sweep import WHOLE, Arrays, Cell, Report, Shard, measure_cells, versions
from zoo.theory.claims import (
    Claim,
    Equals,
    Measurement,
    Paper,
    Score,
    judge,
    unmeasured,
)


def size_of(measurement: Measurement, scale: str) -> dict[str, Any]:
    """The keyword arguments of a measurement at one of `SCALES`."""
    return dict(measurement.sizes[scale])


def measure(
    papers: Sequence[Paper],
    scale: str,
    workdir: Path,
    report: Report,
    data_dir: str | None = None,
    shard: Shard = WHOLE,
) -> tuple[dict[str, dict[str, Arrays | str]], float]:
    """Takes the measurements that are not on disk yet.

    Args:
        papers: whose.
        scale: one of `SCALES`.
        workdir: opened by `zoo.gap.store.open_workdir`.
        report: called with a message and the share of the work that is done.
        data_dir: a folder of data files.
        shard: the measurements that this process takes.

    Returns:
        arrays by paper and measurement, or why there are none, where data is missing;
        and the seconds that all measurements took, whenever that was.
    """
    found: dict[str, dict[str, Arrays | str]] = {paper.name: {} for paper in papers}
    cells, places = [], []
    for paper in papers:
        for measurement in paper.measurements:
            try:
                cells.append(_cell(paper, measurement, scale, data_dir))
                places.append((paper.name, measurement.name))
            except (FileNotFoundError, ConnectionError) as error:
                found[paper.name][measurement.name] = str(error)
    seconds = 0.0
    if cells:
        arrays, seconds = measure_cells(cells, workdir, {"scale": scale}, report, shard)
        for (paper_name, name), array in zip(places, arrays, strict=True):
            found[paper_name][name] = array
    return found, seconds


def _cell(
    paper: Paper, measurement: Measurement, scale: str, data_dir: str | None
) -> Cell:
    size = size_of(measurement, scale)
    where: dict[str, Any] = {}
    if measurement.dataset:
        load(measurement.dataset, 1, 1, data_dir=data_dir)  # is it there?
        where = {"dataset": measurement.dataset, "data_dir": data_dir}
    return Cell(
        f"{paper.name}-{measurement.name}",
        measurement.seconds,
        lambda: measurement.run(**size, **where),
        config={"size": size, "dataset": measurement.dataset},
    )


def scores(paper: Paper, found: dict[str, Arrays | str]) -> list[tuple[Claim, Score]]:
    """Each claim of a paper with what was measured of it."""
    out = []
    for claim in paper.claims:
        arrays = found[claim.measurement.name]
        said = unmeasured(arrays) if isinstance(arrays, str) else judge(claim, arrays)
        out.append((claim, said))
    return out


def summarize(
    papers: Sequence[Paper],
    scale: str,
    found: dict[str, dict[str, Arrays | str]],
    seconds: float,
) -> dict[str, Any]:
    """The scoreboard as plain values, for `summary.json` and the report."""
    rows = [
        {
            "paper": paper.name,
            "claim": claim.name,
            "statement": claim.statement,
            "quantity": claim.quantity,
            "predicted": str(claim.predicted),
            "source": claim.source,
            "trust": claim.trust,
            "mean": score.mean,
            "ci99": [score.low, score.high],
            "seeds": score.seeds,
            "lost": score.lost,
            "verdict": score.verdict,
            "certain": bool(claim.certain) and score.verdict == "holds",
            "exact": isinstance(claim.predicted, Equals),
            "why": score.why or (claim.thought if score.verdict == "violated" else ""),
        }
        for paper in papers
        for claim, score in scores(paper, found[paper.name])
    ]
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    facts = {"scale": scale, "seconds": seconds, "machine": machine}
    return facts | {"rows": rows, "versions": versions()}

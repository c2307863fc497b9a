"""How the empirical NTK moves along training, over widths and parameterizations.

config -> data -> the main job's networks -> `zoo.gap.kernel_cell` -> summary.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data import Dataset
from zoo.descent.losses import LOSSES
from zoo.gap import kernel_machine as km
from zoo.gap import store
from zoo.gap.config import METHOD, Config
from zoo.gap.kernel_cell import kernel_times, measure_evolution, rate_power
from zoo.gap.kernel_summary import summarize
from zoo.gap.run import Experiment, cell_name, hyper_parameters, trained
from zoo.gap.sweep import WHOLE, Arrays, Cell, Report, Shard, measure_cells, versions


@dataclasses.dataclass(frozen=True)
class KernelConfig(Config):
    """The movement of the kernel over widths; fields as of `Config`, and more.

    Attributes:
        parameterizations: each measured, one beside the other; none takes the
            architecture's own. `parameterization` has to be left out.
        ridge: of the kernel machines, over the mean eigenvalue of the train kernel; 0
            takes the interpolant of least norm.
        full_kernel: of several outputs also measures the kernel of all their pairs, at
            start and end.
    """

    parameterizations: tuple[str, ...] = ("ntk", "mup")
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    seeds: int = 6
    n_train: int = 64
    n_test: int = 256
    records: int = 14
    ridge: float = 0.0
    full_kernel: bool = True

    def __post_init__(self):
        unset = self.parameterization is None
        self._require("parameterization", unset, "nothing; use --parameterizations")
        names = self.parameterizations
        self._require("parameterizations", len(set(names)) == len(names), "each once")
        finite = 0 <= self.ridge < np.inf
        self._require("ridge", finite, "a finite number >= 0")
        self._require_fixed("loss", *METHOD)
        super().__post_init__()

    def each(self) -> dict[str, Config]:
        """The main job's configuration for every parameterization, by its name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(Config)}
        if not self.parameterizations:
            return {"own": Config(**values)}
        return {
            name: Config(**values | {"parameterization": name})
            for name in self.parameterizations
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return super().as_dict() | {"parameterizations": list(self.parameterizations)}


class Evolution:
    """A configuration with the main job's experiment for every parameterization.

    Args:
        config: what to measure.
        data_dir: folder of data files, for the datasets that are read from disk.
        allow_divergence: accept a learning rate above the critical one.

    Raises:
        ValueError: as `zoo.gap.run.Experiment`, or if there is no kernel.
    """

    def __init__(
        self, config: KernelConfig, data_dir: str | None = None, allow_divergence=False
    ):
        self.config = config
        self.jobs = {
            name: Experiment(one, data_dir, allow_divergence)
            for name, one in config.each().items()
        }
        for job in self.jobs.values():
            if not job.has_kernel:
                raise ValueError(
                    f"--arch={config.arch} is not allowed: its examples interact, so "
                    "that it has no kernel; other architectures have."
                )

    @property
    def data(self) -> Dataset:
        """The points, the same for all."""
        return next(iter(self.jobs.values())).data

    def cells(self) -> list[tuple[str, int, np.ndarray]]:
        """(parameterization, width, seeds) of every cell."""
        return [
            (name, *cell) for name, job in self.jobs.items() for cell in job.cells()
        ]

    def measure(self, name: str, width: int, seeds: np.ndarray) -> Arrays:
        """The arrays of one cell."""
        job, config = self.jobs[name], self.config
        net = job.net(width)
        return measure_evolution(
            net,
            width,
            job.data,
            job.learning_rate(width),
            job.times,
            seeds,
            (config.memory_gb * 2**30, int(config.ntk_gb * 2**30)),
            config.full_kernel and job.data.y_train.shape[1] > 1,
            config.ridge,
        )

    def limit_machine(self) -> dict[str, float] | None:
        """Scores of the kernel machine on Theta_inf, and how Theta_inf aligns.

        Of the first parameterization that has a limit, at the narrowest width. That of
        the NTK parameterization is the limit of muP's m K_0 too. None without one.
        """
        for job in self.jobs.values():
            limit = job.limit(self.config.widths[0])
            if limit is not None:
                dynamics = limit.dynamics
                return limit_scores(
                    dynamics.theta, dynamics.coupled, job.data, self.config.ridge
                )
        return None


def limit_scores(
    theta: np.ndarray, coupled: int, data: Dataset, ridge: float
) -> dict[str, Any]:
    """Of an infinite kernel [N, n], or [N k, n k] if it couples k outputs.

    `loss`, `accuracy` (of classes), and where outputs do not share it `alignment`,
    `alignment_centred` and `eigenvalues`.
    """
    n, y = len(data.y_train), data.y_train
    rows = y if coupled == 1 else y.reshape(-1, 1)
    f = km.machine(theta, rows, ridge).reshape(-1, y.shape[1])
    found: dict[str, Any] = {k: float(v) for k, v in km.scores(f, data).items()}
    if coupled == 1:
        found["alignment"] = float(km.alignment(theta[:n], y, centred=False))
        found["alignment_centred"] = float(km.alignment(theta[:n], y, centred=True))
        found["eigenvalues"] = km.spectrum(theta[:n]).values
    return found


def run(
    evolution: Evolution, workdir: Path, report: Report, shard: Shard = WHOLE
) -> tuple[dict, dict]:
    """Measures what is missing in `workdir`, and summarizes.

    Args:
        evolution: what to measure.
        workdir: opened by `zoo.gap.store.open_workdir`.
        report: called with a message and the share of the work that is done.
        shard: the cells that this process measures.

    Returns:
        the summary, also written to `summary.json`, and the arrays of all seeds by
        parameterization and width.
    """
    config, triples = evolution.config, evolution.cells()
    cells = [
        Cell(
            f"{name}-{cell_name(config.arch, width)}-s{seeds[0]}-{seeds[-1]}",
            len(seeds) * ((config.depth or 2) * width**2 + 2**17),
            partial(evolution.measure, name, width, seeds),
        )
        for name, width, seeds in triples
    ]
    found, seconds = measure_cells(cells, workdir, config.as_dict(), report, shard)
    parts: dict[str, dict[int, list[Arrays]]] = {}
    for (name, width, _), arrays in zip(triples, found, strict=True):
        parts.setdefault(name, {}).setdefault(width, []).append(arrays)
    merged = {
        name: {width: _merge(each) for width, each in widths.items()}
        for name, widths in parts.items()
    }
    out = _header(evolution) | {
        "results": {
            name: _about(evolution.jobs[name]) | summarize(widths, evolution.jobs[name])
            for name, widths in merged.items()
        },
        "seconds": seconds,
    }
    store.write_json(workdir / "summary.json", out)
    return out, merged


def _merge(parts: list[Arrays]) -> Arrays:
    """All seeds of a width."""
    shared = ("times", "time")
    return {
        name: parts[0][name]
        if name in shared
        else np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }


def _header(evolution: Evolution) -> dict[str, Any]:
    """What all numbers depend on."""
    config = evolution.config
    return {
        "schema": 1,
        "arch": config.arch,
        "dataset": config.dataset,
        "loss": LOSSES["mse"].formula,
        "widths": list(config.widths),
        "seeds": config.seeds,
        "steps": config.steps,
        "outputs": evolution.data.y_train.shape[1],
        "limit_machine": evolution.limit_machine(),
        "config": config.as_dict(),
        "versions": versions(),
    }


def _about(job: Experiment) -> dict[str, Any]:
    """What the numbers of one parameterization depend on."""
    widths = job.config.widths
    rates = {m: job.learning_rate(m) for m in widths}
    reached = [kernel_times(job.net(m), m, rates[m], job.times)[-1] for m in widths]
    return {
        "trained": trained(job.net(widths[0])),
        "network": hyper_parameters(job.net(widths[0])),
        "power": rate_power(job.net(widths[0])),
        "edge": job.edge(),
        "learning_rates": list(rates.values()),
        "critical_rates": [job.critical_rate(m) for m in widths],
        "time_reached": reached,
        "recorded_steps": job.times,
        "limit": job.limit_kind._asdict(),
    }

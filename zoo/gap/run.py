"""The main job: config -> data -> net -> (finite | infinite) -> gap -> summary."""

import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo import data
from zoo.gap import store, summary
from zoo.gap.cell import Limit, measure_cell
from zoo.gap.config import Config
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.predict import Dynamics
from zoo.models import Architecture

LOSS = "1/(2n) sum_i |f(x_i) - y_i|^2"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "neural-tangents", "numpy", "scipy")
Report = Callable[[str, float], None]


def record_times(steps: int, records: int) -> np.ndarray:
    """Step 0 and about `records - 1` log-spaced steps up to the last one.

    >>> record_times(100, 6).tolist()
    [0, 1, 3, 10, 32, 100]
    >>> record_times(40, 2).tolist()
    [0, 40]
    """
    late = np.round(np.geomspace(1, steps, records - 1))
    return np.unique(np.concatenate([[0], late[: records - 2], [steps]]).astype(int))


class Experiment:
    """A configuration with its data and infinite-width side; cells are measured on it.

    Args:
        config: what to measure.
        data_dir: folder of data files, for the datasets that are read from disk.
        allow_divergence: accept a learning rate above the critical one.

    Raises:
        ValueError: if the data cannot give what the configuration asks for, or the
            learning rate is above the critical one.
    """

    def __init__(
        self, config: Config, data_dir: str | None = None, allow_divergence=False
    ):
        self.config = config
        self.data = data.load(
            config.dataset, config.n_train, config.n_test, config.data_seed, data_dir
        )
        self.times = record_times(config.steps, config.records)
        self._limits: dict[Architecture, Limit] = {}
        for width in config.widths:
            rate, critical = self.learning_rate(width), self.critical_rate(width)
            if rate > critical and not allow_divergence:
                given = f"--learning_rate={rate:g}"
                if config.learning_rate is None:
                    given = f"--lr_fraction={config.lr_fraction:g}, a rate of {rate:g},"
                raise ValueError(
                    f"{given} is above {critical:.4g}, the critical "
                    f"rate of the infinite-width kernel at width {width}; pass "
                    "--allow_divergence to run it all the same."
                )

    def net(self, width: int) -> Architecture:
        """The network of this width."""
        return self.config.net(width, self.data.y_train.shape[1])

    def limit(self, width: int) -> Limit:
        """Its infinite-width side, computed once for all widths that share it."""
        key = self.net(width).limit_key()
        if key not in self._limits:
            x = np.concatenate([self.data.x_train, self.data.x_test])
            kernels = kernel_matrix(key, x, get=("nngp", "ntk"))
            dynamics = Dynamics.from_kernel(kernels.ntk[:, : self.config.n_train])
            self._limits[key] = Limit(dynamics, kernels.nngp)
        return self._limits[key]

    def critical_rate(self, width: int) -> float:
        """2 n / lambda_max of the infinite-width train kernel."""
        return self.limit(width).dynamics.critical_rate

    def learning_rate(self, width: int) -> float:
        """eta: what was asked for, or a fraction of the critical rate."""
        if self.config.learning_rate is not None:
            return self.config.learning_rate
        return self.config.lr_fraction * self.critical_rate(width)

    def lazy_rate(self) -> bool:
        """Whether the rate is stable in the limit, and scales as the theory asks."""
        widths = self.config.widths
        scaled = self.config.parameterization == "ntk" or (
            self.config.learning_rate is None
        )
        stable = all(self.learning_rate(m) <= self.critical_rate(m) for m in widths)
        return scaled and stable

    def cells(self) -> list[tuple[int, np.ndarray]]:
        """(width, seeds) of every cell, narrow networks first."""
        seeds = np.arange(self.config.seed, self.config.seed + self.config.seeds)
        step = self.config.cell_seeds
        blocks = [seeds[i : i + step] for i in range(0, len(seeds), step)]
        return [(width, block) for width in self.config.widths for block in blocks]

    def measure(self, width: int, seeds: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of one cell."""
        arrays = measure_cell(
            self.net(width),
            self.data,
            self.limit(width),
            self.learning_rate(width),
            self.times,
            seeds,
            self.config.memory_gb * 2**30,
        )
        spectrum = self.limit(width).dynamics.eigenvalues
        return arrays | {
            "times": self.times,
            "seeds": seeds,
            "limit_eigenvalues": spectrum,
            "n_test": np.asarray(self.config.n_test),
        }


def cell_name(config: Config, width: int, seeds: np.ndarray) -> str:
    """Folder of a cell: architecture, width, first and last seed."""
    return f"{config.arch}-w{width}-s{seeds[0]}-{seeds[-1]}"


def run(experiment: Experiment, workdir: Path, report: Report) -> dict[str, Any]:
    """Measures what is missing in `workdir`, and summarizes.

    Args:
        experiment: what to measure.
        workdir: opened by `zoo.gap.store.open_workdir`.
        report: called with a message and the share of the work that is done.

    Returns:
        the summary, also written to `summary.json`.
    """
    config = experiment.config
    held = config.as_dict()
    cells = experiment.cells()
    work = np.cumsum([len(seeds) * _effort(config, width) for width, seeds in cells])
    blocks: dict[int, list] = {}
    seconds = 0.0
    for (width, seeds), done in zip(cells, work, strict=True):
        name = cell_name(config, width, seeds)
        arrays = store.read_cell(workdir / "cells" / name, held)
        if arrays is None:
            began = time.monotonic()
            arrays = experiment.measure(width, seeds)
            facts = {"seconds": time.monotonic() - began, "versions": versions()}
            store.write_cell(workdir / "cells" / name, held, arrays, facts)
            report(f"{name}: {facts['seconds']:.1f} s", done / work[-1])
        else:
            report(f"{name}: on disk", done / work[-1])
        blocks.setdefault(width, []).append(arrays)
        seconds += store.cell_seconds(workdir / "cells" / name)
    merged = {width: _merge(parts) for width, parts in blocks.items()}
    found = summary.summarize(config, merged, experiment.lazy_rate())
    out = _header(experiment) | found | {"seconds": seconds}
    store.write_json(workdir / "summary.json", out)
    return out


def _effort(config: Config, width: int) -> int:
    """Relative cost of a seed: products of its layers, and a constant to compile."""
    return config.depth * width**2 + 2**19


def _merge(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """All seeds of a width; arrays without a seed axis are the same in all parts."""
    shared = {"times", "limit_eigenvalues", "n_test"} | {
        name for name in parts[0] if name.startswith("ensemble")
    }
    return {
        name: parts[0][name]
        if name in shared
        else np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }


def _header(experiment: Experiment) -> dict[str, Any]:
    """What the numbers depend on: data, loss, rates, times, spectrum, versions."""
    config = experiment.config
    rates = [experiment.learning_rate(m) for m in config.widths]
    dynamics = experiment.limit(config.widths[-1]).dynamics
    return {
        "schema": 1,
        "arch": config.arch,
        "dataset": config.dataset,
        "loss": LOSS,
        "learning_rate": rates[0] if len(set(rates)) == 1 else None,
        "learning_rates": rates,
        "critical_rates": [experiment.critical_rate(m) for m in config.widths],
        "widths": list(config.widths),
        "seeds": config.seeds,
        "steps": config.steps,
        "recorded_steps": experiment.times,
        "time_reached": [rate * config.steps for rate in rates],
        "limit_spectrum": {
            "smallest": float(dynamics.eigenvalues[0]),
            "largest": float(dynamics.eigenvalues[-1]),
            "rank": dynamics.rank,
            "points": config.n_train,
        },
        "config": config.as_dict(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    own = {"python": platform.python_version(), "git": git_state()}
    return own | found | {"device": jax.devices()[0].device_kind}


def git_state() -> str:
    """Commit of this source tree, with "+" if files differ from it; "" if installed."""
    folder = Path(__file__).parent
    if "site-packages" in folder.parts:
        return ""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=40"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()

"""The final loss over learning rates and widths, in several parameterizations.

The loss is L = 1/(2n) sum_i |f(x_i) - y_i|^2 and training is full-batch gradient
descent on all trained layers. Near initialization the residuals follow
r <- (1 - (eta / n) Theta_0) r, which is stable up to the critical rate
2 n / lambda_max(Theta_0). A network that is not lazy may end below its start at rates
above it: the loss first grows, the kernel shrinks, and training goes on ("catapult",
Lewkowycz et al. 2020).

Of one width and one parameterization, first a grid of absolute rates, powers of
2^(1/per_octave) that all widths share, is tried on all seeds; then, seed by seed, rates
inside the intervals where something ends or is best. Both are calls of one program.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from zoo import data
from zoo.descent.losses import LOSSES
from zoo.gap import lr_edges, lr_summary, sides, store
from zoo.gap.config import Config
from zoo.gap.lr_runs import initial, runs_at_once, sweep
from zoo.gap.nets import from_data
from zoo.gap.run import hyper_parameters
from zoo.gap.sweep import WHOLE, Arrays, Cell, Report, Shard, measure_cells, versions
from zoo.models import Architecture

# Fields that mean what they mean in the main job, and are checked as there.
SHARED = (
    "arch dataset widths depth activation sigma_w sigma_b net seeds seed n_train "
    "n_test data_seed steps memory_gb ntk_gb"
).split()
LARGEST_GRID = 512  # rates, beyond which a typing error is more likely


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """Learning rates against width; see `zoo.gap.config.Config` for what is shared.

    Attributes:
        parameterizations: of the architecture, each measured alone.
        below: octaves by which the grid of rates begins below the critical rate.
        above: octaves by which it ends above the critical rate.
        per_octave: rates in an octave of the grid.
        refinements: how often as many rates again are placed inside the intervals of
            the grid in which an edge, or the best rate, lies.
        runs_at_once: runs (a seed at a rate) that train at the same time, at most;
            --memory_gb bounds them too. A CPU wants few (of width 1024, 16 take more
            than twice as long as 2 or 4), a GPU many.
    """

    parameterizations: tuple[str, ...] = ("ntk", "standard", "mup")
    arch: str = "mlp"
    dataset: str | None = "sphere"
    widths: tuple[int, ...] = (128, 256, 512, 1024)
    depth: int | None = None
    activation: str | None = None
    sigma_w: float | None = None
    sigma_b: float | None = None
    net: tuple[str, ...] = ()
    seeds: int = 6
    seed: int = 0
    n_train: int = 32
    n_test: int = 64
    data_seed: int = 0
    steps: int = 30
    below: float = 3.0
    above: float = 4.5
    per_octave: int = 2
    refinements: int = 1
    runs_at_once: int = 4
    memory_gb: float = 4.0
    ntk_gb: float = 1.0

    def __post_init__(self):
        names = self.parameterizations
        self._require("parameterizations", bool(names), "at least one")
        self._require("parameterizations", len(set(names)) == len(names), "each once")
        for name in ("below", "above"):
            fine = 0 < getattr(self, name) <= 64
            self._require(name, fine, "octaves, a number in (0, 64]")
        for name in ("per_octave", "runs_at_once"):
            self._require(name, getattr(self, name) >= 1, "a whole number >= 1")
        self._require("per_octave", self.grid_size <= LARGEST_GRID, "fewer rates")
        self._require("refinements", 0 <= self.refinements <= 8, "0 to 8")
        self._require("n_train", self.n_train >= 2, "a whole number >= 2")
        job = self.job(names[0])
        object.__setattr__(self, "widths", job.widths)
        object.__setattr__(self, "dataset", job.dataset)

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            value = getattr(self, name)
            if isinstance(value, tuple):
                value = ",".join(map(str, value))
            raise ValueError(f"--{name}={value} is not allowed: it takes {allowed}.")

    def job(self, parameterization: str) -> Config:
        """The main job's configuration of one parameterization."""
        values = {name: getattr(self, name) for name in SHARED}
        return Config(parameterization=parameterization, **values)

    @property
    def grid_size(self) -> int:
        """Number of rates in the grid."""
        low, high = (round(v * self.per_octave) for v in (self.below, self.above))
        return low + high + 1

    def grid(self, critical: float) -> np.ndarray:
        """Absolute rates around a critical one, powers of 2^(1/per_octave); [r].

        >>> TransferConfig(below=1.0, above=1.0, per_octave=1).grid(3.9).tolist()
        [2.0, 4.0, 8.0]
        """
        middle = round(float(np.log2(critical)) * self.per_octave)
        first = middle - round(self.below * self.per_octave)
        return 2.0 ** (np.arange(first, first + self.grid_size) / self.per_octave)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


class Transfer:
    """A configuration with its data and networks; cells are measured on it.

    Args:
        config: what to measure.
        data_dir: folder of data files, for the datasets that are read from disk.

    Raises:
        ValueError: if the data cannot give what the configuration asks for, or the
            architecture has not one of the parameterizations, or no kernel.
    """

    def __init__(self, config: TransferConfig, data_dir: str | None = None):
        self.config = config
        self.jobs = {name: config.job(name) for name in config.parameterizations}
        loaded = data.load(
            str(config.dataset),
            config.n_train,
            config.n_test,
            config.data_seed,
            data_dir,
        )
        first = config.parameterizations[0]
        out = loaded.y_train.shape[1]
        network = self.jobs[first].network(config.widths[0], out, **from_data(loaded))
        self.data = loaded.shaped(getattr(network, "inputs", "any"))
        for name in config.parameterizations:
            if sides.couples_batch(self.net(name, config.widths[0])):
                raise ValueError(
                    f"--arch={config.arch} has no kernel, and so no critical rate, "
                    "since its examples interact."
                )

    def net(self, parameterization: str, width: int) -> nn.Module:
        """The network of this width."""
        out = self.data.y_train.shape[1]
        return self.jobs[parameterization].network(width, out, **from_data(self.data))

    def power(self, parameterization: str) -> int | None:
        """Power of the width that the rate follows; None where nothing says it."""
        net = self.net(parameterization, self.config.widths[0])
        return net.rate if isinstance(net, Architecture) else None

    def limit(self, parameterization: str, width: int) -> float:
        """2 n / lambda_max of the infinite-width kernel; NaN without one.

        In the standard parameterization it depends on the width: the kernels of layers
        grow with their fan-in, which is that of the data in the first one.
        """
        net, job = self.net(parameterization, width), self.jobs[parameterization]
        side = sides.limit_side(job, net, self.data, sides.limit_kind(job, net))
        return np.nan if side is None else side.dynamics.critical_rate

    def measure(self, parameterization: str, width: int) -> Arrays:
        """The arrays of one cell; `zoo.gap.lr_edges` and `lr_summary` read them."""
        c = self.config
        net = self.net(parameterization, width)
        seeds = np.arange(c.seed, c.seed + c.seeds)
        together = runs_at_once(
            net, self.data, c.seeds * c.grid_size, c.runs_at_once, c.memory_gb * 2**30
        )
        options = (net, width, c.steps, together, int(c.ntk_gb * 2**30))
        start = initial(options, seeds, c.grid_size, self.data)
        critical = 2 * c.n_train / start["eigenvalues"].max(axis=1)
        if not np.all(np.isfinite(critical)):
            raise ValueError(
                f"at width {width} the kernel of --arch={c.arch} at the train points "
                f"of {c.dataset} is 0 or not finite: there is no critical rate."
            )
        grid = c.grid(float(np.exp(np.mean(np.log(critical)))))
        rates = np.tile(grid, (c.seeds, 1))
        found = sweep(options, seeds, rates, self.data)
        for _ in range(c.refinements):
            rates = lr_edges.refined(found, c.grid_size)
            again = sweep(options, seeds, rates, self.data)
            found = {k: np.concatenate([found[k], again[k]], axis=1) for k in found}
        return (found | start) | {
            "seeds": seeds,
            "grid": grid,
            "n_train": np.asarray(c.n_train),
            "limit_critical": np.asarray(self.limit(parameterization, width)),
        }


def run(
    transfer: Transfer, workdir: Path, report: Report, shard: Shard = WHOLE
) -> dict[str, Any]:
    """Measures what is missing in `workdir`, and summarizes.

    Args:
        transfer: what to measure.
        workdir: opened by `zoo.gap.store.open_workdir`.
        report: called with a message and the share of the work that is done.
        shard: the cells that this process measures.

    Returns:
        the summary, also written to `summary.json`.
    """
    c = transfer.config
    pairs = [(name, width) for width in c.widths for name in c.parameterizations]
    cells = [
        Cell(
            f"{name}-w{width}-s{c.seed}-{c.seed + c.seeds - 1}",
            width**2 + 2**17,
            partial(transfer.measure, name, width),
        )
        for name, width in pairs
    ]
    found, seconds = measure_cells(cells, workdir, c.as_dict(), report, shard)
    arrays = dict(zip(pairs, found, strict=True))
    parts = {
        name: lr_summary.summarize(
            {width: arrays[name, width] for width in c.widths},
            c.steps,
            transfer.power(name),
        )
        for name in c.parameterizations
    }
    narrow = transfer.net(c.parameterizations[0], c.widths[0])
    network = hyper_parameters(narrow)
    network.pop("parameterization", None)
    out = {
        "schema": 1,
        "loss": LOSSES["mse"].formula,
        "trained": getattr(narrow, "trains", "all parameters"),
        "network": network,
        "widths": list(c.widths),
        "parameterizations": parts,
        "seconds": seconds,
        "config": c.as_dict(),
        "versions": versions(),
    }
    store.write_json(workdir / "summary.json", out)
    return out

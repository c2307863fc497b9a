"""The main job: config -> data -> net -> (finite | infinite) -> gap -> summary."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo import data
from zoo.finite.mirrored import Mirrored
from zoo.finite.ntk import plan_blocks
from zoo.gap import nets, sides, store, summary
from zoo.gap.cell import TooWide, critical_rates, measure_cell
from zoo.gap.config import Config
from zoo.gap.equilibria import limit_chi
from zoo.gap.mesh import make_mesh, require_even
from zoo.gap.nets import find_architecture, from_data, require_outputs
from zoo.gap.prediction import InfiniteSide
from zoo.gap.sweep import WHOLE, Cell, Report, Shard, measure_cells, versions
from zoo.infinite.predict import Dynamics
from zoo.models.deq_base import EquilibriumNetwork


def record_times(steps: int, records: int) -> np.ndarray:
    """Step 0 and about `records - 1` log-spaced steps up to the last one.

    >>> record_times(100, 6).tolist()
    [0, 1, 3, 10, 32, 100]
    >>> record_times(40, 2).tolist()
    [0, 40]
    """
    late = np.round(np.geomspace(1, steps, records - 1))
    return np.unique(np.concatenate([[0], late[: records - 2], [steps]]).astype(int))


C = TypeVar("C", bound=Config)


class Experiment(Generic[C]):
    """A configuration with its data and infinite-width side; cells are measured on it.

    Args:
        config: what to measure.
        data_dir: folder of data files, for the datasets that are read from disk.
        allow_divergence: accept a learning rate above the critical one.
        mesh: devices that share seeds and parameters, "seed:S,width:W"; None is the
            first one alone.
        skip_wide: where the kernel of a width finds no memory, its cells fail with what
            `too_wide` says of it.

    Raises:
        TooWide: there is such a width, without `skip_wide`.
        ValueError: if the data cannot give what the configuration asks for, the network
            refuses a hyper-parameter, its kernel is 0 or not finite, or the learning
            rate is above the critical one.
    """

    def __init__(
        self,
        config: C,
        data_dir: str | None = None,
        allow_divergence: bool = False,
        mesh: str | None = None,
        skip_wide: bool = False,
    ):
        self.config, self.training = config, config.training()
        self.mesh = None if mesh is None else make_mesh(mesh)
        if self.mesh is not None:
            seeds = {len(seeds) for _, seeds in self.cells()}
            require_even(self.mesh, sorted(seeds), config.widths)
        inputs = getattr(find_architecture(config.arch), "inputs", "any")
        self.data = data.load(
            str(config.dataset),
            config.n_train,
            config.n_test,
            config.data_seed,
            data_dir,
        ).shaped(inputs)
        self.times = record_times(config.steps, config.records)
        narrow = self.net(config.widths[0])
        if ":" in config.arch:
            require_outputs(config.arch, narrow, self.data)
        if isinstance(narrow, EquilibriumNetwork):
            narrow.method.reach(jnp.float32)
        self._check_training(narrow)
        self.limit_kind = sides.limit_kind(config, narrow)
        self.chi1 = limit_chi(narrow, self.data.x_train)
        self._limits: dict[Any, InfiniteSide | None] = {}
        self._critical: dict[int, float] = {}
        self.too_wide: dict[int, str] = {}
        for width in config.widths:
            try:
                self._check_rate(width, allow_divergence)
            except TooWide as e:
                if not skip_wide:
                    raise
                self.too_wide[width] = str(e)

    def _check_rate(self, width: int, allow_divergence: bool) -> None:
        config, critical = self.config, self.critical_rate(width)
        rate, stable = self.learning_rate(width), self.training.stable(critical)
        if rate > stable and not allow_divergence:
            given = f"--learning_rate={rate:g}"
            if config.learning_rate is None:
                given = f"--lr_fraction={config.lr_fraction:g}, a rate of {rate:g},"
            raise ValueError(
                f"{given} is above {stable:.4g}, critical rate of the {self.edge()} at "
                f"width {width}; pass --allow_divergence to run it all the same."
            )

    def _check_training(self, net: nn.Module) -> None:
        """Refuses a loss, or batches, that data or network have no use for."""
        config = self.config
        if self.training.loss.classes and not self.data.classes:
            raise ValueError(
                f"--loss={config.loss} is not allowed: it takes data of classes, and "
                f"{config.dataset} has numbers as targets."
            )
        if config.batch_size is not None and getattr(net, "warm_start", False):
            raise ValueError(
                f"--batch_size={config.batch_size} is not allowed beside warm_start: a "
                "search that starts from the last one sees all examples."
            )

    def net(self, width: int) -> nn.Module:
        """The network of this width, whose limit is taken."""
        out = self.data.y_train.shape[1]
        return self.config.network(width, out, **from_data(self.data))

    def trained_net(self, width: int) -> nn.Module:
        """What is trained: the network, or two mirrored copies of it."""
        net = self.net(width)
        return Mirrored(net) if self.training.mirrored else net

    def edge(self) -> str:
        """Whose critical rate `critical_rate` is."""
        if self.limit_kind.kind == "none":
            return "network's own train kernel at initialization"
        return "infinite train kernel"

    def rule(self) -> str:
        """What `critical_rate` is, as it is printed."""
        if self.training.batch_size is None:
            return f"2n / lambda_max of the {self.edge()}"
        return f"2b / lambda_max of a minibatch, bounded by the {self.edge()}"

    @property
    def has_kernel(self) -> bool:
        """Whether examples do not interact, so that there is a kernel at all."""
        return not sides.couples_batch(self.net(self.config.widths[0]))

    @property
    def ntk_bytes(self) -> int | None:
        """What an empirical NTK may hold at a time; None where there is none."""
        return int(self.config.ntk_gb * 2**30) if self.has_kernel else None

    def about(self, width: int) -> dict[str, Any]:
        """The blocks in which empirical NTKs go, by shapes and budget alone."""
        if self.ntk_bytes is None:
            return {"ntk_blocks": None}
        net, x = self.trained_net(width), jnp.asarray(self.data.x_train)
        shapes = jax.eval_shape(net.init, jax.random.key(0), x[:1])["params"]
        blocks = plan_blocks(net, shapes, x, full=True, max_bytes=self.ntk_bytes)
        return {"ntk_blocks": blocks._asdict()}

    def limit(self, width: int) -> InfiniteSide | None:
        """Its infinite-width side, computed once for all widths that share it."""
        net = self.net(width)
        key = sides.limit_key(net)
        if key not in self._limits:
            self._limits[key] = sides.limit_side(
                self.config, net, self.data, self.limit_kind
            )
        return self._limits[key]

    def critical_rate(self, width: int) -> float:
        """2 n / lambda_max of the infinite-width train kernel; less for minibatches.

        Without a limit, that of the network's own kernel at initialization, the
        smallest of the first cell's seeds; infinite if it has no kernel either.
        """
        limit, n = self.limit(width), len(self.data.x_train)
        if limit is not None:
            theta = limit.dynamics.theta
            theta = theta[: theta.shape[1]]
            critical = limit.dynamics.critical_rate
            return self.training.batch_critical(theta, n, critical)
        memory = self.ntk_bytes
        if memory is None:
            return np.inf
        if width not in self._critical:
            seeds = self.cells()[0][1]
            rates = critical_rates(self.net(width), width, self.data, seeds, memory)
            critical = float(np.min(rates))
            if not np.isfinite(critical):
                why = "not finite, nor are outputs: are tokens beyond its vocabulary?"
                if critical == np.inf:
                    why = "0: no parameter moves an output. Inputs 0, without biases?"
                raise ValueError(
                    f"at width {width} the kernel of --arch={self.config.arch} at the "
                    f"train points of {self.config.dataset} is {why}"
                )
            self._critical[width] = self.training.batch_critical(None, n, critical)
        return self._critical[width]

    def learning_rate(self, width: int) -> float:
        """eta: what was asked for, or a fraction of the critical rate."""
        if self.config.learning_rate is not None:
            return self.config.learning_rate
        if not self.has_kernel:
            raise ValueError(
                f"--arch={self.config.arch} has no kernel from which to take a "
                "learning rate, since its examples interact: give --learning_rate."
            )
        return self.config.lr_fraction * self.critical_rate(width)

    def lazy_rate(self) -> bool:
        """Whether the rate is stable in the limit, and scales as the theory asks."""
        widths = self.config.widths
        unscaled = getattr(self.net(widths[0]), "rate", None) == 0
        scaled = unscaled or self.config.learning_rate is None
        stable = all(
            self.learning_rate(m) <= self.training.stable(self.critical_rate(m))
            for m in widths
        )
        return scaled and stable and self.training.optimizer.linear

    def cells(self) -> list[tuple[int, np.ndarray]]:
        """(width, seeds) of every cell, narrow networks first."""
        seeds = np.arange(self.config.seed, self.config.seed + self.config.seeds)
        step = self.config.cell_seeds
        blocks = [seeds[i : i + step] for i in range(0, len(seeds), step)]
        return [(width, block) for width in self.config.widths for block in blocks]

    def measure(
        self, width: int, seeds: np.ndarray, scratch: Path | None = None
    ) -> dict[str, np.ndarray]:
        """The arrays of one cell; see `zoo.gap.segments.train` for `scratch`."""
        if width in self.too_wide:
            raise TooWide(self.too_wide[width])
        arrays = measure_cell(
            self.trained_net(width),
            width,
            self.data,
            self.limit(width),
            self.learning_rate(width),
            self.times,
            seeds,
            self.config.memory_gb * 2**30,
            self.ntk_bytes,
            self.training,
            scratch,
            self.mesh,
        )
        limit = self.limit(width)
        if limit is not None:
            arrays["limit_eigenvalues"] = limit.dynamics.eigenvalues
        return arrays | {
            "times": self.times,
            "seeds": seeds,
            "n_test": np.asarray(self.config.n_test),
        }


def cell_name(arch: str, width: int) -> str:
    """Beginning of the names of a width's cells; first and last seed follow."""
    return f"{arch.replace(':', '.')}-w{width}"


def run(
    experiment: Experiment, workdir: Path, report: Report, shard: Shard = WHOLE
) -> dict[str, Any]:
    """Measures what is missing in `workdir`, and summarizes.

    Args:
        experiment: what to measure.
        workdir: opened by `zoo.gap.store.open_workdir`.
        report: called with a message and the share of the work that is done.
        shard: the cells that this process measures.

    Returns:
        the summary, also written to `summary.json`.
    """
    config = experiment.config
    pairs = experiment.cells()
    cells = [
        Cell(
            f"{cell_name(config.arch, width)}-s{seeds[0]}-{seeds[-1]}",
            len(seeds) * _effort(config, width),
            partial(experiment.measure, width, seeds),
            partial(experiment.about, width),
            resumes=True,
        )
        for width, seeds in pairs
    ]
    found, seconds = measure_cells(cells, workdir, config.as_dict(), report, shard)
    blocks: dict[int, list] = {}
    for (width, _), arrays in zip(pairs, found, strict=True):
        blocks.setdefault(width, []).append(arrays)
    merged = {width: _merge(parts) for width, parts in blocks.items()}
    facts = sides.facts(
        experiment.net(config.widths[0]),
        experiment.limit_kind,
        experiment.lazy_rate(),
        experiment.training.closed_form,
    )
    out = _header(experiment) | summary.summarize(merged, facts) | {"seconds": seconds}
    store.write_json(workdir / "summary.json", out)
    return out


def _effort(config: Config, width: int) -> int:
    """Relative cost of a seed: products of its layers, and a constant to compile."""
    return (config.depth or 2) * width**2 + 2**19


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
    limit = experiment.limit(config.widths[-1])
    return {
        "schema": 1,
        "arch": config.arch,
        "dataset": config.dataset,
        "loss": experiment.training.what,
        "method": experiment.training.how,
        "trained": trained(experiment.net(config.widths[0])),
        "network": hyper_parameters(experiment.net(config.widths[0])),
        "edge": experiment.edge(),
        "learning_rate": rates[0] if len(set(rates)) == 1 else None,
        "learning_rates": rates,
        "critical_rates": [experiment.critical_rate(m) for m in config.widths],
        "widths": list(config.widths),
        "seeds": config.seeds,
        "steps": config.steps,
        "recorded_steps": experiment.times,
        "time_reached": [experiment.training.time(r, config.steps) for r in rates],
        "limit": experiment.limit_kind._asdict()
        | {"relative_stderr": None if limit is None else limit.error}
        | {"chi1": experiment.chi1},
        "limit_spectrum": None if limit is None else _spectrum(limit.dynamics),
        "config": config.as_dict(),
        "versions": versions(),
    }


def trained(net: nn.Module) -> str:
    """Which layers are trained, and in which parameterization."""
    layers = getattr(net, "trains", "all parameters")
    some = getattr(net, "train_layers", "all")
    layers = layers if some == "all" else f"the {some} of {layers}"
    scales = getattr(net, "parameterization", None)
    return f"{layers} ({scales} parameterization)" if scales else layers


def hyper_parameters(net: nn.Module) -> dict[str, str]:
    """Those of all widths, by name, in a few digits each."""
    skipped = nets.OWN | {"width", "out", "graph", "train_layers"}
    values = {
        field.name: getattr(net, field.name)
        for field in dataclasses.fields(net)
        if field.name not in skipped
    }
    return {name: _brief(value) for name, value in values.items()}


def _brief(value: Any) -> str:
    """A hyper-parameter in one line; of a network inside the network, its own."""
    if isinstance(value, nn.Module):
        own = hyper_parameters(value).items()
        return f"{type(value).__name__}({', '.join(f'{k} {v}' for k, v in own)})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _spectrum(dynamics: Dynamics) -> dict[str, Any]:
    return {
        "smallest": dynamics.smallest,
        "condition": dynamics.condition,
        "largest": float(dynamics.eigenvalues[-1]),
        "rank": dynamics.rank,
        "points": len(dynamics.eigenvalues),
    }

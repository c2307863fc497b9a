"""The kernel of many points, stored by tiles, and the end of training that follows."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from zoo import data
from zoo.gap.config import Config
from zoo.gap.nets import find_architecture, from_data
from zoo.infinite.kernels import tile_side, widened
from zoo.infinite.precision import float64_devices
from zoo.infinite.products import TOLERANCE, End, end_of_training
from zoo.infinite.tiles import TILE_BYTES, kernel_source, kernel_tiles
from zoo.tiles.fill import predict_memory
from zoo.tiles.memory import Memory
from zoo.tiles.sharded import Tiles, load
from zoo.tiles.stored import Stored, check_place

NETWORK = ("arch", "dataset", "depth", "activation", "sigma_w", "sigma_b")
NETWORK += ("parameterization", "net", "n_train", "n_test", "data_seed", "memory_gb")


@dataclasses.dataclass(frozen=True)
class KernelConfig:
    """The analytic NTK of one network on many points.

    Attributes:
        arch: name in `zoo.models.ARCHITECTURES`, with a limit in closed form.
        dataset: name in `zoo.data.DATASETS` or path of a .npz file; None takes the
            architecture's natural one.
        depth: hidden layers; None takes the architecture's default, as for the next
            four.
        activation: name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases.
        parameterization: "ntk", "standard", ...
        net: other hyper-parameters of the architecture, "name=value" each.
        n_train: train points n.
        n_test: test points.
        data_seed: which points are drawn.
        ridge: of the loss; 0 is the end of gradient descent.
        tile: points along a side of a tile; None: as many as 32 MB take, with all pairs
            of positions.
        memory_gb: budget of what is computed at a time on a device and on the host;
            kernels up to this size are kept in the memory of the devices for products,
            larger ones are read from the store for each.
    """

    arch: str = "mlp"
    dataset: str | None = None
    depth: int | None = None
    activation: str | None = None
    sigma_w: float | None = None
    sigma_b: float | None = None
    parameterization: str | None = None
    net: tuple[str, ...] = ()
    n_train: int = 1000
    n_test: int = 500
    data_seed: int = 0
    ridge: float = 0.0
    tile: int | None = None
    memory_gb: float = 4.0

    def __post_init__(self):
        object.__setattr__(self, "dataset", self.base().dataset)
        if not (self.ridge >= 0 and math.isfinite(self.ridge)):
            raise ValueError(
                f"--ridge={self.ridge} is not allowed: it takes a finite number >= 0."
            )
        if self.tile is not None and self.tile < 1:
            raise ValueError(
                f"--tile={self.tile} is not allowed: it takes a whole number >= 1."
            )

    def base(self) -> Config:
        """The network and the data, as other experiments state them."""
        return Config(**{name: getattr(self, name) for name in NETWORK})


class Prepared(NamedTuple):
    """What is known before anything is computed.

    Attributes:
        config: what is asked for.
        net: the network.
        store: of its kernels.
        points: its train and test inputs.
        targets: those of both.
        classes: whether targets are of classes.
        side: of a tile, at most, where the store has none.
        memory: that computing takes.
    """

    config: KernelConfig
    net: Any
    store: str
    points: tuple[np.ndarray, np.ndarray]
    targets: tuple[np.ndarray, np.ndarray]
    classes: bool
    side: int
    memory: Memory


class Found(NamedTuple):
    """What is found.

    Attributes:
        kernel: of the train points.
        resident: whether it was in the memory of devices for products.
        seconds: to compute what the store did not hold, and for products.
        end: outputs on the test points, residual, cost, ends of the spectrum.
        error: root mean square over test points and outputs, from f_0 = 0.
        accuracy: share of test points whose class is right; None without classes.
    """

    kernel: Stored
    resident: bool
    seconds: tuple[float, float]
    end: End
    error: float
    accuracy: float | None


def prepare(config: KernelConfig, store: str, data_dir: str | None = None) -> Prepared:
    """Data, network, and the memory that tiles take: the stored ones, if there are any.

    Raises:
        PlaceError: nothing can be stored there.
        ValueError: the network has no kernel in closed form, or a tile does not fit.
    """
    check_place(store)
    base = config.base()
    inputs = getattr(find_architecture(config.arch), "inputs", "any")
    some = data.load(
        str(config.dataset), config.n_train, config.n_test, config.data_seed, data_dir
    ).shaped(inputs)
    out = some.y_train.shape[1]
    net = base.network(base.widths[0], out, **from_data(some))
    train, test = (np.asarray(x, widened(x)) for x in (some.x_train, some.x_test))
    side = config.tile or tile_side(net, train, TILE_BYTES)
    most = int(config.memory_gb * 1e9)
    try:
        source = kernel_source(net)
    except NotImplementedError as error:
        raise ValueError(str(error)) from error
    memory = predict_memory(source, train, store=store, side=side, max_memory=most)
    targets = (some.y_train, some.y_test)
    classes = bool(some.classes)
    return Prepared(config, net, store, (train, test), targets, classes, side, memory)


def run(prepared: Prepared, report: Callable[[str, float], None]) -> Found:
    """Computes what the store does not hold yet, and solves.

    Raises:
        ValueError: an entry is not finite, a tile is corrupt, or the end of training is
            not found.
    """
    config, net, store, (train, test), targets = prepared[:5]
    most = int(config.memory_gb * 1e9)
    options: Any = {"store": store, "side": prepared.side, "max_memory": most}

    def said(what: str) -> Callable[[int, int], None]:
        return lambda done, total: report(f"{done} of {total} {what}", done / total)

    def solving(products: int, residual: float) -> None:
        share = math.log(max(residual, TOLERANCE)) / math.log(TOLERANCE)
        report(f"{products} products, residual {residual:.0e}", max(share, 0.0))

    begin = time.monotonic()
    kernel = kernel_tiles(net, train, report=said("tiles, train"), **options)
    across = kernel_tiles(net, test, train, report=said("tiles, test"), **options)
    middle = time.monotonic()
    share = kernel.nbytes / jax.process_count()
    resident = share <= most and float64_devices() == tuple(jax.local_devices())
    theta: Tiles | Stored = load(kernel) if resident else kernel
    zero = np.zeros((len(train) + len(test), targets[0].shape[1]))
    end = end_of_training(theta, across, zero, targets[0], config.ridge, report=solving)
    seconds = (middle - begin, time.monotonic() - middle)
    error = float(np.sqrt(np.mean((end.outputs - targets[1]) ** 2)))
    right = end.outputs.argmax(-1) == targets[1].argmax(-1)
    accuracy = float(right.mean()) if prepared.classes else None
    return Found(kernel, resident, seconds, end, error, accuracy)

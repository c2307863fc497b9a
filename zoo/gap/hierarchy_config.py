"""What the experiment on the neural tangent hierarchy measures, checked beforehand."""

import dataclasses
from typing import Any

from zoo.gap.config import Config

ORDERS = (3, 4)
# What None stands for: smooth, and with one wide layer, of which theory says most.
MLP = {"dataset": "sphere", "depth": 1, "activation": "tanh"}


@dataclasses.dataclass(frozen=True)
class HierarchyConfig:
    """Higher tangent kernels over widths, and the drift of the NTK that they predict.

    Attributes:
        arch: name in `zoo.models.ARCHITECTURES`, or "package.module:Class".
        dataset: name in `zoo.data.DATASETS` or path of a .npz file; None takes the
            architecture's natural one, as for the next two and sigma_w, sigma_b its
            defaults, except of "mlp": see `MLP`.
        widths: widths m, increasing.
        depth: hidden layers.
        activation: name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases.
        parameterization: "ntk", "standard", ...
        net: other hyper-parameters of the architecture, "name=value" each.
        limit: whose largest eigenvalue sets the learning rate; see `Config`.
        order: the highest tangent kernel, 3 or 4.
        seeds: initializations per width.
        seed: the first of them.
        n_train: train points n; kernels of order r have (n k)^r entries.
        data_seed: which points are drawn.
        steps: gradient descent steps.
        records: steps at which the kernel is kept, log-spaced, the first being 0.
        learning_rate: eta of L = 1/(2n) sum_i |f - y|^2; None means `lr_fraction`.
        lr_fraction: eta as a fraction of 2 n / lambda_max(Theta_inf).
        cell_seeds: seeds measured, and stored, together.
        memory_gb: budget of the highest kernel of one seed.
    """

    arch: str = "mlp"
    dataset: str | None = None
    widths: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096)
    depth: int | None = None
    activation: str | None = None
    sigma_w: float | None = None
    sigma_b: float | None = None
    parameterization: str | None = None
    net: tuple[str, ...] = ()
    limit: str = "auto"
    order: int = 4
    seeds: int = 32
    seed: int = 0
    n_train: int = 6
    data_seed: int = 0
    steps: int = 400
    records: int = 12
    learning_rate: float | None = None
    lr_fraction: float = 0.05
    cell_seeds: int = 16
    memory_gb: float = 1.0

    def __post_init__(self):
        for name, value in MLP.items() if self.arch == "mlp" else ():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        base = self.base()
        for name in ("widths", "dataset"):
            object.__setattr__(self, name, getattr(base, name))
        if self.order not in ORDERS:
            raise ValueError(f"--order={self.order} is not allowed: it takes 3 or 4.")

    def base(self) -> Config:
        """The main job's configuration of the same networks, data and rates.

        Raises:
            ValueError: it refuses a value.
        """
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del own["order"]
        return Config(n_test=1, **own)

    def require_room(self, outputs: int) -> None:
        """Refuses kernels that do not fit.

        Args:
            outputs: number k of outputs.

        Raises:
            ValueError: the highest kernel of one seed exceeds `memory_gb`.
        """
        size = self.n_train * outputs
        need = 8 * size**self.order / 2**30
        if need > self.memory_gb:
            raise ValueError(
                f"--n_train={self.n_train} is not allowed: with {outputs} outputs "
                f"K{self.order} has {size}^{self.order} entries, {need:.3g} GiB, and "
                f"--memory_gb is {self.memory_gb:g}; take fewer points, or --order=3."
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self) | {
            "widths": list(self.widths),
            "net": list(self.net),
        }

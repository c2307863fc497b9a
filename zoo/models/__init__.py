"""The architectures, by the name that `--arch` takes."""

from collections.abc import Callable

from zoo.models.base import Architecture
from zoo.models.mlp import MLP

ARCHITECTURES: dict[str, Callable[..., Architecture]] = {"mlp": MLP}

__all__ = ["ARCHITECTURES", "MLP", "Architecture"]

"""The architectures, by the name that `--arch` takes."""

from zoo.models.base import Architecture, Exponents, Limit
from zoo.models.cnn import CNN
from zoo.models.mlp import MLP
from zoo.models.resnet import ResNet

ARCHITECTURES: dict[str, type[Architecture]] = {
    "mlp": MLP,
    "cnn": CNN,
    "resnet": ResNet,
}

__all__ = [
    "ARCHITECTURES",
    "CNN",
    "MLP",
    "Architecture",
    "Exponents",
    "Limit",
    "ResNet",
]

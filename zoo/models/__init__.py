"""The architectures, by the name that `--arch` takes."""

from zoo.models.allen_zhu_mlp import AllenZhuMLP
from zoo.models.base import Architecture, Exponents, Limit
from zoo.models.cnn import CNN
from zoo.models.mlp import MLP
from zoo.models.resnet import ResNet
from zoo.models.wu_transformer import WuTransformer

ARCHITECTURES: dict[str, type[Architecture]] = {
    "mlp": MLP,
    "cnn": CNN,
    "resnet": ResNet,
    "wu_transformer": WuTransformer,
    "allen_zhu_mlp": AllenZhuMLP,
}

__all__ = [
    "ARCHITECTURES",
    "CNN",
    "MLP",
    "AllenZhuMLP",
    "Architecture",
    "Exponents",
    "Limit",
    "ResNet",
    "WuTransformer",
]

"""The architectures, by the name that `--arch` takes."""

from zoo.models.allen_zhu_cnn import AllenZhuCNN
from zoo.models.allen_zhu_mlp import AllenZhuMLP
from zoo.models.allen_zhu_resnet import AllenZhuResNet
from zoo.models.appnp import APPNP
from zoo.models.barboni_resnet import BarboniResNet
from zoo.models.base import Architecture, Exponents, Limit
from zoo.models.cnn import CNN
from zoo.models.conv_deq import ConvDEQ
from zoo.models.deep_resnet_ode import DeepResNetODE
from zoo.models.deq import DEQ
from zoo.models.du_resnet import DuConvResNet, DuResNet
from zoo.models.gao_deq import GaoDEQ
from zoo.models.gao_gaussian_deq import GaoGaussianDEQ
from zoo.models.gao_linear_width_deq import GaoLinearWidthDEQ
from zoo.models.gcn import GCN
from zoo.models.gcnii import GCNII
from zoo.models.kawaguchi_deq import KawaguchiDEQ
from zoo.models.kawaguchi_huang import KawaguchiHuangMLP
from zoo.models.liao_masked import LiaoMaskedMLP
from zoo.models.ling_deq import LingDEQ
from zoo.models.macdonald_resnet import MacDonaldResNet
from zoo.models.mlp import MLP
from zoo.models.mon_deq import MonDEQ
from zoo.models.neural_field import NeuralField
from zoo.models.neural_ode import NeuralODE
from zoo.models.nguyen import NguyenMLP
from zoo.models.pinn import PINN
from zoo.models.quadratic import QuadraticNet
from zoo.models.random_features import RandomFeatures
from zoo.models.res_gcn import ResGCN
from zoo.models.resnet import ResNet
from zoo.models.terjek import TerjekMLP
from zoo.models.truong_deq import TruongDEQ
from zoo.models.wu_transformer import WuTransformer
from zoo.models.xie_mcn import XieMCN
from zoo.models.xu_gnn import XuLinearGNN
from zoo.models.zou_linear_resnet import ZouLinearResNet

ARCHITECTURES: dict[str, type[Architecture]] = {
    "mlp": MLP,
    "cnn": CNN,
    "resnet": ResNet,
    "wu_transformer": WuTransformer,
    "allen_zhu_mlp": AllenZhuMLP,
    "random_features": RandomFeatures,
    "kawaguchi_huang_mlp": KawaguchiHuangMLP,
    "nguyen_mlp": NguyenMLP,
    "terjek_mlp": TerjekMLP,
    "du_resnet": DuResNet,
    "du_conv_resnet": DuConvResNet,
    "zou_linear_resnet": ZouLinearResNet,
    "barboni_resnet": BarboniResNet,
    "allen_zhu_resnet": AllenZhuResNet,
    "allen_zhu_cnn": AllenZhuCNN,
    "quadratic_net": QuadraticNet,
    "xie_mcn": XieMCN,
    "liao_masked_mlp": LiaoMaskedMLP,
    "neural_field": NeuralField,
    "gcn": GCN,
    "res_gcn": ResGCN,
    "appnp": APPNP,
    "gcnii": GCNII,
    "xu_linear_gnn": XuLinearGNN,
    "pinn": PINN,
    "macdonald_resnet": MacDonaldResNet,
    "deq": DEQ,
    "conv_deq": ConvDEQ,
    "ling_deq": LingDEQ,
    "truong_deq": TruongDEQ,
    "gao_deq": GaoDEQ,
    "gao_linear_width_deq": GaoLinearWidthDEQ,
    "gao_gaussian_deq": GaoGaussianDEQ,
    "kawaguchi_deq": KawaguchiDEQ,
    "mon_deq": MonDEQ,
    "neural_ode": NeuralODE,
    "deep_resnet_ode": DeepResNetODE,
}

__all__ = [
    "APPNP",
    "ARCHITECTURES",
    "CNN",
    "DEQ",
    "GCN",
    "GCNII",
    "MLP",
    "PINN",
    "AllenZhuCNN",
    "AllenZhuMLP",
    "AllenZhuResNet",
    "Architecture",
    "BarboniResNet",
    "ConvDEQ",
    "DeepResNetODE",
    "DuConvResNet",
    "DuResNet",
    "Exponents",
    "GaoDEQ",
    "GaoGaussianDEQ",
    "GaoLinearWidthDEQ",
    "KawaguchiDEQ",
    "KawaguchiHuangMLP",
    "LiaoMaskedMLP",
    "Limit",
    "LingDEQ",
    "MacDonaldResNet",
    "MonDEQ",
    "NeuralField",
    "NeuralODE",
    "NguyenMLP",
    "QuadraticNet",
    "RandomFeatures",
    "ResGCN",
    "ResNet",
    "TerjekMLP",
    "TruongDEQ",
    "WuTransformer",
    "XieMCN",
    "XuLinearGNN",
    "ZouLinearResNet",
]

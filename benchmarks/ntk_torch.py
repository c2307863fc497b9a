"""The benchmark's networks in PyTorch, and their empirical NTK by torch.func.

Both ways are those of PyTorch's tutorial on neural tangent kernels: Jacobians by
`vmap(jacrev)` and their contraction, and NTK-vector products for every pair of points.
"""

import math

import numpy as np
import torch
from torch.func import functional_call, jacrev, jvp, vjp, vmap
from torch.nn import functional as F


class Affine(torch.nn.Module):
    """(sqrt(2) / sqrt(n)) W applied to h, for weights in the order of Flax."""

    def __init__(self, W, sigma_w=2**0.5):
        super().__init__()
        W = np.asarray(W)
        self.factor = sigma_w / math.sqrt(W[..., 0].size)
        order = (3, 2, 0, 1) if W.ndim == 4 else (1, 0)
        self.W = torch.nn.Parameter(torch.tensor(W.transpose(order).copy()))

    def forward(self, h):
        if self.W.ndim == 4:
            return self.factor * F.conv2d(h, self.W, padding="same")
        return self.factor * F.linear(h, self.W)


class MLP(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.layers = torch.nn.ModuleList(map(Affine, weights))

    def forward(self, h):
        for layer in self.layers[:-1]:
            h = F.relu(layer(h))
        return self.layers[-1](h)


class CNN(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.layers = torch.nn.ModuleList(map(Affine, weights))

    def forward(self, h):
        h = h.movedim(-1, -3)
        for layer in self.layers[:-1]:
            h = F.relu(layer(h))
        return self.layers[-1](h.mean((-2, -1)))


class ResNet(CNN):
    def forward(self, h):
        stem, *body, last = self.layers
        h = stem(h.movedim(-1, -3))
        for first, second in zip(body[::2], body[1::2], strict=True):
            h = h + second(F.relu(first(F.relu(h))))
        return last(F.relu(h).mean((-2, -1)))


class Transformer(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        *projections, last = weights
        d = np.shape(projections[0])[0]
        self.projections = torch.nn.ModuleList(Affine(W, d**0.5) for W in projections)
        self.last = Affine(last, 1.0)

    def forward(self, x):
        query, key, value = self.projections
        scores = query(x) @ key(x).mT / query.W.shape[0]
        return self.last(F.relu(value(scores.softmax(-1) @ x)).mean(-2))


NETWORKS = {"mlp": MLP, "cnn": CNN, "resnet": ResNet, "transformer": Transformer}


ORDER = "attention query key value conv residual branch dense".split()


def weights(tree):
    """Arrays of a Flax tree in the order of the forward pass."""

    def place(item):
        kind, _, number = item[0].partition("_")
        return ORDER.index(kind), int(number or 0)

    if "W" in tree:
        return list(tree.values())
    children = [child for _, child in sorted(tree.items(), key=place)]
    return [W for child in children for W in weights(child)]


def kernel(network, params, x, contender, full):
    """A function of nothing that computes the NTK."""
    net = NETWORKS[network](weights(params))
    named = {name: leaf.detach() for name, leaf in net.named_parameters()}
    x = torch.tensor(np.asarray(x))

    def f(named, x):
        return functional_call(net, named, (x[None],))[0]

    def contraction():
        jacobians = vmap(jacrev(f), (None, 0))(named, x)
        einsum = "nap,mbp->nmab" if full else "nap,map->nm"
        shares = [torch.einsum(einsum, *[j.flatten(2)] * 2) for j in jacobians.values()]
        total = sum(shares)
        return total if full else total / jacobians[next(iter(named))].shape[1]

    def products():
        def pair(x1, x2):
            out, pullback = vjp(lambda p: f(p, x1), named)

            def column(e):
                return jvp(lambda p: f(p, x2), (named,), pullback(e))[1]

            return vmap(column)(torch.eye(len(out)))  # outputs of x1 first

        found = vmap(vmap(pair, (None, 0)), (0, None))(x, x)
        return found if full else found.diagonal(dim1=-2, dim2=-1).mean(-1)

    return products if contender.endswith("products") else contraction

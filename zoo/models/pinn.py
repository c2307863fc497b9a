"""Physics-informed networks: a network, and a differential operator of it."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.layers import (
    Concat,
    Dense,
    FourierFeatures,
    Layer,
    Mask,
    Nonlinear,
    Residual,
    Serial,
    input_kernel,
    walk,
)
from zoo.models.base import Architecture, Exponents, Limit
from zoo.models.terjek import TerjekMLP
from zoo.names import check_name

Field = Callable[[jax.Array], jax.Array]  # row a of the value depends on row a alone


def along(u: Field, e: jax.Array) -> Field:
    """The derivative of a field in the direction e [d]."""
    return lambda x: jax.jvp(u, (x,), (jnp.broadcast_to(e[None], x.shape),))[1]


def bend(u: Field, directions: jax.Array) -> Field:
    """The sum of second derivatives in some directions [q, d]."""
    return lambda x: jnp.sum(
        jax.vmap(lambda e: along(along(u, e), e)(x))(directions), axis=0
    )


def laplacian(u: Field) -> Field:
    """sum_i u_ii."""
    return lambda x: bend(u, jnp.eye(x.shape[1], dtype=x.dtype))(x)


def advection(u: Field) -> Field:
    """sum_i u_i: transport along (1, ..., 1)."""
    return lambda x: along(u, jnp.ones(x.shape[1], x.dtype))(x)


def heat(u: Field) -> Field:
    """u_t - sum_i u_ii over the other coordinates: the last one is the time t."""

    def residual(x: jax.Array) -> jax.Array:
        axes = jnp.eye(x.shape[1], dtype=x.dtype)
        return along(u, axes[-1])(x) - bend(u, axes[:-1])(x)

    return residual


def allen_cahn(u: Field) -> Field:
    """sum_i u_ii + u - u^3, not linear in u."""
    return lambda x: laplacian(u)(x) + u(x) - u(x) ** 3


class Operator(NamedTuple):
    """A differential operator.

    Attributes:
        apply: maps u to N[u].
        linear: whether N is linear.
    """

    apply: Callable[[Field], Field]
    linear: bool = True


OPERATORS = {
    "laplacian": Operator(laplacian),
    "advection": Operator(advection),
    "heat": Operator(heat),
    "allen_cahn": Operator(allen_cahn, linear=False),
}
DERIVED = "its derivatives within 1e-8 of the largest entry (tanh, variances up to 1.2)"
# Layers whose kernels can be differentiated at equal inputs.
SMOOTH_LAYERS = (Serial, Dense, Concat, Residual, Mask, FourierFeatures)


class BlockKernels(NamedTuple):
    """Kernels of u and N[u], in this order.

    Attributes:
        nngp: covariances at initialization, [n1, n2, 2, 2].
        ntk: the tangent kernel, [n1, n2, 2, 2].
    """

    nngp: Float[Array, "n1 n2 2 2"]
    ntk: Float[Array, "n1 n2 2 2"]


class PINN(Architecture):
    r"""The two outputs f = (u, N[u]) of a network u of coordinates.

    u is any fully connected member of smooth activations and one output; N is a
    differential operator in the coordinates: "laplacian", "advection" (the sum of first
    derivatives), "heat" (u_t - Laplacian, the last coordinate being the time), or the
    nonlinear "allen_cahn" (Laplacian + u - u^3). All that u trains is trained, on
    L = 1/(2n) sum_i (u(x_i) - y_i)^2 + (N[u](x_i) - g_i)^2.

    The two outputs share parameters, and so an NTK of 2 x 2 blocks. If N is linear it
    commutes with derivatives by parameters, and the limit follows from u's kernel K:

        Theta(x, x') = [[K, N' K], [N K, N N' K]],

    where N acts on x and N' on x'; likewise the NNGP kernel. A nonlinear N has a
    derivative that depends on u itself, a random function at any width.

    Source: Wang, Yu & Perdikaris 2022, "When and why PINNs fail to train: a neural
    tangent kernel perspective", for the blocks, from memory; any network and operator
    instead of theirs.

    Args:
        width: units m of every hidden layer of u.
        operator: a name in `zoo.models.pinn.OPERATORS`.
        net: the network u; its width and its number of outputs are replaced. As flags,
            --net=net=neural_field,net.omega=2.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Wang, Yu & Perdikaris 2022"
    data = "poisson"
    variants = ({"operator": "heat"},)
    mixes_outputs = True

    width: int
    operator: str = "laplacian"
    net: Architecture = TerjekMLP(width=1, depth=1, activation="erf", sigma_b=1.0)

    def __post_init__(self):
        self.require_sizes("width")
        check_name("operator", self.operator, OPERATORS)
        self.require(self.net.inputs == "vector", "net", "to take vectors")
        self.require(not isinstance(self.net, PINN), "net", "of one output")
        smooth = all(_is_smooth(layer) for layer in walk(self.net.layers()))
        self.require(smooth, "net", "of smooth layers and activations")
        whole = self.train_layers == "all"
        self.require(whole, "train_layers", "all; net.train_layers is that of u")
        super().__post_init__()

    def member(self) -> Architecture:
        """The network u."""
        return self.net.clone(parent=None, name=None, width=self.width, out=1)

    def layers(self) -> Layer:
        """Those of u."""
        return self.member().trained()

    @nn.compact
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n 2"]:
        """U and N[u]; the parameters of u are under "u"."""
        self._require_time(x)
        net = self.member()
        params = self.param("u", lambda key: net.init(key, x)["params"])

        def u(x: jax.Array) -> jax.Array:
            return jnp.asarray(net.apply({"params": params}, x))[:, 0]

        return jnp.stack([u(x), OPERATORS[self.operator].apply(u)(x)], axis=-1)

    def limit(self) -> Limit:
        """That of u, if N is linear; of a numerical dual with its derivatives."""
        if OPERATORS[self.operator].linear:
            kind, why = self.member().limit()
            return Limit(kind, f"{why}; {DERIVED}" if kind == "numeric" else why)
        return Limit(
            "none",
            f"operator={self.operator} is not linear: its derivative depends on the "
            "network's values, which stay random at any width",
        )

    def kernels(self, x1: jax.Array, x2: jax.Array | None = None) -> BlockKernels:
        """The blocks, by differentiating u's kernels in both arguments."""
        x2 = x1 if x2 is None else x2
        self._require_time(x1)
        N, layers = OPERATORS[self.operator].apply, self.layers()

        def both(a: jax.Array, b: jax.Array) -> jax.Array:  # [n1, n2, 2]
            # Not "the same points": their variance is no function of x' alone.
            k = input_kernel(a, b, diagonal_spatial=True).replace(x1_is_x2=False)
            k = layers.limit(k)
            return jnp.stack([k.nngp, k.ntk], axis=-1)

        def first(k: Callable) -> Callable:
            return lambda a, b: N(lambda a: k(a, b))(a)

        def second(k: Callable) -> Callable:
            return lambda a, b: N(lambda b: k(a, b).swapaxes(0, 1))(b).swapaxes(0, 1)

        rows = [
            [k(x1, x2) for k in row]
            for row in ((both, second(both)), (first(both), first(second(both))))
        ]
        nngp, ntk = jnp.moveaxis(jnp.asarray(rows), (0, 1, -1), (-2, -1, 0))
        return BlockKernels(nngp, ntk)

    @property
    def rate(self) -> int:
        """That of u."""
        return self.member().rate

    @property
    def exponents(self) -> Exponents:
        """Those of u."""
        return self.member().exponents

    def _require_time(self, x: jax.Array) -> None:
        """Refuses inputs of another rank, and time without space."""
        self.require_rank(x)
        enough = self.operator != "heat" or x.shape[1] > 1
        self.require(enough, "operator", f"without time on inputs of shape {x.shape}")


def _is_smooth(layer: Layer) -> bool:
    return layer.smooth and isinstance(layer, (Nonlinear, *SMOOTH_LAYERS))

r"""Softmax attention of one head.

Symbols: X the tokens of one example [t, d], m the width of the projections, W_Q, W_K,
W_V the weights [d, m] of queries, keys and values.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import Kernel
from zoo.layers.base import Finite, Layer
from zoo.layers.linear import Dense

INITS = {"lecun": 1.0, "he": 2.0, "ntk": None}  # variance of W times the fan-in
SCORES_STAY_RANDOM = (
    "at tau0 = width^-1/2 the attention scores of one head are Gaussian at any width, "
    "so that the kernel stays random and converges to no limit"
)


@dataclasses.dataclass(frozen=True)
class Attention(Layer):
    r"""One head of softmax attention over the positions, [n, t, d] -> [n, t, m].

        out = softmax_row(tau0 (X W_Q) (X W_K)^T) X W_V,        tau0 = width^-power.

    Initialization, independent for all entries: "lecun" N(0, 1/d), "he" N(0, 2/d),
    "ntk" N(0, 1); no other scale stands before the weights. All are trained.

    Limit (derived): at tau0 = 1/m the score of two tokens is a mean of m products of
    independent centred variables. It goes to 0, attention to the uniform 1/t, and the
    NTK shares of W_Q and W_K, tau0^2 times m numbers of order one, vanish as 1/m: what
    is left is the affine map W_V of the mean token.

    Args:
        width: size m of queries, keys and values.
        power: 1.0 or 0.5; there is a limit at 1.0 alone.
        init: "lecun", "he" or "ntk".
    """

    width: int
    power: float = 1.0
    init: str = "lecun"

    @property
    def mixes_positions(self) -> bool:
        """A mean over positions has a variance that is made of covariances."""
        return True

    @property
    def no_limit(self) -> str:
        """At tau0 = width^-1/2 there is none."""
        return SCORES_STAY_RANDOM if self.power == 0.5 else ""

    def projection(self, d: int) -> Dense:
        """The map to queries, keys or values, of inputs of d channels."""
        variance = INITS[self.init]
        if variance is None:  # N(0, 1), and sigma_w / sqrt(d) = 1 before it
            return Dense(self.width, sigma_w=d**0.5)
        return Dense(self.width, variance**0.5, parameterization="standard")

    def finite(
        self, scope: nn.Module, x: Float[Array, "n ..."]
    ) -> Float[Array, "n t m"]:
        """Attends within every example of a batch.

        Raises:
            ValueError: if the input is not [n, t, d].
        """
        if x.ndim != 3:
            raise ValueError(
                f"Attention needs inputs [n, tokens, channels], got shape {x.shape}."
            )
        dense = self.projection(x.shape[-1])
        q, k = (Finite(dense, name=name)(x) for name in ("query", "key"))
        scores = self.width**-self.power * jnp.einsum("ntm,nsm->nts", q, k)
        mixed = jnp.einsum("nts,nsd->ntd", jax.nn.softmax(scores, axis=-1), x)
        return Finite(dense, name="value")(mixed)

    def limit(self, k: Kernel) -> Kernel:
        """Uniform mixing over positions, then the values' affine map."""
        return self.projection(k.shape1[-1]).limit(uniform(k))


def uniform(k: Kernel) -> Kernel:
    """The kernel after every position has become the mean of all."""

    def mean(cov: Any) -> Any:  # of [..., p, p']
        return None if cov is None else jnp.mean(cov, axis=(-2, -1), keepdims=True)

    cov1, nngp = mean(k.cov1), mean(k.nngp)
    if nngp.shape[0] == nngp.shape[1]:  # an input with itself, to the last digit
        same = jnp.eye(len(nngp), dtype=bool)[:, :, None, None] & k.x1_is_x2
        nngp = jnp.where(same, cov1[:, None], nngp)
    found = {"nngp": nngp, "ntk": mean(k.ntk), "cov1": cov1, "cov2": mean(k.cov2)}
    spread = {
        name: None if cov is None else jnp.broadcast_to(cov, getattr(k, name).shape)
        for name, cov in found.items()
    }
    return k.replace(**spread)

"""Losses of outputs: L(f) = 1/n sum_i l(f(x_i), y_i).

Targets are those of the data: numbers, or of classes the one-hot vector less 1/k.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.names import check_name


class Loss(NamedTuple):
    """A loss of outputs, one example at a time.

    Attributes:
        formula: L, as it is printed.
        each: l of outputs [..., k] and targets [..., k]; [...].
        curvature: the largest second derivative of l along any direction: gradient
            descent on a linear model is stable up to 2 n / (curvature lambda_max).
            0 where l has kinks, between which it is linear.
        classes: whether the targets have to be those of at least two classes.
    """

    formula: str
    each: Callable[[jax.Array, jax.Array], jax.Array]
    curvature: float
    classes: bool = False

    def mean(self, f: Float[Array, "n k"], y: Float[Array, "n k"]) -> jax.Array:
        """L, the mean over examples."""
        return jnp.mean(self.each(f, y))

    def gradient(self, f: Float[Array, "n k"], y: Float[Array, "n k"]) -> jax.Array:
        """N dL / df, [n, k]: of every example its own, not divided by n."""
        return jax.grad(lambda f: jnp.sum(self.each(f, y)))(f)


def _square(f: jax.Array, y: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum((f - y) ** 2, axis=-1)


def _cross_entropy(f: jax.Array, y: jax.Array) -> jax.Array:
    chosen = jax.nn.one_hot(jnp.argmax(y, axis=-1), y.shape[-1], dtype=f.dtype)
    return jax.nn.logsumexp(f, axis=-1) - jnp.sum(chosen * f, axis=-1)


def _logistic(f: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.sum(jax.nn.softplus(-_sign(f, y) * f), axis=-1)


def _hinge(f: jax.Array, y: jax.Array) -> jax.Array:
    short = 1.0 - _sign(f, y) * f
    return jnp.sum(jnp.where(short > 0, short, 0.0), axis=-1)


def _huber(f: jax.Array, y: jax.Array) -> jax.Array:
    far = jnp.abs(f - y)
    near = jnp.minimum(far, 1.0)
    return jnp.sum(near * (far - 0.5 * near), axis=-1)


def _sign(f: jax.Array, y: jax.Array) -> jax.Array:
    """S = 1 where the target is above 0, and -1 elsewhere."""
    return jnp.where(y > 0, 1.0, -1.0).astype(f.dtype)


# The subgradient of the hinge loss at its kink is 0, as in Geiger et al. 2020.
LOSSES = {
    "mse": Loss("1/(2n) sum_i |f(x_i) - y_i|^2", _square, 1.0),
    "xent": Loss(
        "1/n sum_i (log sum_c exp f_c(x_i) - f_{c_i}(x_i)), c_i the class",
        _cross_entropy,
        0.5,
        classes=True,
    ),
    "logistic": Loss(
        "1/n sum_ic log(1 + exp(-s_ic f_c(x_i))), s_ic the sign of y_ic",
        _logistic,
        0.25,
    ),
    "hinge": Loss(
        "1/n sum_ic max(0, 1 - s_ic f_c(x_i)), s_ic the sign of y_ic", _hinge, 0.0
    ),
    "huber": Loss(
        "1/n sum_ic h(f_c(x_i) - y_ic), h(r) = min(|r|, 1) (|r| - min(|r|, 1)/2)",
        _huber,
        1.0,
    ),
}


def find_loss(name: str) -> Loss:
    """A loss by name.

    Raises:
        ValueError: the name is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from zoo.descent.losses import find_loss
        >>> f, y = jnp.asarray([[1.0], [0.5]]), jnp.asarray([[1.0], [1.0]])
        >>> find_loss("hinge").gradient(f, y)[0, 0] == 0  # at the kink
        Array(True, dtype=bool)
    """
    check_name("--loss", name, LOSSES)
    return LOSSES[name]

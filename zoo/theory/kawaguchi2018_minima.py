"""Stationary points of least squares, and what the tangent space says of their value.

A network f(theta) with a linear last layer lies in the span of its own Jacobian J, at
every theta. With r = f - vec Y and P_J the projection on that span,

    gap = 1/2 |r|^2 - 1/2 |(1 - P_J) vec Y|^2 = 1/2 |P_J r|^2 >= 0,

and it is 0 exactly where J^T r = 0. Letters in shapes: n points, d inputs, k outputs,
p parameters, m width, e = n k residuals, s seeds.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

ACTIVATIONS = {
    "tanh": jnp.tanh,
    "softplus": lambda z: jax.nn.softplus(5.0 * z) / 5.0,
    "relu": jax.nn.relu,
    "leaky_relu": lambda z: jnp.where(z > 0, z, 0.3 * z),
}
SMOOTH = ("tanh", "softplus")
STILL = 1e-9  # |J^T r| / |Y| below which an end counts, J's columns of norm 1
SETTLED = 1e-4  # what the second half of polishing may take off L / (|Y|^2 / 2)
FAR = 16.0  # weights, of N(0, 1 / fan-in) at the start, above which it does not
RANK = 1e-10  # singular values below this part of the largest are rounding
NEW = 1e-8  # a column of norm 1 of which less is new is spanned by those before it


class Net(NamedTuple):
    """f = h_H W_{H+1}, h_l = sigma(h_{l-1} W_l), h_0 = x; no biases.

    Attributes:
        d: inputs.
        width: units of each hidden layer that there is room for; see `outputs`.
        depth: hidden layers H.
        k: outputs.
        skip: f = x R_0 + h_1 R_1 + .. + h_H R_H instead, linear in x and in every
            layer: the structure of a classical model is there at any parameters.
        readout: "linear", as it has to be, or "tanh" of it.
    """

    d: int
    width: int
    depth: int = 1
    k: int = 1
    skip: bool = False
    readout: str = "linear"

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of the weights, [units, fan-in] each: a unit's weights lie together."""
        m = self.width
        hidden = [(m, self.d), *[(m, m)] * (self.depth - 1)]
        skips = [(self.k, self.d), *[(self.k, m)] * (self.depth - 1)] * self.skip
        return [*hidden, *skips, (self.k, m)]

    @property
    def size(self) -> int:
        """Number of parameters, of dead units too."""
        return sum(rows * columns for rows, columns in self.shapes)

    @property
    def unit(self) -> np.ndarray:
        """The unit of every parameter, [p], counted through all layers."""
        fan_in = [columns for rows, columns in self.shapes for _ in range(rows)]
        return np.repeat(np.arange(len(fan_in)), fan_in)

    def weights(self, theta: Float[Array, " p"]) -> list[jax.Array]:
        """The matrices of a parameter vector."""
        ends = np.cumsum([rows * columns for rows, columns in self.shapes])[:-1]
        parts = jnp.split(theta, ends)
        return [p.reshape(s) for p, s in zip(parts, self.shapes, strict=True)]

    def start(self, key: jax.Array, sigma_w: float = 1.0) -> Float[Array, " p"]:
        """W_ij ~ N(0, sigma_w^2 / fan-in)."""
        stds = [np.full(r * c, sigma_w / np.sqrt(c)) for r, c in self.shapes]
        return jax.random.normal(key, (self.size,)) * jnp.asarray(np.concatenate(stds))


class Problem(NamedTuple):
    """What is fitted, and by how much of a network.

    Attributes:
        x: inputs.
        y: vec Y, with the outputs of a point together.
        alive: of the units of each layer, 1 for those that are there and 0 for others.
        sigma: index of the activation in `ACTIVATIONS`.
    """

    x: Float[Array, "n d"]
    y: Float[Array, " e"]
    alive: Float[Array, " m"]
    sigma: Any


def hidden(net: Net, theta: Float[Array, " p"], on: Problem) -> list[jax.Array]:
    """Inputs x and h_1 .. h_H; units that are not alive are 0."""
    out = [on.x]
    for W in net.weights(theta)[: net.depth]:
        h = jax.lax.switch(on.sigma, list(ACTIVATIONS.values()), out[-1] @ W.T)
        out.append(h * on.alive[None])
    return out


def outputs(net: Net, theta: Float[Array, " p"], on: Problem) -> Float[Array, " e"]:
    """Outputs, vec f."""
    h, W = hidden(net, theta, on), net.weights(theta)[net.depth :]
    f = jnp.zeros((len(on.x), net.k), theta.dtype)
    for features, R in zip(h if net.skip else h[-1:], W, strict=True):
        f = f + features @ R.T
    return jnp.ravel(jnp.tanh(f) if net.readout == "tanh" else f)


def descend(
    net: Net, theta: Float[Array, " p"], on: Problem, steps: int, polish: int = 0
) -> Float[Array, " p"]:
    """BFGS on 1/2 |f - vec Y|^2 until it stops: where the gradient is 0, or a kink.

    Then as many steps of Levenberg and Marquardt's method as `polish`, at most.
    """

    def loss(theta: jax.Array, _: Any) -> jax.Array:
        return 0.5 * jnp.sum((outputs(net, theta, on) - on.y) ** 2)

    def residuals(theta: jax.Array, _: Any) -> jax.Array:
        return outputs(net, theta, on) - on.y

    if steps:
        solver = optx.BFGS(1e-15, 1e-15)
        found = optx.minimise(loss, solver, theta, max_steps=steps, throw=False)
        theta = found.value
    if polish:
        solver = optx.LevenbergMarquardt(1e-15, 1e-15)
        theta = optx.least_squares(
            residuals, solver, theta, max_steps=polish, throw=False
        ).value
    return theta


class Value(NamedTuple):
    """Of an end of a descent; losses in units of |Y|^2 / 2.

    Attributes:
        loss: L.
        induced: 1/2 |(1 - P_J) vec Y|^2.
        gradient: |J^T r| / |Y|, with the columns of J scaled to norm 1.
        largest: weight, in absolute value.
        rank: of J.
        terms: what each unit takes off |Y|^2 / 2, after the units and layers before it.
        fall: what the second half of polishing took off L.
    """

    loss: jax.Array
    induced: jax.Array
    gradient: jax.Array
    largest: jax.Array
    rank: jax.Array
    terms: jax.Array
    fall: Any = 0.0


def value(net: Net, theta: Float[Array, " p"], on: Problem) -> Value:
    """Loss and that of the linear model whose features are the tangent vectors."""
    J = jax.jacfwd(lambda theta: outputs(net, theta, on))(theta)
    norm = jnp.linalg.norm(J, axis=0, keepdims=True)
    J = J / jnp.where(norm > 0, norm, 1.0)
    r, size = outputs(net, theta, on) - on.y, jnp.sum(on.y**2)
    U, S, _ = jnp.linalg.svd(J, full_matrices=False)
    kept = S > RANK * S[0]
    left = on.y - U @ jnp.where(kept, U.T @ on.y, 0.0)
    terms = jax.ops.segment_sum(
        orthogonal_terms(J, on.y), jnp.asarray(net.unit), net.unit[-1] + 1
    )
    return Value(
        jnp.sum(r**2) / size,
        jnp.sum(left**2) / size,
        jnp.linalg.norm(J.T @ r) / jnp.sqrt(size),
        jnp.max(jnp.abs(theta)),
        jnp.sum(kept),
        terms / size,
    )


def stationary(gradient: Any, largest: Any) -> Any:
    """Which ends are stationary points, and not on their way to infinity, all alike."""
    return (gradient < STILL) & (largest < FAR)


def orthogonal_terms(
    J: Float[Array, "e p"], y: Float[Array, " e"]
) -> Float[Array, " p"]:
    """|P[N_j] y|^2, N_j being column j less its projection on the columns before it.

    Gram and Schmidt's way, twice over. Columns have norm 1 or 0; one that the others
    span adds nothing. The terms of a unit, or of a layer, are sums over its columns.
    """

    def add(Q: jax.Array, j: jax.Array) -> tuple[jax.Array, jax.Array]:
        v = J[:, j]
        for _ in range(2):
            v = v - Q @ (Q.T @ v)
        size = jnp.linalg.norm(v)
        q = jnp.where(size > NEW, v / jnp.where(size > 0, size, 1.0), 0.0)
        return Q.at[:, j].set(q), (q @ y) ** 2

    return jax.lax.scan(add, jnp.zeros_like(J), jnp.arange(J.shape[1]))[1]


def ends(
    net: Net,
    keys: jax.Array,
    on: Problem,
    steps: int,
    polish: int,
) -> Value:
    """What is found from each of some initializations."""

    def one(key: jax.Array) -> Value:
        first = descend(net, net.start(key), on, steps, polish // 2)
        found = value(net, descend(net, first, on, 0, polish - polish // 2), on)
        before = jnp.sum((outputs(net, first, on) - on.y) ** 2) / jnp.sum(on.y**2)
        return found._replace(fall=before - found.loss)

    return jax.vmap(one)(keys)

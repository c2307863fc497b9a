"""The lazy-regime measurement as users of neural-tangents write it today.

Its own tools: networks of `nt.stax`, a Python loop over a jitted step, the linearized
network of `nt.linearize` trained beside it, `nt.empirical_ntk_fn` by its fastest
implementation, and the continuous-time prediction of `nt.predict`. One kindness: the
steps are compiled once for all seeds.
"""

import jax
import jax.numpy as jnp
import numpy as np

from zoo.data import Dataset
from zoo.infinite.neural_tangents import nt, predict, stax


def measure(
    data: Dataset,
    width: int,
    depth: int,
    sigma_w: float,
    learning_rate: float,
    times: np.ndarray,
    seeds: np.ndarray,
) -> dict[str, np.ndarray]:
    """RMS gaps [s, t] on test points, kernel error and drift [s]."""
    hidden = [stax.Dense(width, W_std=sigma_w), stax.Relu()] * depth
    k = data.y_train.shape[1]
    init, apply_fn, kernel_fn = stax.serial(*hidden, stax.Dense(k, W_std=sigma_w))
    apply_fn, kernel_fn = jax.jit(apply_fn), jax.jit(kernel_fn, static_argnames="get")
    x, x_test = jnp.asarray(data.x_train), jnp.asarray(data.x_test)
    y, n = jnp.asarray(data.y_train), len(data.x_train)

    def loss(f):
        return jnp.sum((f - y) ** 2) / (2 * n)

    def descend(params, gradient):
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, gradient)

    @jax.jit
    def step(params):
        return descend(params, jax.grad(lambda p: loss(apply_fn(p, x)))(params))

    @jax.jit
    def linear_outputs(params, start, x):
        return nt.linearize(apply_fn, start)(params, x)

    @jax.jit
    def linear_step(params, start):
        def of(p):
            return loss(nt.linearize(apply_fn, start)(p, x))

        return descend(params, jax.grad(of)(params))

    ntk = jax.jit(
        nt.empirical_ntk_fn(
            apply_fn,
            trace_axes=(),
            vmap_axes=0,
            implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES,
        )
    )
    theta, theta_test = kernel_fn(x, None, get="ntk"), kernel_fn(x_test, x, get="ntk")
    # Its loss is the mean over points and outputs: the rate times k.
    prediction = predict.gradient_descent_mse(theta, y, learning_rate=learning_rate * k)
    prediction = jax.jit(prediction)
    found = {
        name: [] for name in "gap_total gap_nonlinear gap_kernel error drift".split()
    }
    for seed in seeds:
        _, start = init(jax.random.key(int(seed)), (-1, x.shape[1]))
        params, linear, f, f_lin = start, start, [], []
        before = ntk(x, None, start)
        for t in range(int(times[-1]) + 1):
            if t in times:
                f.append(apply_fn(params, x_test))
                f_lin.append(linear_outputs(linear, start, x_test))
            if t < times[-1]:
                params, linear = step(params), linear_step(linear, start)
        after = ntk(x, None, params)
        f0, f0_test = apply_fn(start, x), f[0]
        f_inf = [prediction(float(t), f0, f0_test, theta_test)[1] for t in times]
        f, f_lin, f_inf = jnp.stack(f), jnp.stack(f_lin), jnp.stack(f_inf)
        found["gap_total"].append(_rms(f - f_inf))
        found["gap_nonlinear"].append(_rms(f - f_lin))
        found["gap_kernel"].append(_rms(f_lin - f_inf))
        limit = theta[:, :, None, None] * jnp.eye(k)
        found["error"].append(_distance(before, limit))
        found["drift"].append(_distance(after, before))
    return {name: np.stack(values) for name, values in found.items()}


def _rms(difference):
    return np.asarray(jnp.sqrt(jnp.mean(difference**2, axis=(1, 2))))


def _distance(a, b):
    return np.asarray(jnp.linalg.norm(jnp.ravel(a - b)) / jnp.linalg.norm(b.ravel()))

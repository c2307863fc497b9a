"""The peers' own ways to an equilibrium network's kernels and gradients.

What `benchmarks.equilibria` measures. A way to a kernel is a function of the inputs
that returns (nngp, ntk) and the number of its steps.
"""

import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo.infinite.kernels import kernel_fn
from zoo.infinite.neural_tangents import stax
from zoo.layers import ACTIVATIONS

NAMES, OUT = ("nngp", "ntk"), 10
MOST = 5000  # steps


def maps(activation, sigma_w, x):
    """The map of (S, T), which also says chi_1; the readout (nngp, ntk); the start."""
    injected = x @ x.T / x.shape[1]

    def dual(s):
        own = jnp.diag(s)
        return ACTIVATIONS[activation].dual(s, own[:, None], own[None])

    def step(pair):
        value, slope = dual(pair[0])
        s = sigma_w**2 * value + injected
        chi = sigma_w**2 * jnp.max(jnp.diag(slope))
        return (s, s + sigma_w**2 * slope * pair[1]), chi

    def read(pair):
        value, slope = dual(pair[0])
        return value, value + slope * pair[1]

    return step, read, (injected, injected)


def ours(activation, sigma_w, x):
    """Our kernels; the number of Newton's steps is `zoo.gap.equilibria`'s to say."""
    net = zoo.DEQ(width=1, activation=activation, sigma_w=sigma_w)
    return tuple(kernel_fn(net)(x, get=NAMES)), 0


def plain(activation, sigma_w, x):
    """Iteration of both maps, the number of steps, and chi_1."""
    step, read, start = maps(activation, sigma_w, x)

    def going(state):
        _, size, chi, count = state
        return (size > 1e-12 * (1 - chi)) & (count < MOST)

    def advance(state):
        pair, _, _, count = state
        new, chi = step(pair)
        moved = [jnp.max(jnp.abs(a - b)) for a, b in zip(new, pair, strict=True)]
        sizes = [jnp.max(jnp.abs(a)) for a in new]
        size = jnp.maximum(moved[0] / sizes[0], moved[1] / sizes[1])
        return new, size, chi, count + 1

    first = (start, jnp.asarray(jnp.inf), jnp.asarray(0.0), 0)
    pair, _, chi, count = jax.lax.while_loop(going, advance, first)
    return read(pair), count, chi


def layers(activation, sigma_w, count, x):
    """neural-tangents' layers, with the injection's kernel added to each."""
    phi = {"relu": stax.Relu, "erf": stax.Erf}[activation]()
    cell = stax.serial(phi, stax.Dense(1, sigma_w, None))[2]
    inject = stax.Dense(1, 1.0, None)[2](x, None, None, diagonal_spatial=True)

    def arrays(k):
        return {name: getattr(k, name) for name in (*NAMES, "cov1")}

    def layer(_, found):
        out = arrays(cell(inject.replace(**found)))
        return jax.tree.map(jnp.add, out, arrays(inject))

    found = jax.lax.fori_loop(0, count, layer, arrays(inject))
    out = stax.serial(phi, stax.Dense(1, 1.0, None))[2](inject.replace(**found))
    return (out.nngp, out.ntk), count


class Unrolled(nn.Module):
    """The equilibrium network's weights, applied a given number of times."""

    width: int
    steps: int
    sigma_w: float

    @nn.compact
    def __call__(self, x):
        """The readout of the last iterate."""
        m, d = self.width, x.shape[1]
        shapes = {"W": (m, m), "U": (d, m), "V": (m, OUT)}
        normal = nn.initializers.normal(1.0)
        W, U, V = (self.param(name, normal, shapes[name]) for name in shapes)
        u = x @ U / d**0.5

        def step(h, _):
            return self.sigma_w / m**0.5 * nn.relu(h) @ W + u, None

        h, _ = jax.lax.scan(step, u, length=self.steps)
        return nn.relu(h) @ V / m**0.5


def named(params):
    """The three weights of an equilibrium network, or their gradients."""
    z = params["equilibrium_0"]
    W, U, V = z["cell"]["dense_0"], z["inject"], params["dense_0"]
    return {"W": W["W"], "U": U["W"], "V": V["W"]}


def torchdeq_ways(weights, x, y, sigma_w, tolerance):
    """Loss and gradients by torchdeq's two iterations, as functions of nothing."""
    # Threads that spin while they wait cost tens of times the work on shared cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch
    import torchdeq

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    arrays = [torch.tensor(np.asarray(a)) for a in (*weights.values(), x, y)]
    *leaves, x, y = arrays
    W, U, V = [a.requires_grad_() for a in leaves]
    m, d = W.shape[0], x.shape[1]
    for solver in ("fixed_point_iter", "anderson"):
        options = {}
        for way in "fb":
            options |= {f"{way}_solver": solver, f"{way}_stop_mode": "rel"}
            options |= {f"{way}_tol": tolerance, f"{way}_max_iter": 100}
        deq = torchdeq.get_deq(ift=True, **options)

        def call(deq=deq):
            u = x @ U / d**0.5
            (h,), _ = deq(lambda h: torch.relu(h) @ W * (sigma_w / m**0.5) + u, u)
            loss = 0.5 * ((torch.relu(h) @ V / m**0.5 - y) ** 2).sum(1).mean()
            grads = torch.autograd.grad(loss, leaves)
            return loss.item(), dict(zip(weights, map(np.asarray, grads), strict=True))

        yield f"torchdeq {solver}", call

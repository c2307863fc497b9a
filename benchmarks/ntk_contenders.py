"""One way to compute one empirical NTK, alone in its process.

    python -m benchmarks.ntk_contenders NETWORK CONTENDER ROW FILE

prints what it took as JSON and writes the kernel to FILE. ROW is "mean", over outputs,
or "full". The address space is limited to 16 GB: a contender that needs more dies.
"""

import json
import resource
import sys
import time

import jax
import numpy as np

import zoo
from benchmarks.clock import flops, timed
from zoo.infinite.neural_tangents import nt
from zoo.models import CNN, MLP, ResNet, WuTransformer

LIMIT = 16 * 2**30
SECONDS, CALLS = 5.0, 20  # calls end after the first of these
OUT = 10

# The network and the shape of its inputs.
NETWORKS = {
    "mlp": (MLP(1024, depth=4, out=OUT), (256, 784)),
    "cnn": (CNN(64, depth=4, out=OUT), (64, 16, 16, 3)),
    "resnet": (ResNet(64, depth=3, out=OUT), (32, 16, 16, 3)),
    "transformer": (
        WuTransformer(256, out=OUT, initialization="ntk"),
        (128, 16, 256),
    ),
}
IMPLEMENTATIONS = {
    "nt Jacobian contraction": nt.NtkImplementation.JACOBIAN_CONTRACTION,
    "nt NTK-vector products": nt.NtkImplementation.NTK_VECTOR_PRODUCTS,
    "nt structured derivatives": nt.NtkImplementation.STRUCTURED_DERIVATIVES,
}
TORCH = ("torch Jacobian contraction", "torch NTK-vector products")


def ours(net, full):
    return lambda params, x: zoo.empirical_ntk(net, params, x, full=full)


def neural_tangents(net, full, implementation):
    """Each output of a batch depends on its own input alone: vmap_axes=0."""
    ntk = nt.empirical_ntk_fn(
        lambda params, x: net.apply({"params": params}, x),
        trace_axes=() if full else (-1,),
        vmap_axes=0,
        implementation=implementation,
    )
    return lambda params, x: ntk(x, None, params)


def measure_jax(net, params, x, contender, full):
    """The kernel, and {"compile", "times", "flops"}."""
    if contender == "ours":
        kernel = ours(net, full)
    else:
        kernel = neural_tangents(net, full, IMPLEMENTATIONS[contender])
    compiled, seconds = timed(lambda: jax.jit(kernel).lower(params, x).compile())
    theta, times = calls(lambda: compiled(params, x))
    count = flops(kernel, params, x)
    return theta, {"compile": seconds, "times": times, "flops": count}


def measure_torch(network, params, x, contender, full):
    """As `measure_jax`; nothing is compiled."""
    from benchmarks import ntk_torch

    kernel = ntk_torch.kernel(network, params, x, contender, full)
    theta, times = calls(kernel)
    return theta, {"compile": 0.0, "times": times}


def calls(kernel):
    """The last result, and the seconds of every call but the first."""
    timed(kernel)
    times, end = [], time.perf_counter() + SECONDS
    while not times or (len(times) < CALLS and time.perf_counter() < end):
        theta, seconds = timed(kernel)
        times.append(seconds)
    return np.asarray(theta), times


def main(network, contender, row, file):
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    net, shape = NETWORKS[network]
    x = jax.random.normal(jax.random.key(0), shape)
    params = net.init(jax.random.key(1), x)["params"]
    measure, what = measure_jax, net
    if contender in TORCH:
        measure, what = measure_torch, network
    theta, found = measure(what, params, x, contender, row == "full")
    np.save(file, theta)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found | {"peak_mb": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])

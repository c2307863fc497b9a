"""What every architecture of the registry refuses, and what asks it for kernels."""

import dataclasses
import math

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import zoo
from zoo.gap.nets import example
from zoo.models import ARCHITECTURES


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_sizes_are_whole_and_scales_finite(name, monkeypatch):
    """As in use, where nothing else looks at the types of arguments."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    net, _ = example(name, 8)
    kinds = {field.name: field.type for field in dataclasses.fields(net)}
    sizes = [field for field, kind in kinds.items() if kind is int]
    scales = [field for field in kinds if isinstance(getattr(net, field, 0), float)]
    assert "width" in sizes
    for field, bad in [(f, 8.5) for f in sizes] + [(f, math.inf) for f in scales]:
        with pytest.raises(ValueError, match=f"needs {field} .*, got {field}={bad}"):
            net.clone(**{field: bad})
    assert net.clone(width=np.int64(8)) == net  # NumPy's whole numbers are as good


@pytest.mark.parametrize("get", ["ntkk", ("nngp", "ntkk")])
def test_unknown_kernels_are_refused_by_name(get):
    kernel = zoo.kernel_fn(zoo.MLP(width=4))
    with pytest.raises(ValueError, match="unknown kernel 'ntkk'; did you mean 'ntk'"):
        kernel(jnp.ones((2, 3)), get=get)

"""The key of a stored kernel: the same for the same computation, and for no other."""

import dataclasses
import enum
import functools
import importlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.finite.tiles import empirical_source, empirical_tiles
from zoo.infinite.tiles import kernel_source
from zoo.tiles import source as sources
from zoo.tiles.describe import describe
from zoo.tiles.source import kernel_key, versions

ROOT = Path(__file__).resolve().parents[2]
NET = zoo.MLP(width=1, depth=2, activation="erf", sigma_b=0.3)
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
SCALE = 1.0
T = TypeVar("T")
CACHED = functools.cached_property
VERSIONS = ("jax", "jaxlib", "flax", "numpy", "neural-tangents", "python")


class Net(nn.Module):
    """One hidden layer; fields of any kind."""

    activation: Any = nn.relu
    dtype: Any = None
    start: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, kernel_init=self.start, param_dtype=self.dtype or jnp.float32)(
            x
        )
        return nn.Dense(1)(self.activation(x))


def text(value):
    return json.dumps(describe(value), sort_keys=True)


def scaled(a):
    return lambda x: jnp.tanh(a * x)


def tripled(f):
    @functools.wraps(f)
    def wrapper(x):
        return f(3 * x)

    return wrapper


def by_default(a):
    def f(x, a=a):
        return jnp.tanh(a * x)

    return f


def by_keyword(a):
    def f(x, *, a=a):
        return jnp.tanh(a * x)

    return f


class Slope:
    """Not described."""

    def __init__(self, a):
        self.a = a

    def __call__(self, x):
        return jnp.tanh(self.a * x)


def block(default):
    class Block(nn.Module):
        gain: Any = default

    return Block


def factory(a):
    return dataclasses.field(default_factory=lambda: a)


def order(*names):
    return dataclasses.make_dataclass("Two", [(name, float, 1.0) for name in names])


def helper(a):
    class Helper:
        __slots__ = ("x",)

        def __init__(self, x, a=a):
            self.x = a * x

    return lambda x: Helper(x).x


def named_tuple(f, a):
    class Act(NamedTuple):
        a: float

        def __call__(self, x):
            return f(self.a * x)

    return Act(a)


def subclass(kind, f, *given):
    class Act(kind):
        def __call__(self, x):
            return f(x)

    return Act(*given)


def member(value):
    return enum.Enum("Kind", {"GAIN": value}, module=__name__).GAIN


def attribute(k):
    def f(x):
        return f.k * x

    f.k = k
    return f


@dataclasses.dataclass(frozen=True)
class Scale:
    """An ordinary function with fields, one of which is not given to it."""

    k: Any
    power: dataclasses.InitVar[float] = 1.0

    def __post_init__(self, power):
        object.__setattr__(self, "p", power)


def prop(kind, a):
    class Part(nn.Module, Generic[T]):
        @kind
        def gain(self):
            return a

    return lambda x: Part[int]().gain * x


ONE_LINE = (lambda x: jnp.tanh(x), lambda x: jnp.sin(x))
TWICE, THRICE = (lambda x: 2.0 * x), (lambda x: 3.0 * x)
OTHERS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "closure": (lambda: scaled(1.0), lambda: scaled(3.0)),
    "array": (lambda: scaled(np.ones(2)), lambda: scaled(np.arange(2.0))),
    "nested": (lambda: tripled(scaled(1.0)), lambda: tripled(scaled(3.0))),
    "type": (lambda: scaled(0.5), lambda: scaled(np.float32(0.5))),
    "default": (lambda: by_default(1.0), lambda: by_default(3.0)),
    "keyword": (lambda: by_keyword(1.0), lambda: by_keyword(3.0)),
    "one line": (lambda: ONE_LINE[0], lambda: ONE_LINE[1]),
    "constant": (lambda: TWICE, lambda: THRICE),
    "wrapped": (lambda: jnp.tanh, lambda: tripled(jnp.tanh)),
    "jit": (lambda: jax.jit(scaled(1.0)), lambda: jax.jit(scaled(3.0))),
    "partial": (
        lambda: functools.partial(by_default(1.0), a=2.0),
        lambda: functools.partial(by_default(1.0), a=4.0),
    ),
    "name": (lambda: jnp.tanh, lambda: "jax.numpy.tanh"),
    "start": (
        lambda: nn.initializers.normal(0.1),
        lambda: nn.initializers.normal(0.2),
    ),
    "submodules": (
        lambda: nn.Sequential([nn.Dense(4, name="a"), nn.Dense(4, name="b")]),
        lambda: nn.Sequential([nn.Dense(4, name="b"), nn.Dense(4, name="a")]),
    ),
    "set": (lambda: frozenset("ab"), lambda: frozenset("bc")),
    "field's default": (lambda: block(1.0), lambda: block(3.0)),
    "factory": (lambda: block(factory(1.0)), lambda: block(factory(3.0))),
    "fields' order": (lambda: order("a", "b"), lambda: order("b", "a")),
    "helper": (lambda: helper(1.0), lambda: helper(3.0)),
    "tuple": (lambda: named_tuple(jnp.tanh, 1), lambda: named_tuple(jnp.sin, 1)),
    "its value": (lambda: named_tuple(jnp.tanh, 1), lambda: named_tuple(jnp.tanh, 3)),
    "dict": (lambda: subclass(dict, jnp.tanh), lambda: subclass(dict, jnp.sin)),
    "float": (lambda: subclass(float, jnp.tanh), lambda: subclass(float, jnp.sin)),
    "defaultdict": (lambda: defaultdict(block(1)), lambda: defaultdict(block(3))),
    "enum": (lambda: member(1.0), lambda: member(3.0)),
    "order": (lambda: {"a": 1, "b": 2}, lambda: {"b": 2, "a": 1}),
    "attribute": (lambda: attribute(1.0), lambda: attribute(3.0)),
    "dataclass": (lambda: Scale(1.0), lambda: Scale(3.0)),
    "InitVar": (lambda: Scale(1.0, 2.0), lambda: Scale(1.0, 3.0)),
    "cache": (lambda: functools.cache(scaled(1)), lambda: functools.cache(scaled(3))),
    "property": (lambda: prop(property, 1), lambda: prop(property, 3)),
    "cached property": (lambda: prop(CACHED, 1), lambda: prop(CACHED, 3)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_computes_something_else_has_another_description(kind):
    first, second = OTHERS[kind]
    descriptions = [text(Net(make())) for make in (first, first, second)]
    assert descriptions[0] == descriptions[1] != descriptions[2]


def test_a_global_that_a_function_uses_counts(monkeypatch):
    def f(x):
        return [SCALE * each for each in x]

    before = text(f)
    f([1.0] * 1000)  # Python rewrites the bytecode of what runs often
    assert text(f) == before
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert text(f) != before


ORDINARY = {
    "nn.relu": Net(nn.relu),
    "jnp.tanh": Net(jnp.tanh),
    "nn.softplus": Net(nn.softplus, jnp.float32),
    "np.tanh": Net(jnp.sin, np.dtype("float32")),
    "nn.gelu": Net(functools.partial(nn.gelu, approximate=False)),
    "orthogonal": Net(start=nn.initializers.orthogonal()),
    "zeros": Net(start=nn.initializers.zeros),
    "sequential": nn.Sequential([nn.Dense(16), nn.tanh, nn.Dense(1)]),
    "attention": nn.MultiHeadDotProductAttention(2, precision=jax.lax.Precision.HIGH),
    "recursive": Net(lambda x: ORDINARY and jnp.cos(x)),
}


def test_ordinary_modules_of_flax_have_descriptions():
    assert len({text(net) for net in ORDINARY.values()}) == len(ORDINARY)


def test_a_stored_kernel_is_not_that_of_another_closure(tmp_path):
    params = Net(scaled(1.0)).init(jax.random.key(0), X)["params"]
    for a in (1.0, 3.0):
        net = Net(scaled(a))
        found = empirical_tiles(net, params, X, side=6, store=tmp_path)
        want = zoo.empirical_ntk(net, params, jnp.asarray(X))
        np.testing.assert_allclose(found.product(np.eye(6)), want, rtol=1e-5)


def test_what_has_no_description_is_kept_in_memory_alone(tmp_path):
    net = Net(Slope(2.0))
    params = net.init(jax.random.key(0), X)["params"]
    with pytest.raises(
        TypeError, match=r"stored under <.*Slope object.*store=None"
    ) as e:
        empirical_tiles(net, params, X, side=3, store=tmp_path)
    assert "\n" not in str(e.value) and not list(tmp_path.iterdir())
    found = empirical_tiles(net, params, X, side=3)
    want = zoo.empirical_ntk(net, params, jnp.asarray(X))
    np.testing.assert_allclose(found.product(np.eye(6)), want, rtol=1e-5)


def test_a_refusal_says_where_the_object_was_found():
    with pytest.raises(
        TypeError, match=r"Slope object[^,]*, at activation\.k\[1\]\['a'\]:"
    ):
        describe(Net(Scale((1.0, {"a": Slope(2.0)}))))


def test_the_order_of_parameters_does_not_count():
    both = ({"a": X, "b": 2 * X}, {"b": 2 * X, "a": X})
    assert text(both[0]) == text(both[1]) != text({"b": X, "a": 2 * X})


TYPED = """
import json
import flax.linen as nn
import jax.numpy as jnp
from zoo.tiles.describe import describe

GAIN = {gain}

class Part(nn.Module):
    kinds: frozenset = frozenset(("a", "b", "c"))
    @nn.compact
    def __call__(self, x):
        return self.gained(x) if "a" in {{"a", "b", "c"}} else x
    def gained(self, x):
        return jnp.tanh(GAIN * nn.Dense(3)(x))

if __name__ == "__main__":
    print(json.dumps(describe(nn.Sequential([Part(), nn.Dense(1)])), sort_keys=True))
"""


def test_what_is_typed_has_the_same_description_in_every_process():
    """A class without a file, and sets, whose order is another in each process."""

    def said(gain, seed):
        run = subprocess.Popen(
            [sys.executable, "-"],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return run, TYPED.format(gain=gain)

    runs = [said(*given) for given in ((1.0, "1"), (1.0, "2"), (3.0, "1"))]
    texts = [run.communicate(program)[0] for run, program in runs]
    assert texts[0] and texts[0] == texts[1] != texts[2]


def test_the_code_of_a_submodule_in_another_file_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    texts = []
    for gain in (1.0, 1.0, 3.0):
        (tmp_path / "parts_of_mine.py").write_text(TYPED.format(gain=gain))
        sys.modules.pop("parts_of_mine", None)
        importlib.invalidate_caches()
        parts = importlib.import_module("parts_of_mine")
        texts.append(text(nn.Sequential([parts.Part(), nn.Dense(1)])))
    assert texts[0] == texts[1] != texts[2]


def test_the_width_of_a_limit_does_not_enter_its_key():
    keys = {
        kernel_key(kernel_source(net), X, None)
        for net in (NET, NET.clone(width=64, out=3))
    }
    assert len(keys) == 1


def source_of(kind):
    if kind == "infinite":
        return kernel_source(NET)
    net = Net()
    return empirical_source(net, net.init(jax.random.key(0), X)["params"], X)


@pytest.mark.parametrize("library", VERSIONS)
def test_the_version_of_a_library_enters_the_key(monkeypatch, library):
    key = kernel_key(source_of("infinite"), X, None)
    if library == "python":
        monkeypatch.setattr("platform.python_version_tuple", lambda: ("3", "9", "1"))
    else:
        given = importlib.metadata.version
        monkeypatch.setattr(
            importlib.metadata,
            "version",
            lambda name: given(name) + ("1" if name == library else ""),
        )
    assert kernel_key(source_of("infinite"), X, None) != key


FILES = {
    "infinite": ("kernels", "convolved", "neural_tangents", "precision"),
    "finite": ("ntk", "factors", "gram"),
    "tiles": ("fill", "grid", "stored"),
    "layers": ("base", "duals", "linear"),
    "models": ("mlp", "base"),
}


def test_the_code_that_makes_a_kernel_enters_its_key(tmp_path, monkeypatch):
    """Every file whose error would be in the stored numbers; not that of reports."""
    copy = tmp_path / "zoo"
    shutil.copytree(sources.ZOO, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "ZOO", copy)
    both = {kind: source_of(kind) for kind in ("infinite", "finite")}

    def changed(path):
        before = {kind: kernel_key(given, X, None) for kind, given in both.items()}
        with path.open("a") as file:
            file.write("# changed\n")
        return {
            k for k, given in both.items() if kernel_key(given, X, None) != before[k]
        }

    for room, names in FILES.items():
        for name in names:
            path = copy / room / f"{name}.py"
            found = changed(path)
            assert found == ({room} if room in both else set(both)), path
    assert changed(copy / "report" / "__init__.py") == set()
    assert versions(both["finite"].code) != versions(both["infinite"].code)

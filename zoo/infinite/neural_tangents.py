"""The neural-tangents 0.6.5 wheel, unmodified, on current JAX and without TensorFlow.

    from zoo.infinite.neural_tangents import nt, stax, predict

and from then on a plain `import neural_tangents as nt` gives the same working module.

0.6.5 (December 2023) is the last release. It was written for JAX 0.4.23, and current
JAX breaks it in three ways, each answered by one section below:

1. Its subpackage `experimental` imports TensorFlow: the import gets a stand-in that
   fetches TensorFlow only when somebody asks for one of its two functions.
2. Names that it imports have left JAX: they are back while its own modules execute,
   and gone again afterwards. JAX is left as it was found.
3. Some functions fail when they run: these are replaced inside neural-tangents.
4. Structured derivatives, the fastest of its empirical NTKs, stood on JAX internals:
   they get the same linear program from `jax.linearize` and `jax.linear_transpose`.

Nothing is edited on disk. Kernels, predictions, batching, Monte Carlo and the four
empirical NTKs agree with the wheel on JAX 0.4.23: tests/infinite/golden says how well.

Raises:
    ImportError: neural-tangents is not installed, or is not 0.6.5.
"""

import contextlib
import dataclasses
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.core
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import scipy
from jax import lax
from jax.interpreters import ad

from zoo.infinite.convolved import convolved_covariance

VERSION = "0.6.5"
INSTALL = f"pip install --no-deps neural-tangents=={VERSION}"

# ------------------------------------------------------------------- 1. import


def _load() -> types.ModuleType:
    """Import the wheel, or take the one that is imported already, and patch it."""
    _check_version()
    if "neural_tangents" not in sys.modules:
        # An import that failed earlier, without this file, has left submodules behind.
        for name in [n for n in sys.modules if n.startswith("neural_tangents.")]:
            del sys.modules[name]
        sys.modules["neural_tangents.experimental"] = _experimental()
        with _names_gone_from_jax():
            importlib.import_module("neural_tangents")
    module = sys.modules["neural_tangents"]
    _patch(module)
    return module


def _check_version() -> None:
    try:
        found = importlib.metadata.version("neural-tangents")
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(f"neural-tangents is not installed: {INSTALL}") from None
    if found != VERSION:
        raise ImportError(
            f"neural-tangents {VERSION} is needed, {found} is installed: {INSTALL}"
        )


def _experimental() -> types.ModuleType:
    """`neural_tangents.experimental`, found where it is installed but not executed."""
    parent: Any = importlib.util.find_spec("neural_tangents")
    spec: Any = importlib.machinery.PathFinder.find_spec(
        "neural_tangents.experimental", parent.submodule_search_locations
    )
    module: Any = importlib.util.module_from_spec(spec)

    def on_demand(name: str) -> Any:
        # Only these two: tools such as `inspect` look at any name of every module.
        if name not in ("empirical_ntk_fn_tf", "get_apply_fn_and_params"):
            raise AttributeError(f"module {spec.name!r} has no attribute {name!r}")
        source = importlib.import_module(f"{spec.name}.empirical_tf.empirical")
        return getattr(source, name)

    module.__getattr__ = on_demand
    return module


# ------------------------------------------------------ 2. names gone from JAX


@contextlib.contextmanager
def _names_gone_from_jax() -> Iterator[None]:
    """Inside the `with` block, bring back what the wheel imports from older JAX."""
    returning: list[tuple[Any, str, Any]] = [
        (jax.core, name, getattr(jax.extend.core, name))
        for name in ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")
    ]
    # A key of the rules for derivatives. No program contains this primitive any more.
    zeros_like_p = jax.extend.core.Primitive("zeros_like")
    returning.append((ad, "zeros_like_p", zeros_like_p))
    # `vars`, since `hasattr` would say yes to a deprecated name, with a warning.
    returning = [r for r in returning if r[1] not in vars(r[0])]

    util: Any = types.ModuleType("jax.util")
    util.safe_zip = lambda *xs: list(zip(*xs, strict=True))
    util.safe_map = lambda f, *xs: [f(*x) for x in zip(*xs, strict=True)]
    own_util = sys.modules.get("jax.util")

    for owner, name, value in returning:
        setattr(owner, name, value)
    sys.modules["jax.util"] = util
    try:
        yield
    finally:
        for owner, name, _ in returning:
            delattr(owner, name)
        del sys.modules["jax.util"]
        if own_util is not None:
            sys.modules["jax.util"] = own_util


# -------------------------------------------------------- 3. functions patched


class _Overlay:
    """A module in which some attributes are replaced, for one importer's eyes only."""

    def __init__(self, module: types.ModuleType, **replaced: Any):
        self._module = module
        vars(self).update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _patch(module: types.ModuleType) -> None:
    """Replace globals of the wheel's modules; to do so twice is to do so once."""
    empirical, predict = module._src.empirical, module._src.predict

    # `eval_context` still exists, but has refused tracers since JAX 0.4.36: without
    # this line a prediction works until somebody calls it under `vmap` or `jit`.
    # (`stax` uses it too, for constants only, where it still does its work.)
    core = _Overlay(jax.core, eval_context=jax.ensure_compile_time_eval)
    predict.jax = _Overlay(jax, core=core)

    linalg = _Overlay(scipy.linalg, eigvalsh=_eigvalsh)
    predict.sp = _Overlay(scipy, linalg=linalg)  # for `max_learning_rate`

    # On a `ShapeDtypeStruct`, or an array for `dtype`, those of `jax.numpy` are
    # deprecated.
    empirical.jnp = _Overlay(jnp, size=np.size, shape=np.shape, dtype=_dtype)
    empirical._get_flops = _flops

    # In float64 its convolutions end the process on some CPUs.
    module._src.stax.linear._conv_kernel_full_spatial_shared = convolved_covariance

    # The backward pass asks for a scope of names, for internal checks, and for
    # dynamic shapes: the first is empty, the second off, the third unknown to JAX.
    scope = types.SimpleNamespace(transform_name_stack=contextlib.nullcontext)
    checks = types.SimpleNamespace(jax_enable_checks=False)
    empirical.ad = _Overlay(ad, source_info_util=scope, config=checks)
    empirical.core = _Overlay(jax.core, DShapedArray=type("DShapedArray", (), {}))

    empirical._get_primals_out_and_pullback = _primals_out_and_pullback
    empirical._eqn_vjp_fn = _equation_vjp
    empirical._eqn_jvp_fn = _equation_jvp


def _eigvalsh(a: Any, eigvals: tuple[int, int]) -> Any:
    """SciPy's `eigvalsh` under the name that its argument had before SciPy 1.14."""
    return scipy.linalg.eigvalsh(a, subset_by_index=eigvals)


def _dtype(x: Any) -> Any:
    return x.dtype


def _flops(f: Callable, optimize: bool, *args: Any, **kwargs: Any) -> float:
    """Floating-point operations of `f(*args)`, by which AUTO chooses.

    The analysis of a compiled function is a dictionary now, no longer a list of them.
    """
    lowered: Any = jax.jit(f).lower(*args, **kwargs)
    return (lowered.compile() if optimize else lowered).cost_analysis()["flops"]


# --------------------------------------------------- 4. structured derivatives
#
# The wheel linearizes the network and walks the linear program backwards, one
# equation at a time (`empirical._backward_pass`). This walk runs untouched; below are
# the program it walks on and the two derivatives of a single equation it asks for.


@dataclasses.dataclass(frozen=True, eq=False)  # compared and hashed by identity
class _Var:
    """A value of the linear program that depends on the program's inputs."""

    aval: Any  # a jax.core.ShapedArray


@dataclasses.dataclass(frozen=True, eq=False)
class _Equation:
    """`outvars = primitive(*invars, **params)`."""

    primitive: Any
    params: dict[str, Any]
    invars: list[_Var]
    outvars: list[_Var]

    def replace(self, **changes: Any) -> "_Equation":
        return dataclasses.replace(self, **changes)


class _Program(NamedTuple):
    """A linear program with the fields of a JAX `Jaxpr` that the wheel reads."""

    constvars: list[_Var]
    invars: list[_Var]
    eqns: list[_Equation]
    outvars: list[_Var]


# Equations that do nothing but run the jaxpr in one of their parameters.
_CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2")
_CALLS += ("custom_jvp_call", "custom_vjp_call")


class _Flattening:
    """Runs a linear jaxpr on `_Var`s, and writes down each equation that it meets.

    Calls are inlined. An equation that depends on no input of the program is evaluated
    on the spot; its value is a constant of the program. In other words, a value here
    is a `_Var` if it depends on the inputs, and an array otherwise.
    """

    def __init__(self) -> None:
        self.eqns: list[_Equation] = []
        self.constvars: list[_Var] = []
        self.consts: list[Any] = []

    def run(self, jaxpr: Any, consts: Any, args: list[Any]) -> list[Any]:
        env = dict(zip(jaxpr.constvars, consts, strict=True))
        env.update(zip(jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Any:
            return atom.val if hasattr(atom, "val") else env[atom]

        for eqn in jaxpr.eqns:
            outs = self.equation(eqn, [read(v) for v in eqn.invars])
            env.update(zip(eqn.outvars, outs, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def equation(self, eqn: Any, args: list[Any]) -> list[Any]:
        """Give the values of `eqn.outvars`."""
        if eqn.primitive.name in _CALLS:
            names = ("jaxpr", "call_jaxpr", "fun_jaxpr")
            inner = next(eqn.params[n] for n in names if n in eqn.params)
            # A closed jaxpr carries constants, an open one has none.
            body = getattr(inner, "jaxpr", inner)
            return self.run(body, getattr(inner, "consts", ()), args)
        if not any(isinstance(x, _Var) for x in args):
            out = eqn.primitive.bind(*args, **eqn.params)
            return list(out) if eqn.primitive.multiple_results else [out]
        invars = [x if isinstance(x, _Var) else self.constant(x) for x in args]
        outvars = [_Var(v.aval) for v in eqn.outvars]
        if eqn.primitive is lax.split_p:
            self.eqns += _slices(eqn.params, invars[0], outvars)
        else:
            self.eqns.append(_Equation(eqn.primitive, eqn.params, invars, outvars))
        return outvars

    def constant(self, x: Any) -> _Var:
        x = jnp.asarray(x)
        self.constvars.append(_Var(jax.core.ShapedArray(x.shape, x.dtype)))
        self.consts.append(x)
        return self.constvars[-1]


def _slices(params: Any, x: _Var, pieces: list[_Var]) -> Iterator[_Equation]:
    """`jnp.split` as one slice per piece: the wheel wants one output per equation."""
    starts = [0] * len(x.aval.shape)
    for piece in pieces:
        limits = [lo + n for lo, n in zip(starts, piece.aval.shape, strict=True)]
        bounds = {"start_indices": tuple(starts), "limit_indices": tuple(limits)}
        yield _Equation(lax.slice_p, bounds | {"strides": None}, [x], [piece])
        starts[params["axis"]] = limits[params["axis"]]


def _primals_out_and_pullback(
    fn: Callable,
    mode: Any,
    _j_rules: bool,
    _s_rules: bool,
    _fwd: bool | None,
    *primals_in: Any,
) -> tuple[Any, Callable]:
    """`fn(*primals_in)`, and the backward pass of its linearization.

    The signature is the wheel's own. What the pass returns depends on `mode`: output
    cotangents df/dy, or Jacobians dy/dw, for the intermediate values y next to each
    parameter w.
    """
    leaves, tree = jax.tree.flatten(primals_in)
    with jax.disable_jit():  # so that loops over layers become straight programs
        out, tangent_fn = jax.linearize(
            lambda *xs: fn(*jax.tree.unflatten(tree, xs)), *leaves
        )
        closed = jax.make_jaxpr(lambda *ts: jax.tree.leaves(tangent_fn(*ts)))(*leaves)

    flat = _Flattening()
    invars = [_Var(v.aval) for v in closed.jaxpr.invars]
    tangents_out = flat.run(closed.jaxpr, closed.consts, list(invars))
    # An output that no parameter reaches has no derivative, and drops out.
    reached = [isinstance(t, _Var) for t in tangents_out]
    outvars = [t for t in tangents_out if isinstance(t, _Var)]

    def pullback(*cotangents: Any) -> Any:
        cts = zip(jax.tree.leaves(cotangents), reached, strict=True)
        derivatives = nt._src.empirical._backward_pass(
            _Program(flat.constvars, invars, flat.eqns, outvars),
            mode=mode,
            consts=flat.consts,
            primals_in=[ad.UndefinedPrimal(v.aval) for v in invars],
            cotangents_in=tuple(ct for ct, is_reached in cts if is_reached),
            _j_rules=_j_rules,
            _s_rules=_s_rules,
            _fwd=_fwd,
        )
        return jax.tree.unflatten(tree, derivatives)

    return out, pullback


def _bind(eqn: Any, invals: tuple[Any, ...], free: dict[int, Any]) -> Any:
    """Output of `eqn` as a linear function of some inputs, `free` (position: value).

    The others are arrays, or bare shapes, which stand for zero.
    """

    def fixed(x: Any) -> Any:
        x = x.aval if isinstance(x, ad.UndefinedPrimal) else x
        shape_only = isinstance(x, jax.core.ShapedArray)
        return jnp.zeros(x.shape, x.dtype) if shape_only else x

    args = [free[i] if i in free else fixed(x) for i, x in enumerate(invals)]
    out = eqn.primitive.bind(*args, **eqn.params)
    return out[0] if eqn.primitive.multiple_results else out


def _equation_jvp(eqn: Any, idx: int, tangents: Any, *invals: Any) -> Any:
    """Derivative of the output of `eqn` along its input `idx`.

    An equation of a linear program is its own derivative. None is the identity.
    """
    return tangents if eqn is None else _bind(eqn, invals, {idx: tangents})


def _equation_vjp(eqn: Any, ct: Any, *invals: Any) -> list[Any]:
    """Cotangents of the inputs of `eqn`; None for those that are known values."""
    if eqn is None:
        return [ct]
    cts: list[Any] = [None] * len(invals)
    linear = [i for i, x in enumerate(invals) if isinstance(x, ad.UndefinedPrimal)]
    if linear and not isinstance(ct, ad.Zero):
        avals = [invals[i].aval for i in linear]
        transpose = jax.linear_transpose(
            lambda *xs: _bind(eqn, invals, dict(zip(linear, xs, strict=True))),
            *[jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals],
        )
        ct_out = ct.astype(eqn.outvars[0].aval.dtype)
        for i, ct_in in zip(linear, transpose(ct_out), strict=True):
            cts[i] = ct_in
    return cts


# ------------------------------------------------------------ what is exported

nt = _load()
stax = nt.stax
predict = nt.predict
Kernel = nt.Kernel

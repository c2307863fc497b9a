"""Results whose channels stay apart up to the network's last linear map.

If f_c = sum_m a_m W[m, c], and a_m depends on channel m of some module's result alone,
the derivatives of the outputs by that result are W[m, c] s[n, p, m]: one signal s for
all outputs. That it is so is read off the network's jaxpr: between them stand
elementwise functions, sums over positions and products with matrices that act on
positions, and nothing else that the tables here do not name.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.extend.core import Literal

# What a value is to a result: None if it does not depend on it, the axis of the
# result's channels, or one of these.
MIXED = "mixed"  # anything else
WEIGHT = "weight"  # the matrix W itself
OUTPUT = "output"  # a linear function of a W


def apart(program: Callable, weight: Any, result: Any) -> bool:
    """Whether a result's channels stay apart up to the product with `weight`.

    Args:
        program: (weight, result) -> f, [n, k].
        weight: W, [m, k]; its shape is enough.
        result: [n, ..., m]; likewise.
    """
    jaxpr = jax.make_jaxpr(program)(weight, result).jaxpr
    return _follow(jaxpr, [WEIGHT, len(result.shape) - 1]) == [OUTPUT]


def _follow(jaxpr: Any, given: Sequence) -> list:
    """What the results of a jaxpr are, from what its arguments are."""
    known = dict(zip(jaxpr.invars, given, strict=True))

    def look(atom: Any) -> Any:
        return None if isinstance(atom, Literal) else known.get(atom)

    for eqn in jaxpr.eqns:
        each = [look(atom) for atom in eqn.invars]
        if any(state is not None for state in each):
            known |= zip(eqn.outvars, _states(eqn, each), strict=True)
    return [look(atom) for atom in jaxpr.outvars]


def _states(eqn: Any, given: list) -> list:
    name = eqn.primitive.name
    if name == "jit":
        return _follow(eqn.params["jaxpr"].jaxpr, given)
    if name == "custom_jvp_call":
        inner = eqn.params["call_jaxpr"].jaxpr
        if _name(inner.debug_info) in OWN_DERIVATIVES:
            return _follow(inner, given)
    rule = _elementwise if name in ELEMENTWISE else RULES.get(name)
    found = MIXED if rule is None or MIXED in given else rule(eqn, given)
    return [found] * len(eqn.outvars)


def _name(info: Any) -> str:
    """A function's name, if it is one of JAX's own."""
    own = Path(info.func_filename or "").is_relative_to(Path(jax.__file__).parent)
    return info.func_name if own else ""


# Functions of JAX whose derivatives, of their own, are elementwise as they are.
OWN_DERIVATIVES = {"relu", "logaddexp"}
ELEMENTWISE = {
    *("abs", "add", "cos", "div", "eq", "erf", "exp", "expm1", "ge", "gt", "le", "log"),
    *("log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "pow", "rsqrt"),
    *("integer_pow", "select_n", "sign", "sin", "sqrt", "square", "sub", "tanh"),
}


def _elementwise(eqn: Any, given: list) -> Any:
    (state, *others) = (state for state in given if state is not None)
    if set(others) - {state} or state == WEIGHT:
        return MIXED
    if state != OUTPUT:
        return state
    name = eqn.primitive.name
    if name in ("add", "sub", "neg"):
        return OUTPUT
    factors = [a for s, a in zip(given, eqn.invars, strict=True) if s is None]
    scaled = name == "mul" or (name == "div" and given[0] == OUTPUT)
    return OUTPUT if scaled and [a.aval.ndim for a in factors] == [0] else MIXED


def _reduce(eqn: Any, given: list) -> Any:
    (axis,) = given
    axes = eqn.params["axes"]
    if not isinstance(axis, int) or axis in axes:
        return MIXED
    return axis - sum(other < axis for other in axes)


def _broadcast(eqn: Any, given: list) -> Any:
    axis = given[0]
    if not isinstance(axis, int):
        return MIXED
    new = eqn.params["broadcast_dimensions"][axis]
    same = eqn.outvars[0].aval.shape[new] == eqn.invars[0].aval.shape[axis]
    return new if same else MIXED


def _reshape(eqn: Any, given: list) -> Any:
    """Channels stay the last axis, of the same size."""
    axis = given[0]
    before, after = (v.aval.shape for v in (eqn.invars[0], eqn.outvars[0]))
    last = axis == len(before) - 1 and before[-1:] == after[-1:]
    return len(after) - 1 if last else MIXED


def _product(eqn: Any, given: list) -> Any:
    """The last linear map, or a matrix that acts on positions."""
    contracted, batch = eqn.params["dimension_numbers"]
    if given[1] == WEIGHT:
        channels = isinstance(given[0], int) and contracted == ((given[0],), (0,))
        return OUTPUT if channels and not batch[0] else MIXED
    side = 0 if given[1] is None else 1
    axis = given[side]
    if given[1 - side] is not None or axis in (*contracted[side], *batch[side]):
        return MIXED
    if not isinstance(axis, int):
        return MIXED
    free = [
        [i for i in range(v.aval.ndim) if i not in (*contracted[s], *batch[s])]
        for s, v in enumerate(eqn.invars)
    ]
    return len(batch[0]) + side * len(free[0]) + free[side].index(axis)


def _stopped(eqn: Any, given: list) -> Any:
    return WEIGHT if given == [WEIGHT] else MIXED


RULES: dict[str, Callable[[Any, list], Any]] = {
    "reduce_sum": _reduce,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "dot_general": _product,
    "stop_gradient": _stopped,
}

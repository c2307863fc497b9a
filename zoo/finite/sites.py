"""Sites: where the derivatives by a network's parameters are taken.

Usually the module that owns the parameters. Where that cannot be repeated outside of
its network (parameters that several modules share, calls inside a `scan`), the module
around it takes its place; at the latest the network itself, whose signals are one-hot.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict

from zoo.finite.calls import Call, Key, Path, record
from zoo.finite.designs import Design, design_of


class Site(NamedTuple):
    """Parameters whose share is computed in one place.

    Attributes:
        calls: through which they act on the outputs; one if there is no design matrix.
        leaves: their paths in the tree under "params".
        design: the calls' design matrix, if they are linear in these parameters.
    """

    calls: tuple[Call, ...]
    leaves: tuple[Path, ...]
    design: Design | None


def by_module(net: nn.Module, variables: Any, x: Any) -> list[Site]:
    """Sites of all parameters that are trained, in the order of the forward pass."""
    calls = record(net, variables, x)
    for call in calls:
        if call.layer is not None and call.layer.couples_batch:
            raise ValueError(
                f"{type(call.layer).__name__} {'/'.join(call.key[0])} takes its "
                "statistics from the batch: pairs of points have no NTK."
            )
    found: dict[tuple[Key, bool], Site] = {}
    for owner, leaves in owned(variables["params"], calls).items():
        own = tuple(call for call in calls if call.key[0] == owner)
        if own[0].frozen:
            continue
        design = _common_design(own)
        if design is None:
            own = (_around(own, calls, variables, leaves),)
        key = (own[0].key, design is None)
        before = found[key].leaves if key in found else ()
        found[key] = Site(own, before + leaves, design)
    order = [call.key for call in calls]
    return sorted(found.values(), key=lambda site: order.index(site.calls[0].key))


def owned(params: Any, calls: tuple[Call, ...]) -> dict[Path, tuple[Path, ...]]:
    """The leaves of each module: the innermost one called whose path leads to them."""
    called = {call.key[0] for call in calls}
    found: dict[Path, tuple[Path, ...]] = {}
    for leaf in flatten_dict(params):
        owner = next(
            leaf[:i] for i in range(len(leaf) - 1, -1, -1) if leaf[:i] in called
        )
        found[owner] = (*found.get(owner, ()), leaf)
    return found


def _common_design(calls: tuple[Call, ...]) -> Design | None:
    rows = {call.rows for call in calls}
    if len(rows) > 1 or "" in rows:
        return None
    designs = [design_of(call) for call in calls]
    return None if None in designs else designs[0]


def _around(own: tuple[Call, ...], calls: Any, variables: Any, leaves: Any) -> Call:
    """The innermost call that the calls of a module happen in and that has rows."""
    path = own[0].key[0]
    for length in range(len(path), 0, -1):
        outer = [call for call in calls if call.key[0] == path[:length]]
        if len(outer) != 1 or not outer[0].rows:
            continue
        contained = all(path[:length] in (c.key[0], *c.inside) for c in own)
        if contained and _repeats(outer[0], variables):
            return outer[0]
    return calls[-1]


def _repeats(call: Call, variables: Any) -> bool:
    """Whether the module works outside of its network."""
    try:
        out = jax.eval_shape(call.apply, local(variables, call.key[0]), call.input)
    except Exception:  # a user's module may fail in any way
        return False
    return (out.shape, out.dtype) == (call.output.shape, call.output.dtype)


def local(variables: Any, path: Path) -> dict:
    """Each collection's part that belongs to the module at a path."""
    found = {}
    for name, tree in variables.items():
        for step in path:
            tree = tree.get(step, {})
        if tree:
            found[name] = tree
    return found

"""Which modules a forward pass calls, how often, and on what.

A network is run on shapes alone, with every method call of its modules intercepted.
Only calls from outside a module count: a method that a module calls on itself belongs
to the call that is running. A call has rows if one array goes in and one comes out, at
the level of the network itself (not inside a `scan` or `remat`), and

* both have the batch as leading axis ("batch"): row i belongs to example i; or
* neither depends on the size of the batch ("shared"), as in a network of graph nodes,
  whose layers see the whole graph whatever nodes are asked for.

Which of them is found by running batches of n and n + 1 examples.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache, wraps
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import numpy as np
from flax.core.tracers import current_trace

from zoo.layers import Finite, Layer
from zoo.layers.equilibrium import shown, solving

T = TypeVar("T")
Path = tuple[str, ...]
Key = tuple[Path, int]  # a module and the number of the call
Visit = Callable[[Key, tuple[Path, ...], Any, tuple, dict, Any], Any]

HERE = object()  # stands for the array among the arguments of a call


class Call(NamedTuple):
    """One call of a module from outside of it.

    Attributes:
        key: the module's path, and how many calls of it came before.
        module: the module, unbound.
        args: what it was called with, `HERE` in the place of the array.
        kwargs: likewise.
        inside: paths of the modules whose calls were running.
        input: shape and type of the array; None if the call is not one array's.
        output: those of the result; None likewise.
        rows: "batch", "shared", or "" if the call has no rows.
    """

    key: Key
    module: nn.Module
    args: tuple
    kwargs: dict[str, Any]
    inside: tuple[Path, ...]
    input: Any = None
    output: Any = None
    rows: str = ""

    @property
    def layer(self) -> Layer | None:
        """The zoo's layer that the module is the finite reading of."""
        return self.module.layer if isinstance(self.module, Finite) else None

    @property
    def frozen(self) -> bool:
        """Whether the parameters of the module itself are constants."""
        return not getattr(self.layer, "trained", True)

    def array(self, args: tuple, kwargs: dict[str, Any]) -> jax.Array:
        """The array among the arguments of a call like this one."""
        given = [*zip(self.args, args, strict=True)]
        given += [(self.kwargs[name], a) for name, a in kwargs.items()]
        return next(a for place, a in given if place is HERE)

    def apply(self, variables: Any, h: jax.Array) -> jax.Array:
        """Repeats the call with other variables, on another array."""
        args = [h if a is HERE else a for a in self.args]
        kwargs = {name: h if a is HERE else a for name, a in self.kwargs.items()}
        module: Any = self.module
        return module.apply(variables, *args, **kwargs)


def cached(function: Callable[..., T]) -> Callable[..., T]:
    """Keeps the last 64 results; a module that holds arrays has no hash, and none kept.

    >>> double = cached(lambda a: 2 * a)
    >>> double((1,)), double([1])
    ((1, 1), [1, 1])
    """
    kept = lru_cache(maxsize=64)(function)

    @wraps(function)
    def call(*args: Any) -> T:
        try:
            hash(args)
        except TypeError:
            return function(*args)
        return kept(*args)

    return call


@contextlib.contextmanager
def intercept(visit: Visit, what: str = "calls") -> Iterator[None]:
    """Passes the result of every call from outside a module through `visit`.

    The calls of an equilibrium's cell are those at its root; see `shown`.

    Raises:
        ValueError: at a batch normalization that takes its statistics from the batch.
    """
    running: list[Path] = []
    seen: Counter[Path] = Counter()

    def interceptor(call, args, kwargs, context):
        bound = context.module.scope is not None and not solving()
        path = context.module.path if bound else ()
        if not bound or context.method_name == "setup" or path in running:
            return call(*args, **kwargs)
        _refuse_batch_statistics(context.module, args, kwargs)
        key = (path, seen[path])
        seen[path] += 1
        running.append(path)
        try:
            out = call(*args, **kwargs)
        finally:
            running.pop()
        return visit(key, tuple(running), context, args, kwargs, out)

    with shown(what), nn.intercept_methods(interceptor):
        yield


def _refuse_batch_statistics(module: nn.Module, args: tuple, kwargs: dict) -> None:
    if not isinstance(module, nn.BatchNorm):
        return
    given = kwargs.get("use_running_average", args[1] if len(args) > 1 else None)
    running = module.use_running_average if given is None else given
    if not running:
        raise ValueError(
            f"BatchNorm {'/'.join(module.path)} has use_running_average={running}: it "
            "takes its statistics from the batch, so that the outputs at one point "
            "depend on the others and pairs of points have no NTK. It needs "
            "use_running_average=True, and variables={'batch_stats': ...}."
        )


def record(net: nn.Module, variables: Any, x: Any) -> tuple[Call, ...]:
    """The calls of a forward pass on the batch x, in the order in which they end.

    Only shapes and types of `variables` and `x` matter. The last is the network's own.

    Raises:
        ValueError: if the network does not map [n, ...] to [n, k].
    """
    leaves, tree = jax.tree.flatten((variables, x))
    specs = tuple(jax.ShapeDtypeStruct(np.shape(a), a.dtype) for a in leaves)
    return _record(net, tree, specs)


@cached
def _record(net: nn.Module, tree: Any, specs: tuple) -> tuple[Call, ...]:
    variables, x = jax.tree.unflatten(tree, specs)
    larger = jax.ShapeDtypeStruct((x.shape[0] + 1, *x.shape[1:]), x.dtype)
    calls, others = (_run(net, variables, points) for points in (x, larger))
    same = {call.key: call for call in others}
    found = [c._replace(rows=_rows(c, same.get(c.key), x.shape[0])) for c in calls]
    own = found[-1]
    if own.rows != "batch" or len(own.output.shape) != 2:
        gave = "no array" if own.output is None else f"an array {own.output.shape}"
        raise ValueError(
            f"{type(net).__name__} has to map [n, ...] to [n, k] for its empirical "
            f"NTK; an array {x.shape} gave {gave}."
        )
    return tuple(found)


def _run(net: nn.Module, variables: Any, x: Any) -> list[Call]:
    """The calls of one forward pass; nothing is said of their rows yet."""
    calls: list[Call] = []

    def forward(variables: Any, x: jax.Array) -> Any:
        level = current_trace()

        def visit(key, inside, context, args, kwargs, out):
            plain = context.method_name == "__call__" and current_trace() == level
            call = Call(key, context.module.unbind()[0], args, kwargs, inside)
            calls.append(_describe(call, out) if plain else _describe(call, None))
            return out

        with intercept(visit, "shapes"):
            return net.apply(variables, x)

    jax.eval_shape(forward, variables, x)
    return calls


def _describe(call: Call, out: Any) -> Call:
    """The call with its array taken out; without arguments if it is none of one."""
    leaves = jax.tree.leaves((call.args, call.kwargs))
    arrays = [a for a in leaves if isinstance(a, jax.Array | np.ndarray)]
    given = (*call.args, *call.kwargs.values())
    direct = [a for a in given if any(a is b for b in arrays)]
    if not isinstance(out, jax.Array) or (len(arrays), len(direct)) != (1, 1):
        return call._replace(args=(), kwargs={})

    def put(a: Any) -> Any:
        return HERE if a is direct[0] else a

    return call._replace(
        args=tuple(put(a) for a in call.args),
        kwargs={name: put(a) for name, a in call.kwargs.items()},
        input=jax.ShapeDtypeStruct(direct[0].shape, direct[0].dtype),
        output=jax.ShapeDtypeStruct(out.shape, out.dtype),
    )


def _rows(call: Call, larger: Call | None, n: int) -> str:
    """What `Call.rows` is, from the same call in a batch of one example more."""
    if larger is None or call.output is None or larger.output is None:
        return ""
    before = (call.input.shape, call.output.shape)
    after = (larger.input.shape, larger.output.shape)
    if before == after:
        return "shared"
    grown = tuple((n + 1, *shape[1:]) for shape in before)
    leading = all(shape[:1] == (n,) for shape in before)
    return "batch" if leading and grown == after else ""

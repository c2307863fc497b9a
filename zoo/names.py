"""One message for a name that is not on a list."""

import difflib
from collections.abc import Iterable


def check_name(what: str, name: str, allowed: Iterable[str]) -> None:
    """Raises if `name` is not among `allowed`.

    >>> check_name("dataset", "digit", ["digits", "sphere"])
    Traceback (most recent call last):
    ...
    ValueError: unknown dataset 'digit'; did you mean 'digits'? Allowed: digits, sphere.
    """
    allowed = sorted(allowed)
    if name in allowed:
        return
    near = difflib.get_close_matches(str(name), allowed, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ValueError(f"unknown {what} '{name}'; {hint}Allowed: {', '.join(allowed)}.")

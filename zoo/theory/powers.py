"""Exponents, one of every seed."""

from typing import Any

import numpy as np

from zoo.gap.fit import slopes


def exponents(sizes: Any, values: np.ndarray) -> np.ndarray:
    """The log-log slope of every seed [s] of values [s, w]; NaN where one is missing.

    >>> exponents([1, 2], np.array([[1.0, 4.0], [1.0, np.nan]])).round(6)
    array([ 2., nan])
    """
    whole = np.all(np.isfinite(values) & (values > 0), axis=1)
    out = np.full(len(values), np.nan)
    out[whole] = slopes(sizes, values)
    return out

"""Axes: their range, and ticks that can be read, for any plotting library."""

import dataclasses
import math
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

# A curve that leaves its start by more than this factor has diverged; the axis stays.
RUNAWAY = 1e4
DECADES = 12  # the most that an axis shows

# Digits at ticks, for axes of at most so many decades.
DIGITS = (
    (0.15, tuple(round(0.1 * d, 1) for d in range(10, 100))),
    (0.35, tuple(0.5 * d for d in range(2, 20))),
    (1.0, (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)),
    (2.0, (1.0, 2.0, 5.0)),
    (3.5, (1.0, 3.0)),
    (np.inf, (1.0,)),
)


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis; `_{...}` and `^{...}` in its texts are sub- and superscripts.

    Attributes:
        title: what it measures.
        low: where it begins.
        high: where it ends.
        ticks: (position, label) of each.
        log: whether it is logarithmic.
    """

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = True


def log_axis(title: str, groups: Any, runaway: float = RUNAWAY) -> Axis:
    """Logarithmic, around all finite positive values of all groups of lines.

    Error bars count up to a factor of 2 on either side of their point: one that
    reaches below zero runs off the axis.
    """
    values, starts = [np.zeros(0)], []
    for line in (line for lines in groups for line in lines):
        y = np.asarray(line.y, dtype=np.float64)
        y = y[np.isfinite(y) & (y > 0)]
        starts += y[:1].tolist()
        values.append(y)
        if line.half is not None:
            values += _bars(line)
    y = np.concatenate(values)
    y = y[y <= runaway * max(starts, default=1.0)]
    low, high = (y.min(), y.max()) if len(y) else (0.1, 1.0)
    low = max(low, high * 10.0**-DECADES)
    pad = max((high / low) ** 0.06, 1.15)
    low, high = float(low / pad), float(high * pad)
    return Axis(title, low, high, log_ticks(low, high))


def _bars(line: Any) -> list[np.ndarray]:
    y, half = np.asarray(line.y, float), np.asarray(line.half, float)
    good = np.isfinite(half) & (y > 0)
    y, half = y[good], half[good]
    return [np.maximum(y - half, y / 2), np.minimum(y + half, 2 * y)]


def unit_axis(title: str, groups: Any) -> Axis:
    """From 0 to 1, for shares."""
    marks = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    return Axis(title, 0.0, 1.0, tuple((v, f"{v:g}") for v in marks), log=False)


def linear_axis(title: str, values: Any) -> Axis:
    """Around all finite values, with about five ticks."""
    values = np.ravel(np.asarray(values, float))
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    pad = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
    ticks = MaxNLocator(5).tick_values(low - pad, high + pad)
    inside = [float(tick) for tick in ticks if low - pad <= tick <= high + pad]
    marks = tuple((tick, f"{tick:.4g}") for tick in inside)
    return Axis(title, float(low - pad), float(high + pad), marks, log=False)


def positive_axis(title: str, values: Any) -> Axis:
    """Logarithmic, around all finite positive values."""
    values = np.ravel(np.asarray(values, float))
    values = values[np.isfinite(values) & (values > 0)]
    low, high = (values.min(), values.max()) if len(values) else (0.1, 1.0)
    low, high = float(low / 1.2), float(high * 1.2)
    return Axis(title, low, high, log_ticks(low, high))


def width_axis(title: str, widths: list[int]) -> Axis:
    """Logarithmic, with a tick at each width as far as there is room."""
    low, high = min(widths) / 1.25, max(widths) * 1.25
    room = 0.12 * math.log(high / low)
    ticks: list[int] = []
    for m in reversed(widths):
        if not ticks or math.log(ticks[-1] / m) >= room:
            ticks.append(int(m))
    return Axis(title, low, high, tuple((float(m), str(m)) for m in reversed(ticks)))


def number_axis(title: str, last: int) -> Axis:
    """Logarithmic, for steps or ranks from 1 to `last`."""
    low, high = 0.87, 1.15 * max(last, 2)
    ticks = [(value, text) for value, text in log_ticks(low, high) if value % 1 == 0]
    return Axis(title, low, high, tuple(ticks))


def log_ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Powers of ten, and between them as many more as can be read.

    >>> [label for _, label in log_ticks(0.015, 0.4)]
    ['0.02', '0.05', '0.1', '0.2']
    >>> [label for _, label in log_ticks(0.9, 500.0)]
    ['1', '3', '10', '30', '100', '300']
    >>> [label for _, label in log_ticks(1e-7, 20.0)]
    ['10^{-6}', '10^{-4}', '0.01', '1']
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = math.log10(high / low)
    step = 1 if decades <= 6 else 2 if decades <= 10 else 3
    fine = [digits for most, digits in DIGITS if decades <= most]
    ticks = []
    for power in range(first, last + 1):
        if power % step == 0:
            ticks += [float(f"{d:.1f}e{power}") for d in fine[0]]
    return tuple((t, label(t)) for t in ticks if low <= t <= high)


def label(value: float) -> str:
    """A number as it stands at a tick.

    >>> label(0.02), label(512.0), label(1e5), label(2e-05)
    ('0.02', '512', '10^{5}', '2e-05')
    """
    power = round(math.log10(value))
    if not 1e-3 <= value < 1e4 and math.isclose(value, 10.0**power):
        return f"10^{{{power}}}"
    return f"{value:g}"

"""The figures of the report for a browser: what plotly.js draws."""

import re
from typing import Any

import numpy as np
import plotly.graph_objects as go

from zoo.report.plots import MINUS, Heat, Line, Panel, Plot
from zoo.report.scale import Axis

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
DASHES = {"solid": "solid", "dashed": "8px,5px", "dotted": "2px,3px"}
HEIGHT, LATER = 300, 190  # of the only row of panels, of each of several, pixels
ROW, KEY = 21, 48  # of a row of a legend, of the key, pixels
SPACE, ROW_SPACE = 0.07, 0.07  # between panels, as shares of width and height
GRID = "#e9e9e9"


def figure(plot: Plot) -> go.Figure:
    """The plot as a plotly figure; a misspelt option raises here, not in a browser."""
    columns, rows = plot.columns, len(plot.panels) // plot.columns
    listed = [sum(bool(line.label) for line in p.lines) for p in plot.panels]
    top = KEY + 24 + max(listed) * ROW
    across = (1 - SPACE * (columns - 1)) / columns
    down = (1 - ROW_SPACE * (rows - 1)) / rows
    height = HEIGHT if rows == 1 else LATER * rows
    layout: dict[str, Any] = {
        "template": "none",
        "height": height + top + 56,
        "margin": {"l": 64, "r": 8, "t": top, "b": 56},
        "font": {"family": FONT, "size": 13, "color": "#222222"},
        "hovermode": "closest",
        "legend": _place(0.0, 1.0, "top") | {"orientation": "h", "yref": "container"},
        "annotations": [],
    }
    data = [_trace(line, "", "", x=[None], y=[None]) for line in plot.key]
    for i, panel in enumerate(plot.panels):
        left = (i % columns) * (across + SPACE)
        low = max(1 - down - (i // columns) * (down + ROW_SPACE), 0.0)
        x, y = [left, min(left + across, 1.0)], [low, min(low + down, 1.0)]
        layout |= _axes(panel, str(i + 1), x, y)
        layout[f"legend{i + 2}"] = _place(left, y[1], "bottom")
        layout["annotations"].append(_title(panel.title, left, y[1], listed[i] * ROW))
        if panel.heat is not None:
            data.append(_heat(panel.heat, str(i + 1)))
        data += [_curve(line, str(i + 1), str(i + 2)) for line in panel.lines]
    return go.Figure(data, layout)


def _place(x: float, y: float, anchor: str) -> dict[str, Any]:
    """A legend that sits above the axes, where it covers no data."""
    font = {"size": 12.5}
    return {"x": x, "y": y, "xanchor": "left", "yanchor": anchor, "font": font} | {
        "bgcolor": "rgba(0,0,0,0)",
        "borderwidth": 0,
        "tracegroupgap": 0,
    }


def _title(text: str, left: float, top: float, shift: int) -> dict[str, Any]:
    return {
        "text": f"<b>{_markup(text)}</b>",
        "font": {"size": 13.5},
        "x": left,
        "y": top,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "yshift": shift + 2,
        "showarrow": False,
    }


def _axes(panel: Panel, number: str, x: list[float], y: list[float]) -> dict[str, Any]:
    """The two axes of a panel; plotly calls the first pair "xaxis" and "yaxis"."""
    number = "" if number == "1" else number
    return {
        f"xaxis{number}": _axis(panel.x) | {"domain": x, "anchor": f"y{number}"},
        f"yaxis{number}": _axis(panel.y) | {"domain": y, "anchor": f"x{number}"},
    }


def _axis(axis: Axis) -> dict[str, Any]:
    ends = [axis.low, axis.high]
    return {
        "title": {"text": _markup(axis.title), "font": {"size": 13}, "standoff": 6},
        "type": "log" if axis.log else "linear",
        "range": np.log10(ends).tolist() if axis.log else ends,
        "tickvals": [value for value, _ in axis.ticks],
        "ticktext": [_markup(label) for _, label in axis.ticks],
        "ticks": "outside",
        "ticklen": 4,
        "showline": True,
        "linecolor": "#666666",
        "gridcolor": GRID,
        "zeroline": False,
        "hoverformat": ".3~g",
    }


def _heat(heat: Heat, axis: str) -> dict[str, Any]:
    """Cells around their centres, with their numbers."""
    number = "" if axis == "1" else axis
    values = np.log10(np.asarray(heat.values, float))
    return {
        "type": "heatmap",
        "x": list(map(float, heat.x)),
        "y": list(map(float, heat.y)),
        "z": [[v if np.isfinite(v) else None for v in row] for row in values.tolist()],
        "xaxis": f"x{number}",
        "yaxis": f"y{number}",
        "text": heat.texts(),
        "texttemplate": "%{text}",
        "hovertemplate": "%{x}, %{y}: %{text}<extra></extra>",
        "colorscale": "Viridis",
        "showscale": False,
    }


def _curve(line: Line, axis: str, legend: str) -> dict[str, Any]:
    """A line of a panel, on its axes and in its legend."""
    number = "" if axis == "1" else axis
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    y = np.where(np.isfinite(y), y, np.nan)
    trace = _trace(line, number, legend, x=x.tolist(), y=y.tolist())
    if line.half is None:
        return trace
    half = np.where(np.isfinite(line.half), line.half, 0.0)
    # A bar that reaches below zero ends far below the axis instead.
    below = np.where(half < y, half, y * (1 - 1e-6))
    bars = {"type": "data", "symmetric": False, "array": half.tolist()}
    bars |= {"arrayminus": np.nan_to_num(below).tolist()}
    return trace | {"error_y": bars | {"thickness": 1.3, "width": 3}}


def _trace(line: Line, number: str, legend: str, x: list, y: list) -> dict[str, Any]:
    """Style, and place, of a line; one without data stands in a legend only."""
    drawn = {"line": "lines", "markers": "markers", "both": "lines+markers"}
    trace = {
        "type": "scatter",
        "x": x,
        "y": y,
        "xaxis": f"x{number}",
        "yaxis": f"y{number}",
        "mode": drawn[line.draw],
        "name": _markup(line.label),
        "showlegend": bool(line.label),
        "legend": f"legend{legend}",
        "line": {
            "color": line.colour,
            "dash": DASHES[line.dash],
            "width": 1.1 if line.thin else 1.9,
        },
        "marker": {"color": line.colour, "size": 6.5},
        "hovertemplate": "%{x}: %{y}<extra></extra>",
    }
    return trace | ({"legendgroup": line.group} if line.group else {})


def _markup(text: str) -> str:
    """Sub- and superscripts as plotly's HTML."""
    text = re.sub(r"_\{(.*?)\}", r"<sub>\1</sub>", text)
    return re.sub(
        r"\^\{(.*?)\}", lambda m: f"<sup>{m[1].replace('-', MINUS)}</sup>", text
    )

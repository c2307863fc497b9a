"""What figures show, against the arrays and the summary of a run."""

import re
from collections import Counter

import chex
import numpy as np
import pytest

from zoo.report import figures, plots, scale, series, text

NAMES = ("gaps", "training", "losses", "spectra", "kernels")
WIDTHS = (8, 16, 32)


def strokes(svg: str) -> Counter:
    """Clipped, so inside of axes: paths of an SVG by colour."""
    found = re.findall(
        r'<path d="[^"]*[LC][^"]*" clip-path="[^"]*" style="([^"]*)"', svg
    )
    return Counter(re.search(r"stroke: (#\w+)", style)[1] for style in found)


def test_figures_show_every_line(workdir):
    svg = {n: (workdir / "figures" / f"{n}.svg").read_text() for n in NAMES}
    shades = series.width_colours(WIDTHS).values()
    for name, each in {"training": 5, "losses": 6, "spectra": 2}.items():
        assert {colour: strokes(svg[name])[colour] for colour in shades} == {
            colour: each for colour in shades
        }
    assert strokes(svg["losses"])[plots.BLACK] == 9
    assert strokes(svg["spectra"])[plots.BLACK] == 2
    # Fit, guide and three error bars of every metric.
    for colour in (plots.BLUE, plots.RED, plots.GREEN):
        assert strokes(svg["gaps"])[colour] == 5
    assert strokes(svg["kernels"])[plots.BLUE] == 10
    for name in NAMES:
        assert (workdir / "figures" / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"


def test_writing_twice_gives_the_same_bytes(workdir, summary, cells, tmp_path):
    figures.write(tmp_path, summary, cells)
    made = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert made == sorted(f"{n}.{kind}" for n in NAMES for kind in ("pdf", "svg"))
    for name in made:
        again = (tmp_path / "figures" / name).read_bytes()
        assert again == (workdir / "figures" / name).read_bytes(), name


def test_figures_leave_matplotlib_as_it_was(summary, cells, tmp_path):
    with figures.matplotlib.rc_context({"font.size": 17.0, "font.family": "monospace"}):
        before = dict(figures.matplotlib.rcParams)
        figures.save(plots.gaps(summary, cells), tmp_path)
        assert dict(figures.matplotlib.rcParams) == before


def test_lines_are_the_numbers_of_the_run(workdir, summary, cells):
    arrays = {}
    for m in WIDTHS:
        files = sorted(workdir.glob(f"cells/mlp-w{m}-s*/traj.npz"))
        assert len(files) == 2
        both = [np.load(file) for file in files]
        arrays[m] = {
            k: np.concatenate([b[k] for b in both])
            for k in ("gap_kernel_flow", "test_loss_linear", "kernel_eigenvalues")
        } | {"limit": both[0]["limit_eigenvalues"], "times": both[0]["times"]}
    flow = plots.training(summary, cells).panels[2].lines[3:]
    linear = [p.lines[1] for p in plots.losses(summary, cells).panels[3:6]]
    spectrum = plots.spectra(summary, cells).panels[0].lines
    for i, m in enumerate(WIDTHS):
        a = arrays[m]
        chex.assert_trees_all_close(flow[i].x, a["times"][1:])
        chex.assert_trees_all_close(flow[i].y, a["gap_kernel_flow"].mean(0)[1:])
        chex.assert_trees_all_close(linear[i].y, a["test_loss_linear"].mean(0)[1:])
        # rtol: means of float32 eigenvalues, here and there in float64.
        finite = a["kernel_eigenvalues"].astype(float).mean(0)[::-1]
        chex.assert_trees_all_close(spectrum[i].y, finite, rtol=1e-12)
        chex.assert_trees_all_close(spectrum[3].y, a["limit"][::-1])


def test_fits_and_guides_have_their_slopes(summary, cells):
    plot = plots.gaps(summary, cells)
    for name, panel in zip(plots.GAPS, plot.panels, strict=True):
        metric = summary["metrics"][name]
        points, fit, guide = panel.lines
        x = np.log(fit.x)
        assert np.polyfit(x, np.log(fit.y), 1)[0] == pytest.approx(
            metric["slope"]["value"]
        )
        # Through the centre, so the residuals of the means cancel.
        assert np.mean(np.log(points.y / fit.y)) == pytest.approx(0.0, abs=1e-12)
        assert np.polyfit(x, np.log(guide.y), 1)[0] == pytest.approx(
            metric["expected"]["slope"]
        )
        assert guide.y[-1] == pytest.approx(metric["mean"][-1])
        # Student's t at 97.5 % with 3 degrees of freedom, from a printed table.
        half = 3.1824 * np.asarray(metric["stderr"])
        np.testing.assert_allclose(points.half, half, rtol=1e-4)
        assert points.label.startswith(
            text.interval(metric["slope"]).replace("-", plots.MINUS)
        )


def test_colours_darken_towards_the_limit():
    shades = series.width_colours([64, 128, 256, 512]).values()
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in shades])
    luminance = rgb @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luminance) < -20)


def test_seeds_that_diverged_are_left_out_of_means():
    losses = np.array([[2.0, 1.0], [2.0, np.nan], [2.0, 3.0], [4.0, 2.0]])
    cell = {"train_loss": losses, "train_loss_linear": losses[[0, 0, 0, 1]]}
    cell |= {"gap_nonlinear": np.arange(8.0).reshape(4, 2)}
    cell |= {"train_loss_infinite": losses[[0] * 4], "train_loss_flow": losses[[0] * 4]}
    np.testing.assert_allclose(series.seed_mean(cell, "train_loss"), [3.0, 1.5])
    np.testing.assert_allclose(series.seed_mean(cell, "gap_nonlinear"), [0.0, 1.0])


@pytest.mark.parametrize(
    "low, high", [(0.9, 1.1), (0.02, 0.4), (1e-9, 3.0), (7.0, 7e4)]
)
def test_every_log_axis_has_ticks_that_can_be_read(low, high):
    ticks = scale.log_ticks(low, high)
    assert 2 <= len(ticks) <= 12
    assert all(low <= value <= high for value, _ in ticks)
    assert len({label for _, label in ticks}) == len(ticks)


def test_an_axis_survives_a_runaway_and_bars_below_zero():
    runaway = plots.Line([1, 2, 3], [1.0, 1e30, np.inf])
    noisy = plots.Line([1, 2], [1.0, 0.5], half=np.array([5.0, np.nan]))
    axis = scale.log_axis("loss", [[runaway, noisy]])
    assert 0.2 < axis.low < 0.5 and 2.0 < axis.high < 4.0


def test_widths_are_ticks():
    axis = scale.width_axis("width m", [64, 128, 256, 512])
    assert [label for _, label in axis.ticks] == ["64", "128", "256", "512"]
    many = scale.width_axis("width m", list(range(64, 513, 16)))
    assert 3 <= len(many.ticks) <= 9 and many.ticks[-1] == (512.0, "512")

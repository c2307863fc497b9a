"""The page, opened in a browser."""

import copy
import io
import re
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import plotly.offline
import pytest

from zoo.gap import store
from zoo.report import figures, page, plots, series, text

NAMES = ("gaps", "training", "losses", "spectra", "kernels")
# Traces that 3 widths must give: 3 gaps, each a fit and a guide; total and kernel gap
# with a flow; 3 scores at 3 widths of 3 networks; 3 spectra and the limit, twice;
# 5 kernel and weight metrics, each a fit and a guide.
LINES = {"gaps": 6, "training": 15, "losses": 27, "spectra": 8, "kernels": 10}
POINTS = {"gaps": 9, "training": 0, "losses": 0, "spectra": 0, "kernels": 15}
PANELS = {"gaps": 3, "training": 3, "losses": 9, "spectra": 2, "kernels": 2}
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--virtual-time-budget=8000",
    "--enable-logging=stderr",
    "--v=0",
    "--dump-dom",
)


class Drawn(HTMLParser):
    """Counts what plotly.js has drawn: (plot, kind) -> number."""

    VOID = ("meta", "br", "img", "input", "link", "hr")

    def __init__(self, dom: str):
        super().__init__()
        self.stack, self.count, self.words = [], Counter(), []
        self.feed(re.sub(r"<(script|style)\b.*?</\1>", "", dom, flags=re.S))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in self.VOID:
            self.stack.append((tag, attrs))
        kinds = (attrs.get("class") or "").split()
        plot = next((a["id"] for _, a in self.stack if a.get("id") in NAMES), None)
        inside = [
            word for _, a in self.stack for word in (a.get("class") or "").split()
        ]
        if plot is None or any(word.startswith("legend") for word in inside):
            return
        if tag == "path" and {"js-line", "point", "yerror"} & set(kinds):
            shape = attrs.get("d") or ""
            assert "NaN" not in shape
            # A move alone, without a line from it, draws nothing.
            self.count[plot, kinds[0]] += bool(re.search("[LHVCA]", shape))
        elif tag == "svg" and "main-svg" in kinds:
            self.count[plot, "svg"] += 1
        elif "cartesianlayer" in kinds:
            self.count[plot, "layer"] += 1
        elif "subplot" in kinds:
            self.count[plot, "panel"] += 1

    def handle_endtag(self, tag):
        while self.stack and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, data):
        self.words.append(data)

    def of(self, kind: str) -> dict[str, int]:
        return {name: self.count[name, kind] for name in NAMES}


def browse(chromium: str, path: Path, profile: Path) -> tuple[Drawn, list[str]]:
    """What a browser shows of a page, and what its console says."""
    done = subprocess.run(
        [chromium, *FLAGS, f"--user-data-dir={profile}", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Drawn(done.stdout), console


def test_browser_draws_every_trace(workdir, summary, system_program, tmp_path):
    path = workdir / "report.html"
    drawn, console = browse(system_program("chromium"), path, tmp_path)
    assert console == []
    assert all(count >= 1 for count in drawn.of("svg").values())
    assert drawn.of("panel") == PANELS
    assert drawn.of("js-line") == LINES
    assert drawn.of("point") == POINTS
    assert drawn.of("yerror") == POINTS
    shown = " ".join(drawn.words)
    for name in text.FINDINGS:
        measured = text.interval(summary["metrics"][name]["slope"])
        assert measured.replace("-", plots.MINUS) in shown
    assert "nan" not in shown.lower().split() and "None" not in shown


def test_console_errors_are_seen(workdir, system_program, tmp_path):
    broken = tmp_path / "broken.html"
    whole = (workdir / "report.html").read_text()
    broken.write_text(whole.replace('Plotly.newPlot("spectra"', 'Plotly.no("spectra"'))
    drawn, console = browse(system_program("chromium"), broken, tmp_path / "profile")
    assert len(console) == 1 and "Plotly.no" in console[0]
    assert drawn.of("js-line") == LINES | {"spectra": 0}


def test_page_needs_nothing_but_itself(workdir):
    whole = (workdir / "report.html").read_text()
    library = plotly.offline.get_plotlyjs()
    assert whole.count(library) == 1
    rest = whole.replace(library, "")
    assert not re.search(r"https?:|\bsrc=|\bhref=|@import|url\(|<link|<iframe", rest)
    assert "default-src 'none'" in rest
    assert len(rest) < 300_000


def test_page_states_what_was_measured(workdir, summary):
    page_text = (workdir / "report.html").read_text().split("</script>")[1]
    critical = summary["critical_rates"][0]
    for said in (
        "mlp (depth 2, activation relu, sigma<sub>w</sub> 1.414",
        "8, 16, 32, seeds per width: 4; 16 train and 16 test points of digits",
        f"{0.1 * critical:.3g} = 0.1 &times; critical ({critical:.3g})",
        f"20 steps reach time t = {2.0 * critical:.3g}",
        summary["versions"]["device"],
    ):
        assert said in page_text


def without_numbers(summary, cells):
    """No seed left at any width."""
    for metric in summary["metrics"].values():
        for name in ("mean", "stderr"):
            metric[name] = [None] * len(metric[name])
        for slope in (metric["slope"], *metric["local_slopes"]):
            slope |= {"value": None, "ci95": [None, None], "seeds": 0}
        metric["floor_fit"] = None
    for cell in cells.values():
        cell["train_loss"][:] = np.nan
        cell["train_loss_linear"][:] = np.nan


def one_width_diverged(summary, cells):
    """The narrowest network diverged, its linearization did not."""
    for name in ("gap_total", "gap_nonlinear", "kernel_drift"):
        metric = summary["metrics"][name]
        metric["mean"][0] = metric["stderr"][0] = None
    summary["diverged"]["8"] = 4
    cells[8]["train_loss"][:, -1] = np.inf
    cells[8]["gap_total"][:, -1] = np.inf


def one_width(summary, cells):
    for metric in summary["metrics"].values():
        for name in {"mean", "stderr", "seeds"} & metric.keys():
            del metric[name][1:]
        metric["slope"] |= {"value": None, "ci95": [None, None], "seeds": 0}
        metric |= {"local_slopes": [], "floor_fit": None}
    for name in ("widths", "learning_rates", "critical_rates"):
        del summary[name][1:]
    del cells[16], cells[32]


def one_seed(summary, cells):
    summary["seeds"] = 1
    for metric in summary["metrics"].values():
        metric["stderr"] = [None] * 3
        metric["seeds"] = [1] * 3
        for slope in (metric["slope"], *metric["local_slopes"]):
            slope |= {"ci95": [None, None], "seeds": 1}
    for m, cell in cells.items():
        cells[m] = {k: v if k in series.SHARED else v[:1] for k, v in cell.items()}


def regression_of_one_layer(summary, cells):
    """No accuracy, and no hidden-to-hidden weights."""
    summary["config"]["depth"] = 1
    for name in [name for name in summary["metrics"] if "accuracy" in name]:
        del summary["metrics"][name]
    hidden = summary["metrics"]["weight_movement_hidden"]
    hidden |= {"mean": [None] * 3, "stderr": [None] * 3, "seeds": [0] * 3}
    hidden["slope"] |= {"value": None, "ci95": [None, None], "seeds": 0}
    hidden["expected"] |= {"slope": None}
    for cell in cells.values():
        for name in [name for name in cell if "accuracy" in name]:
            del cell[name]


def no_limit(summary, cells):
    """No infinite-width side, and nothing that theory expects."""
    for name, metric in summary["metrics"].items():
        gone = name.startswith(("gap_total", "gap_kernel", "kernel_error"))
        metric["missing"] = "no limit" if gone else metric["missing"]
        metric["expected"] |= {"slope": None, "status": None}
    for cell in cells.values():
        for name in [n for n in cell if n.endswith(("_infinite", "_flow"))]:
            del cell[name]
        for name in ("gap_total", "gap_kernel", "limit_eigenvalues"):
            del cell[name]


ALWAYS = ["mean over seeds, 95 % interval", "fit: exponent [95 % interval]"]
OPTIONAL = ["prediction in steps", "prediction as a flow", "expected exponent"]


def test_keys_and_captions_name_what_is_drawn(summary, cells):
    def said(page_text):
        words = [*OPTIONAL, "The dashed guide", "Dotted: the prediction"]
        return [word for word in words if word in page_text]

    assert len(said(page.html(summary, cells))) == 5
    summary, cells = copy.deepcopy((summary, cells))
    no_limit(summary, cells)
    assert said(page.html(summary, cells)) == []
    for plot in (plots.gaps, plots.kernels):
        assert [line.label for line in plot(summary, cells).key] == ALWAYS


# What is left to draw: lines of gaps, training, losses, spectra, kernels.
LEFT = {
    without_numbers: ((0, 0, 9, 8, 0), 0),
    one_width_diverged: ((6, 12, 24, 8, 10), 21),
    one_width: ((0, 5, 9, 4, 0), 8),
    one_seed: ((6, 15, 27, 8, 10), 24),
    regression_of_one_layer: ((6, 15, 18, 8, 8), 21),
    no_limit: ((1, 3, 18, 3, 4), 15),
}


@pytest.mark.parametrize("spoil", LEFT, ids=lambda spoil: spoil.__name__)
def test_renders_what_is_left(spoil, summary, cells, system_program, tmp_path):
    summary, cells = copy.deepcopy((summary, cells))
    spoil(summary, cells)
    for plot in plots.PLOTS:
        figures.draw(plot(summary, cells)).savefig(io.BytesIO(), format="svg")
    path = tmp_path / "page.html"
    path.write_text(page.html(summary, cells))
    drawn, console = browse(system_program("chromium"), path, tmp_path / "profile")
    lines, points = LEFT[spoil]
    assert console == []
    assert tuple(drawn.of("js-line").values()) == lines
    # A single point of a series is a point as well; here series have more.
    assert sum(drawn.of("point").values()) == points
    shown = " ".join(drawn.words)
    assert "nan" not in shown.lower().split() and "None" not in shown


def test_writing_twice_gives_the_same_page(workdir, summary, cells):
    assert page.html(summary, cells) == (workdir / "report.html").read_text()


def test_no_cell_is_an_error_of_one_line(summary, tmp_path):
    with pytest.raises(store.WorkdirError, match="holds no finished cell"):
        page.write(tmp_path, summary)
    assert not list(tmp_path.iterdir())

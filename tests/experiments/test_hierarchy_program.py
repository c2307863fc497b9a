"""The hierarchy's program as a user runs it."""

import json
import os
import subprocess
import sys

import pytest

SMALL = (
    "--widths=8 --seeds=2 --cell_seeds=2 --n_train=2 --steps=12 --records=3 "
    "--order=3 --activation=erf"
).split()


def call(*flags):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, "-m", "experiments.hierarchy", *flags],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_program(tmp_path):
    """A run, its files, the same command again, and another configuration."""
    workdir = tmp_path / "run"
    done = call(*SMALL, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    for said in (
        "1/(2n) sum_i |f(x_i) - y_i|^2",
        "ntk parameterization",
        "0.05 * critical",
        "12 steps reach time t = ",
        "K3 at initialization, RMS: no exponent",
        f"Report: {workdir}/report.html",
    ):
        assert said in done.stdout, said
    summary = json.loads((workdir / "summary.json").read_text())
    assert "K4" not in summary["metrics"] and "error_p4" not in summary["metrics"]
    names = {"sizes", "drift", "errors", "ratios", "outputs"}
    assert {p.stem for p in (workdir / "figures").glob("*.svg")} == names
    page = (workdir / "report.html").read_bytes()
    again = call(*SMALL, f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("on disk") == 1
    assert (workdir / "report.html").read_bytes() == page
    refused = call(*SMALL, f"--workdir={workdir}", "--order=4")
    assert refused.returncode == 1
    assert "holds another configuration: its order is 3, not 4" in refused.stderr


@pytest.mark.slow
def test_refused_input_is_one_line_and_writes_nothing(tmp_path):
    workdir = tmp_path / "run"
    done = call(*SMALL, f"--workdir={workdir}", "--memory_gb=1e-9")
    assert done.returncode == 1
    assert "--memory_gb is 1e-09; take fewer points, or --order=3" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not workdir.exists()

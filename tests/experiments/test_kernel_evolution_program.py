"""The program of kernels along training, as a user runs it."""

import json
import os
import subprocess
import sys

import pytest

SMALL = (
    "--widths=8,16 --seeds=2 --n_train=8 --n_test=6 --steps=6 --records=4 --depth=1 "
    "--activation=erf --full_kernel=false"
).split()


def call(*flags):
    return subprocess.run(
        [sys.executable, "-m", "experiments.kernel_evolution", *SMALL, *flags],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "XLA_FLAGS"},
    )


@pytest.mark.slow
def test_first_command_and_the_same_again(tmp_path):
    workdir = tmp_path / "run"
    done = call(f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    for said in (
        "loss L = 1/(2n) sum_i |f(x_i) - y_i|^2",
        "ntk: all layers (ntk parameterization), r = 0; learning rate",
        "mup: all layers (mup parameterization), r = 1; learning rate",
        "heuristic: -2.",
        "heuristic: 0.",
        "prediction uncertain",
        f"Report: {workdir / 'report.html'}",
    ):
        assert said in done.stdout, said
    names = "widths distance velocity alignment eigenvalues machine spectra".split()
    page = (workdir / "report.html").read_text()
    for name in names:
        assert (workdir / "figures" / f"{name}.svg").stat().st_size > 0
        assert (workdir / "figures" / f"{name}.pdf").stat().st_size > 0
        assert f'Plotly.newPlot("{name}"' in page
    found = json.loads((workdir / "summary.json").read_text())
    for result in found["results"].values():
        assert result["diverged"] == {"8": 0, "16": 0}
        mean = result["metrics"]["distance"]["mean"][-1]
        assert f"<td>{mean:.3g}</td>" in page.replace("&minus;", "-")
    whole = (workdir / "figures" / "machine.svg").read_bytes()
    again = call(f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("on disk") == 4
    assert (workdir / "figures" / "machine.svg").read_bytes() == whole


@pytest.mark.slow
def test_bad_input_is_one_line_and_writes_nothing(tmp_path):
    done = call("--parameterization=mup", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert "--parameterization=mup is not allowed: it takes nothing" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "run").exists()

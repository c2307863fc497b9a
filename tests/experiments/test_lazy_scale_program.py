"""The program of widths and scales, on a command line."""

import json
import subprocess
import sys

import pytest

RUN = [sys.executable, "-m", "experiments.lazy_scale"]
SMALL = "--widths=8,16 --alphas=0.5,4 --seeds=2 --n_train=4 --n_test=4 --records=5"


@pytest.mark.slow
def test_report_and_numbers(tmp_path):
    command = [*RUN, *SMALL.split(), f"--workdir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "F = alpha (f - f_0)" in done.stdout
    assert "movement |w - w_0| against alpha at width 16" in done.stdout
    for name in ("heat", "collapse", "norms"):
        assert (tmp_path / "figures" / f"{name}.svg").stat().st_size > 0
    assert 'id="collapse"' in (tmp_path / "report.html").read_text()
    found = json.loads((tmp_path / "summary.json").read_text())
    assert len(found["laws"]) == 11
    done = subprocess.run([*command, "--steps=7"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "holds another configuration: its steps is 200, not 7" in done.stderr

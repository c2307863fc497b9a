"""A cell on a mesh of two processes: the arrays of one device."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SIZE = (
    "--widths=16 --seeds=4 --cell_seeds=4 --n_train=8 --n_test=4 --steps=6 --records=3"
)


def measured(workdir, *program):
    command = [sys.executable, "-m", *program, *SIZE.split(), f"--workdir={workdir}"]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (cell,) = Path(workdir).glob("cells/*/traj.npz")
    with np.load(cell) as arrays:
        return dict(arrays), done.stdout


@pytest.mark.slow
def test_two_processes_share_the_seeds_and_the_width(tmp_path):
    logs = f"--logs={tmp_path / 'logs'}"
    launcher = ("launch.local", "--processes=2", "--devices_per_process=2", logs, "--")
    mesh = ("experiments.lazy_gap", "--mesh=seed:2,width:2")
    found, said = measured(tmp_path / "mesh", *launcher, *mesh)
    want, _ = measured(tmp_path / "one", "experiments.lazy_gap")
    assert found.keys() == want.keys()
    for name, array in want.items():
        # Sums over devices round apart, by 3e-6 of an array at most; gaps magnify it.
        np.testing.assert_allclose(found[name], array, rtol=2e-4, atol=2e-5)
    assert said.count("Report: ") == 1

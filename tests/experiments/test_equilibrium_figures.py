"""The program of the equilibria's figures."""

import json
import re
import subprocess
import sys

import pytest

RUN = [sys.executable, "-m", "experiments.equilibrium"]


@pytest.mark.slow
def test_figures_and_numbers_of_two_processes(tmp_path):
    """Each cell is measured by one of them; the first one alone sums up."""
    logs = tmp_path / "logs"
    launch = [sys.executable, "-m", "launch.local", f"--logs={logs}", "--"]
    asked = "--widths=8,16 --seeds=2 --kernel_seeds=2 --n_train=4 --steps=3".split()
    asked += ["--sigma_w=0.5", f"--workdir={tmp_path}"]
    command = [*launch, "experiments.equilibrium", *asked]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "erf: kernel deviates as m^" in done.stdout
    assert "all equilibria in 2 of 2 seeds." in done.stdout
    assert "mlp: total gap varies" in done.stdout
    for name in ("deviation", "gaps", "steps"):
        assert (tmp_path / "figures" / f"{name}.svg").stat().st_size > 0
    found = json.loads((tmp_path / "equilibrium.json").read_text())
    assert found["steps"][0]["chi1"] == pytest.approx(0.125)
    assert len(found["deviations"]["tanh"]) == 2
    zero, one = (path.read_text() for path in sorted(logs.glob("*/*.txt")))
    measured = [re.findall(r"\] (\S+): [\d.]+ s", said) for said in (zero, one)]
    assert min(map(len, measured)) > 0
    stored = sorted(path.parent.name for path in tmp_path.rglob("traj.npz"))
    assert sorted([*measured[0], *measured[1]]) == stored
    assert len(stored) == 9
    assert one.endswith("the first process sums up.\n")
    assert "Figures: " in zero and "Figures: " not in one


@pytest.mark.parametrize(
    ("flag", "said"), [("--sigma_w=a", "could not convert"), ("--widths=0", "width=0")]
)
def test_bad_input_is_one_line(tmp_path, flag, said):
    command = [*RUN, flag, f"--workdir={tmp_path}/out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (tmp_path / "out").exists()

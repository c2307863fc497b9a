"""What the README shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

from zoo.report.members import overview, page

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_library_example_runs_as_a_user_runs_it(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 13
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    # Relative kernel error of one seed at width 1024: some sigma of m^-1/2 at most.
    assert 0.01 < float(done.stdout) < 0.4


def test_the_example_of_predictions_runs(tmp_path):
    text = (ROOT / "docs" / "training.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code += "print(f.shape, law.covariance.shape, steps.shape, flow.shape)"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(3, 12, 1) (12, 12) (20, 12, 1) (20, 12, 1)\n"


def test_commands_and_files_named_exist():
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?m)(?:^|`)make (\w+)", README):
        assert f"\n{target}:" in targets
    for path in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / path).exists(), path
    for preset in re.findall(r"experiments/presets/\w+\.flags", README):
        assert (ROOT / preset).exists(), preset


def test_every_architecture_is_in_the_documentation():
    assert (ROOT / "docs" / "zoo.md").read_text() == page()
    assert overview() in README

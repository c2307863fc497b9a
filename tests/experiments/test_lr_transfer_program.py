"""The program of learning rates, in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

RUN = [sys.executable, "-m", "experiments.lr_transfer"]
SMALL = (
    "--widths=8,16 --seeds=2 --steps=6 --n_train=6 --n_test=4 --below=1.5 --above=2 "
    "--parameterizations=mup --depth=1"
).split()


def call(*flags):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.run(
        [*RUN, *flags], capture_output=True, text=True, env=environment
    )


@pytest.mark.slow
def test_report_numbers_and_resumption(tmp_path):
    workdir = tmp_path / "run"
    done = call(*SMALL, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert "mup (rate m^1 in the width m)" in done.stdout
    assert "muP: the critical rate 2n / lambda_max varies as m^" in done.stdout
    assert f"Report: {workdir / 'report.html'}" in done.stdout
    for name in ("lr_curves", "lr_collapse", "lr_rates", "lr_ratios"):
        for kind in ("svg", "pdf"):
            assert (workdir / "figures" / f"{name}.{kind}").stat().st_size > 0
        assert f'id="{name}"' in (workdir / "report.html").read_text()
    found = json.loads((workdir / "summary.json").read_text())["parameterizations"]
    assert len(found["mup"]["curves"]["16"]["rates"]) == 8
    assert found["mup"]["counts"]["8"]["runs"] == 2 * 2 * 8

    again = call(f"--flagfile={workdir / 'flags.txt'}")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("on disk") == 2
    after = json.loads((workdir / "summary.json").read_text())["parameterizations"]
    assert after == found

    other = call(*SMALL, f"--workdir={workdir}", "--steps=7")
    assert other.returncode == 1
    assert "holds another configuration: its steps is 6, not 7" in other.stderr
    assert other.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--parameterizations=ntk,mpu", "did you mean 'mup'"),
        ("--below=-1", "--below=-1.0 is not allowed: it takes octaves"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, flag, said):
    done = call(*SMALL, flag, f"--workdir={tmp_path}/out")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (tmp_path / "out").exists()

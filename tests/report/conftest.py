"""A small run with its report, made once for the whole folder."""

import json
from pathlib import Path

import pytest

from zoo.gap import store
from zoo.gap.config import Config
from zoo.gap.run import Experiment, run
from zoo.report import page, series


@pytest.fixture(scope="session")
def workdir(tmp_path_factory) -> Path:
    """A small run, two cells a width, with its report."""
    config = Config(
        widths=(8, 16, 32),
        seeds=4,
        cell_seeds=2,
        n_train=16,
        n_test=16,
        steps=20,
        records=5,
        lr_fraction=0.1,
    )
    folder = tmp_path_factory.mktemp("run")
    store.open_workdir(folder, config.as_dict())
    summary = run(Experiment(config), folder, lambda message, share: None)
    assert not any(summary["diverged"].values())
    assert not any(summary["diverged_linear"].values())
    assert page.write(folder, summary) == folder / "report.html"
    return folder


@pytest.fixture(scope="session")
def summary(workdir) -> dict:
    return json.loads((workdir / "summary.json").read_text())


@pytest.fixture(scope="session")
def cells(workdir, summary) -> dict:
    return series.read_cells(workdir, summary)

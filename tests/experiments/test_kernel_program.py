"""The program of stored kernels: against the dense solution, and in its own process."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo.gap.stored_kernel import KernelConfig, prepare, run
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.predict import Dynamics
from zoo.tiles.stored import PlaceError

RUN = [sys.executable, "-m", "experiments.kernel", "--n_train=90", "--n_test=40"]


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_the_end_of_training_is_that_of_the_dense_kernel(tmp_path, ridge):
    config = KernelConfig(n_train=90, n_test=40, tile=32, ridge=ridge)
    prepared = prepare(config, str(tmp_path))
    said = []
    found = run(prepared, lambda what, share: said.append(what))
    assert said == ["3 of 6 tiles, train", "6 of 6 tiles, train", "6 of 6 tiles, test"]
    points = np.concatenate(prepared.points)
    dynamics = Dynamics.from_kernel(kernel_matrix(prepared.net, points)[:, :90])
    y, start = prepared.targets[0].astype(np.float64), np.zeros((130, 10))
    want = dynamics.outputs(start, y, 0.1, [np.inf], ridge=ridge)[0, 90:]
    np.testing.assert_allclose(found.end.outputs, want, atol=1e-6)
    low, high = found.end.ends
    assert 0 <= low / dynamics.eigenvalues[0] - 1 < 0.03  # it comes from above
    np.testing.assert_allclose(high, dynamics.eigenvalues[-1], rtol=1e-9)
    error = np.sqrt(np.mean((want - prepared.targets[1]) ** 2))
    np.testing.assert_allclose(found.error, error, rtol=1e-5)
    right = np.mean(want.argmax(1) == prepared.targets[1].argmax(1))
    assert found.accuracy == right > 0.5


PLACES = {
    "": "it is empty",
    "{}/file": r"\S*/file is a file",
    "{}/file/x/y": r"\S*/file is a file",
    "gs://bucket/x": "Please install gcsfs",
    "foo://bucket/x": "Protocol not known: foo",
    "{}/" + 300 * "x": ".*File name too long",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_store_that_cannot_be_used_is_refused_first(tmp_path, place):
    """Before the data are read, of which there are none."""
    if place.startswith("gs:") and importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed")
    (tmp_path / "file").write_text("kept")
    store = place.format(tmp_path)
    config = KernelConfig(dataset="nowhere.npz")
    said = f"^store={re.escape(store)} cannot be used: {PLACES[place]}.*It takes a fold"
    with pytest.raises(PlaceError, match=said):
        prepare(config, store)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "kept")]


def call(*flags):
    kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.run([*RUN, *flags], capture_output=True, text=True, env=kept)


@pytest.mark.slow
def test_the_command_goes_on_and_refuses(tmp_path):
    store = f"--store={tmp_path}"
    first = call(store, "--tile=12")
    assert first.returncode == 0, first.stderr
    opening = (
        "NTK of mlp on 90 points of digits: 4.15e-05 GB in tiles of 12 x 12 points"
    )
    assert opening in first.stdout
    assert "100%] 36 of 36 tiles, train" in first.stdout
    assert re.search(r"Eigenvalues from \S+ to \S+; critical learning", first.stdout)
    assert re.search(r"Test accuracy [6-9]\d\.\d\d%", first.stdout)
    path = next(Path(tmp_path).rglob("c/0/1"))
    path.write_bytes(path.read_bytes()[:-1])  # a corrupt tile is computed again
    again = call(store, "--tile=9", "--memory_gb=3.6e-5")  # read for each product
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[:2] == first.stdout.splitlines()[:2]
    assert again.stderr.count("\n") == 1
    assert re.search(
        rf"tile 0, 1 of the kernel at \S*{tmp_path}/\S+ is corrupt: .*; it is computed "
        "again",
        again.stderr,
    )
    assert again.stdout.count(" tiles, ") == 1
    assert "kernel in the store" in again.stdout
    assert "kernel in the memory of the devices" in first.stdout
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    for place in ("/proc/nowhere", "foo://x"):
        refused = call(f"--store={place}")
        assert refused.returncode == 1 and refused.stderr.count("\n") == 1
        assert refused.stderr.startswith(f"error: --store={place} cannot be used: ")
    refused = call(store, "--n_train=91", "--memory_gb=1e-5")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert re.search(
        r"error: a tile of 91 x 91 points wants [\d,]+ bytes on each of 1 devices "
        r"\(10,000 available\) .* the largest that fits is \d+\.",
        refused.stderr,
    )

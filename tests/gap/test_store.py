"""Files are whole or absent, whatever happens to the process that writes them."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from zoo.gap import store

CONFIG = {"widths": [1, 2], "rate": None}


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    store.write_json(path, {"x": 1})
    with pytest.raises(OSError, match="disk"), store.streamed(path) as file:
        file.write(b"half")
        raise OSError(28, "disk full")
    assert json.loads(path.read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_json_has_no_nan(tmp_path):
    path = tmp_path / "a.json"
    store.write_json(
        path, {"a": [np.float64("nan"), 1.5], 3: np.arange(2), "i": np.inf}
    )
    text = path.read_text()
    assert json.loads(text) == {"a": [None, 1.5], "3": [0, 1], "i": None}
    assert "NaN" not in text
    assert "Infinity" not in text


def test_a_cell_comes_back_to_the_bit(tmp_path):
    arrays = {"f": np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)}
    store.write_cell(tmp_path / "c", CONFIG, arrays, {"seconds": 1.0})
    got = store.read_cell(tmp_path / "c", CONFIG)
    assert got.keys() == arrays.keys()
    np.testing.assert_array_equal(got["f"], arrays["f"])
    assert got["f"].dtype == np.float32


def test_a_foreign_cell_is_not_finished(tmp_path):
    folder = tmp_path / "c"
    assert store.read_cell(folder, CONFIG) is None
    store.write_cell(folder, CONFIG, {"f": np.zeros(9)}, {})
    assert store.read_cell(folder, CONFIG | {"rate": 0.1}) is None


def flip_a_bit(folder):
    data = bytearray((folder / "traj.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "traj.npz").write_bytes(data)


DAMAGES = {
    "its checksum differs": flip_a_bit,
    "traj.npz is missing": lambda folder: (folder / "traj.npz").unlink(),
    "run.json is damaged": lambda folder: (folder / "run.json").write_text('{"con'),
    "n.json is damaged": lambda folder: (folder / "run.json").write_text("[1]"),
}


@pytest.mark.parametrize("said", DAMAGES)
def test_a_damaged_cell_is_said_to_be(said, tmp_path):
    folder = tmp_path / "c"
    store.write_cell(folder, CONFIG, {"f": np.zeros(9)}, {})
    DAMAGES[said](folder)
    with pytest.raises(store.DamagedError, match=said):
        store.read_cell(folder, CONFIG)
    store.write_cell(folder, CONFIG, {"f": np.ones(9)}, {})
    np.testing.assert_array_equal(store.read_cell(folder, CONFIG)["f"], np.ones(9))


def test_workdir_of_another_configuration_is_refused(tmp_path):
    store.open_workdir(tmp_path / "w", CONFIG)
    store.open_workdir(tmp_path / "w", CONFIG)
    with pytest.raises(store.WorkdirError, match=r"its rate is None, not 0\.1"):
        store.open_workdir(tmp_path / "w", CONFIG | {"rate": 0.1})


def test_unusable_workdir_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(store.WorkdirError, match="cannot be used"):
        store.open_workdir(tmp_path / "file", CONFIG)
    (tmp_path / "w").mkdir()
    damages = {b"": "damaged", b"{": "damaged", b"\xff": "damaged", b"[1]": "not a ru"}
    for text, said in damages.items():
        (tmp_path / "w" / "config.json").write_bytes(text)
        with pytest.raises(store.WorkdirError, match=f"its config.json is {said}"):
            store.open_workdir(tmp_path / "w", CONFIG)


def test_only_our_own_litter_is_swept(tmp_path):
    """A folder that holds other things: --workdir=. by mistake."""
    others = [tmp_path / ".eslintrc.json.bak", tmp_path / "sub" / ".data.npz.old"]
    (tmp_path / "sub").mkdir()
    for path in others:
        path.touch()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(store.WorkdirError, match="another configuration"):
        store.open_workdir(tmp_path, CONFIG)
    assert not (tmp_path / "cells").exists()
    (tmp_path / "config.json").unlink()
    (tmp_path / f"{store.PART}x").touch()
    store.open_workdir(tmp_path, CONFIG)
    assert all(path.exists() for path in others)
    assert not list(tmp_path.glob(f"{store.PART}*"))


def test_what_a_living_process_writes_is_not_swept(tmp_path):
    """A second launch on the folder, in the instant in which the first one writes."""
    with store.streamed(tmp_path / "a.json") as file:
        file.write(b"whole")
        store.open_workdir(tmp_path, CONFIG)
    assert (tmp_path / "a.json").read_bytes() == b"whole"


WRITER = """
import sys, numpy as np
from pathlib import Path
from zoo.gap import store
print("ready", flush=True)
for i in range(10**6):
    store.write_cell(Path(sys.argv[1]) / "c", {}, {"f": np.full(200_000, float(i))}, {})
"""


def test_kill_during_writes_never_leaves_half_a_file(tmp_path):
    for attempt in range(8):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            time.sleep(0.05 + 0.037 * attempt)
            writer.kill()
        # Arrays and run.json are two files: a kill between them means "not finished".
        cell = store.read_cell(tmp_path / "c", {})
        if (tmp_path / "c" / "traj.npz").exists():
            with np.load(tmp_path / "c" / "traj.npz") as file:
                assert len(set(file["f"])) == 1
        assert cell is None or len(set(cell["f"])) == 1

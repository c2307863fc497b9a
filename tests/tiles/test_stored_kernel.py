"""Kernels by tiles: stored once, whole or absent, the same on any number of devices."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import zarr

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.precision import float64
from zoo.infinite.tiles import kernel_source, kernel_tiles
from zoo.tiles.fill import predict_memory, stored_kernel
from zoo.tiles.sharded import load

ROOT = Path(__file__).resolve().parents[2]
NET = zoo.MLP(width=1, depth=2, activation="erf", sigma_b=0.3)
X = np.random.default_rng(0).normal(size=(23, 5))
WANT = kernel_matrix(NET, X)
C = np.random.default_rng(1).normal(size=(23, 3))


def computed(points, store=None, net=NET, **options):
    """The kernel of `points`, and how many tiles were computed for it."""
    seen = []
    options = {"side": 5} | options
    kernel = kernel_tiles(
        net,
        *points,
        store=store,
        report=lambda done, all_: seen.append(done),
        **options,
    )
    own = len(kernel.own())
    assert not seen or seen[-1] == own
    group = min(jax.local_device_count(), own)
    return kernel, 0 if not seen else own - max(0, seen[0] - group), seen


def dense(kernel):
    """The whole of a stored kernel."""
    return kernel.product(np.eye(kernel.shape[1]))


def tiles_of(folder):
    """The bytes of every tile, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("c/*/*"))
    }


@pytest.mark.parametrize("side", [4, 5, 23, 100])
def test_tiles_make_the_kernel(side):
    kernel, _, _ = computed((X,), side=side)
    assert kernel.grid.count == len(kernel.grid.pairs())
    np.testing.assert_allclose(dense(kernel), WANT, rtol=0, atol=1e-14)
    np.testing.assert_allclose(kernel.product(C), WANT @ C, atol=1e-12)
    across, _, _ = computed((X[:9], X[9:]), side=side)
    np.testing.assert_allclose(dense(across), WANT[:9, 9:], rtol=0, atol=1e-14)


def test_a_kernel_is_an_ordinary_zarr_array(tmp_path):
    """Chunks are tiles, of the upper half alone; beside them what was computed."""
    computed((X,), tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    array = zarr.open_array(folder, mode="r")
    assert array.chunks == (5, 5) and array.attrs["rows"] == 23
    assert array.attrs["about"]["network"]["class"] == {"name": "zoo.models.mlp.MLP"}
    upper = np.isfinite(array[:23, :23])
    assert np.array_equal(upper, kernel_blocks(23, 5))
    assert len(tiles_of(tmp_path)) == 15


def kernel_blocks(n, side):
    """Where the upper half of tiles lies."""
    block = np.arange(n) // side
    return block[:, None] <= block[None]


@pytest.mark.parametrize("place", ["folder", "memory://kernels/test"])
def test_a_kernel_is_computed_once(tmp_path, place):
    store = tmp_path if place == "folder" else place
    first, count, _ = computed((X,), store)
    assert count == 15
    again, count, _ = computed((X,), store, side=7)  # the tiles that are there are used
    assert count == 0 and again.grid == first.grid
    np.testing.assert_array_equal(again.product(C), first.product(C))


OTHERS = {
    "points": {"points": (X + 1e-12,)},
    "both sets": {"points": (X, X)},
    "depth": {"net": NET.clone(depth=3)},
    "bias": {"net": NET.clone(sigma_b=0.3 + 2**-50)},
    "nngp": {"get": "nngp"},
    "float32": {"dtype": "float32"},
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_kernel_has_another_key(tmp_path, other):
    kernel, _, _ = computed((X,), tmp_path)
    given = {"points": (X,)} | OTHERS[other]
    different, count, _ = computed(given.pop("points"), tmp_path, **given)
    assert count > 0 and different.array.path != kernel.array.path


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "gone"])
def test_a_damaged_tile_is_noticed_and_computed_again(tmp_path, damage, caplog):
    kernel, _, _ = computed((X,), tmp_path)
    whole = tiles_of(tmp_path)
    path = next(tmp_path.rglob("c/1/3"))
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {"flipped": content, "short": content[:50], "empty": b""}[damage]
        )
    said = "is not stored" if damage == "gone" else "is corrupt"
    for use in (lambda: kernel.product(C), lambda: load(kernel)):
        with pytest.raises(ValueError, match=f"tile 1, 3 of the kernel at .* {said}"):
            use()
    _, _, seen = computed((X,), tmp_path)
    assert seen == [15]  # one tile, the fifteenth
    notes = [record.getMessage() for record in caplog.records]
    assert len(notes) == (damage != "gone")
    for note in notes:
        assert re.fullmatch(
            rf"tile 1, 3 of the kernel at \S*{tmp_path}/\S* is corrupt: .*; it is "
            "computed again.",
            note,
        )
    assert tiles_of(tmp_path) == whole


def test_what_a_killed_process_left_unfinished_is_removed_once_it_is_old(tmp_path):
    computed((X,), tmp_path)
    old, new = (next(tmp_path.rglob("c/1")) / f"3.{k}.partial" for k in "ab")
    old.write_bytes(b"half"), new.write_bytes(b"half")
    os.utime(old, (time.time() - 4000,) * 2)
    computed((X,), tmp_path)
    assert new.exists() and not old.exists()


def test_what_is_no_kernel_is_left_alone(tmp_path):
    kernel, _, _ = computed((X,), tmp_path)
    path = tmp_path / kernel.array.path / "zarr.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=f"{kernel.array.path} cannot be read: "):
        computed((X,), tmp_path)


def test_entries_that_are_not_finite_are_refused(tmp_path):
    x = X.copy()
    x[12] = np.inf
    with pytest.raises(ValueError, match="not finite, between points from 10 and from"):
        computed((x,), tmp_path)


def test_any_number_of_devices_makes_the_same_numbers(tmp_path):
    """Of tiles, and of products with tiles that are shared out."""
    source, devices = kernel_source(NET), jax.local_devices()
    assert len(devices) == 8
    kernels = [
        stored_kernel(source._replace(devices=tuple(devices[:count])), X, side=5)
        for count in (1, 3, 8)
    ]
    for kernel in kernels[1:]:
        np.testing.assert_allclose(dense(kernel), dense(kernels[0]), rtol=1e-14)
    for count in (1, 3, 8):
        tiles = load(kernels[0], devices[:count])
        shares = {shard.data.nbytes for shard in tiles.tiles.addressable_shards}
        assert shares == {8 * 25 * -(-15 // count)}  # no device holds the kernel
        with float64():
            compiled = jax.jit(tiles.product).lower(C).compile()
            text, got = compiled.as_text(), compiled(C)
        moved = re.findall(r"= (\S+) (all-\w+|collective-\w+)(?:-start)?\(", text)
        assert [name for _, name in moved] == ["all-reduce"]  # no gather
        assert moved[0][0].startswith("f64[5,5,3]")  # of outputs, not of tiles
        np.testing.assert_allclose(got, WANT @ C, rtol=1e-12)


def test_memory_is_predicted_and_refused_with_numbers(tmp_path):
    """Before a file is made; the side that is said to fit does, the next does not."""
    x = np.zeros((30_000, 5))
    with pytest.raises(ValueError, match="points wants") as refused:
        kernel_tiles(NET, x, side=30_000, max_memory=10**9, store=tmp_path / "k")
    words = str(refused.value).split()
    fits = int(words[-1].rstrip("."))
    assert not (tmp_path / "k").exists()
    assert "a tile of 30000 x 30000 points wants" in str(refused.value)
    assert int(words[words.index("bytes") - 1].replace(",", "")) >= 8 * 30_000**2
    source = kernel_source(NET)
    assert predict_memory(source, x, side=fits, max_memory=10**9).result < 9e9
    with pytest.raises(ValueError, match="points wants"):
        predict_memory(source, x, side=round(1.2 * fits), max_memory=10**9)
    with pytest.raises(ValueError, match="not even 1 x 1 fits"):
        predict_memory(source, x, side=9, max_memory=100)


KILLED = """
import sys
import numpy as np
import zoo
from zoo.infinite.tiles import kernel_tiles
x = np.random.default_rng(0).normal(size=(400, 5))
net = zoo.MLP(width=1, depth=2, activation="erf", sigma_b=0.3)
kernel_tiles(net, x, store=sys.argv[1], side=int(sys.argv[2]))
"""


def test_a_killed_computation_goes_on_to_the_same_bytes(tmp_path):
    """kill -9 twice, then the rest: no tile that is stored is computed again."""
    arguments = [sys.executable, "-c", KILLED]
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=1"}
    undisturbed, killed = tmp_path / "a", tmp_path / "b"
    side, tiles = 10, 820
    subprocess.run(
        [*arguments, undisturbed, str(side)], cwd=ROOT, check=True, env=environment
    )
    stamps = {}
    for least in (40, 300):
        child = subprocess.Popen(
            [*arguments, killed, str(side)], cwd=ROOT, env=environment
        )
        while child.poll() is None and len(list(killed.rglob("c/*/*"))) < least:
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        found = {
            p: p.stat().st_mtime_ns for p in killed.rglob("c/*/*") if "." not in p.name
        }
        assert least - 2 < len(found) < tiles
        assert stamps.items() <= found.items()  # what was there was not written again
        stamps = found
    subprocess.run(
        [*arguments, killed, str(side)], cwd=ROOT, check=True, env=environment
    )
    final = {
        p: p.stat().st_mtime_ns for p in killed.rglob("c/*/*") if "." not in p.name
    }
    assert stamps.items() <= final.items() and len(final) == tiles
    whole = {k: v for k, v in tiles_of(killed).items() if not k.endswith("partial")}
    assert whole == tiles_of(undisturbed)

"""Compiled programs on disk: found again, by the same kind of machine, or made anew."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from experiments import compiled

PROGRAM = """
import sys
import jax, jax.numpy as jnp
from experiments import compiled
hits = []
jax.monitoring.register_event_listener(
    lambda event, **_: hits.append(1) if event.endswith("/cache_hits") else None
)
own = compiled.keep(sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
value = jax.jit(lambda x: jnp.linalg.eigvalsh(x @ x.T).sum())(jnp.eye(7))
print(len(hits), own.name, float(value))
"""


def run(folder):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    hits, name, value = done.stdout.split()
    return int(hits), name, float(value), done.stderr


def poisons():
    """Truncated, one bit flipped, empty, and noise, in turn."""
    while True:
        yield lambda data: data[: len(data) // 2]
        yield lambda data: bytes([*data[:99], data[99] ^ 1, *data[100:]])
        yield lambda data: b""
        yield lambda data: os.urandom(len(data))


def test_programs_are_found_again_and_poisoned_ones_made_anew(tmp_path):
    hits, name, value, _ = run(tmp_path)
    assert hits == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    device = jax.devices()[0]
    assert name == compiled.machine(device.platform, device.device_kind)
    entries = sorted((tmp_path / name).glob("*-cache"))
    assert len(entries) >= 4
    assert run(tmp_path)[:3] == (len(entries), name, value)
    for entry, poison in zip(entries, poisons(), strict=False):
        entry.write_bytes(poison(entry.read_bytes()))
    hits, _, again, said = run(tmp_path)
    assert hits == 0
    assert again == value
    assert said.count("Error reading persistent compilation cache") == len(entries)


def test_machines_of_other_kinds_have_folders_of_their_own(tmp_path):
    names = set()
    for can in ("avx avx2", "avx avx2 amx"):
        cpu = tmp_path / "cpuinfo"
        cpu.write_text(f"cpu MHz : {len(can)}\nflags : {can}\ncpu MHz : 1.0\n")
        names.add(compiled.machine("cpu", "cpu", cpu))
        cpu.write_text(f"cpu MHz : 2.5\nflags : {can}\n")
        names.add(compiled.machine("cpu", "cpu", cpu))  # the clock goes up and down
    assert len(names) == 2
    assert all(name.startswith("cpu-") for name in names)
    nowhere = Path("/nowhere")
    assert compiled.machine("cpu", "cpu", nowhere).startswith("cpu-")


@pytest.mark.parametrize(
    ("platform", "kinds"),
    [("gpu", ("NVIDIA H100 80GB HBM3", "NVIDIA H200")), ("tpu", ("TPU v5", "TPU v5e"))],
)
def test_accelerators_of_other_kinds_have_folders_of_their_own(platform, kinds):
    names = [compiled.machine(platform, kind) for kind in kinds]
    assert names == [f"{platform}-{kind.replace(' ', '_')}" for kind in kinds]
    assert compiled.machine(platform, "a/b") == f"{platform}-a_b"  # no folder in it

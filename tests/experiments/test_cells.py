"""Which cells a process measures, by its flag or its place in a Slurm array."""

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import cells
from experiments.cells import shard
from zoo.gap.sweep import Shard, Unfinished

ARRAY = {
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_ARRAY_TASK_MIN": "1",
    "SLURM_ARRAY_TASK_STEP": "2",
}


def test_the_flag_the_array_and_neither():
    assert shard(None, {}) == Shard(helps=True)
    assert shard(None, {}, (2, 4)) == Shard(2, 4, sums_up=False, helps=True)
    assert shard(None, {}, (0, 4)) == Shard(0, 4, helps=True)
    assert shard("2/5", {}, (3, 4)) == Shard(2, 5)
    assert shard("2/5", {}) == Shard(2, 5)
    assert shard(None, ARRAY) == Shard(3, 4)  # of 1, 3, 5, 7
    assert shard("2/5", ARRAY) == Shard(2, 5)
    alone = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "3"}
    assert shard(None, alone) == Shard(0, 3)


@pytest.mark.parametrize("given", ["3/3", "-1/3", "1", "1/", "/2", "a/b", "1/2/3", ""])
def test_what_is_no_part_of_a_whole_is_refused(given):
    with pytest.raises(ValueError, match=rf"--shard={given} is not allowed"):
        shard(given, {})


def test_an_array_with_gaps_is_refused():
    with pytest.raises(ValueError, match="SLURM_ARRAY_TASK_ID=9, a shard of 8/3"):
        shard(
            None,
            {
                "SLURM_ARRAY_TASK_ID": "9",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "1",
            },
        )


@pytest.mark.parametrize("name", [f"SLURM_ARRAY_TASK_{part}" for part in cells.ARRAY])
@pytest.mark.parametrize("value", ["abc", "-1", ""])
def test_what_is_no_number_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value} is not allowed: it takes a"):
        shard(None, ARRAY | {name: value})


def test_each_part_has_its_turn():
    """What is missing of one is no reason to leave others to other processes."""
    asked = []

    def part(name, missing=None):
        asked.append(name)
        if missing is not None:
            raise missing
        return name

    assert cells.each(lambda: part("a"), lambda: part("b")) == ["a", "b"]
    first, second = Unfinished("x is missing.", 2), Unfinished("y is missing.", 1)
    parts = [("a", first), ("b",), ("c", first), ("d", second)]
    with pytest.raises(Unfinished, match=r"^x is missing\. y is missing\.$") as e:
        cells.each(*(lambda own=own: part(*own) for own in parts))
    assert e.value.failed == 5
    assert asked == ["a", "b", "a", "b", "c", "d"]


@pytest.fixture
def given(tmp_path):
    """Sets the flags of programs that measure cells, for the length of a test."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    if "workdir" not in flags.FLAGS:
        cells.define("runs/cells")
    with flagsaver.flagsaver():
        yield lambda **values: [setattr(flags.FLAGS, *item) for item in values.items()]


@pytest.mark.parametrize("folder", ["/etc/passwd", "/etc/passwd/below", "/proc/nope"])
def test_a_cache_that_is_no_folder_is_refused(given, folder):
    given(compilation_cache=folder)
    with pytest.raises(ValueError, match=f"--compilation_cache={folder} is not allow"):
        cells.begin()


def test_flags_that_are_there_already_are_not_written_again(given, tmp_path):
    """On a disk that can only be read, that would end a command with nothing to do."""
    given(workdir=str(tmp_path / "w"))
    written = cells.open_workdir({}) / "flags.txt"
    before = written.stat().st_ino
    cells.open_workdir({})
    assert written.stat().st_ino == before
    written.write_text("--other")
    cells.open_workdir({})
    assert written.read_text() != "--other"

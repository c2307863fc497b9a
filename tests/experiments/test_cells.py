"""Which cells a process measures, by its flag or its place in a Slurm array."""

import pytest

from experiments.cells import shard
from zoo.gap.sweep import Shard

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

"""Decisions that all processes of a run take alike."""

import jax
import numpy as np
from jax.experimental import multihost_utils


def agreed(value: int) -> int:
    """What the first process says, in all processes of the run."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))

"""Terjek & Gonzalez-Sanchez: every claim, and a setting that breaks it; oracles."""

import functools

import pytest

from zoo.theory.claims import judge
from zoo.theory.terjek2022 import PAPER

CLAIMS = {claim.name: claim for claim in PAPER.claims}
RUNS = {m.name: m.run for m in PAPER.measurements}
SMALL = {
    "spectrum": {"widths": (256, 1024), "seeds": 128, "n": 4},
    "training": {"widths": (32, 256), "seeds": 80, "n": 4, "steps": 60, "depth": 1},
    "rates": {"widths": (64, 512), "seeds": 12, "n": 8, "steps": 12, "depth": 1},
    "dependence": {
        "width": 256,
        "seeds": 8,
        "counts": (4, 8),
        "depths": (2,),
        "activations": ("erf", "gelu"),
    },
    "moments": {
        "width": 64,
        "seeds": 32,
        "n": 4,
        "steps": 400,
        "tails": (0.0, 0.7),
        "depths": (1, 2),
    },
    "labels": {"width": 64, "draws": 4, "n_train": 64, "n_test": 96, "steps": 100},
}
STANDARD, MUP = {"parameterization": "standard"}, {"parameterization": "mup"}
FAST = {"share": 1.8}  # of 2 n / lambda_max
DULL = {"sigma_w": 0.5, "growth": 1.0}  # small weights; norms that grow with n
BLIND = {"shuffled": True, "norm": 300.0}  # no true labels; inputs of another norm
SPHERE = {"tails": (0.0, 0.0)}  # no tail is heavier
BROKEN = {
    "spread": STANDARD,
    "limit": STANDARD,
    "positive": {"sigma_w": 0.5},
    "kernel": STANDARD,
    "points": DULL,
    "depth": DULL,
    "activation": DULL,
    "guarantee": FAST,
    "half": FAST,
    "rate": MUP,
    "grows": MUP,
    "saturates": MUP,
    "kept": FAST,
    "radius": FAST,
    "nearest": MUP,
    "solution": MUP,
    "lazy": MUP,
    "drift": MUP,
    "edge": STANDARD,
    "critical": STANDARD,
    "stable": {"parameterization": "mup"},
    "best": STANDARD,
    "standard": {"parameterization": "ntk"},
    "labels": BLIND,
    "true": BLIND,
    "random": BLIND,
    "conditioning": SPHERE,
    "layers": SPHERE,
    "concentration": SPHERE,
    "width": SPHERE,
}


def as_key(knobs):
    """Hashable; the defaults are no knobs."""
    return tuple(item for item in knobs.items() if item[1] != "ntk")


def measured(name, knobs=()):
    """A measurement at its small size, with some arguments set otherwise."""
    if name == "standard":  # is that of the rates
        return run("rates", as_key(STANDARD | dict(knobs)))
    return run(name, knobs)


@functools.cache
def run(name, knobs):
    return RUNS[name](**SMALL[name] | dict(knobs))


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_until_its_setting_is_broken(name):
    claim = CLAIMS[name]
    where = claim.measurement.name
    assert judge(claim, measured(where)).verdict == "holds"
    broken = judge(claim, measured(where, as_key(BROKEN[name])))
    assert broken.verdict != "holds"

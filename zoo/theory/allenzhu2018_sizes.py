"""Allen-Zhu, Li & Song 2018: what is measured, and at which sizes."""

from functools import partial

from zoo.theory.allenzhu2018_ball import (
    measure_ball,
    measure_depth,
    measure_perturbation,
)
from zoo.theory.allenzhu2018_deep import measure_growth, measure_landscape
from zoo.theory.allenzhu2018_training import measure_descent, measure_sgd
from zoo.theory.claims import Measurement

NETWORKS = {"fc": "fully connected", "cnn": "convolutional", "resnet": "tau-ResNet"}
OMEGAS = (0.003, 0.0086, 0.0245, 0.07, 0.2)


def _descent(kind: str) -> Measurement:
    smoke = (32, 64, 128) if kind == "cnn" else (64, 128, 256)
    default = (64, 128, 256) if kind == "cnn" else (256, 512, 1024, 2048)
    paper = (64, 128, 256, 512) if kind == "cnn" else (512, 1024, 2048, 4096, 8192)
    size = {"factors": (1.0, 0.5, 0.25, 0.125), "n": 4, "steps": 32}
    return Measurement(
        f"descent-{kind}",
        partial(measure_descent, kind),
        {
            "smoke": size | {"widths": smoke, "rate_width": smoke[1], "seeds": 8},
            "default": size
            | {"widths": default, "rate_width": default[1], "seeds": 28},
            "paper": size
            | {"widths": paper, "rate_width": paper[-2], "seeds": 20}
            | {"n": 16, "steps": 400},
        },
        seconds=60.0,
    )


def _sgd(kind: str) -> Measurement:
    width, epochs = (64, 250) if kind == "cnn" else (256, 120)
    return Measurement(
        f"sgd-{kind}",
        partial(measure_sgd, kind),
        {
            "smoke": {"width": 64, "seeds": 3, "n": 40, "batch": 10, "epochs": 200},
            "default": {
                "width": width,
                "seeds": 5,
                "n": 100,
                "batch": 20,
                "epochs": epochs,
            },
            "paper": {
                "width": 2 * width,
                "seeds": 5,
                "n": 1000,
                "batch": 100,
                "epochs": 600,
            },
        },
        seconds=20.0,
    )


DESCENT = {kind: _descent(kind) for kind in NETWORKS}
SGD = {kind: _sgd(kind) for kind in NETWORKS}
BALL = Measurement(
    "ball",
    measure_ball,
    {
        "smoke": {
            "widths": (64, 128, 256),
            "depth": 2,
            "omega": 0.1,
            "draws": 2,
            "seeds": 16,
            "n": 4,
        },
        "default": {
            "widths": (256, 512, 1024, 2048),
            "depth": 2,
            "omega": 0.1,
            "draws": 4,
            "seeds": 24,
            "n": 4,
        },
        "paper": {
            "widths": (512, 1024, 2048, 4096, 8192),
            "depth": 4,
            "omega": 0.02,
            "draws": 16,
            "seeds": 20,
            "n": 100,
        },
    },
    seconds=30.0,
)
PERTURBATION = Measurement(
    "perturbation",
    measure_perturbation,
    {
        "smoke": {"width": 256, "depth": 2, "omegas": OMEGAS[1:], "seeds": 16, "n": 4},
        "default": {"width": 1024, "depth": 2, "omegas": OMEGAS, "seeds": 16, "n": 8},
        "paper": {"width": 8192, "depth": 4, "omegas": OMEGAS, "seeds": 20, "n": 64},
    },
    seconds=60.0,
)
DEPTH = Measurement(
    "depth",
    measure_depth,
    {
        "smoke": {"width": 256, "depth": 8, "seeds": 8, "n": 4},
        "default": {"width": 512, "depth": 16, "seeds": 24, "n": 8},
        "paper": {"width": 4096, "depth": 64, "seeds": 20, "n": 100},
    },
    seconds=20.0,
)
GROWTH = Measurement(
    "growth",
    measure_growth,
    {
        "smoke": {
            "width": 128,
            "depths": (3, 10, 30),
            "powers": (1.0, 0.5, 0.25),
            "seeds": 8,
            "n": 4,
        },
        "default": {
            "width": 512,
            "depths": (3, 10, 30, 100),
            "powers": (1.0, 0.5, 0.25),
            "seeds": 10,
            "n": 8,
        },
        "paper": {
            "width": 1024,
            "depths": (3, 10, 30, 100, 500),
            "powers": (1.0, 0.5, 0.25),
            "seeds": 20,
            "n": 100,
        },
    },
    seconds=20.0,
)
LANDSCAPE = Measurement(
    "landscape",
    measure_landscape,
    {
        "smoke": {
            "width": 32,
            "seeds": 4,
            "n": 40,
            "batch": 10,
            "epochs": (1, 20),
            "lanczos": 20,
            "reach": 0.3,
        },
        "default": {
            "width": 64,
            "seeds": 8,
            "n": 100,
            "batch": 20,
            "epochs": (0, 2, 10, 30, 60, 120),
            "lanczos": 40,
            "reach": 0.2,
            "rate": 0.2,
        },
        "paper": {
            "width": 1024,
            "seeds": 8,
            "n": 1000,
            "batch": 100,
            "epochs": (5, 40, 90, 120, 130, 160),
            "lanczos": 60,
            "reach": 0.1,
        },
    },
    seconds=20.0,
)

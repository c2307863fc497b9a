"""Terjek & Gonzalez-Sanchez 2022: the sizes of every measurement."""

from zoo.theory.claims import Measurement
from zoo.theory.terjek2022_data import measure_dependence, measure_moments
from zoo.theory.terjek2022_init import measure_spectrum
from zoo.theory.terjek2022_labels import measure_labels
from zoo.theory.terjek2022_train import measure_rates, measure_training


def _sizes(smoke: dict, default: dict, paper: dict) -> dict[str, dict]:
    return {"smoke": smoke, "default": default, "paper": paper}


NARROW = {"widths": (32, 64, 128, 256), "n": 6}
WIDE = {"widths": (128, 256, 512, 1024, 2048, 4096), "n": 32}
SPECTRUM = Measurement(
    "spectrum",
    measure_spectrum,
    _sizes(
        NARROW | {"seeds": 48},
        {"widths": (64, 128, 256, 512, 1024), "seeds": 192, "n": 8},
        WIDE | {"seeds": 96},
    ),
    seconds=15,
)
TRAINING = Measurement(
    "training",
    measure_training,
    _sizes(
        NARROW | {"seeds": 8, "steps": 160},
        {"widths": (64, 128, 256, 512, 1024), "seeds": 24, "n": 16, "steps": 240},
        WIDE | {"seeds": 24, "steps": 480},
    ),
    seconds=90,
)
RATES = Measurement(
    "rates",
    measure_rates,
    _sizes(
        {"widths": (64, 128, 256), "seeds": 8, "n": 6, "steps": 16},
        {"widths": (64, 128, 256, 512, 1024), "seeds": 16, "n": 16, "steps": 32},
        WIDE | {"seeds": 16, "steps": 32},
    ),
    seconds=60,
)
STANDARD = Measurement(
    "standard",
    lambda parameterization="standard", **size: measure_rates(
        parameterization=parameterization, **size
    ),
    _sizes(
        {"widths": (128, 256), "seeds": 8, "n": 6, "steps": 16},
        {"widths": (256, 512, 1024), "seeds": 8, "n": 16, "steps": 32},
        WIDE | {"seeds": 16, "steps": 32},
    ),
    seconds=30,
)
DEPENDENCE = Measurement(
    "dependence",
    measure_dependence,
    _sizes(
        {"width": 128, "seeds": 4, "counts": (4, 8, 16), "depths": (2, 3)},
        {"width": 1024, "seeds": 12, "counts": (8, 16, 32, 64), "depths": (2, 3, 4)},
        {
            "width": 4096,
            "seeds": 24,
            "counts": (8, 16, 32, 64, 128, 256),
            "depths": (2, 3, 4, 5, 6),
        },
    ),
    seconds=20,
)
MOMENTS = Measurement(
    "moments",
    measure_moments,
    _sizes(
        {"width": 64, "seeds": 8, "n": 4, "steps": 500, "tails": (0.0, 0.7)},
        {"width": 256, "seeds": 16, "n": 8, "steps": 4000, "tails": (0.0, 0.35, 0.7)},
        {
            "width": 2048,
            "seeds": 24,
            "n": 32,
            "steps": 20000,
            "tails": (0.0, 0.35, 0.7),
            "depths": (1, 2, 3, 4),
        },
    ),
    seconds=30,
)
LABELS = Measurement(
    "labels",
    measure_labels,
    _sizes(
        {"width": 64, "draws": 3, "n_train": 48, "n_test": 96, "steps": 100},
        {"width": 256, "draws": 8, "n_train": 256, "n_test": 512, "steps": 600},
        {"width": 2048, "draws": 20, "n_train": 1024, "n_test": 512, "steps": 4000},
    ),
    seconds=30,
)

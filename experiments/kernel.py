"""Computes the infinite-width NTK of many points, by tiles that are stored.

    python -m experiments.kernel --dataset=fashion_mnist --n_train=20000 \
        --store=runs/kernels

Predicts the memory that it takes, and refuses what does not fit; computes the tiles
that the store does not hold, on all devices of all processes; then the ends of the
spectrum and the test error at the end of training. The same command goes on where an
earlier one was stopped, and a kernel that is stored is not computed again.
"""

import jax
from absl import flags

from experiments import edge, settings
from experiments.progress import progress
from zoo.gap.stored_kernel import Found, KernelConfig, Prepared, prepare, run
from zoo.tiles.stored import PlaceError

settings.define(
    KernelConfig,
    {
        "ridge": "Of the loss; 0 is the end of gradient descent.",
        "tile": "Points along a side of a tile; default: as many as 32 MB take.",
        "memory_gb": "What is computed may take on a device and on the host, beside a "
        "larger kernel, which then is read from the store for each product.",
    },
)
STORE = flags.DEFINE_string(
    "store", "runs/kernels", "Folder, or address of a bucket, of kernels."
)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data files.")


def opening(prepared: Prepared) -> list[str]:
    """What is said before anything is computed."""
    config, memory = prepared.config, prepared.memory
    side = memory.side
    return [
        f"NTK of {config.arch} on {config.n_train} points of {config.dataset}: "
        f"{memory.result / 1e9:.3g} GB in tiles of {side} x {side} points.",
        f"Memory, predicted: {memory.device / 1e9:.3g} GB on each of "
        f"{jax.device_count()} devices, {memory.host / 1e9:.3g} GB beside them.",
    ]


def closing(config: KernelConfig, found: Found) -> list[str]:
    """What was found."""
    low, high = found.end.ends
    where = "in the memory of the devices" if found.resident else "in the store"
    lines = [
        f"Kernel at {found.kernel.array.store_path}, {found.seconds[0]:.1f} s.",
        f"Eigenvalues from {low:.4g} to {high:.4g}; critical learning rate "
        f"{2 * config.n_train / high:.4g}.",
        f"End of training: {found.end.products} products with the kernel {where}, "
        f"residual {found.end.residual:.1e}; {found.seconds[1]:.1f} s.",
        f"Test error {found.error:.4f} (root mean square).",
    ]
    if found.accuracy is not None:
        lines.append(f"Test accuracy {found.accuracy:.2%}.")
    return lines


def main() -> None:
    """Predicts, computes, and says what was found."""
    try:
        config = settings.read(KernelConfig)
        prepared = prepare(config, STORE.value, DATA_DIR.value)
        first = jax.process_index() == 0
        if first:
            print("\n".join(opening(prepared)), flush=True)
        with progress("kernel") as report:
            found = run(prepared, report)
    except PlaceError as e:
        edge.fail(f"--{e}")
    except (ValueError, FileNotFoundError) as e:
        edge.fail(e)
    if first:
        print("\n".join(closing(config, found)))


if __name__ == "__main__":
    edge.run(main)

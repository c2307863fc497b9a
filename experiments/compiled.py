"""Compiled programs that outlive a process, in a folder for each kind of machine."""

import hashlib
import platform
from pathlib import Path

import jax

CPU = Path("/proc/cpuinfo")


def keep(folder: str) -> Path:
    """From now on compiled programs are kept, and found, in a folder of the folder.

    A program that cannot be read is compiled again, with a warning.

    Args:
        folder: for machines of all kinds.

    Returns:
        the folder for machines of this kind.

    Raises:
        OSError: it cannot be made.
    """
    device = jax.devices()[0]
    own = Path(folder).expanduser() / machine(device.platform, device.device_kind)
    own.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(own))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return own


def machine(platform_name: str, kind: str, cpu: Path = CPU) -> str:
    """The name of all machines of a kind.

    All CPUs are of one kind to JAX, and a program with instructions that a processor
    does not have ends the process that runs it: theirs is what they can do.

    Args:
        platform_name: of the devices.
        kind: of the devices, as JAX calls it.
        cpu: what the system says of its processor.
    """
    if platform_name == "cpu":
        said = cpu.read_text().splitlines() if cpu.exists() else [platform.processor()]
        can = sorted({line for line in said if line.startswith(("flags", "Features"))})
        kind = hashlib.sha256("\n".join(can or said[:1]).encode()).hexdigest()[:12]
    return f"{platform_name}-{kind}".replace(" ", "_").replace("/", "_")

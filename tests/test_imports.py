"""Imports run one way, importing does nothing else, and files stay small."""

import ast
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOPS = ("zoo", "experiments", "launch")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    ): path
    for top in TOPS
    for path in sorted((ROOT / top).rglob("*.py"))
}

COMPAT = "zoo.infinite.neural_tangents"
CONVOLVED = "zoo.infinite.convolved"
PRECISION = "zoo.infinite.precision"
LOW = {
    COMPAT,
    CONVOLVED,
    PRECISION,
    "zoo.names",
    "zoo.graphs",
    "zoo.descent",
    "zoo.layers",
    "zoo.models",
    "zoo.tiles",
    "zoo.infinite",
    "zoo.finite",
}

# A room, and the other rooms that it may import. A module is in the room with the
# longest name that fits.
ALLOWED = {
    COMPAT: {CONVOLVED},
    CONVOLVED: set(),
    PRECISION: set(),
    "zoo.names": set(),
    "zoo.graphs": {"zoo.names"},
    "zoo.layers": {COMPAT, "zoo.names", "zoo.graphs"},
    "zoo.models": {PRECISION, COMPAT, "zoo.layers", "zoo.names", "zoo.graphs"},
    "zoo.descent": {"zoo.names"},
    "zoo.tiles": {"zoo.names"},
    "zoo.infinite": {
        COMPAT,
        PRECISION,
        "zoo.names",
        "zoo.descent",
        "zoo.layers",
        "zoo.tiles",
    },
    "zoo.finite": {"zoo.names", "zoo.descent", "zoo.layers", "zoo.tiles"},
    "zoo.data": {"zoo.names", "zoo.graphs"},
    "zoo.gap": LOW | {"zoo.data"},
    "zoo.theory": LOW | {"zoo.data", "zoo.gap"},
    "zoo.report": LOW | {"zoo.data", "zoo.gap", "zoo.theory"},
    "launch": set(),
}
ALLOWED["zoo"] = set(ALLOWED) - {"launch"}  # zoo/__init__.py, which no room imports
ALLOWED["experiments"] = set(ALLOWED) - {"launch"}


def room(module):
    """The room of a module of ours, or None."""
    fits = [r for r in ALLOWED if module == r or module.startswith(f"{r}.")]
    return max(fits, key=len, default=None)


def imports(module):
    """The full names of the modules that a module imports, anywhere in it."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) + 1 - node.level]
                base = ".".join([*up, *filter(None, [node.module])])
            for alias in node.names:  # a module of ours, or a name in one
                full = f"{base}.{alias.name}"
                yield full if full in FILES else base


@pytest.mark.parametrize("module", FILES)
def test_imports_run_one_way(module):
    here = room(module)
    assert here != "zoo" or module == "zoo", f"give {module} a room in ALLOWED"
    for other in imports(module):
        there = room(other)
        assert there in {None, here} | ALLOWED[here], f"{module} imports {other}"
        if other.split(".")[0] == "neural_tangents":
            assert module == COMPAT, f"{module} imports neural_tangents; {COMPAT} may"
        assert other.split(".")[0] != "tensorflow"


@pytest.mark.parametrize("module", FILES)
def test_a_file_is_small_and_uses_public_jax(module):
    text = FILES[module].read_text()
    assert len(text.splitlines()) <= 400
    assert text.isascii()
    assert "jax._src" not in text
    assert 'jax.config.update("jax_enable_x64"' not in text.replace("'", '"')
    assert "from __future__ import annotations" not in text


def in_a_new_process(code, **environment):
    """Runs Python code where nothing has been imported yet."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


WATCH = """
import sys
wanted = []
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tf2jax"):
            wanted.append(name)
sys.meta_path.insert(0, Watch())
"""


def test_importing_everything_of_zoo_does_nothing_else():
    """No TensorFlow (not even tried), flag, x64 switch; any use of a device fails."""
    modules = [name for name in FILES if room(name) not in ("experiments", "launch")]
    code = f"""{WATCH}
import importlib
for module in {modules}:
    importlib.import_module(module)
import jax
from absl import flags
assert not wanted, wanted
assert not jax.config.jax_enable_x64
ours = [m for m in flags.FLAGS.flags_by_module_dict() if m.split(".")[0] == "zoo"]
assert not ours, ours
"""
    in_a_new_process(code, JAX_PLATFORMS="no_such_platform")


def test_every_room_can_be_imported_first():
    """An import cycle shows only for some first imports, so each is tried first."""
    rooms = [name for name in FILES if name in ALLOWED and name.startswith("zoo")]
    code = f"""
import importlib, sys
for room in {rooms}:
    importlib.import_module(room)
    for name in [n for n in sys.modules if n.split(".")[0] == "zoo"]:
        del sys.modules[name]
"""
    in_a_new_process(code)


@pytest.mark.parametrize("version", ["0.10.2", "0.12.0.1"])
def test_a_jaxlib_with_wrong_numbers_is_refused(version):
    """Unless what is at fault is switched off: all of it."""
    program = f"""
import jaxlib.version
jaxlib.__version__ = '{version}'
jaxlib.version.__version_info__ = {tuple(map(int, version.split(".")[:3]))}
import zoo
"""
    ynn = "--xla_cpu_experimental_ynn_fusion_type="
    isa = "--xla_cpu_max_isa=AVX2"
    x86 = platform.machine() == "x86_64"
    for flags, code in ((f"{ynn} {isa}", 0), (ynn, int(x86)), ("", 1)):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=os.environ | {"XLA_FLAGS": flags},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: jaxlib {version} computes wrong numbers")
    assert ynn in last and (isa in last) == x86

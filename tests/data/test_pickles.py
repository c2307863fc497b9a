"""Pickles: arrays as Python 2 and 3 wrote them; nothing else is imported or run."""

import collections
import io
import os
import pickle
import pickletools
import shutil
from pathlib import Path

import numpy as np
import pytest

from zoo.data.pickles import read_pickle

RNG = np.random.default_rng(0)
DATA = RNG.integers(0, 256, (3, 5), dtype=np.uint8)


def python2_batch(data, labels):
    """What Python 2's cPickle made, in protocol 2, of {"data": ..., "labels": ...}.

    Strings are byte strings (opcode U or T), NumPy is numpy.core.
    """

    def text(value):
        value = value.encode() if isinstance(value, str) else value
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + len(value).to_bytes(4, "little") + value

    def number(value):
        return b"J" + int(value).to_bytes(4, "little", signed=True)

    empty = b"cnumpy.core.multiarray\n_reconstruct\n"
    empty += b"cnumpy\nndarray\n" + number(0) + b"\x85" + text("b") + b"\x87R"
    kind = b"cnumpy\ndtype\n" + text("u1") + number(0) + number(1) + b"\x87R"
    kind += b"(" + number(3) + text("|") + b"NNN" + number(-1) * 2 + number(0) + b"tb"
    shape = b"".join(map(number, data.shape)) + b"\x86"
    state = b"(" + number(1) + shape + kind + b"\x89" + text(data.tobytes()) + b"tb"
    listed = b"](" + b"".join(map(number, labels)) + b"e"
    items = text("data") + empty + state + text("labels") + listed
    items += text("batch_label") + text("training batch 1 of 5")
    return b"\x80\x02}(" + items + b"u."


def test_the_python2_batch_is_one():
    """The oracle: the standard library and NumPy read it too."""
    content = python2_batch(DATA, [3, 1, 2])
    pickletools.dis(content, out=io.StringIO())
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        content = content.replace(b"numpy.core", b"numpy._core")
    plain = pickle.loads(content, encoding="bytes")
    np.testing.assert_array_equal(plain[b"data"], DATA)


def test_a_python2_batch():
    found = read_pickle("here", python2_batch(DATA, [3, 1, 2]))
    assert list(found) == ["data", "labels", "batch_label"]
    np.testing.assert_array_equal(found["data"], DATA)
    assert found["labels"] == [3, 1, 2]
    assert found["batch_label"] == b"training batch 1 of 5"


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "array",
    [
        DATA,
        np.asfortranarray(DATA),
        RNG.normal(size=(2, 3, 4)).astype(">f4"),
        np.arange(4),
        np.zeros((0, 3), bool),
    ],
    ids=lambda a: f"{a.dtype.str}{a.shape}",
)
def test_arrays_of_python3(array, protocol):
    content = pickle.dumps({"a": array, "b": [1, "x", None, (2.5,)]}, protocol)
    found = read_pickle("here", content)
    np.testing.assert_array_equal(found["a"], array)
    assert found["a"].dtype == array.dtype
    assert found["b"] == [1, "x", None, (2.5,)]


class Call:
    def __init__(self, function, *arguments):
        self.calls = function, arguments

    def __reduce__(self):
        return self.calls


def hostile(folder):
    """Pickles that would each make a file in the folder, by name."""
    made = folder / "made"
    command = f"touch {made}"
    line = f"import os; os.system({command!r})"
    return {
        f"{os.system.__module__}.system": pickle.dumps(
            {"data": Call(os.system, command)}
        ),
        "builtins.exec": pickle.dumps({"data": Call(exec, line)}),
        f"{open.__module__}.open": pickle.dumps({"data": Call(open, str(made), "w")}),
        "os.system": f"cos\nsystem\n(S'{command}'\ntR.".encode(),
        # Protocol 4 reaches into attributes, of allowed names too.
        "numpy.ndarray.mro": b"\x80\x04\x8c\x05numpy\x8c\x0bndarray.mro\x93.",
        "builtins.getattr": pickle.dumps(Call(getattr, "", "join")),
        "collections.OrderedDict": pickle.dumps({"data": collections.OrderedDict()}),
    }


@pytest.mark.parametrize("asked", hostile(Path()))
def test_a_hostile_pickle_is_refused_by_name_and_not_run(asked, tmp_path):
    content = hostile(tmp_path)[asked]
    with pytest.raises(ValueError) as error:
        read_pickle("here/data_batch_1", content)
    assert not (tmp_path / "made").exists()
    message = f"here/data_batch_1 is refused: its pickle asks for {asked}, and only"
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_the_hostile_pickle_would_have_run(tmp_path):
    assert shutil.which("touch")
    pickle.loads(hostile(tmp_path)[f"{os.system.__module__}.system"])
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x80\x02}",
        pickle.dumps([1, 2]),
        pickle.dumps({"a": np.array([None, {}], object)}),
        pickle.dumps({"a": np.array(["text"])}),
        pickle.dumps({"a": np.zeros(2, "i4,f4")}),
        pickle.dumps({"a": np.array(["2020"], "M8[D]")}),
        # An array whose bytes are fewer than its shape says.
        pickle.dumps({"a": DATA}, 3).replace(b"K\x03K\x05\x86", b"K\x04K\x05\x86"),
        # The stand-ins called with other arguments, or given no state.
        b"cnumpy\nndarray\n(I1\ntR.",
        b"}(U\x01acnumpy\nndarray\n)Ru.",
        b"cnumpy\ndtype\n)R.",
        b"cnumpy\ndtype\nU\x01xb.",
        b"cnumpy.core.numeric\n_frombuffer\n)R.",
        b"Pid\n.",
        b"\x82\x01.",
    ],
    ids=lambda c: repr(c[:40]),
)
def test_what_is_no_pickle_of_numbers_is_refused_in_one_line(content):
    with pytest.raises(ValueError, match="here is no pickle of arrays, or d") as error:
        read_pickle("here", content)
    assert "\n" not in str(error.value)


def test_every_truncated_pickle_is_refused():
    content = python2_batch(DATA, [3, 1, 2])
    for length in range(len(content)):
        with pytest.raises(ValueError, match="here is"):
            read_pickle("here", content[:length])

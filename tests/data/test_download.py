"""Downloads from a server of this machine: resumed, verified, never half a file."""

import dataclasses
import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from zoo.data import images
from zoo.data.download import DownloadError, Official, cache_folder, fetch

CONTENT = np.random.default_rng(0).bytes(300_000)
HALF = 131_072
OTHER = CONTENT[:1000] + bytes([CONTENT[1000] ^ 1]) + CONTENT[1001:]


class Mirror(BaseHTTPRequestHandler):
    """Its first folder says how it behaves; Range is honoured unless it says not to."""

    def do_GET(self):
        kind = self.path.split("/")[1]
        asked = self.headers.get("Range")
        self.server.asked.append((kind, asked))
        if kind == "gone" or len(self.server.asked) > 20:
            self.send_error(404)
            return
        content = {
            "corrupt": OTHER,
            "breaking corrupt": OTHER,
            "long": CONTENT + b"x",
            "endless": CONTENT + b"x",
            "page": b"<html>log in</html>",
        }.get(kind.replace("-", " "), CONTENT)
        first = 0
        if asked and kind != "plain":
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            at = first + 1 if kind == "shifted" else first
            self.send_header("Content-Range", f"bytes {at}-{len(content)}/*")
        else:
            self.send_response(200)
        if kind not in ("unsized", "endless", "page"):
            self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        stop = len(content)
        if kind == "broken":  # always at the same byte
            stop = HALF
        elif kind in ("breaking", "breaking-corrupt"):  # after so many bytes
            stop = first + HALF
        self.wfile.write(content[first:stop])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def dead():
    """The address of a port at which nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return f"http://127.0.0.1:{port}/"


@pytest.fixture
def official(server):
    """`official(kinds)`: the file on mirrors of these kinds, or at whole addresses."""
    address = f"http://127.0.0.1:{server.server_port}"

    def make(*kinds):
        mirrors = tuple(k if ":" in k else f"{address}/{k}/" for k in kinds)
        digest = hashlib.sha256(CONTENT).hexdigest()
        return Official("file.bin", len(CONTENT), digest, mirrors)

    return make


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("kinds", "asked"),
    [
        (["good"], [("good", None)]),
        (["unsized"], [("unsized", None)]),
        (["gone", "good"], [("gone", None), ("good", None)]),
        (["corrupt", "good"], [("corrupt", None), ("good", None)]),
        (["long", "good"], [("long", None), ("good", None)]),
        (["endless", "good"], [("endless", None), ("good", None)]),
        (
            ["broken", "good"],
            [("broken", None), ("broken", HALF), ("good", HALF)],
        ),
        (
            ["breaking"],
            [("breaking", None), ("breaking", HALF), ("breaking", 2 * HALF)],
        ),
        # Goes on from another mirror's part, whose fault it is: once more from 0.
        (
            ["page", "good"],
            [("page", None), ("page", 19), ("good", 19), ("good", None)],
        ),
        (
            ["broken", "shifted", "good"],
            [("broken", None), ("broken", HALF), ("shifted", HALF), ("good", HALF)],
        ),
        (["broken", "plain"], [("broken", None), ("broken", HALF), ("plain", HALF)]),
    ],
    ids=str,
)
def test_the_file_arrives_whole(official, server, tmp_path, kinds, asked):
    path = fetch(official(*kinds), tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["file.bin"]
    ranges = [(k, None if a is None else f"bytes={a}-") for k, a in asked]
    assert server.asked == ranges
    fetch(official(*kinds), path.parent)
    assert server.asked == ranges  # it is there


def test_a_dead_mirror_is_passed_over(official, dead, tmp_path):
    assert fetch(official(dead, "good"), tmp_path).read_bytes() == CONTENT


def test_a_silent_mirror_is_given_up(official, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        path = fetch(official(address, "good"), tmp_path, timeout=0.3)
    assert path.read_bytes() == CONTENT


def test_a_part_is_completed_by_the_next_call(official, server, tmp_path):
    with pytest.raises(DownloadError, match=rf"\({HALF} bytes are kept\)"):
        fetch(official("broken"), tmp_path)
    assert names(tmp_path) == ["file.bin.part"]
    assert fetch(official("good"), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("good", f"bytes={HALF}-")
    assert names(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"x", OTHER])
def test_a_part_as_long_as_the_file_is_verified_first(official, server, tmp_path, part):
    (tmp_path / "file.bin.part").write_bytes(part)
    assert fetch(official("good"), tmp_path).read_bytes() == CONTENT
    assert server.asked == ([] if part == CONTENT else [("good", None)])


def test_a_mirror_that_does_not_end_is_cut_off(official, tmp_path):
    with pytest.raises(
        DownloadError, match=r"file\.bin: it has more than 300000 bytes"
    ):
        fetch(official("endless"), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["corrupt", "breaking-corrupt"])
def test_a_wrong_hash_leaves_nothing(official, dead, tmp_path, kind):
    with pytest.raises(DownloadError) as error:
        fetch(official(kind, dead), tmp_path)
    message = str(error.value)
    assert names(tmp_path) == []
    assert "\n" not in message
    for part in (
        "no mirror gave file.bin, 300000 bytes with the SHA-256 ",
        hashlib.sha256(CONTENT).hexdigest(),
        f"{kind}/file.bin: its SHA-256 is {hashlib.sha256(OTHER).hexdigest()}",
        f"{dead}file.bin: ",
    ):
        assert part in message


def test_a_folder_that_cannot_be_made_is_named(official, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=f"{tmp_path}/file"):
        fetch(official("good"), tmp_path / "file" / "folder")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("LAZY_ZOO_DATA", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("LAZY_ZOO_DATA")
    assert cache_folder().parts[-2:] == (".cache", "lazy-regime-zoo")


@pytest.fixture
def small(monkeypatch, official, tmp_path):
    """`small(kind)`: MNIST as one file, in no form, that a mirror has."""
    monkeypatch.setenv("LAZY_ZOO_DATA", str(tmp_path / "cache"))

    def make(kind):
        form = images.Form(("file.bin",), lambda paths: two_images(paths[0]))
        return images.Source("small", (form,), downloads=(official(kind),))

    return make


def two_images(path):
    assert path.read_bytes() == CONTENT
    pixels = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    return (images.Examples(pixels, np.array([0, 1])),) * 2


def test_a_dataset_is_downloaded_once(small, server, tmp_path, capsys):
    for _ in range(2):
        assert images.load_images(small("good"), 2, 2).x_train.shape == (2, 4)
        assert len(server.asked) == 1
    assert names(tmp_path / "cache" / "small") == ["file.bin"]
    said = capsys.readouterr().err
    assert said.startswith("downloading http://") and said.count("\n") == 1


def test_a_data_dir_downloads_nothing(small, server, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"small: no file\.bin in .*SHA-256"):
        images.load_images(small("good"), 2, 2, data_dir=tmp_path)
    assert server.asked == []


def test_what_cannot_be_downloaded_is_one_line_with_the_way_out(
    small, tmp_path, capsys
):
    with pytest.raises(FileNotFoundError) as error:
        images.load_images(small("gone"), 2, 2)
    message = str(error.value)
    assert "\n" not in message
    assert capsys.readouterr() == ("", "")
    assert names(tmp_path) == []
    digest = hashlib.sha256(CONTENT).hexdigest()
    for part in ("small: no mirror gave file.bin", digest, "404", "data_dir", "cache"):
        assert part in message


def test_fashion_mnist_names_debians_package(monkeypatch, dead, tmp_path):
    monkeypatch.setenv("LAZY_ZOO_DATA", str(tmp_path))
    nowhere = [
        Official(f.name, f.size, f.sha256, (dead,))
        for f in images.FASHION_MNIST.downloads
    ]
    source = dataclasses.replace(
        images.FASHION_MNIST, downloads=tuple(nowhere), directory=tmp_path / "none"
    )
    with pytest.raises(FileNotFoundError) as error:
        images.load_images(source, 2, 2)
    for part in (
        "train-images-idx3-ubyte.gz",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "install Debian's dataset-fashion-mnist",
    ):
        assert part in str(error.value)

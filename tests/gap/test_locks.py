"""One process at a time, whatever clocks say, and none for ever."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from zoo.gap import locks

BEAT, STALE = 0.05, 0.5
# Processes that load this one file are there in no time.
ALONE = f"""
import os, runpy, sys, time
from pathlib import Path
from types import SimpleNamespace
locks = SimpleNamespace(**runpy.run_path({locks.__file__!r}))
"""
HOLDER = f"""{ALONE}
with locks.held(Path(sys.argv[1]), {{}}, beat=0.05) as still:
    print(still is not None, flush=True)
    time.sleep(600)
"""


def held(folder, seen=None, **options):
    return locks.held(folder, {} if seen is None else seen, **options)


def taken(folder, seen):
    """Whether a process that has seen so much can take the folder now."""
    with held(folder, seen, beat=BEAT, stale=STALE) as still:
        return still is not None


@pytest.fixture
def killed(tmp_path):
    """A folder whose holder was killed."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        assert not taken(tmp_path, {})
        holder.kill()
    return tmp_path


def elsewhere(folder):
    """As if what holds the folder ran on another machine."""
    (path,) = folder.glob(f"{locks.PREFIX}*")
    path.write_text(path.read_text().replace(locks.kernel(), "another"))
    return path


def test_one_holder_at_a_time(tmp_path):
    with held(tmp_path) as first:
        assert first()
        with held(tmp_path) as second:
            assert second is None
        assert first()
    with held(tmp_path) as third:
        assert third()
        assert not first()
    locks.forget(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_killed_process_of_this_machine_is_followed_at_once(killed):
    assert taken(killed, {})


def test_a_killed_process_of_another_machine_is_followed_when_stale(killed):
    elsewhere(killed)
    seen, start = {}, time.monotonic()
    while not taken(killed, seen):
        assert time.monotonic() - start < 20 * STALE
        time.sleep(0.02)
    assert time.monotonic() - start >= STALE


@pytest.mark.parametrize("hours", [-24, 24])
def test_clocks_of_other_hosts_do_not_matter(killed, hours):
    """The times of files are a day off; only whether the counter goes on counts."""
    away = time.time() + 3600 * hours
    path = elsewhere(killed)
    seen = {}
    for count in range(15):  # for longer than STALE
        with path.open("a") as file:
            file.write(f"{count}\n")
        os.utime(path, (away, away))
        assert not taken(killed, seen)
        time.sleep(STALE / 10)
    time.sleep(1.2 * STALE)
    assert taken(killed, seen)


def test_a_living_process_keeps_its_folder(tmp_path):
    seen = {}
    with held(tmp_path, beat=BEAT) as still:
        elsewhere(tmp_path)  # so that the flock says nothing
        end = time.monotonic() + 3 * STALE
        while time.monotonic() < end:
            assert not taken(tmp_path, seen)
            time.sleep(0.02)
        assert still()


def test_a_process_that_stood_still_learns_that_it_lost_its_place(tmp_path):
    seen = {}
    with held(tmp_path, beat=1000.0) as still:
        assert not taken(tmp_path, seen)
        time.sleep(1.2 * STALE)
        with held(tmp_path, seen, beat=BEAT, stale=STALE) as other:
            assert other()
            assert not still()
    assert taken(tmp_path, {})


def test_without_flock_what_is_given_back_is_free_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    for _ in range(2):
        with held(tmp_path) as still:
            assert still()
            assert not taken(tmp_path, {})
        assert taken(tmp_path, {})


def test_a_file_without_a_word_is_not_free(tmp_path):
    """Between its creation and its first line a process is not yet recognizable."""
    (tmp_path / f"{locks.PREFIX}0").touch()
    assert not taken(tmp_path, {})


def test_of_many_that_follow_one_process_one_succeeds(killed):
    """They all have seen it stand still, and take over at the same instant."""
    elsewhere(killed)
    seen = [{} for _ in range(16)]
    assert not any(taken(killed, each) for each in seen)
    time.sleep(1.2 * STALE)

    def follow(own):
        with held(killed, own, beat=BEAT, stale=STALE) as still:
            time.sleep(1.0)
            return still is not None

    with ThreadPoolExecutor(len(seen)) as pool:
        assert sum(pool.map(follow, seen)) == 1


HAMMER = f"""{ALONE}
folder, inside = Path(sys.argv[1]), Path(sys.argv[1], "inside")
times, seen = 0, {{}}
end = time.monotonic() + 2
while time.monotonic() < end:
    with locks.held(folder, seen) as still:
        if still is not None:
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            time.sleep(0.001)
            inside.unlink()
            times += 1
print(times)
"""


def test_processes_exclude_each_other_at_any_instant(tmp_path):
    command = [sys.executable, "-c", HAMMER, str(tmp_path)]
    crowd = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [process.communicate()[0] for process in crowd]
    assert [process.returncode for process in crowd] == [0, 0, 0]
    assert sum(map(int, said)) > 50

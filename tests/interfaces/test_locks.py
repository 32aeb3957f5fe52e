"""Locks: kept among the living, taken from the dead, on this host and from another."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mripipe.errors import RequestError
from mripipe.interfaces import locks
from mripipe.interfaces.locks import locked


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "sub-1.lock"


@pytest.fixture
def impatient(monkeypatch):
    """Tenths of a second instead of minutes."""
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(locks, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.01)


def held_by(lock, **changes):
    """Leave a lock behind as another process would have."""
    holder = replace(locks._myself(), **changes)
    lock.write_text(json.dumps(asdict(holder)))
    return holder


def elsewhere(lock):
    return held_by(lock, host="node7", place="another boot", process=1)


def test_a_second_run_is_refused_and_told_who_is_there(lock):
    again = locked([lock], wait_seconds=0.0)
    with (
        locked([lock]),
        pytest.raises(RequestError, match=rf"sub-1\.lock: .*process {os.getpid()} on "),
        again,
    ):
        pass
    with locked([lock]):
        pass
    assert list(lock.parent.iterdir()) == []


def test_runs_of_different_participants_do_not_meet(tmp_path):
    with (
        locked([tmp_path / "sub-1.lock"], wait_seconds=0.0),
        locked([tmp_path / "sub-2.lock"], wait_seconds=0.0),
    ):
        assert len(list(tmp_path.iterdir())) == 2


def test_of_several_locks_all_or_none_are_taken(tmp_path):
    one, two = tmp_path / "1.lock", tmp_path / "2.lock"
    both = locked([two, one], wait_seconds=0.0)
    with locked([two]), pytest.raises(RequestError), both:
        pass
    assert not one.exists()


def test_the_lock_of_a_killed_process_does_not_last(lock):
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from mripipe.interfaces.locks import locked
        with locked([Path({str(lock)!r})]):
            print("held", flush=True)
            time.sleep(600)
        """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        again = locked([lock], wait_seconds=0.2)
        with pytest.raises(RequestError, match="another run"), again:
            pass
        process.send_signal(signal.SIGKILL)
        # It is not waited for: a zombie holds nothing.
        with locked([lock], wait_seconds=5.0):
            assert lock.exists()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "changes", [{"started": "1"}, {"process": 2**22 - 1}], ids=["number used again", "no such process"]
)
def test_a_process_number_alone_keeps_nobody_out(lock, changes):
    held_by(lock, **changes)
    with locked([lock], wait_seconds=0.0):
        pass


@pytest.mark.usefixtures("impatient")
def test_a_holder_on_another_host_that_shows_nothing_is_gone(lock, capsys):
    elsewhere(lock)
    # A date far in the future is as good as any: it is only compared with itself.
    os.utime(lock, (2**33, 2**33))
    start = time.monotonic()
    with locked([lock], wait_seconds=0.0):
        assert time.monotonic() - start >= locks.SILENCE_SECONDS
    assert "process 1 on node7, which has not shown yet that it lives" in capsys.readouterr().err


@pytest.mark.usefixtures("impatient")
def test_a_holder_on_another_host_that_moves_its_date_is_alive_whatever_the_date(lock):
    holder = elsewhere(lock)
    stop = threading.Event()

    def beat():
        date = 10**9
        while not stop.wait(0.05):
            date -= 7
            os.utime(lock, (date, date))

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        again = locked([lock], wait_seconds=0.0)
        with pytest.raises(RequestError, match="process 1 on node7"), again:
            pass
    finally:
        stop.set()
        beating.join()
    assert json.loads(lock.read_text())["token"] == holder.token


@pytest.mark.usefixtures("impatient")
def test_a_holder_shows_that_it_lives(lock):
    with locked([lock]):
        before = lock.stat().st_mtime_ns
        deadline = time.monotonic() + 10
        while lock.stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.usefixtures("impatient")
def test_what_is_no_lock_is_removed_in_the_end(lock):
    lock.write_text("not a lock")
    with locked([lock], wait_seconds=0.0):
        assert json.loads(lock.read_text())["process"] == os.getpid()


def test_of_many_who_find_a_dead_holder_one_at_a_time_gets_in(lock):
    held_by(lock, started="1")
    inside, most, taken = [], [], []

    def take(number):
        with locked([lock], wait_seconds=30.0):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)
            taken.append(number)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(8))
    assert max(most) == 1


def test_a_lock_that_was_taken_over_is_not_removed_by_its_former_holder(lock):
    with locked([lock]):
        other = elsewhere(lock)
    assert json.loads(lock.read_text())["token"] == other.token


def test_a_burial_that_broke_off_does_not_last(lock):
    dead = held_by(lock, started="1")
    held_by(lock.with_name(f".sub-1.lock.gone.{dead.token}"), started="2")
    with locked([lock], wait_seconds=0.5):
        pass


def test_where_there_are_no_links(lock, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    again = locked([lock], wait_seconds=0.0)
    with locked([lock]), pytest.raises(RequestError, match="another run"), again:
        pass
    assert not lock.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot lock"), locked([Path(tmp_path / "file" / "x.lock")]):
        pass

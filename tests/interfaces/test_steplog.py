"""Lines of the log: whole, and without places."""

from __future__ import annotations

import json

import pytest

from mripipe.interfaces.steplog import USAGE_NAME, append_line, log_step
from mripipe.interfaces.usage import measured

WHO = ("sub-1", "ses-a")


def lines(logs):
    return [json.loads(line) for line in (logs / "sub-1_steps.jsonl").read_text().splitlines()]


def test_a_step_is_logged_with_what_it_used(tmp_path):
    (tmp_path / USAGE_NAME).write_text('{"seconds": 2.5, "peak_mb": 100.0}')
    log_step(tmp_path / "logs", WHO, "prepare", tmp_path, outcome="done")
    log_step(tmp_path / "logs", WHO, "prepare", tmp_path, outcome="unchanged")
    first, second = lines(tmp_path / "logs")
    assert (first["participant_id"], first["session_id"], first["step"]) == (*WHO, "prepare")
    assert (first["seconds"], first["peak_mb"]) == (2.5, 100.0)
    assert "seconds" not in second


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("/home/jane/x.nii: broken", "x.nii: broken"),
        (
            "cannot read /data/clinic_7/sub-1/t1.nii (gone); see logs/crash.txt",
            "cannot read t1.nii (gone); see",
        ),
        ("4 mm/s and 1/2 are no paths", "4 mm/s and 1/2 are no paths"),
    ],
)
def test_a_message_tells_no_place(tmp_path, message, kept):
    log_step(tmp_path, WHO, "prepare", tmp_path, outcome="failed", message=message)
    assert kept in lines(tmp_path)[0]["message"]
    assert not {"jane", "clinic_7"} & set(lines(tmp_path)[0]["message"].replace("/", " ").split())


def test_what_a_full_disk_left_of_a_line_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n{"b": ')
    append_line(path, {"c": 3})
    assert path.read_text() == '{"a": 1}\n{"b": \n{"c": 3}\n'


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "logs").write_text("a file where a folder should be")
    log_step(tmp_path / "logs", WHO, "prepare", tmp_path, outcome="done")
    assert (tmp_path / "logs").is_file()


def test_the_largest_memory_is_that_of_the_work_alone():
    with measured() as large:
        eaten = bytearray(200_000_000)
        eaten[::4096] = b"x" * len(eaten[::4096])
        del eaten
    with measured() as small:
        pass
    assert large["peak_mb"] > small["peak_mb"] + 100
    assert large["seconds"] >= 0

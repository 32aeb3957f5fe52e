"""A file is written whole or not at all."""

import os

import pytest

from mripipe.bids.files import write_atomic
from mripipe.errors import ProcessingError


def test_text_is_utf8_with_line_feeds_and_folders_are_made(tmp_path):
    path = write_atomic(tmp_path / "a" / "b" / "x.tsv", "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
    assert os.listdir(path.parent) == ["x.tsv"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = write_atomic(tmp_path / "x", b"old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProcessingError, match=r"cannot write .*x: No space left on device; check"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_file_where_a_folder_must_be_is_one_line(tmp_path):
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(ProcessingError, match=r"cannot write .*report\.html"):
        write_atomic(tmp_path / "out" / "report.html", "x")

"""Files of folders and archives: what cannot be opened is told, and stops nothing else."""

from __future__ import annotations

import struct
import zipfile

import pytest

from mripipe.steps.ingest_files import find_files

FLAGS, METHOD = 6, 8
"""Offsets in a member's local header; the central directory has both two bytes further on."""


def change_member(path, offset, value):
    """Overwrite a field of a zip's only member in both of its headers."""
    raw = bytearray(path.read_bytes())
    for start, shift in ((raw.index(b"PK\x03\x04"), 0), (raw.index(b"PK\x01\x02"), 2)):
        struct.pack_into("<H", raw, start + shift + offset, value)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("offset", "value"), [(FLAGS, 1), (METHOD, 99), (None, None)], ids=["encrypted", "unknown packing", "cut"]
)
def test_an_archive_that_cannot_be_opened_is_told_and_the_others_are_taken(tmp_path, offset, value):
    source, unpacked = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    unpacked.mkdir()
    for name in ("bad.zip", "good.zip"):
        with zipfile.ZipFile(source / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.dcm", bytes(range(256)) * 40)
    if offset is None:
        (source / "bad.zip").write_bytes((source / "bad.zip").read_bytes()[:60])
    else:
        change_member(source / "bad.zip", offset, value)
    files, (finding,) = find_files(source, unpacked, limit_bytes=10**6)
    assert [file.name for file in files] == ["good.zip/a.dcm"]
    assert files[0].path.read_bytes() == bytes(range(256)) * 40
    assert (finding.level, finding.code, finding.where) == ("error", "bad_file", "bad.zip")
    assert "damaged or encrypted" in finding.message
    assert len(list(unpacked.iterdir())) == 1

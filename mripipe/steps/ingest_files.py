"""Find the files of the input: folders, zip and tar archives, gzip files.

What is unpacked gets a number for a name, so that no name in an archive can lead anywhere.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, cast

from mripipe.model.dicom import Finding, SourceFile

CHUNK_BYTES: Final = 1 << 20
MAX_FILE_BYTES: Final = 8 << 30
"""No DICOM file is larger; a larger member of an archive is not unpacked."""
MAX_MEMBERS: Final = 2_000_000
_ARCHIVES: Final = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
# RuntimeError is what zipfile raises for a member that is encrypted or packed in a way unknown to it.
_BROKEN: Final = (
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    tarfile.TarError,
    zipfile.BadZipFile,
    RuntimeError,
)


class _TooMuchError(Exception):
    """More bytes than allowed."""


@dataclass
class Unpacker:
    """Gives unpacked files numbers for names, so that no name of an archive reaches the disk."""

    folder: Path
    limit_bytes: int
    """All that may be unpacked."""
    findings: list[Finding] = field(default_factory=list)
    files: list[SourceFile] = field(default_factory=list)
    _used: int = 0

    def say(self, level: str, code: str, message: str, where: str) -> None:
        """Record a finding."""
        self.findings.append(Finding(level, code, message, where=where))  # type: ignore[arg-type]

    def unpack(self, stream: BinaryIO, name: str) -> None:
        """Copy a stream to the next number; it counts towards the limit."""
        target = self.folder / f"{len(self.files):07d}"
        limit = min(MAX_FILE_BYTES, self.limit_bytes - self._used)
        written = 0
        try:
            with target.open("wb") as out:
                while piece := stream.read(CHUNK_BYTES):
                    written += len(piece)
                    if written > limit:
                        raise _TooMuchError
                    out.write(piece)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        self._used += written
        self.files.append(SourceFile(target, name))


def find_files(
    source: Path, unpacked: Path, *, limit_bytes: int, skip: frozenset[Path] = frozenset()
) -> tuple[tuple[SourceFile, ...], tuple[Finding, ...]]:
    """List the files of a folder or archive, those of archives and gzip files unpacked.

    Archives inside archives are not opened. Links of an archive, devices, and names that lead out of it
    (absolute or with ``..``) are left out with an error.

    Parameters
    ----------
    source : Path
        Folder, archive or single file.
    unpacked : Path
        Folder for what is unpacked, with room for it.
    limit_bytes : int
        Most that is unpacked altogether; what does not fit is an error.
    skip : frozenset of Path
        Files that are not input, such as the mapping table.

    Returns
    -------
    tuple
        Files sorted by name, and what was found wrong.

    """
    unpacker = Unpacker(unpacked, limit_bytes)
    for path, name in _walk(source):
        if path.resolve() in skip:
            continue
        try:
            _take(path, name, unpacker)
        except _TooMuchError:
            text = "holds more than may be unpacked; raise --max-unpacked-gb if that is right"
            unpacker.say("error", "too_large", text, name)
        except _BROKEN:
            unpacker.say("error", "bad_file", "a damaged or encrypted archive; copy it again", name)
        except OSError as error:
            text = f"cannot be read or unpacked: {error.strerror or 'input/output error'}"
            unpacker.say("error", "bad_file", text, name)
    return tuple(sorted(unpacker.files, key=lambda file: file.name)), tuple(unpacker.findings)


def _walk(source: Path) -> Iterator[tuple[Path, str]]:
    """Yield files with their names; hidden files and links to folders are passed over."""
    if not source.is_dir():
        yield source, source.name
        return
    for folder, below, names in os.walk(source):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            if not name.startswith("."):
                yield path, path.relative_to(source).as_posix()


def _take(path: Path, name: str, unpacker: Unpacker) -> None:
    """Take one file of the input, or what is in it."""
    if not path.is_file():
        unpacker.say("error", "bad_file", "not a file, or a link to nothing", name)
    elif path.name.lower().endswith(_ARCHIVES) or (path.suffix == "" and _is_archive(path)):
        _take_archive(path, name, unpacker)
    elif path.name.lower().endswith(".gz"):
        with gzip.open(path) as stream:
            unpacker.unpack(cast(BinaryIO, stream), name)
    else:
        unpacker.files.append(SourceFile(path, name))


def _is_archive(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _take_archive(path: Path, name: str, unpacker: Unpacker) -> None:
    opened = _zip_members if zipfile.is_zipfile(path) else _tar_members
    for taken, (member, stream) in enumerate(opened(path)):
        where = f"{name}/{member}"
        if taken >= MAX_MEMBERS:
            raise _TooMuchError
        if stream is None:
            unpacker.say("error", "unsafe_member", "a link or device in an archive is left out", where)
        elif _leads_out(member):
            text = "its name leads out of the archive; left out, make the archive again"
            unpacker.say("error", "unsafe_member", text, where)
        elif member.lower().endswith(_ARCHIVES):
            unpacker.say(
                "error", "nested_archive", "an archive in an archive is not opened; unpack it", where
            )
        elif member.lower().endswith(".gz"):
            with gzip.open(stream) as plain:
                unpacker.unpack(cast(BinaryIO, plain), where)
        else:
            unpacker.unpack(stream, where)


def _leads_out(member: str) -> bool:
    path = PurePosixPath(member.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in path.parts[0]


def _zip_members(path: Path) -> Iterator[tuple[str, BinaryIO | None]]:
    """Yield names and streams; None for a link."""
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if info.is_dir() or _is_hidden(info.filename):
                continue
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                yield info.filename, None
                continue
            with archive.open(info) as stream:
                yield info.filename, cast(BinaryIO, stream)


def _tar_members(path: Path) -> Iterator[tuple[str, BinaryIO | None]]:
    """Yield names and streams in the archive's order; None for a link or device."""
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isdir() or _is_hidden(info.name):
                continue
            stream = archive.extractfile(info) if info.isreg() else None
            yield info.name, cast("BinaryIO | None", stream)


def _is_hidden(member: str) -> bool:
    """Say whether a member is a file that systems add, such as ``__MACOSX/._x``."""
    parts = PurePosixPath(member).parts
    return bool(parts) and (parts[-1].startswith("._") or parts[-1] == ".DS_Store" or parts[0] == "__MACOSX")


@contextmanager
def private_folder(folder: Path) -> Iterator[Path]:
    """Make a folder that only its owner can read, and remove it with all that is in it at the end."""
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

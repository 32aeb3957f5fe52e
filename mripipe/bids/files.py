"""Write a file whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mripipe.errors import ProcessingError


def write_atomic(path: Path, payload: bytes | str) -> Path:
    """Write a file under a temporary name in its folder, then rename it, so that no reader sees half a file.

    Parameters
    ----------
    path : Path
        Folders that are missing are made.
    payload : bytes or str
        Text is written as UTF-8 with line feeds.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ProcessingError
        If the file cannot be written (no permission, disk full); nothing is left behind and a file that was
        there before is unchanged.

    """
    raw = payload.encode("utf-8") if isinstance(payload, str) else payload
    # The process number keeps two processes that write the same file from sharing a temporary one.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ProcessingError(
            f"cannot write {path}: {reason}; check the folder's permissions and free space"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return path

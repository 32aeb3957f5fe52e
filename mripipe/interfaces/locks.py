"""Keep two runs out of one place, on any file system and from any host; a lock of the dead does not last.

A lock is a file that is linked into place whole, which network file systems do in one go. It names its
holder. Whether a holder on the same host still lives is asked of the system; one on another host moves the
date of its lock every few seconds. Dates are never compared with a clock, only with what they were when last
looked at, so that clocks which disagree do no harm.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mripipe.errors import RequestError

LOCK_WAIT_SECONDS = 5.0
"""Long enough for the workers of a killed run to notice and end."""
BEAT_SECONDS = 10.0
"""How often a holder shows that it lives."""
SILENCE_SECONDS = 90.0
"""A holder on another host that shows nothing for so long is gone: nine beats, and more than the minute for
which network file systems may show an old date."""
POLL_SECONDS = 0.1

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What a file system without hard links answers."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock."""

    token: str
    """Its own for every lock that is taken."""
    host: str
    place: str
    """Of the processes among which `process` is a number: changes with a boot and with a container."""
    process: int
    started: str
    """When the process started, in the system's own count; tells it from a later one of the same number."""
    job: str = ""
    """Number of the cluster's job, if it is one."""

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"process {self.process} on {self.host}{job}"


@contextlib.contextmanager
def locked(files: Iterable[Path], *, wait_seconds: float | None = None) -> Iterator[None]:
    """Hold some locks, each a file whose folder is made if need be.

    Parameters
    ----------
    files : iterable of Path
        Taken in the order of their names, so that two runs do not wait for each other.
    wait_seconds : float, optional
        How long to wait for a holder that is alive; `LOCK_WAIT_SECONDS` where not given.

    Raises
    ------
    RequestError
        Another run holds one of them, or it cannot be written.

    """
    held: list[tuple[Path, str]] = []
    stop = threading.Event()
    try:
        for path in sorted(set(files)):
            held.append((path, _take(path, LOCK_WAIT_SECONDS if wait_seconds is None else wait_seconds)))
        beating = threading.Thread(target=_beat, args=([path for path, _ in held], stop), daemon=True)
        beating.start()
        yield
    finally:
        stop.set()
        for path, token in held:
            _release(path, token)


def _take(path: Path, wait_seconds: float) -> str:
    """Take one lock; return its token."""
    me = _myself()
    own = path.with_name(f".{path.name}.{me.token}")
    patience = time.monotonic() + wait_seconds
    watch, silent = _Watch(path), False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(json.dumps(asdict(me)), encoding="utf-8")
        while not _link(own, path):
            if watch.is_dead():
                _bury(path, watch.holder, own)
            elif time.monotonic() > patience and watch.is_alive():
                who = watch.holder or "a process that cannot be told"
                raise RequestError(f"{path}: another run is at work here ({who}); wait for it or end it")
            else:
                silent = silent or _tell_of_silence(path, watch, patience)
                time.sleep(POLL_SECONDS)
    except OSError as error:
        raise RequestError(
            f"{path}: cannot lock ({error.strerror}); check the folder's permissions and free space"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            own.unlink()
    return me.token


def _tell_of_silence(path: Path, watch: _Watch, patience: float) -> bool:
    """Say once why nothing happens; return whether it was said."""
    if time.monotonic() <= patience:
        return False
    print(
        f"{path}: held by {watch.holder or 'a process that cannot be told'}, which has not shown yet that it"
        f" lives; waiting up to {SILENCE_SECONDS:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return True


def _link(own: Path, path: Path) -> bool:
    """Put the lock in place whole; False where there is one."""
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _create(path, own.read_bytes())
    return True


def _create(path: Path, content: bytes) -> bool:
    """Put the lock in place where there are no links: for a moment it is empty."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    return True


class _Watch:
    """What can be told of a lock's holder by looking at it again and again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.holder: Holder | None = None
        self._seen: tuple[Holder | None, int] | None = None
        self._since = time.monotonic()
        self._moved = False

    def is_dead(self) -> bool:
        """Look again; whether the holder is known to be gone."""
        try:
            # Opening a file makes a network file system ask for its date anew.
            with self._path.open("rb") as stream:
                seen = (_read(stream.read()), os.fstat(stream.fileno()).st_mtime_ns)
        except FileNotFoundError:
            self._seen = None
            return False
        self.holder = seen[0]
        if self._seen != seen:
            self._moved = self._seen is not None and self._seen[0] == seen[0]
            self._seen, self._since = seen, time.monotonic()
        if self._is_near():
            return not _is_running(self.holder)
        return time.monotonic() - self._since > SILENCE_SECONDS

    def is_alive(self) -> bool:
        """Whether the holder has shown that it lives; one far away may not have yet."""
        return self._is_near() or self._moved

    def _is_near(self) -> bool:
        return self.holder is not None and self.holder.place == _place()


def _bury(path: Path, holder: Holder | None, own: Path) -> None:
    """Remove the lock of a holder that is gone: one alone may, and only if it is still that holder's."""
    permit = path.with_name(f".{path.name}.gone.{holder.token if holder else 'unknown'}")
    if not _link(own, permit):
        if _Watch(permit).is_dead():
            permit.unlink(missing_ok=True)
        return
    try:
        if _read(path.read_bytes()) == holder:
            path.unlink()
    except FileNotFoundError:
        pass
    finally:
        permit.unlink(missing_ok=True)


def _release(path: Path, token: str) -> None:
    with contextlib.suppress(OSError):
        holder = _read(path.read_bytes())
        if holder is not None and holder.token == token:
            path.unlink()


def _beat(paths: list[Path], stop: threading.Event) -> None:
    """Move the dates until told to stop; needs no room on the disk."""
    while not stop.wait(BEAT_SECONDS):
        for path in paths:
            with contextlib.suppress(OSError):
                os.utime(path)


def _read(content: bytes) -> Holder | None:
    try:
        return Holder(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _myself() -> Holder:
    job = os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or os.environ.get("JOB_ID") or ""
    process = os.getpid()
    token = secrets.token_hex(8)
    return Holder(token, socket.gethostname(), _place(), process, _start_of(process) or "", job)


def _place() -> str:
    """Name this boot of this machine, and the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _is_running(holder: Holder | None) -> bool:
    if holder is None:
        return False
    started = _start_of(holder.process)
    if started is not None:
        return started == holder.started
    try:
        os.kill(holder.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # There, and hidden from us; or ended and not yet buried by its parent.
    return not Path("/proc/self/stat").exists() or not Path(f"/proc/{holder.process}").exists()


def _start_of(process: int) -> str | None:
    """Return when a process started; None where it has ended or cannot be seen."""
    try:
        # The name, in brackets, may hold anything.
        fields = Path(f"/proc/{process}/stat").read_text(encoding="latin1").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]

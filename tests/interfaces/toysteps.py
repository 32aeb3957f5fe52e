"""Steps of the real ones' shape that take no time; importable by a worker through its path alone."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from mripipe.errors import InputError
from mripipe.model.failure import Failure
from mripipe.model.study import Session


@dataclass(frozen=True)
class ToySettings:
    gain: int = 1


@dataclass(frozen=True)
class Prepared:
    session: Session
    image: Path
    total: float


@dataclass(frozen=True)
class Segmented:
    prepared: Prepared
    mask: Path


@dataclass(frozen=True)
class Aligned:
    template: Path
    sessions: tuple[str, ...]


def note(folder: Path) -> None:
    """Leave a mark outside the cache for each call."""
    with open(os.environ["TOY_CALLS"], "a") as stream:
        stream.write(f"{folder.name}\n")


def prepare(session: Session, *, mask: Path | None = None, folder: Path) -> Prepared:
    note(folder)
    if mask is not None and mask.read_text() == "unfit":
        raise InputError(f"{mask.name}: unfit")
    text = session.scans[0].path.read_text()
    if "bad" in text:
        raise InputError(f"{session.scans[0].path.name}: not an image")
    if "full" in text:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "image.txt"))
    if "lost" in text:
        shutil.rmtree(folder)
    if "hungry" in text:
        raise MemoryError
    if "odd" in text:
        raise KeyError("odd")
    if "killed" in text:
        os.kill(os.getpid(), signal.SIGKILL)
    while "wait" in text and not Path(os.environ["TOY_CALLS"] + ".go").exists():
        time.sleep(0.05)
    if "threads" in text:
        text = str(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads())
    image = folder / "image.txt"
    image.write_text(text.upper())
    return Prepared(session, image, float(len(text)))


def segment(prepared: Prepared, *, settings: ToySettings, folder: Path) -> Segmented:
    note(folder)
    mask = folder / "mask.txt"
    mask.write_text(f"{settings.gain} {prepared.image.read_text()[0]}")
    return Segmented(prepared, mask)


def align(visits: tuple[Segmented, ...], *, folder: Path) -> Aligned:
    note(folder)
    template = folder / "template.txt"
    template.write_text("|".join(visit.mask.read_text() for visit in visits))
    return Aligned(template, tuple(visit.prepared.session.session_id for visit in visits))


def measure(segmented: Segmented, aligned: Aligned, *, folder: Path) -> Aligned:
    note(folder)
    out = folder / "out.txt"
    out.write_text(aligned.template.read_text() + segmented.mask.read_text())
    return Aligned(out, aligned.sessions)


def finish(visits: tuple[Aligned | Failure, ...], *, folder: Path) -> Aligned:
    note(folder)
    out = folder / "out.txt"
    names = tuple(f"failed {v.session_id}" if isinstance(v, Failure) else v.sessions[0] for v in visits)
    out.write_text(" ".join(names))
    return Aligned(out, names)

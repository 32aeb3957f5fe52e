"""What is kept of every batch, in ``OUT_DIR/logs/batch/NNN``: its scripts, its jobs, what its tasks noted."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mripipe.bids.files import write_atomic
from mripipe.bids.names import OutputPaths
from mripipe.errors import InputError
from mripipe.model.batch import Array, Batch, Task
from mripipe.steps.batch_queue import Queue, phase_of, read_states

RECORD = "batch.json"
GROUP = "group"


def batch_folder(out_dir: Path, number: int) -> Path:
    """Return the folder of a batch."""
    return OutputPaths(out_dir).logs / "batch" / f"{number:03d}"


def write_batch(out_dir: Path, batch: Batch) -> Path:
    """Write down what was submitted; each array's participants also as lines for the scripts."""
    folder = batch_folder(out_dir, batch.number)
    for number, array in enumerate(batch.arrays, start=1):
        lines = "".join(f"{who}\n" for who in array.participants)
        write_atomic(folder / f"participants_{number}.txt", lines)
    return write_atomic(folder / RECORD, json.dumps(asdict(batch), indent=1) + "\n")


def read_batches(out_dir: Path) -> tuple[Batch, ...]:
    """Read every batch of an output folder, the first one first.

    Raises
    ------
    InputError
        A record is damaged.

    """
    batches = []
    for path in sorted((OutputPaths(out_dir).logs / "batch").glob(f"*/{RECORD}")):
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            arrays = tuple(Array(tuple(a["participants"]), a["job"]) for a in stored.pop("arrays"))
            batches.append(Batch(arrays=arrays, **stored))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path}: this record of a batch cannot be read ({error!r}); remove its folder once its jobs "
                "have ended"
            ) from error
    return tuple(batches)


def read_tasks(out_dir: Path, batch: Batch, queue: Queue | None) -> dict[str, Task]:
    """Say where each participant's task stands.

    Parameters
    ----------
    queue : Queue or None
        What the scheduler says; None where it cannot be asked.

    """
    folder = batch_folder(out_dir, batch.number)
    kept = _kept_states(folder)
    tasks = {}
    for array in batch.arrays:
        for index, who in enumerate(array.participants, start=1):
            tasks[who] = _task(folder / who, array.job, index, queue, kept)
    return tasks


def read_group(out_dir: Path, batch: Batch, queue: Queue | None) -> Task:
    """Say where a batch's group stage stands."""
    return _task(batch_folder(out_dir, batch.number) / GROUP, batch.group, None, queue, {})


def read_published(out_dir: Path, who: str) -> tuple[str, ...] | None:
    """Return why visits of a participant have no result; None where nothing whole was published.

    Of the stored results only what is asked for is read: there may be thousands.
    """
    try:
        stored = json.loads(OutputPaths(out_dir).results(who).read_text(encoding="utf-8"))
        whole = stored["report"] is not None
        errors = tuple(str(visit["error"]) for visit in stored["visits"] if visit["error"] is not None)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return errors if whole else None


def task_log(out_dir: Path, batch: Batch, who: str) -> Path:
    """Return the log of a participant's task."""
    for number, array in enumerate(batch.arrays, start=1):
        if who in array.participants:
            name = f"participants_{number}_{array.participants.index(who) + 1}.log"
    return batch_folder(out_dir, batch.number) / name


def last_line(log: Path) -> str:
    """Return the last line that is not empty of a log, or nothing."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 4096))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return "".join(c if c.isprintable() else " " for c in said[-1]) if said else ""


def _task(record: Path, job: str | None, index: int | None, queue: Queue | None, kept: Queue) -> Task:
    started = record.with_name(f"{record.name}.start").exists()
    status = _status(record.with_name(f"{record.name}.end"))
    if job is None:
        # Run on this machine, or never submitted: there is nobody to ask.
        return Task("ended", started=started, status=status)
    state, reason = _said(job, index, queue or {}) or _said(job, index, kept) or ("", "")
    if status is not None:
        return Task("ended", state, "", started, status)
    if queue is None and not state:
        return Task("unknown", started=started)
    phase = phase_of(state) if state else "ended"
    if phase == "unknown":
        phase = "running" if started else "waiting"
    return Task(phase, state, reason, started)


def _said(job: str, index: int | None, queue: Queue) -> tuple[str, str] | None:
    return queue.get((job, index)) or queue.get((job, None))


def _kept_states(folder: Path) -> Queue:
    """Return how tasks had ended when the group stage began."""
    try:
        found = read_states((folder / "states.txt").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in found.items() if phase_of(value[0]) == "ended"}


def _status(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None

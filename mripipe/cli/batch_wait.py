"""Follow tasks to their end: those in a scheduler's queue, or those run on this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mripipe.errors import ProcessingError
from mripipe.model.batch import Batch, Task
from mripipe.steps.batch_outcome import progress_line
from mripipe.steps.batch_queue import Queue, ask_queue, phase_of
from mripipe.steps.batch_record import batch_folder, read_group, read_tasks

BAR_WIDTH = 30


def jobs_of(batches: Sequence[Batch]) -> list[str]:
    """Return the scheduler's numbers of all jobs."""
    return [job for batch in batches for job in (*(array.job for array in batch.arrays), batch.group) if job]


def look(batches: Sequence[Batch], seen: Queue) -> Queue | None:
    """Ask the scheduler, which forgets; `seen` is what it said before. None where it gives no answer."""
    jobs = jobs_of(batches)
    if not jobs:
        return seen
    try:
        return {**seen, **ask_queue(batches[0].scheduler, jobs)}
    except ProcessingError:
        return None


def follow(out_dir: Path, batches: Sequence[Batch], *, poll_seconds: float) -> Queue:
    """Wait until every task and the last group stage have ended, with a line where something changed.

    Returns
    -------
    Queue
        How the scheduler says that the tasks ended.

    """
    seen: Queue = {}
    shown = ""
    while True:
        queue = look(batches, seen)
        tasks: dict[str, Task] = {}
        for batch in batches:
            tasks |= read_tasks(out_dir, batch, queue)
        group = read_group(out_dir, batches[-1], queue)
        every = [*tasks.values(), group]
        ended = sum(task.phase == "ended" for task in every)
        shown = _show(progress_line(tasks.values(), group), ended, len(every), shown)
        if ended == len(every):
            if sys.stderr.isatty():
                print(file=sys.stderr)
            return seen if queue is None else queue
        if queue is not None:
            seen = {key: value for key, value in queue.items() if phase_of(value[0]) == "ended"}
        time.sleep(poll_seconds)


def run_here(out_dir: Path, batch: Batch, *, limit: int) -> None:
    """Run a batch's tasks on this machine, some at a time, then its group stage."""
    folder = batch_folder(out_dir, batch.number)
    total = len(batch.participants)
    pool = ThreadPoolExecutor(limit)
    try:
        for number, array in enumerate(batch.arrays, start=1):
            script = folder / f"participants_{number}.sh"
            indices = range(1, len(array.participants) + 1)
            runs = [pool.submit(_run, script, i, folder / f"{script.stem}_{i}.log") for i in indices]
            for who, run in zip(array.participants, runs, strict=True):
                status = run.result()
                print(
                    f"{who}  {'done' if status == 0 else 'failed'}  of {total}", file=sys.stderr, flush=True
                )
        _run(folder / "group.sh", 1, folder / "group.log")
    finally:
        pool.shutdown(cancel_futures=True)


def _run(script: Path, index: int, log: Path) -> int:
    with log.open("wb") as stream:
        done = subprocess.run(
            ["bash", script, str(index)], stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    return done.returncode


def _show(line: str, ended: int, total: int, shown: str) -> str:
    """Show a line anew on a terminal, with a bar; elsewhere only one that differs from the last."""
    if sys.stderr.isatty():
        done = BAR_WIDTH * ended // max(total, 1)
        print(f"\r\x1b[K|{'#' * done}{'.' * (BAR_WIDTH - done)}| {line}", end="", file=sys.stderr, flush=True)
    elif line != shown:
        print(line, file=sys.stderr, flush=True)
    return line

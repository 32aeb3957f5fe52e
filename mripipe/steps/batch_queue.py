"""Hand scripts to a scheduler, and ask it what became of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mripipe.errors import ProcessingError, RequestError
from mripipe.model.batch import Phase
from mripipe.model.site import Scheduler
from mripipe.steps.batch_script import SQUEUE

ANSWER_SECONDS = 120.0
"""A busy controller takes its time; one that is down says so sooner."""

_WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_ENDED = {
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE",
    "OUT_OF_MEMORY", "REVOKED",
}  # fmt: skip
_ALIVE = "ALIVE"
"""What is known of a job of PBS or SGE that is still there."""

Queue = Mapping[tuple[str, int | None], tuple[str, str]]
"""State and reason of each task, by job and task number; the number is None for a job that is no array."""


def submit(scheduler: Scheduler, script: Path, *, after: Sequence[str] = ()) -> str:
    """Hand a script over; return the job's number.

    Parameters
    ----------
    script : Path
        Its directives ask for everything but what it has to wait for.
    after : sequence of str
        Jobs that must have ended, whatever became of them.

    Raises
    ------
    RequestError
        The scheduler is not there or refuses; with what it said.

    """
    if scheduler == "slurm":
        words = ["sbatch", "--parsable", *([f"--dependency=afterany:{':'.join(after)}"] if after else [])]
    elif scheduler == "pbs":
        words = ["qsub", *(["-W", f"depend=afterany:{':'.join(after)}"] if after else [])]
    else:
        words = ["qsub", "-terse", *(["-hold_jid", ",".join(after)] if after else [])]
    done = _asked([*words, str(script)])
    said = done.stdout.split()
    if done.returncode != 0 or not said:
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        raise RequestError(f"{words[0]} refused {script.name}: {reason}; nothing runs of it")
    # SLURM adds ";cluster", SGE an array's range.
    return said[-1].split(";")[0] if scheduler != "sge" else said[-1].split(".")[0]


def ask_queue(scheduler: Scheduler, jobs: Iterable[str]) -> Queue:
    """Ask what is known of some jobs; those that are not named in the answer have ended.

    Raises
    ------
    ProcessingError
        The scheduler gives no answer: nothing is known.

    """
    if scheduler == "slurm":
        done = _asked(SQUEUE)
        if done.returncode != 0:
            raise ProcessingError(f"squeue gives no answer ({' '.join(done.stderr.split())})")
        wanted = set(jobs)
        return {key: value for key, value in read_states(done.stdout).items() if key[0] in wanted}
    words = ["qstat"] if scheduler == "pbs" else ["qstat", "-j"]
    alive = [job for job in jobs if _asked([*words, job]).returncode == 0]
    return {(job, None): (_ALIVE, "") for job in alive}


def ask_accounting(jobs: Sequence[str]) -> Queue:
    """Ask SLURM's accounting, where a site keeps one, how tasks ended that the controller has forgotten."""
    if not jobs or shutil.which("sacct") is None:
        return {}
    words = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State"]
    done = _asked([*words, f"--jobs={','.join(jobs)}"])
    found: dict[tuple[str, int | None], tuple[str, str]] = {}
    for line in done.stdout.splitlines() if done.returncode == 0 else []:
        if match := re.fullmatch(r"(\d+)(?:_(\d+))?\|([A-Z_]+)\b.*", line):
            job, task, state = match.groups()
            found[job, int(task) if task else None] = (state, "")
    return found


def read_states(text: str) -> Queue:
    """Read what ``squeue`` wrote in the form that `SQUEUE` asks for."""
    found: dict[tuple[str, int | None], tuple[str, str]] = {}
    for line in text.splitlines():
        cells = line.split("|", 3)
        if len(cells) == 4:
            job, task, state, reason = cells
            found[job, int(task) if task.isdecimal() else None] = (state, reason)
    return found


def phase_of(state: str) -> Phase:
    """Sort a scheduler's word."""
    if state in _WAITING:
        return "waiting"
    if state == _ALIVE:
        return "unknown"
    return "ended" if state in _ENDED else "running"


def _asked(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, capture_output=True, text=True, timeout=ANSWER_SECONDS, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise RequestError(
            f"{words[0]} is not on this machine; log in where jobs are submitted, or give --scheduler local"
        ) from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"no answer within {ANSWER_SECONDS:g} s")

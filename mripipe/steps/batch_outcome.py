"""What became of each participant of a batch, in one line that says what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from mripipe.model.batch import Batch, Outcome, Task

_NO_REASON = ("", "None")


def outcome_of(
    who: str, task: Task | None, *, batch: Batch | None, done: bool, errors: Sequence[str], said: str
) -> Outcome:
    """Judge one participant: what its results say counts, not what the scheduler says.

    Parameters
    ----------
    who : str
        ``sub-...``.
    task, batch : Task and Batch, or None
        Its last task and the batch that this belonged to, if it was ever submitted.
    done : bool
        Whether every step has its result under the inputs, settings and program of now.
    errors : sequence of str
        What its published results say of visits without a result.
    said : str
        The last line of the task's log.

    """
    if task is not None and batch is not None and task.phase != "ended":
        return Outcome(who, task.phase, _delay(task))
    if done and not errors:
        return Outcome(who, "done")
    if task is None or batch is None:
        return Outcome(who, "failed", errors[0]) if errors else Outcome(who, "to do", "not submitted yet")
    if task.status is None:
        return Outcome(who, "killed", death_of(task, batch))
    if task.status == 1 and errors:
        more = f" (and {len(errors) - 1} more of its visits)" if len(errors) > 1 else ""
        return Outcome(who, "failed", f"{errors[0]}{more}")
    if task.status == 0:
        return Outcome(who, "to do", "its inputs, its settings or the program have changed since")
    return Outcome(who, "failed", said or f"the program ended with exit status {task.status}; see its log")


def death_of(task: Task, batch: Batch) -> str:
    """Say why a task ended without noting its exit status."""
    if not task.started:
        return f"ended before it started ({task.state})" if task.state else "ended before it started"
    known = {
        "TIMEOUT": f"ran out of its {batch.minutes} min; give more with --time",
        "OUT_OF_MEMORY": f"took more than its {batch.memory_mb} MB; give more with --mem-gb",
        "CANCELLED": "was cancelled while it ran",
        "NODE_FAIL": "its node failed",
        "PREEMPTED": "had to give way to another job",
    }
    if task.state in known:
        return f"{known[task.state]} ({task.state})"
    rest = f" ({task.state})" if task.state else "; its log may say why: time, memory, or somebody's hand"
    return f"was ended from outside{rest}"


def progress_line(tasks: Iterable[Task], group: Task) -> str:
    """Count where tasks stand, with the reason why some wait."""
    every = list(tasks)
    kinds = Counter(_kind(task) for task in every)
    order = ("done", "failed", "killed", "running", "waiting", "unknown")
    parts = [f"{kinds[kind]} {kind}" for kind in order if kinds[kind]]
    reasons = sorted({task.reason for task in every if task.phase == "waiting"} - set(_NO_REASON))
    why = f" ({', '.join(reasons)})" if reasons else ""
    return f"{', '.join(parts)} of {len(every)}{why}; group stage {_kind(group)}"


def _kind(task: Task) -> str:
    if task.phase != "ended":
        return task.phase
    return "killed" if task.status is None else "done" if task.status == 0 else "failed"


def _delay(task: Task) -> str:
    if task.phase == "unknown":
        return "the scheduler gives no answer"
    return "" if task.reason in _NO_REASON else task.reason

"""``mripipe batch``: a task a participant on a cluster, then the group stage; what is done is left alone."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mripipe.bids.reader import read_study
from mripipe.errors import ProcessingError, RequestError
from mripipe.model.batch import Batch, Outcome, Task
from mripipe.model.site import Site, find_site, read_site
from mripipe.steps.batch_outcome import death_of, outcome_of
from mripipe.steps.batch_queue import Queue, ask_accounting
from mripipe.steps.batch_record import (
    batch_folder,
    last_line,
    read_batches,
    read_group,
    read_published,
    read_tasks,
    task_log,
)

from .batch_submit import BatchOptions, make_batch, submit_batch
from .batch_wait import follow, jobs_of, look, run_here
from .commands import check_folders, note_run, settings_of
from .state import study_state

STATE_WIDTH = 8


@dataclass(frozen=True)
class _Standing:
    """Where a batch stands."""

    batch: Batch
    tasks: dict[str, Task]
    group: Task

    @property
    def active(self) -> bool:
        return any(task.phase != "ended" for task in (*self.tasks.values(), self.group))


def batch(given: Namespace) -> bool:
    """Submit what is not done, or say what became of it.

    Returns
    -------
    bool
        False where it was followed to its end, or asked about, and somebody or the group stage is missing.

    Raises
    ------
    RequestError
        The request is wrong, or the scheduler refuses it.
    ProcessingError
        The scheduler does not say what it still has of earlier batches.

    """
    check_folders(given.bids_dir, given.out_dir)
    chosen = _options(given)
    earlier = [_standing(chosen.out_dir, one, _asked(one)) for one in read_batches(chosen.out_dir)]
    if given.summary:
        return _conclude(chosen, {}, waited=False)
    active = [one for one in earlier if one.active]
    if any(task.phase == "unknown" for one in active for task in one.tasks.values()):
        raise ProcessingError(
            f"{active[0].batch.scheduler} does not say what it still has of earlier batches; nothing was "
            "submitted"
        )
    queued = {who for one in active for who, task in one.tasks.items() if task.phase != "ended"}
    todo = [who for who in _undone(chosen) if who not in queued]
    if given.dry_run:
        return _dry_run(chosen, todo, queued, len(earlier))
    if not todo and earlier and (earlier[-1].group.phase != "ended" or earlier[-1].group.status == 0):
        return _left_alone(chosen, active)
    return _hand_over(chosen, todo, active, len(earlier))


def _options(given: Namespace) -> BatchOptions:
    path = given.site or find_site(os.environ)
    site = read_site(path) if path is not None else Site()
    scheduler = given.scheduler or site.scheduler
    if scheduler is None:
        raise RequestError(
            "no scheduler: give --scheduler slurm, pbs, sge or local, or a site profile that names one"
        )
    study = read_study(given.bids_dir, derivatives=given.derivatives, participants=given.participant_label)
    return BatchOptions(given, study, given.out_dir.absolute(), site, scheduler, settings_of(given))


def _hand_over(
    chosen: BatchOptions, todo: Sequence[str], active: Sequence[_Standing], n_earlier: int
) -> bool:
    made, scripts = make_batch(chosen, todo, n_earlier + 1)
    given = chosen.given
    work_dir = (given.work_dir or chosen.out_dir / "work").absolute()
    note_run(chosen.out_dir, chosen.study.root, given.derivatives, work_dir, chosen.settings)
    made = submit_batch(chosen, made, scripts, after=[job for one in active for job in jobs_of([one.batch])])
    if chosen.scheduler == "local":
        run_here(chosen.out_dir, made, limit=chosen.limit or 1)
        return _conclude(chosen, {})
    jobs = ", ".join(array.job or "" for array in made.arrays)
    print(f"{len(todo)} participants submitted as job {jobs}, then the group stage as job {made.group}")
    if not given.wait:
        return True
    return _conclude(
        chosen, follow(chosen.out_dir, [*(a.batch for a in active), made], poll_seconds=given.poll)
    )


def _left_alone(chosen: BatchOptions, active: Sequence[_Standing]) -> bool:
    """Submit nothing, for all is done or in the queue."""
    if active and chosen.given.wait:
        batches = [one.batch for one in active]
        return _conclude(chosen, follow(chosen.out_dir, batches, poll_seconds=chosen.given.poll))
    print("nothing to submit", file=sys.stderr)
    return _conclude(chosen, {}, waited=not active)


def _dry_run(chosen: BatchOptions, todo: Sequence[str], queued: set[str], n_earlier: int) -> bool:
    made, scripts = make_batch(chosen, todo, n_earlier + 1)
    for name, text in scripts.items():
        print(f"# {name}\n{text}")
    print(
        f"{len(todo)} of {len(chosen.study.subjects)} participants to do, {len(queued)} in the queue; "
        f"{made.memory_mb} MB and {made.minutes} min each; nothing was submitted",
        file=sys.stderr,
    )
    return True


def _asked(batch: Batch) -> Queue | None:
    """Ask the scheduler; None where there is none here, or it gives no answer."""
    try:
        return look([batch], {})
    except RequestError:
        return None


def _standing(out_dir: Path, batch: Batch, queue: Queue | None) -> _Standing:
    return _Standing(batch, read_tasks(out_dir, batch, queue), read_group(out_dir, batch, queue))


def _undone(chosen: BatchOptions) -> list[str]:
    """Return the participants of whom a step, or the published result, is missing."""
    work_dir = (chosen.given.work_dir or chosen.out_dir / "work").absolute()
    states = study_state(chosen.study, chosen.out_dir, work_dir=work_dir, settings=chosen.settings)
    return [
        who
        for who, steps in states.items()
        if steps is None
        or any(step.state != "done" for step in steps)
        or read_published(chosen.out_dir, who) is None
    ]


def _conclude(chosen: BatchOptions, seen: Queue, *, waited: bool = True) -> bool:
    """Say what became of everyone; what the scheduler has forgotten is asked of its accounting.

    `waited` says whether the group stage is over; it asks for this summary itself before it begins.
    """
    standings = []
    for one in read_batches(chosen.out_dir):
        queue = _asked(one)
        known = {
            **(ask_accounting(jobs_of([one])) if one.scheduler == "slurm" else {}),
            **seen,
            **(queue or {}),
        }
        standings.append(_standing(chosen.out_dir, one, known if known or queue is not None else None))
    outcomes = _outcomes(chosen, standings)
    for outcome in outcomes:
        if outcome.state != "done":
            print(f"{outcome.state.ljust(STATE_WIDTH)}  {outcome.participant_id}  {outcome.why}".rstrip())
    done = sum(outcome.state == "done" for outcome in outcomes)
    group = _group_line(chosen.out_dir, standings)
    print(f"{done} of {len(outcomes)} participants done; group stage: {group}", file=sys.stderr)
    whole = group == "done" if waited else not group.startswith("failed")
    return done == len(outcomes) and whole


def _outcomes(chosen: BatchOptions, standings: Sequence[_Standing]) -> list[Outcome]:
    undone = set(_undone(chosen))
    last = {who: one for one in standings for who in one.tasks}
    found = []
    for who in (subject.participant_id for subject in chosen.study.subjects):
        one = last.get(who)
        task, made = (one.tasks[who], one.batch) if one is not None else (None, None)
        said = last_line(task_log(chosen.out_dir, made, who)) if made is not None else ""
        errors = read_published(chosen.out_dir, who) or ()
        found.append(outcome_of(who, task, batch=made, done=who not in undone, errors=errors, said=said))
    return found


def _group_line(out_dir: Path, standings: Sequence[_Standing]) -> str:
    if not standings:
        return "to do"
    task, made = standings[-1].group, standings[-1].batch
    if task.status is not None:
        log = batch_folder(out_dir, made.number) / "group.log"
        return "done" if task.status == 0 else f"failed: {last_line(log)}"
    if task.phase != "ended":
        return task.phase
    # Without a number it runs on this machine, perhaps at this moment.
    return "not done" if made.group is None else f"failed: {death_of(task, made)}"

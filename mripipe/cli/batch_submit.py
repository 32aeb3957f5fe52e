"""Write a batch's scripts and hand them over, one record after each job that was taken."""

from __future__ import annotations

import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mripipe.bids.files import write_atomic
from mripipe.errors import RequestError
from mripipe.model.batch import Array, Batch, Request
from mripipe.model.settings import Settings
from mripipe.model.site import Scheduler, Site
from mripipe.model.study import Study
from mripipe.steps.batch_queue import submit
from mripipe.steps.batch_record import batch_folder, write_batch
from mripipe.steps.batch_request import group_request, largest_request, request_for
from mripipe.steps.batch_script import (
    Programs,
    check_folder,
    group_script,
    participants_script,
    start_words,
)

DEFAULT_NPROCS = 2


@dataclass(frozen=True)
class BatchOptions:
    """What was asked for."""

    given: Namespace
    study: Study
    out_dir: Path
    site: Site
    scheduler: Scheduler
    settings: Settings

    @property
    def nprocs(self) -> int:
        """Steps at the same time in a task."""
        return self.given.nprocs or self.site.nprocs or DEFAULT_NPROCS

    @property
    def limit(self) -> int | None:
        """Tasks at the same time; None for as many as the scheduler allows."""
        return self.given.array_limit or self.site.array_limit


def make_batch(chosen: BatchOptions, todo: Sequence[str], number: int) -> tuple[Batch, dict[str, str]]:
    """Return a batch that is not yet submitted, and its scripts by name.

    Raises
    ------
    RequestError
        The output folder's name cannot be given to the scheduler or the container.

    """
    folder = batch_folder(chosen.out_dir, number)
    check_folder(chosen.scheduler, folder)
    size = chosen.site.max_array
    arrays = tuple(Array(tuple(todo[i : i + size])) for i in range(0, len(todo), size))
    request, programs = _request(chosen, todo), _programs(chosen)
    # Together the arrays keep to the limit.
    limit = None if chosen.limit is None else max(1, chosen.limit // max(len(arrays), 1))
    scripts = {
        f"participants_{n}.sh": participants_script(
            chosen.scheduler,
            folder=folder,
            number=n,
            count=len(array.participants),
            request=request,
            limit=limit,
            site=chosen.site,
            programs=programs,
        )
        for n, array in enumerate(arrays, start=1)
    }
    # It takes everyone, whoever was asked for now.
    visits = sum(1 for _ in chosen.study.root.glob("sub-*/ses-*"))
    scripts["group.sh"] = group_script(
        chosen.scheduler, folder=folder, request=group_request(visits), site=chosen.site, programs=programs
    )
    batch = Batch(number, chosen.scheduler, arrays, minutes=request.minutes, memory_mb=request.memory_mb)
    return batch, scripts


def submit_batch(
    chosen: BatchOptions, batch: Batch, scripts: dict[str, str], *, after: Sequence[str]
) -> Batch:
    """Write a batch down and submit it; the group stage comes after its arrays and the jobs `after`.

    Raises
    ------
    RequestError
        The scheduler refuses. What it took before runs on, and is known to the next call.

    """
    folder = batch_folder(chosen.out_dir, batch.number)
    for name, text in scripts.items():
        write_atomic(folder / name, text)
    write_batch(chosen.out_dir, batch)
    if chosen.scheduler == "local":
        return batch
    jobs: list[str] = []
    try:
        for n, array in enumerate(batch.arrays):
            jobs.append(submit(chosen.scheduler, folder / f"participants_{n + 1}.sh"))
            known = (*batch.arrays[:n], replace(array, job=jobs[-1]), *batch.arrays[n + 1 :])
            batch = replace(batch, arrays=known)
            write_batch(chosen.out_dir, batch)
        group = submit(chosen.scheduler, folder / "group.sh", after=[*after, *jobs])
    except RequestError:
        if not jobs:
            shutil.rmtree(folder)
        raise
    batch = replace(batch, group=group)
    write_batch(chosen.out_dir, batch)
    return batch


def _request(chosen: BatchOptions, todo: Sequence[str]) -> Request:
    """Return what each task asks for: the most that one of them needs, or what the user says."""
    with_diffusion = not chosen.settings.diffusion.skip
    subjects = [chosen.study.subject(who) for who in todo]
    needs = [request_for(one, nprocs=chosen.nprocs, with_diffusion=with_diffusion) for one in subjects]
    most = largest_request(needs) if needs else Request(chosen.nprocs, 0, 0)
    memory = most.memory_mb if chosen.given.mem_gb is None else round(1000 * chosen.given.mem_gb)
    return Request(chosen.nprocs, memory, chosen.given.time or most.minutes)


def _programs(chosen: BatchOptions) -> Programs:
    """Return the command lines of the tasks, with every path absolute."""
    given, out_dir = chosen.given, chosen.out_dir
    bids_dir = chosen.study.root
    files = [path.absolute() for path in (given.config, given.plan) if path is not None]
    work_dir = (given.work_dir or out_dir / "work").absolute()
    masks = [folder.absolute() for folder in given.derivatives]
    start = start_words(chosen.site, sys.executable, [bids_dir, out_dir, work_dir, *masks, *files])
    options = ["--derivatives", *map(str, masks)] if masks else []
    options += ["--work-dir", str(work_dir)]
    options += ["--skip-dwi"] if given.skip_dwi else []
    options += ["--atlas", *given.atlas] if given.atlas else []
    for name in ("segmenter", "level"):
        if value := getattr(given, name):
            options += [f"--{name}", value]
    options += ["--config", str(given.config.absolute())] if given.config else []
    where = (str(bids_dir), str(out_dir))
    everyone = ["--participant-label", *given.participant_label] if given.participant_label else []
    plan = ["--plan", str(given.plan.absolute())] if given.plan else []
    # The scheduler gives a task a processor for each step; a node has more, which are others'.
    processors = ("--nprocs", str(chosen.nprocs), "--omp-nthreads", "1")
    one = ("participant", *options, *processors, "--participant-label")
    summary = (*options, "--scheduler", chosen.scheduler, *everyone, "--summary")
    return Programs(
        participant=(*start, "run", *where, *one),
        summary=(*start, "batch", *where, *summary),
        group=(*start, "run", *where, "group", *plan),
    )

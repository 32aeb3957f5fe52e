"""How much memory and time a participant's task is to be given: measured figures, scaled with the images.

Measured with the trial that ``mripipe demo --full-size`` makes (T1w of 1 mm, FLAIR of 1 x 1 x 4 mm, diffusion
of 2 mm) and on real images; `docs/cluster.md` has the table and how to measure again.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib

from mripipe.model.batch import Request
from mripipe.model.study import Session, Subject

VISIT_CPU_SECONDS = 205.0
"""Of a visit with a T1w of `FULL_VOXELS`, the slowest measured."""
DIFFUSION_CPU_SECONDS = 39.0
"""More for a diffusion series of `FULL_SERIES_VOXELS`, the slowest measured."""
STEP_MEMORY_MB = 1850.0
"""Most that one process took on images of that size."""
PROGRAM_MEMORY_MB = 200.0
"""What the program itself takes beside its worker processes."""
FULL_VOXELS = 1.15e7
"""Voxels of the T1w of 1 mm."""
FULL_SERIES_VOXELS = 3.57e7
"""Voxels of the diffusion series of 2 mm, 31 volumes."""

GROUP_MEMORY_MB = (750.0, 1.0)
"""Of the group stage: to begin with, and for each visit."""
GROUP_CPU_SECONDS = (10.0, 0.2)
"""Of the group stage: to begin with, and for each visit, the tables included."""

MEMORY_MARGIN = 1.3
"""A task that asks for too little is killed; other libraries and other images take more than was measured."""
TIME_MARGIN = 3.0
"""Nodes differ in speed by a factor of two, and share their disks."""
LEAST_MINUTES = 30
MINUTES_STEP = 10


def request_for(subject: Subject, *, nprocs: int, with_diffusion: bool) -> Request:
    """Say what one participant's task needs.

    Parameters
    ----------
    subject : Subject
        Only the headers of its images are read.
    nprocs : int
        Steps at the same time. They make the task quicker, but no time is taken off for them: visits of one
        participant wait for each other where they are aligned.
    with_diffusion : bool
        Whether diffusion series are processed.

    Returns
    -------
    Request
        The time grows with the number of visits, time and memory with voxels beyond a full-size image;
        smaller images ask for as much as full-size ones, since the template's grid stays what it is.

    """
    visits = [session for session in subject.sessions if session.can_run]
    sizes = [_scale(visit, ("T1w", "T2w", "FLAIR"), FULL_VOXELS) for visit in visits]
    seconds = VISIT_CPU_SECONDS * sum(sizes)
    series = [_scale(visit, ("dwi",), FULL_SERIES_VOXELS) for visit in visits if visit.scan("dwi")]
    if with_diffusion:
        seconds += DIFFUSION_CPU_SECONDS * sum(series)
    largest = max([1.0, *sizes, *(series if with_diffusion else ())])
    memory = MEMORY_MARGIN * (PROGRAM_MEMORY_MB + nprocs * STEP_MEMORY_MB * largest)
    return Request(nprocs, math.ceil(memory / 100) * 100, _minutes(TIME_MARGIN * seconds))


def largest_request(requests: list[Request]) -> Request:
    """Return what suffices for each of several tasks, for those of one array ask for the same."""
    return Request(
        max(request.cpus for request in requests),
        max(request.memory_mb for request in requests),
        max(request.minutes for request in requests),
    )


def group_request(visits: int) -> Request:
    """Say what the group stage of a study with so many visits needs."""
    memory = MEMORY_MARGIN * (GROUP_MEMORY_MB[0] + GROUP_MEMORY_MB[1] * visits)
    seconds = TIME_MARGIN * (GROUP_CPU_SECONDS[0] + GROUP_CPU_SECONDS[1] * visits)
    return Request(1, math.ceil(memory / 100) * 100, _minutes(seconds))


def _minutes(seconds: float) -> int:
    return max(math.ceil(seconds / 60 / MINUTES_STEP) * MINUTES_STEP, LEAST_MINUTES)


def _scale(visit: Session, suffixes: tuple[str, ...], full: float) -> float:
    """Return how many times a full-size image a visit's largest image of some kinds is, 1 at least."""
    counts = [_voxels(scan.path) for scan in visit.scans if scan.suffix in suffixes]
    return max([1.0, *(count / full for count in counts)])


def _voxels(path: Path) -> int:
    """Return an image's number of voxels; 0 where the header is unfit, which the run itself will report."""
    try:
        image: Any = nib.load(path)
        return math.prod(image.shape)
    except (OSError, ValueError, nib.filebasedimages.ImageFileError):
        return 0

"""Find out, before anything is run, what a study's images and tables hold and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from numpy.typing import ArrayLike

from mripipe.bids.nifti import check_complete
from mripipe.bids.scans import is_essential
from mripipe.errors import InputError
from mripipe.model.study import FIELD_MAPS, Problem, Scan, Session, Study
from mripipe.steps.load import load_image, load_mask

_COLUMNS = ("participant", "session", "days", "T1w", "T2w", "FLAIR", "dwi", "fmap", "mask", "can run")

_Grids = dict[str, tuple[tuple[int, ...], ArrayLike]]


def check_study(study: Study) -> Study:
    """Read every image of a study to its end, and add what is wrong to each visit's problems.

    Parameters
    ----------
    study : Study
        From `mripipe.bids.reader.read_study`, which has looked at headers and tables alone.

    Returns
    -------
    Study
        The same study; a visit whose reference image, FLAIR or lesion mask is unfit has an error more, and
        one whose other images are unfit a warning.

    """
    return replace(
        study,
        subjects=tuple(
            replace(subject, sessions=tuple(_checked(visit) for visit in subject.sessions))
            for subject in study.subjects
        ),
    )


def all_can_run(study: Study) -> bool:
    """Say whether every visit can be run and nothing that concerns a participant or the study is an error."""
    visits = [visit for subject in study.subjects for visit in subject.sessions]
    return all(visit.can_run for visit in visits) and all(p.level != "error" for p in study.problems)


def format_study(study: Study) -> str:
    """Write what was found as plain text: a line a visit, then the problems, the worst first.

    No file content other than days is shown; characters that could steer a terminal are escaped.
    """
    visits = [visit for subject in study.subjects for visit in subject.sessions]
    table = [_COLUMNS, *(_row(visit) for visit in visits)]
    widths = [max(len(row[i]) for row in table) for i in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
    problems = [*study.problems, *(problem for visit in visits for problem in visit.problems)]
    for level in ("error", "warning", "note"):
        lines += [f"{level}: {_printable(p.message)}" for p in problems if p.level == level]
    n_ready = sum(visit.can_run for visit in visits)
    lines.append(f"{n_ready} of {len(visits)} visits can run")
    return "\n".join(lines) + "\n"


def _checked(visit: Session) -> Session:
    """Return a visit with the problems of its images added."""
    known = {problem.message for problem in visit.problems}
    grids: _Grids = {}
    found = [p for p in _scan_problems(visit, grids) if p.message not in known]
    if visit.lesion_mask is not None and grids:
        try:
            load_mask(visit.lesion_mask, grids)
        except InputError as error:
            found.append(_problem(visit, "error", str(error), visit.lesion_mask))
    return replace(visit, problems=(*visit.problems, *found))


def _scan_problems(visit: Session, grids: _Grids) -> Iterator[Problem]:
    """Read a visit's images; add the grids that a mask may lie on, those of its reference and its FLAIR."""
    for scan in visit.scans:
        try:
            if scan.suffix in ("dwi", *FIELD_MAPS):
                check_complete(scan.path)
                continue
            volume = load_image(scan.path)
        except InputError as error:
            essential = is_essential(scan, visit.scans)
            yield _problem(visit, "error" if essential else "warning", str(error), scan.path)
            continue
        if is_essential(scan, visit.scans):
            grids[scan.suffix] = (volume.shape, volume.affine)


def _problem(visit: Session, level: Literal["error", "warning"], message: str, path: Path) -> Problem:
    """Make a problem of a visit."""
    return Problem(level, message, visit.participant_id, visit.session_id, path)


def _row(visit: Session) -> tuple[str, ...]:
    """Return a visit's line of the table."""
    days = "n/a" if visit.days_from_onset is None else f"{visit.days_from_onset:g}"
    marks = [_mark(visit.scan(suffix)) for suffix in ("T1w", "T2w", "FLAIR", "dwi")]
    marks.append(_mark(next((scan for scan in visit.scans if scan.suffix in FIELD_MAPS), None)))
    mask = "-" if visit.lesion_mask is None else "yes"
    ready = "yes" if visit.can_run else "no"
    return (visit.participant_id, visit.session_id, days, *marks, mask, ready)


def _mark(scan: Scan | None) -> str:
    """Say whether there is an image."""
    return "-" if scan is None else "yes"


def _printable(text: str) -> str:
    """Escape control characters, which a file name may hold."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

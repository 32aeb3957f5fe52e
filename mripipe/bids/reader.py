"""Read a BIDS dataset into a study: what is there for each visit, what is missing or inconsistent."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mripipe.bids.masks import MASK_ENDINGS, PROBABILITY_ENDINGS, check_derivatives, find_masks
from mripipe.bids.names import participant_label, session_label
from mripipe.bids.scans import find_preprocessed, find_scans
from mripipe.bids.timeline import (
    ClinicalDates,
    Days,
    check_participants_table,
    order_sessions,
    read_clinical_dates,
    read_timeline,
)
from mripipe.errors import InputError, RequestError
from mripipe.model.study import Problem, Scan, Session, Study, Subject


def read_study(
    root: str | Path,
    *,
    derivatives: Sequence[str | Path] = (),
    participants: Sequence[str] | None = None,
    sessions: Sequence[str] | None = None,
) -> Study:
    """Read a study; of images, the headers alone.

    A problem is recorded with its visit and stops nothing else. Columns that could tell the treatment arm
    are not read, and dates are turned into days.

    Parameters
    ----------
    root : path
        BIDS dataset with ``sub-*/ses-*`` folders.
    derivatives : sequence of path
        Folders with expert lesion masks, or diffusion series that were preprocessed.
    participants, sessions : sequence of str, optional
        Labels to keep, with or without ``sub-`` and ``ses-``; None keeps all.

    Returns
    -------
    Study
        Participants sorted by label, visits in time order; paths are absolute.

    Raises
    ------
    RequestError
        If a folder is not there, holds no participant, or a label that was asked for is not found.

    """
    folder, masks_in = _absolute(root), [_absolute(path) for path in derivatives]
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such folder; expected a BIDS dataset")
    check_derivatives(masks_in)
    everyone, problems = _labelled_folders(folder, "sub-", None)
    if not everyone:
        reason = f" ({problems[0].message})" if problems else ""
        raise RequestError(f"{folder}: no sub-* folder in it{reason}; expected a BIDS dataset")
    chosen = _select(everyone, participants, participant_label, "sub-", "participant")
    dates, table_problems = read_clinical_dates(folder)
    problems += [*table_problems, *check_participants_table(folder, everyone)]
    subjects = []
    for participant_id in chosen:
        subject, others = _read_subject(folder, participant_id, masks_in, dates.get(participant_id))
        subjects.append(subject)
        problems += others
    _check_masks_found(subjects, masks_in, problems)
    kept = [p for p in problems if p.participant_id in (None, *chosen) or participants is None]
    return Study(folder, _keep_sessions(subjects, sessions), tuple(kept))


def _absolute(path: str | Path) -> Path:
    """Make a path absolute without following links: data may be links into a store without readable names."""
    return Path(os.path.abspath(Path(path).expanduser()))


def _labelled_folders(
    folder: Path, prefix: str, participant_id: str | None
) -> tuple[list[str], list[Problem]]:
    """Return the names of the folders with a prefix, sorted, and an error for each that has no BIDS label."""
    label_of = participant_label if prefix == "sub-" else session_label
    names, problems = [], []
    for path in sorted(folder.glob(f"{prefix}*")):
        if not path.is_dir():
            continue
        try:
            names.append(prefix + label_of(path.name))
        except InputError as error:
            problems.append(Problem("error", f"{error} (folder left out)", participant_id, path=path))
    return names, problems


def _select(
    names: Iterable[str], wanted: Sequence[str] | None, label_of: Callable[[str], str], prefix: str, kind: str
) -> list[str]:
    """Return the names that were asked for; RequestError for one that is not there."""
    known = list(names)
    if wanted is None:
        return known
    try:
        asked = {prefix + label_of(label) for label in wanted}
    except InputError as error:
        raise RequestError(str(error)) from error
    missing = sorted(asked - set(known))
    if missing:
        raise RequestError(f"no {kind} {', '.join(missing)} in the dataset; found: {', '.join(known)}")
    return [name for name in known if name in asked]


def _read_subject(
    root: Path, participant_id: str, masks_in: Sequence[Path], dates: ClinicalDates | None
) -> tuple[Subject, list[Problem]]:
    """Read one participant; return the problems that belong to none of the visits too."""
    folder = root / participant_id
    session_ids, problems = _labelled_folders(folder, "ses-", participant_id)
    if not session_ids:
        text = f"{participant_id}: no ses-* folder; expected {participant_id}/ses-LABEL/anat"
        problems.append(Problem("error", text, participant_id, path=folder))
    elif (folder / "anat").is_dir():
        text = f"{participant_id}: anat outside any ses-* folder is left out"
        problems.append(Problem("warning", text, participant_id, path=folder / "anat"))
    timeline = read_timeline(folder, participant_id, dates or ClinicalDates())
    masks, mask_problems = find_masks(masks_in, participant_id, session_ids)
    maps, map_problems = find_masks(
        masks_in, participant_id, session_ids, endings=PROBABILITY_ENDINGS, required=False
    )
    days = {ses: timeline.days.get(ses, Days()) for ses in session_ids}
    ordered, order_problems = order_sessions(participant_id, days)
    problems += [*timeline.problems, *mask_problems, *map_problems, *order_problems]
    problems += _listing_problems(participant_id, session_ids, timeline.days)
    found = {
        ses: _with_preprocessed(_find_scans(root, participant_id, ses), masks_in, participant_id, ses)
        for ses in ordered
    }
    by_visit: dict[str | None, list[Problem]] = defaultdict(list)
    for problem in [*problems, *(p for _, own in found.values() for p in own)]:
        by_visit[problem.session_id if problem.session_id in found else None].append(problem)
    visits = tuple(
        Session(
            participant_id=participant_id,
            session_id=ses,
            scans=found[ses][0],
            days_from_onset=days[ses].from_onset,
            days_from_infusion=days[ses].from_infusion,
            lesion_mask=masks.get(ses),
            external_lesion=maps.get(ses),
            problems=tuple(by_visit[ses]),
        )
        for ses in ordered
    )
    return Subject(participant_id, visits), by_visit[None]


def _find_scans(root: Path, participant_id: str, session_id: str) -> tuple[tuple[Scan, ...], list[Problem]]:
    """Find a visit's scans; a folder that may not be entered stops this visit alone."""
    try:
        return find_scans(root, participant_id, session_id)
    except OSError as error:
        text = (
            f"{participant_id} {session_id}: cannot be read: {error.strerror}; check the folder's permissions"
        )
        return (), [Problem("error", text, participant_id, session_id, root / participant_id / session_id)]


def _with_preprocessed(
    raw: tuple[tuple[Scan, ...], list[Problem]], folders: Sequence[Path], participant_id: str, session_id: str
) -> tuple[tuple[Scan, ...], list[Problem]]:
    """Put a series that another program has corrected in the place of the raw ones; the first folder's."""
    scans, problems = raw
    for folder in folders:
        try:
            found, others = find_preprocessed(folder, participant_id, session_id)
        except OSError:
            continue
        if not found:
            continue
        text = f"{participant_id} {session_id}: {found[0].path.name} of {folder.name} is used as it is, "
        text += "already preprocessed; raw series are left out"
        note = Problem("note", text, participant_id, session_id, found[0].path)
        names = {scan.path.name for scan in scans if scan.suffix == "dwi"}
        kept = [p for p in problems if p.path is None or p.path.name not in names]
        kept = [p for p in kept if p.message != f"{participant_id} {session_id}: no dwi image"]
        rest = tuple(scan for scan in scans if scan.suffix != "dwi")
        return tuple(sorted((*rest, *found), key=lambda scan: scan.path)), [*kept, *others, note]
    return raw


def _listing_problems(participant_id: str, session_ids: list[str], listed: Iterable[str]) -> list[Problem]:
    """Compare the sessions table, where there is one, with the folders there are."""
    table, folders = set(listed), set(session_ids)
    if not table:
        return []
    name = f"{participant_id}_sessions.tsv"
    missing = [
        Problem("note", f"{name}: {ses} is listed but has no folder", participant_id, ses)
        for ses in sorted(table - folders)
    ]
    return missing + [
        Problem("warning", f"{name}: {ses} has a folder but is not listed", participant_id, ses)
        for ses in sorted(folders - table)
    ]


def _check_masks_found(subjects: list[Subject], masks_in: Sequence[Path], problems: list[Problem]) -> None:
    """Warn where derivative folders were given and hold nothing that is used for anyone."""
    visits = [visit for subject in subjects for visit in subject.sessions]
    has_error = any("lesion masks" in p.message for visit in visits for p in visit.problems)
    used = any(v.lesion_mask or v.external_lesion or any(s.preprocessed for s in v.scans) for v in visits)
    if masks_in and not has_error and not used:
        names = ", ".join(f"*_{ending}.nii.gz" for ending in MASK_ENDINGS)
        folders = ", ".join(path.name for path in masks_in)
        problems.append(Problem("warning", f"{folders}: no lesion mask found; expected names {names}"))


def _keep_sessions(subjects: list[Subject], sessions: Sequence[str] | None) -> tuple[Subject, ...]:
    """Leave out the visits that were not asked for."""
    known = sorted({visit.session_id for subject in subjects for visit in subject.sessions})
    chosen = set(_select(known, sessions, session_label, "ses-", "session"))
    return tuple(
        Subject(s.participant_id, tuple(visit for visit in s.sessions if visit.session_id in chosen))
        for s in subjects
    )

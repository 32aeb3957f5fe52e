"""``mripipe rerun-check``: a visit run again elsewhere, and every byte of its files compared."""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from pathlib import Path

from mripipe.bids.names import OutputPaths, session_label
from mripipe.errors import RequestError
from mripipe.interfaces.stored import StoredPlan, read_plan, stored_state
from mripipe.model.study import Study, Subject


def check_again(given: Namespace, study: Study) -> bool:
    """Run one participant, or one visit, again in a scratch folder and compare.

    Returns
    -------
    bool
        Whether every file has the same bytes.

    Raises
    ------
    RequestError
        The participant was never run, the visit is not one of its, or there is nothing to compare with.

    """
    from mripipe.interfaces.execution import Execution
    from mripipe.workflows.run import run_participants

    out_dir = given.out_dir.absolute()
    subject = study.subjects[0]
    plan = read_plan(OutputPaths(out_dir).logs, subject.participant_id)
    if plan is None:
        raise RequestError(f"{out_dir}: {subject.participant_id} was never run here; start with mripipe run")
    visit = _visit(given.session_label, plan, subject)
    again = _as_last_run(study, plan)
    _note_changes(again.subjects[0], plan, out_dir)
    with tempfile.TemporaryDirectory(prefix="mripipe-", dir=given.work_dir) as scratch:
        other = Path(scratch, "out")
        outcome = run_participants(
            again,
            other,
            work_dir=Path(scratch, "work"),
            settings=plan.settings,
            execution=Execution(nprocs=given.nprocs),
            only=visit,
        )
        for failure in outcome.failures:
            if visit in (None, failure.session_id):
                print(f"failed: {failure.participant_id}: {failure.message}", file=sys.stderr)
        return _compare(out_dir, other, subject.participant_id, visit)


def _visit(label: str | None, plan: StoredPlan, subject: Subject) -> str | None:
    if label is None:
        return None
    visit = f"ses-{session_label(label)}"
    if visit not in plan.sessions:
        raise RequestError(
            f"{subject.participant_id}: {visit} was not in the last run; it had {', '.join(plan.sessions)}"
        )
    return visit


def _as_last_run(study: Study, plan: StoredPlan) -> Study:
    """Leave the visits that the last run had: a visit's result depends on the others through the template."""
    subject = study.subjects[0]
    there = tuple(s for s in subject.sessions if s.session_id in plan.sessions)
    return Study(study.root, (Subject(subject.participant_id, there),), study.problems)


def _note_changes(subject: Subject, plan: StoredPlan, out_dir: Path) -> None:
    """Say beforehand where a difference is to be expected."""
    steps = stored_state(plan, subject, OutputPaths(out_dir).logs)
    if steps is None:
        print("note: the visits' files are others than in the last run", file=sys.stderr)
    for step in steps or ():
        if step.state != "done":
            print(f"note: {step.step} of the last run is {step.state} now ({step.why})", file=sys.stderr)
            break


def _compare(out_dir: Path, other: Path, participant: str, visit: str | None) -> bool:
    """Print what differs, then how many files were compared."""
    kept, made = (_files(folder, participant, visit) for folder in (out_dir, other))
    if not kept:
        raise RequestError(
            f"{out_dir}: no files of {participant} {visit or ''} to compare with; run it first"
        )
    different = 0
    for name in sorted({*kept, *made}):
        if name not in made or name not in kept:
            told = "not made again" if name not in made else "not there before"
        elif kept[name].read_bytes() == made[name].read_bytes():
            continue
        else:
            told = _difference(kept[name].read_bytes(), made[name].read_bytes())
        different += 1
        print(f"differs: {name}: {told}")
    same = "all the same" if not different else f"{different} differ"
    print(f"{participant} {visit or 'all visits'}: {len({*kept, *made})} files compared byte by byte, {same}")
    return not different


def _files(root: Path, participant: str, visit: str | None) -> dict[str, Path]:
    """Return what a run publishes of a participant or of one visit, by name below the output folder."""
    folder = OutputPaths(root).subject_folder(participant)
    found = list((folder / visit if visit else folder).rglob("*"))
    if visit is None:
        found.append(OutputPaths(root).report(participant))
    return {path.relative_to(root).as_posix(): path for path in found if path.is_file()}


def _difference(before: bytes, after: bytes) -> str:
    first = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), None)
    place = min(len(before), len(after)) if first is None else first
    return f"{len(before)} and {len(after)} bytes, first difference at byte {place}"

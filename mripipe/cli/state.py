"""``mripipe status``: how far each visit has come, and why a step would be done again."""

from __future__ import annotations

import gc
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mripipe.bids.names import OutputPaths
from mripipe.interfaces.record import PlannedStep
from mripipe.interfaces.stored import read_plan, stored_state
from mripipe.model.settings import Settings
from mripipe.model.study import Study, Subject

STATES = ("done", "stale", "failed", "to do")
STATE_WIDTH = 6


def study_state(
    study: Study, out_dir: Path, *, work_dir: Path, settings: Settings | None = None
) -> dict[str, tuple[PlannedStep, ...] | None]:
    """Return each participant's steps; None for one that was never run.

    What the last run wrote down is enough for most, and the workflow engine is not loaded for them.

    Parameters
    ----------
    study : Study
        As it is now.
    out_dir, work_dir : Path
        The work folder counts for participants whose steps must be worked out anew.
    settings : Settings, optional
        What a next run would be asked for; each participant's last ones where not given.

    """
    logs = OutputPaths(out_dir).logs
    states: dict[str, tuple[PlannedStep, ...] | None] = {}
    unclear: dict[Settings, list[Subject]] = defaultdict(list)
    for subject in study.subjects:
        plan = read_plan(logs, subject.participant_id)
        same = plan is not None and settings in (None, plan.settings)
        found = stored_state(plan, subject, logs) if plan is not None and same else None
        states[subject.participant_id] = found
        if plan is not None and found is None:
            unclear[settings or plan.settings].append(subject)
    for asked, subjects in unclear.items():
        from mripipe.workflows.run import plan_participants

        part = replace(study, subjects=tuple(subjects))
        steps = plan_participants(part, out_dir, work_dir=work_dir, settings=asked, retry=False)
        for subject in subjects:
            who = subject.participant_id
            states[who] = tuple(step for step in steps if step.participant_id == who)
    return states


def show_state(out_dir: Path, study: Study, work_dir: Path, settings: Settings) -> None:
    """Print every visit's steps, and how many visits are how far."""
    # Nothing that is read becomes garbage before it is printed; looking for some takes a tenth of the time.
    gc.disable()
    try:
        states = study_state(study, out_dir, work_dir=work_dir)
    finally:
        gc.enable()
    counts: Counter[str] = Counter()
    for subject in study.subjects:
        steps = states[subject.participant_id]
        if steps is None:
            for session in subject.sessions:
                print(f"to do  {session.participant_id}  {session.session_id}")
        else:
            print_steps(replace(study, subjects=(subject,)), steps)
        counts.update(_visit_states(subject, steps))
    told = ", ".join(f"{counts[state]} {state}" for state in (*STATES, "cannot run") if counts[state])
    print(f"{counts.total()} visits: {told}" if counts else "no visits")


def print_steps(study: Study, steps: Sequence[PlannedStep]) -> None:
    """Print a line for each step, and for each visit that cannot run."""
    own = defaultdict(list)
    for step in steps:
        own[step.participant_id].append(step)
    for subject in study.subjects:
        for session in subject.sessions:
            if not session.can_run:
                print(f"{session.participant_id}  {session.session_id}  cannot run; see mripipe check")
        for step in own[subject.participant_id]:
            who = "  ".join(part for part in (step.participant_id, step.session_id, step.step) if part)
            why = f"  ({step.why})" if step.why else ""
            print(f"{step.state.ljust(STATE_WIDTH)} {who}{why}")


def _visit_states(subject: Subject, steps: Sequence[PlannedStep] | None) -> list[str]:
    """Return how far each visit is: as far as the step of its own that is least far."""
    found = []
    for session in subject.sessions:
        own = {step.state for step in steps or () if step.session_id == session.session_id}
        if not session.can_run:
            found.append("cannot run")
        else:
            found.append(
                next((state for state in ("failed", "to do", "stale", "done") if state in own), "to do")
            )
    return found

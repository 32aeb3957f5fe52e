"""Each participant's steps as the last run had them, in ``logs/plans``: their state without a graph."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mripipe.bids.files import write_atomic
from mripipe.model.settings import Settings, settings_from_tables
from mripipe.model.study import Subject

from .codec import encode
from .digests import known_digests, module_digests, recall_digests
from .record import CODE, PlannedStep, StepRecord, evaluate, step_records_from_json, step_records_to_json

WIRING = ("mripipe.workflows.", "mripipe.model.study", "mripipe.model.settings", "mripipe.interfaces.codec")
"""What decides, beside the builder's own module, which steps there are and what they are given."""


@dataclass(frozen=True)
class StoredPlan:
    """What the last run of a participant was asked for, and its steps."""

    shape: str
    """Digest of what the steps and their wiring follow from; see `shape_of`."""
    builder: str
    """The function that builds the workflow, as ``module:name``."""
    builder_code: str
    """Digest of the code that wires the steps and writes down what they are given."""
    sessions: tuple[str, ...]
    work_dir: Path
    settings: Settings
    records: tuple[StepRecord, ...]


def shape_of(subject: Subject) -> str:
    """Digest a participant's visits and the names of their files, not what is in the files."""
    visits = [
        [encode(replace(s, days_from_onset=None, days_from_infusion=None, problems=()), type(s)), s.can_run]
        for s in subject.sessions
    ]
    return hashlib.sha256(json.dumps(visits, sort_keys=True).encode()).hexdigest()


def wiring_digest(builder: str) -> str:
    """Digest what a builder, as ``module:name``, makes a workflow with, not what its steps run."""
    modules = module_digests(builder.partition(":")[0], within=WIRING)
    return hashlib.sha256(json.dumps(modules, sort_keys=True).encode()).hexdigest()


def write_plan(
    logs: Path,
    subject: Subject,
    *,
    builder: str,
    work_dir: Path,
    settings: Settings,
    records: Sequence[StepRecord],
) -> None:
    """Store a participant's steps, and the digests of their input files for the next run.

    Raises
    ------
    ProcessingError
        The file cannot be written.

    """
    own = [record for record in records if record.participant_id == subject.participant_id]
    document = {
        "shape": shape_of(subject),
        "builder": builder,
        "builder_code": wiring_digest(builder),
        "sessions": [session.session_id for session in subject.sessions],
        "work_dir": str(work_dir),
        "settings": asdict(settings),
        "steps": step_records_to_json(own),
        "digests": known_digests({path for record in own for path in record.files}),
    }
    write_atomic(plan_file(logs, subject.participant_id), json.dumps(document) + "\n")


def read_plan(logs: Path, participant: str) -> StoredPlan | None:
    """Read what `write_plan` wrote and take over its digests; None where there is nothing fit for use."""
    try:
        stored = json.loads(plan_file(logs, participant).read_text(encoding="utf-8"))
        plan = StoredPlan(
            stored["shape"],
            stored["builder"],
            stored["builder_code"],
            tuple(stored["sessions"]),
            Path(stored["work_dir"]),
            settings_from_tables(stored["settings"]),
            step_records_from_json(stored["steps"]),
        )
        recall_digests(stored["digests"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return plan


def stored_state(
    plan: StoredPlan, subject: Subject, logs: Path, *, retry: bool = False
) -> tuple[PlannedStep, ...] | None:
    """Say of each step whether it is done; None where steps or wiring may be others than they were."""
    if plan.shape != shape_of(subject) or plan.builder_code != wiring_digest(plan.builder):
        return None
    return evaluate(plan.records, retry=retry, code_dir=logs / CODE)


def plan_file(logs: Path, participant: str) -> Path:
    """Return where a participant's plan lies."""
    return logs / "plans" / f"{participant}.json"

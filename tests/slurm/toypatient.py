"""A participant's steps that take no time and no memory, and misbehave as they are told.

``TOY_BEHAVIOUR`` names a folder with a file for each participant that shall do something else than work:
``raise`` or ``sleep SECONDS``, either after ``hold``, which waits for a file with the ending ``.go``. Images
are read for real.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from nipype import Workflow

from mripipe.interfaces.step import step_node
from mripipe.model.results import LesionVolumes, VisitResult
from mripipe.model.settings import Settings
from mripipe.model.study import Session, Subject
from mripipe.steps.load import load_image


@dataclass(frozen=True)
class Prepared:
    session: Session
    voxels: int


def prepare_visit(session: Session, *, folder: Path) -> Prepared:
    behave(session.participant_id)
    assert session.reference is not None
    return Prepared(session, load_image(session.reference.path).data.size)


def measure_visit(prepared: Prepared, *, folder: Path) -> VisitResult:
    who = (prepared.session.participant_id, prepared.session.session_id)
    volumes = LesionVolumes(*who, "ok", source="auto", side="left", lesion_ml=float(prepared.voxels))
    return VisitResult(*who, volumes, reference_suffix="T1w")


def behave(participant: str) -> None:
    told = Path(os.environ["TOY_BEHAVIOUR"], participant)
    words = told.read_text().split() if told.exists() else []
    if words and words[0] in ("hold", "sleep"):
        told.with_suffix(".asleep").touch()
    if "hold" in words:
        while not told.with_suffix(".go").exists():
            time.sleep(0.1)
    if "raise" in words:
        raise RuntimeError("the toy was told to raise")
    if "sleep" in words:
        time.sleep(float(words[-1]))


def build_subject(subject: Subject, settings: Settings) -> Workflow:
    workflow = Workflow(name=subject.participant_id)
    for session in subject.sessions:
        who = (session.participant_id, session.session_id)
        if session.can_run:
            images = Session(*who, scans=session.scans)
            node = step_node(prepare_visit, f"{who[1]}_prepare", visit=who, session=images)
            measure = step_node(measure_visit, f"{who[1]}_measure", visit=who)
            workflow.connect(node, "result", measure, "prepared")
    return workflow

"""A participant's steps with the real ones' names, on text files; importable by workers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nipype import Workflow

from mripipe.errors import InputError
from mripipe.interfaces.step import step_node
from mripipe.model.results import LesionVolumes, VisitResult
from mripipe.model.settings import RegistrationSettings, Settings
from mripipe.model.study import Session, Subject


@dataclass(frozen=True)
class Prepared:
    session: Session
    image: Path


@dataclass(frozen=True)
class Aligned:
    template: Path


def prepare_visit(session: Session, *, folder: Path) -> Prepared:
    with open(os.environ["TOY_CALLS"], "a") as stream:
        stream.write(f"{session.participant_id}/{session.session_id}\n")
    reference = session.reference
    assert reference is not None
    text = reference.path.read_bytes().decode("latin1")
    if "bad" in text:
        raise InputError(f"{reference.path.name}: not an image; replace it")
    if "stop" in text:
        raise KeyboardInterrupt
    image = folder / "image.nii"
    image.write_text(text)
    return Prepared(session, image)


def align_visits(visits: tuple[Prepared, ...], *, settings: RegistrationSettings, folder: Path) -> Aligned:
    template = folder / "template.nii"
    template.write_text(settings.level + "".join(visit.image.read_text() for visit in visits))
    return Aligned(template)


def measure_visit(prepared: Prepared, aligned: Aligned, *, folder: Path) -> VisitResult:
    who = (prepared.session.participant_id, prepared.session.session_id)
    mask = folder / "mask.nii"
    mask.write_text(aligned.template.read_text())
    volume = float(len(prepared.image.read_text()))
    volumes = LesionVolumes(*who, "ok", source="auto", side="left", lesion_ml=volume)
    return VisitResult(
        *who,
        volumes,
        reference_suffix="T1w",
        preproc=prepared.image,
        lesion_mask=mask,
        auto_mask=mask,
        warnings=("toy",),
    )


def build_subject(subject: Subject, settings: Settings) -> Workflow:
    workflow = Workflow(name=subject.participant_id)
    sessions = [session for session in subject.sessions if session.can_run]
    prepared = []
    for session in sessions:
        who = (session.participant_id, session.session_id)
        images = Session(*who, scans=session.scans)
        prepared.append(step_node(prepare_visit, f"{who[1]}_prepare", visit=who, session=images))
    if not prepared:
        return workflow
    many = {"visits": len(prepared)}
    joint = (subject.participant_id, None)
    align = step_node(align_visits, "align", visit=joint, many=many, settings=settings.registration)
    for number, (session, node) in enumerate(zip(sessions, prepared, strict=True), start=1):
        who = (session.participant_id, session.session_id)
        measure = step_node(measure_visit, f"{who[1]}_measure", visit=who)
        workflow.connect(node, "result", align, f"visits_{number}")
        workflow.connect(
            [(node, measure, [("result", "prepared")]), (align, measure, [("result", "aligned")])]
        )
    return workflow

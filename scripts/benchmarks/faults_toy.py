"""Steps of the real ones' shape that take a moment each, and a study for them; importable by workers."""

from __future__ import annotations

import gzip
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from nipype import Workflow

from mripipe.interfaces.step import step_node
from mripipe.model.results import LesionVolumes, SubjectResult, VisitResult
from mripipe.model.settings import RegistrationSettings, Settings
from mripipe.model.study import Scan, Session, Study, Subject

STEP_SECONDS = 0.05
IMAGE_BYTES = 300_000
MEMORY_VARIABLE = "FAULTS_HUNGRY"
"""Where it names a file that is there, the first preparation asks for more memory than there is."""


@dataclass(frozen=True)
class Prepared:
    """A visit's image."""

    session: Session
    image: Path


@dataclass(frozen=True)
class Aligned:
    """What all visits share."""

    template: Path


def write_study(root: Path, patients: int, visits: int) -> Study:
    """Write small files as images, or find them written."""
    subjects = []
    for p in range(1, patients + 1):
        sessions = []
        for v in range(1, visits + 1):
            who = (f"sub-{p}", f"ses-{v}")
            path = root / who[0] / who[1] / "anat" / f"{who[0]}_{who[1]}_T1w.nii"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"image of {who[0]} {who[1]}")
            sessions.append(Session(*who, scans=(Scan(path, "T1w"),), days_from_onset=40.0 * v))
        subjects.append(Subject(f"sub-{p}", tuple(sessions)))
    return Study(root, tuple(subjects))


def prepare_visit(session: Session, *, folder: Path) -> Prepared:
    """Stand for the preparation."""
    reference = session.reference
    assert reference is not None
    hungry = Path(os.environ.get(MEMORY_VARIABLE, "/nonexistent"))
    if hungry.exists() and session.session_id == "ses-1":
        eaten = [bytearray(os.urandom(1 << 20) * 64) for _ in range(64)]
        raise AssertionError(f"there was memory enough: {len(eaten)}")
    return Prepared(session, _write(folder / "image.nii.gz", reference.path.read_bytes()))


def align_visits(visits: tuple[Prepared, ...], *, settings: RegistrationSettings, folder: Path) -> Aligned:
    """Stand for the alignment."""
    seed = settings.level.encode() + b"".join(visit.image.read_bytes() for visit in visits)
    return Aligned(_write(folder / "template.nii.gz", seed))


def measure_visit(prepared: Prepared, aligned: Aligned, *, folder: Path) -> VisitResult:
    """Stand for all that follows."""
    session = prepared.session
    who = (session.participant_id, session.session_id)
    mask = _write(folder / "mask.nii.gz", prepared.image.read_bytes() + aligned.template.read_bytes())
    volumes = LesionVolumes(*who, "ok", source="auto", side="left", lesion_ml=float(mask.read_bytes()[99]))
    return VisitResult(
        *who,
        volumes,
        reference_suffix="T1w",
        preproc=prepared.image,
        lesion_mask=mask,
        auto_mask=mask,
        mni_image=_write(folder / "mni.nii.gz", b"mni" + mask.read_bytes()),
    )


def _write(path: Path, seed: bytes) -> Path:
    """Write bytes that follow from the seed and do not compress, in pieces as a library would."""
    time.sleep(STEP_SECONDS)
    block = hashlib.sha256(seed).digest()
    with gzip.GzipFile(path, "wb", mtime=0) as stream:
        for _ in range(IMAGE_BYTES // 32):
            block = hashlib.sha256(block).digest()
            stream.write(block)
    return path


def build_subject(subject: Subject, settings: Settings) -> Workflow:
    """Wire a participant's steps as the real builder does."""
    workflow = Workflow(name=subject.participant_id)
    prepared = []
    for session in subject.sessions:
        who = (session.participant_id, session.session_id)
        images = Session(*who, scans=session.scans)
        prepared.append(step_node(prepare_visit, f"{who[1]}_prepare", visit=who, session=images))
    many, joint = {"visits": len(prepared)}, (subject.participant_id, None)
    align = step_node(align_visits, "align", visit=joint, many=many, settings=settings.registration)
    for number, (session, node) in enumerate(zip(subject.sessions, prepared, strict=True), start=1):
        who = (session.participant_id, session.session_id)
        measure = step_node(measure_visit, f"{who[1]}_measure", visit=who)
        workflow.connect(node, "result", align, f"visits_{number}")
        workflow.connect(
            [(node, measure, [("result", "prepared")]), (align, measure, [("result", "aligned")])]
        )
    return workflow


def render_report(result: SubjectResult, *, settings: object, versions: object) -> str:
    """Stand for the report, which would need real images."""
    rows = "".join(f"<p>{visit.session_id} {visit.volumes.lesion_ml}</p>\n" for visit in result.visits)
    return f"<html>{rows}{'<p>.</p>' * 20_000}</html>\n"

"""Put a participant's files under their public names, each whole, with a sidecar that names its sources."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mripipe import __version__
from mripipe.bids.files import write_atomic
from mripipe.bids.names import Entities, OutputPaths, parse
from mripipe.errors import ProcessingError
from mripipe.model.diffusion import DiffusionResult, TrackedTract
from mripipe.model.failure import Failure
from mripipe.model.results import LesionVolumes, Status, SubjectResult, VisitResult
from mripipe.model.stages import CoregisteredImage
from mripipe.model.study import DIFFUSION_MAPS, Session, Subject
from mripipe.steps.change import with_changes
from mripipe.steps.provenance import write_participant_provenance

GENERATED_BY = [{"Name": "mripipe", "Version": __version__}]
BIDS_VERSION = "1.10.0"

README = """Derivatives made by mripipe.

lesion_volumes.tsv and measurements.tsv hold the numbers, the JSON beside each explains its columns.
sub-*.html are the reports. Each image and transform has a JSON file that names its sources.
provenance.json says the same of all files in the terms of W3C PROV.
"""

IGNORED = (
    "*.html\nlogs\nwork\noutcomes\nunblinded\nCITATION.md\n*_results.json\n*_xfm.*\n*_prov.json\nprovenance.json\n"
    "lesion_volumes.*\nmeasurements.*\ntract_*\n"
    "*_dwimap.*\n*_tractogram.*\n*_desc-preproc_trace.*\n*_desc-preproc_ADC.*\n*_dwiref.*\n*_desc-preproc_dwi.bval\n*_desc-preproc_dwi.bvec\n"
)
"""What BIDS has no name for yet, or no rule of its validator takes. A folder without a slash at its end: with
one the validator passes over what is in it and still minds the folder."""

SKULL_STRIPPED = {"T1w": False, "T2w": False, "FLAIR": False, "dwi": True}
"""Whether everything outside the brain is 0, by suffix; BIDS asks for it in an image's sidecar."""


@dataclass(frozen=True)
class Trace:
    """How a step's files came about."""

    step: str
    """``prepare_visit``."""
    code: str
    """Digest of the program's parts that it runs."""
    sources: tuple[tuple[Path, str], ...]
    """Every input file that it or a step before it read, with its SHA-256."""


@dataclass(frozen=True)
class Origin:
    """What a sidecar says of a file's making."""

    root: Path
    """The BIDS dataset that was read."""
    parameters: Mapping[str, Any]
    """Settings of the run."""
    software: Mapping[str, str] = field(default_factory=dict)
    """Libraries that compute, with their versions."""
    traces: Mapping[Path, Trace] = field(default_factory=dict)
    """For each step's folder what is known of it; a file of another folder is said to be from the images."""


def publish_subject(
    subject: Subject,
    visits: tuple[VisitResult | Failure, ...],
    *,
    out_dir: Path,
    origin: Origin,
    template: Path | None = None,
    earlier: SubjectResult | None = None,
) -> SubjectResult:
    """Copy a participant's files to the output folder and remove what an earlier run left of them.

    Visits of `earlier` that this run was not asked for stay as they are, as long as the dataset has them.

    Parameters
    ----------
    subject : Subject
        Names and days of the visits.
    visits : tuple of VisitResult or Failure
        One for each of the participant's visits, in their order.
    out_dir : Path
        The output folder.
    origin : Origin
        For the sidecars.
    template : Path, optional
        Within-subject template.
    earlier : SubjectResult, optional
        What the output folder holds of this participant.

    Returns
    -------
    SubjectResult
        With the paths in `out_dir`.

    Raises
    ------
    ProcessingError
        A file cannot be read or written.

    """
    paths = OutputPaths(out_dir)
    written: set[Path] = set()
    results = []
    for session, visit in zip(subject.sessions, visits, strict=True):
        if isinstance(visit, Failure):
            results.append(failed_visit(session, visit))
        else:
            results.append(_publish_visit(session, visit, paths, origin, written))
    if template is not None:
        suffix = next(v.reference_suffix for v in results if v.reference_suffix)
        target = paths.template(subject.participant_id, suffix=suffix)
        scans = [scan for session in subject.sessions for scan in _sources(session)]
        template = _publish_file(template, target, scans, origin, written)
    kept = _kept_visits(subject, earlier, origin.root)
    if kept and template is None and earlier is not None:
        template = earlier.template
    _remove_leftovers(paths, subject.participant_id, written, {visit.session_id for visit in kept})
    write_participant_provenance(out_dir, subject.participant_id, written)
    return SubjectResult(subject.participant_id, with_changes(_in_time_order([*kept, *results])), template)


def failed_visit(session: Session, failure: Failure) -> VisitResult:
    """Return the row of a visit that has no result: ``missing_input`` where it has no image to start from."""
    status: Status = "missing_input" if session.reference is None else "failed"
    volumes = LesionVolumes(
        session.participant_id,
        session.session_id,
        status=status,
        days_from_onset=session.days_from_onset,
        days_from_infusion=session.days_from_infusion,
    )
    return VisitResult(session.participant_id, session.session_id, volumes, error=failure.message)


def write_dataset_files(out_dir: Path, origin: Origin, citation: str) -> None:
    """Write what makes the output folder a BIDS derivative dataset."""
    paths = OutputPaths(out_dir)
    description = {
        "Name": "mripipe derivatives",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": GENERATED_BY,
        "DatasetLinks": {"raw": os.path.relpath(origin.root, out_dir)},
    }
    write_changed(paths.dataset_description, _json(description))
    write_changed(paths.readme, README.encode())
    write_changed(paths.citation, citation.encode())
    write_changed(out_dir / ".bidsignore", IGNORED.encode())


def write_changed(path: Path, content: bytes) -> Path:
    """Write a file unless it has this content already."""
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return path
    return write_atomic(path, content)


def _publish_visit(
    session: Session, visit: VisitResult, paths: OutputPaths, origin: Origin, written: set[Path]
) -> VisitResult:
    moved: dict[str, Any] = {}
    for name, target in _targets(visit, paths):
        source = getattr(visit, name)
        if source is not None:
            moved[name] = _publish_file(source, target, _sources(session), origin, written)
    moved["coregistered"] = tuple(
        _publish_beside(session, visit, image, paths, origin, written) for image in visit.coregistered
    )
    if visit.diffusion is not None:
        moved["diffusion"] = _publish_diffusion(session, visit, visit.diffusion, paths, origin, written)
    return replace(visit, **moved)


def _publish_beside(
    session: Session,
    visit: VisitResult,
    beside: CoregisteredImage,
    paths: OutputPaths,
    origin: Origin,
    written: set[Path],
) -> CoregisteredImage:
    who = (visit.participant_id, visit.session_id)
    folder = "dwi" if beside.suffix in DIFFUSION_MAPS else "anat"
    name = Entities(desc="preproc", suffix=beside.suffix, extension=".nii.gz")
    way = paths.transform(*who, source=beside.suffix, target=visit.reference_suffix or "T1w", datatype=folder)
    return CoregisteredImage(
        beside.suffix,
        _publish_file(
            beside.image, paths.derivative(*who, name, datatype=folder), _sources(session), origin, written
        ),
        _publish_file(beside.to_reference, way, _sources(session), origin, written),
        beside.misplaced,
    )


def _publish_diffusion(
    session: Session,
    visit: VisitResult,
    diffusion: DiffusionResult,
    paths: OutputPaths,
    origin: Origin,
    written: set[Path],
) -> DiffusionResult:
    scans = [scan.path for scan in session.scans if scan.suffix == "dwi"]
    moved: dict[str, Any] = {}
    for name, target in _diffusion_targets(visit, paths):
        source = getattr(diffusion, name)
        if source is not None:
            moved[name] = _publish_file(source, target, scans, origin, written)
    moved["tracked"] = tuple(
        _publish_tracked(visit, tract, scans, paths, origin, written) for tract in diffusion.tracked
    )
    return replace(diffusion, **moved)


def _publish_tracked(
    visit: VisitResult,
    tract: TrackedTract,
    scans: list[Path],
    paths: OutputPaths,
    origin: Origin,
    written: set[Path],
) -> TrackedTract:
    if tract.streamlines is None or tract.density is None:
        return tract
    who = (visit.participant_id, visit.session_id)
    lines = paths.streamlines(*who, tract=tract.tract, side=tract.side)
    density = paths.streamline_density(*who, tract=tract.tract, side=tract.side)
    return replace(
        tract,
        streamlines=_publish_file(tract.streamlines, lines, scans, origin, written),
        density=_publish_file(tract.density, density, scans, origin, written),
    )


def _diffusion_targets(visit: VisitResult, paths: OutputPaths) -> Iterator[tuple[str, Path]]:
    """Yield each path field of a visit's diffusion with its public name.

    The image comes after its gradients, for they share one sidecar, which is the image's.
    """
    who = (visit.participant_id, visit.session_id)
    yield "bval", paths.diffusion_series(*who, extension=".bval")
    yield "bvec", paths.diffusion_series(*who, extension=".bvec")
    yield "series", paths.diffusion_series(*who)
    for name in ("fa", "md", "ad", "rd", "direction"):
        yield name, paths.diffusion_map(*who, param=name)
    yield "fwf", paths.diffusion_map(*who, param="fwf", model="fwdti")
    yield "fa_tissue", paths.diffusion_map(*who, param="fa", model="fwdti")
    b0 = Entities(desc="b0", suffix="dwiref", extension=".nii.gz")
    yield "b0", paths.derivative(*who, b0, datatype="dwi")
    distorted = Entities(desc="b0distorted", suffix="dwiref", extension=".nii.gz")
    yield "b0_distorted", paths.derivative(*who, distorted, datatype="dwi")
    reference = visit.reference_suffix or "T1w"
    yield "to_reference", paths.transform(*who, source="dwi", target=reference, datatype="dwi")


def _targets(visit: VisitResult, paths: OutputPaths) -> Iterator[tuple[str, Path]]:
    """Yield each path field of a visit with its public name; a field that has two, the one to keep last."""
    who = (visit.participant_id, visit.session_id)
    suffix = visit.reference_suffix or "T1w"
    yield "preproc", paths.preproc(*who, suffix=suffix)
    yield "brain_mask", paths.brain_mask(*who)
    yield "lesion_probability", paths.lesion_probability(*who)
    yield "auto_mask", paths.lesion_mask(*who, desc="auto")
    yield "contralateral_mask", paths.lesion_mask(*who, desc="contralateral")
    if visit.volumes.source == "manual":
        yield "lesion_mask", paths.lesion_mask(*who, desc="manual")
    yield "lesion_mask", paths.lesion_mask(*who, desc="final")
    yield "mni_image", paths.mni_image(*who, suffix=suffix)
    yield "mni_lesion_mask", paths.mni_lesion_mask(*who)
    yield "mni_affine_image", paths.mni_image(*who, suffix=suffix, desc="affine")
    yield "to_mni", paths.to_mni(*who, suffix=suffix)
    yield "from_mni", paths.from_mni(*who, suffix=suffix)


def _publish_file(source: Path, target: Path, scans: list[Path], origin: Origin, written: set[Path]) -> Path:
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ProcessingError(f"{source}: cannot be read ({error.strerror}); run again") from error
    if target.suffix == ".gz" and source.suffix != ".gz":
        content = gzip.compress(content, mtime=0)
    sidecar = target.with_name(target.name.split(".")[0] + ".json")
    about = {
        **_making(source, scans, origin),
        "SHA256": hashlib.sha256(content).hexdigest(),
        "GeneratedBy": GENERATED_BY,
        "Software": dict(origin.software),
        "Parameters": dict(origin.parameters),
        **_content_keys(target),
    }
    write_changed(target, content)
    write_changed(sidecar, _json(about))
    written |= {target, sidecar}
    return target


def _making(source: Path, scans: list[Path], origin: Origin) -> dict[str, Any]:
    """Return what a file was made from, and by which step where that is known."""
    trace = next((origin.traces[folder] for folder in source.parents if folder in origin.traces), None)
    if trace is None:
        return {"Sources": [_uri(scan, origin.root) for scan in scans]}
    digests = {_uri(path, origin.root): digest for path, digest in trace.sources}
    return {
        "Sources": sorted(digests),
        "SourcesSHA256": dict(sorted(digests.items())),
        "Step": trace.step,
        "CodeSHA256": trace.code,
    }


def _content_keys(target: Path) -> dict[str, Any]:
    """Return what BIDS wants said of an image's or mask's content."""
    name = parse(target.name)
    if name.suffix == "mask":
        return {"Type": "Brain" if name.desc == "brain" else "Lesion"}
    return {"SkullStripped": SKULL_STRIPPED[name.suffix]} if name.suffix in SKULL_STRIPPED else {}


def _sources(session: Session) -> list[Path]:
    """Return the images that a visit's results are made from."""
    scans = [scan.path for scan in session.scans]
    masks = [session.lesion_mask] if session.lesion_mask is not None else []
    return sorted({*scans, *masks})


def _uri(path: Path, root: Path) -> str:
    """Return a BIDS URI; of a file outside the dataset its name alone."""
    return f"bids:raw:{path.relative_to(root).as_posix()}" if path.is_relative_to(root) else path.name


def _kept_visits(subject: Subject, earlier: SubjectResult | None, root: Path) -> list[VisitResult]:
    """Return the earlier visits that were not asked for now and are still in the dataset."""
    asked = {session.session_id for session in subject.sessions}
    visits = earlier.visits if earlier is not None else ()
    folder = root / subject.participant_id
    return [v for v in visits if v.session_id not in asked and (folder / v.session_id).is_dir()]


def _in_time_order(visits: list[VisitResult]) -> tuple[VisitResult, ...]:
    """Sort by days where all are known, else leave the order."""
    days = {visit.session_id: visit.volumes.days_from_onset for visit in visits}
    if any(value is None for value in days.values()):
        return tuple(visits)
    return tuple(sorted(visits, key=lambda visit: days[visit.session_id] or 0.0))


def _remove_leftovers(paths: OutputPaths, participant: str, written: set[Path], kept: set[str]) -> None:
    """Remove the files that the last run published and this one did not, and note what is there now.

    Those of `kept` visits stay, and with them the template, which lies in no visit's folder.
    """
    manifest = paths.logs / f"{participant}_files.json"
    for name in _read_list(manifest):
        target = paths.root / name
        if kept and (kept | {"anat"}) & set(Path(name).parts[1:2]) and target.is_file():
            written.add(target)
            continue
        inside = target.is_relative_to(paths.subject_folder(participant)) and ".." not in target.parts
        if inside and target not in written:
            target.unlink(missing_ok=True)
    write_changed(manifest, _json(sorted(paths.relative(path) for path in written)))


def _read_list(path: Path) -> list[str]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()

"""Write a phantom trial to disk: a BIDS dataset, and beside it the truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mripipe.atlases.template import TEMPLATE_SPACE, load_template
from mripipe.bids.files import write_atomic
from mripipe.bids.names import Entities, OutputPaths
from mripipe.core.phantom import (
    PhantomAtlas,
    PhantomGrid,
    PhantomPatient,
    PhantomTemplate,
    Side,
    draw_patient,
    lesion_in_mni,
    prepare_atlas,
    render_visit,
    true_fractions,
    true_masks,
    true_points,
    visit_grid,
)
from mripipe.core.phantom_diffusion import Gradients, even_gradients, fsl_vectors, render_diffusion
from mripipe.errors import RequestError
from mripipe.steps.load import save_image

SESSIONS = ("baseline", "month3", "month12")
DAYS = (45, 135, 410)
INFUSION_DAY = 50
"""Days from onset to the first infusion: the first visit comes before it."""
LESION_ML = (85.0, 45.0, 150.0, 25.0)
"""Infarcts of successive patients, over again from the fifth on."""
SIDES: tuple[Side, ...] = ("left", "right")
SCORES = {"mrs": (5, 4, 3), "nihss": (18, 13, 10), "barthel": (15, 45, 65)}
FLAIR_SUBSLICES = 4
N_POINTS = 3000
TRUTH_MASKS = {
    "brain": "brain",
    "ventricle_left": "leftLateralVentricle",
    "ventricle_right": "rightLateralVentricle",
    "lesion": "L",
    "cavity": "cavity",
    "hyperintensity": "WMH",
    "lacune": "lacune",
}
README = """A trial of phantom patients with an infarct of the middle cerebral artery's territory.

Computed from the tissue maps of the ICBM 152 2009 average brain: no real person was imaged, and scores, ages
and days are made up. The truth (infarct, volumes, point pairs) lies in the folder `truth` beside this one.
"""
COLUMNS = {
    "age": {"Description": "Age at onset, made up", "Units": "year"},
    "sex": {"Description": "Sex, made up", "Levels": {"F": "female", "M": "male"}},
    "mrs": {"Description": "Modified Rankin Scale, 0 (no symptoms) to 6 (dead), made up"},
    "nihss": {"Description": "NIH Stroke Scale, 0 to 42, made up"},
    "barthel": {"Description": "Barthel index, 0 to 100, made up"},
    "session_id": {"Description": "Visit"},
    "participant_id": {"Description": "Phantom patient"},
    "days_from_onset": {"Description": "Days since stroke onset", "Units": "day"},
    "days_from_infusion": {"Description": "Days since the first infusion", "Units": "day"},
}
SIDECARS: dict[str, dict[str, Any]] = {
    "T1w": {"RepetitionTime": 2.3, "EchoTime": 0.003, "InversionTime": 0.9, "FlipAngle": 9},
    "FLAIR": {"RepetitionTime": 9.0, "EchoTime": 0.1, "InversionTime": 2.5, "FlipAngle": 150},
    "dwi": {"RepetitionTime": 8.0, "EchoTime": 0.085, "FlipAngle": 90},
}


@dataclass(frozen=True)
class TrialPlan:
    """What is written for each visit."""

    t1w_mm: float
    flair_mm: tuple[float, float, float] | None
    dwi_mm: float | None
    sessions: tuple[str, ...]
    snr: float


def phantom_atlas() -> PhantomAtlas:
    """Prepare the average head from the template that ships with the package's dependencies."""
    template = load_template()
    return prepare_atlas(PhantomTemplate(template.gm, template.wm, template.mask, template.affine))


def write_trial(
    out_dir: Path,
    *,
    patients: int = 2,
    seed: int = 20,
    t1w_mm: float = 1.0,
    flair_mm: tuple[float, float, float] | None = (1.0, 1.0, 4.0),
    with_dwi: bool = True,
    dwi_mm: float = 2.0,
    visits: int = 3,
    healthy: int = 0,
    snr: float = 30.0,
) -> Path:
    """Write a trial of phantom patients; the same arguments give the same bytes.

    Parameters
    ----------
    out_dir : Path
        Gets ``bids/`` and ``truth/``; made if missing.
    patients : int
        Patients with an infarct: left, right, left, ...
    seed : int
        Patient k is drawn from ``seed + k``.
    t1w_mm : float
        Edge of the T1w's voxels.
    flair_mm : tuple or None
        FLAIR voxels, right-left, front-back, foot-head; None for no FLAIR.
    with_dwi : bool
        Whether there is a diffusion series: one b = 0, 30 directions with b = 1000 s/mm^2.
    dwi_mm : float
        Edge of its voxels.
    visits : int
        Visits a patient, 1 to 3, at 45, 135 and 410 days from onset.
    healthy : int
        Heads without an infarct, after the patients.
    snr : float
        Signal over noise in white matter.

    Returns
    -------
    Path
        ``out_dir / "bids"``.

    Raises
    ------
    RequestError
        If there is nobody to write, or the number of visits is not 1, 2 or 3.

    """
    if patients + healthy < 1 or patients < 0 or healthy < 0:
        raise RequestError(f"a trial of {patients} patients and {healthy} healthy heads: ask for one or more")
    if not 1 <= visits <= len(SESSIONS):
        raise RequestError(f"{visits} visits a patient: phantoms have 1 to {len(SESSIONS)}")
    plan = TrialPlan(t1w_mm, flair_mm, dwi_mm if with_dwi else None, SESSIONS[:visits], snr)
    atlas = phantom_atlas()
    truth: dict[str, Any] = {}
    for index in range(patients + healthy):
        participant = f"sub-{index + 1:03d}"
        patient = draw_patient(
            atlas,
            seed=seed + index,
            side=SIDES[index % 2] if index < patients else "none",
            lesion_ml=LESION_ML[index % len(LESION_ML)],
            days=DAYS[:visits],
        )
        truth[participant] = _write_patient(out_dir, participant, patient, plan)
    _write_tables(out_dir / "bids", sorted(truth), plan.sessions, seed)
    _write_descriptions(out_dir)
    write_atomic(out_dir / "truth" / "truth.json", _json(truth))
    return out_dir / "bids"


def _write_patient(
    out_dir: Path, participant: str, patient: PhantomPatient, plan: TrialPlan
) -> dict[str, Any]:
    """Write every visit's images and truth; return the numbers of ``truth.json``."""
    sessions = {
        f"ses-{label}": _write_visit(out_dir, participant, label, patient, visit, plan)
        for visit, label in enumerate(plan.sessions)
    }
    return {"side": patient.side, "seed": patient.seed, "sessions": sessions}


def _write_visit(
    out_dir: Path, participant: str, session: str, patient: PhantomPatient, visit: int, plan: TrialPlan
) -> dict[str, Any]:
    names, truth = OutputPaths(out_dir / "bids"), OutputPaths(out_dir / "truth")
    grid = visit_grid(patient, visit, "T1w", zooms_mm=(plan.t1w_mm,) * 3)
    image = render_visit(patient, visit, "T1w", grid, snr=plan.snr)
    _write_scan(names, participant, session, "T1w", image, grid)
    if plan.flair_mm is not None:
        flair = visit_grid(patient, visit, "FLAIR", zooms_mm=plan.flair_mm)
        image = render_visit(patient, visit, "FLAIR", flair, snr=plan.snr, subslices=FLAIR_SUBSLICES)
        _write_scan(names, participant, session, "FLAIR", image, flair)
        _write_fraction(truth, participant, session, patient, visit, flair)
    if plan.dwi_mm is not None:
        dwi = visit_grid(patient, visit, "dwi", zooms_mm=(plan.dwi_mm,) * 3)
        gradients = even_gradients()
        image = render_diffusion(patient, visit, dwi, gradients, snr=plan.snr)
        _write_scan(names, participant, session, "dwi", image, dwi)
        _write_gradients(names, participant, session, gradients, dwi)
    volumes = _write_truth(truth, participant, session, patient, visit, grid)
    scan = patient.visits[visit]
    return {
        "days_from_onset": scan.days_from_onset,
        "side": patient.side,
        "lesion_ml": scan.lesion_ml,
        "cavity_fraction": scan.cavity_fraction,
        "lesion_mni_ml": _write_mni_lesion(truth, participant, session, patient, visit),
        "on_t1w_grid": volumes,
        "cst_fa_ratio": scan.tract_fa_ratio,
        "t1w_from_first_t1w": patient.visit_to_visit(0, visit).tolist(),
        "scan_from_t1w": {name: matrix.tolist() for name, matrix in sorted(scan.scan_motion.items())},
    }


def _write_scan(
    names: OutputPaths,
    participant: str,
    session: str,
    suffix: Literal["T1w", "FLAIR", "dwi"],
    data: NDArray[np.float32],
    grid: PhantomGrid,
) -> None:
    """Write an image in whole numbers, as scanners do, with its sidecar."""
    folder = "dwi" if suffix == "dwi" else "anat"
    parts = Entities(suffix=suffix, extension=".nii.gz")
    path = names.derivative(participant, session, parts, datatype=folder)
    save_image(path, np.clip(np.rint(data), 0, 32767), grid.affine, dtype=np.int16)
    sidecar = {"Manufacturer": "n/a (phantom)", "MagneticFieldStrength": 3, **SIDECARS[suffix]}
    parts = Entities(suffix=suffix, extension=".json")
    write_atomic(names.derivative(participant, session, parts, datatype=folder), _json(sidecar))


def _write_gradients(
    names: OutputPaths, participant: str, session: str, gradients: Gradients, grid: PhantomGrid
) -> None:
    for extension, text in zip((".bval", ".bvec"), _gradient_text(gradients, grid), strict=True):
        parts = Entities(suffix="dwi", extension=extension)
        write_atomic(names.derivative(participant, session, parts, datatype="dwi"), text)


def _gradient_text(gradients: Gradients, grid: PhantomGrid) -> tuple[str, str]:
    vectors = fsl_vectors(gradients, grid.affine)
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in vectors)
    return " ".join(f"{value:g}" for value in gradients.b_values) + "\n", rows + "\n"


def _write_truth(
    truth: OutputPaths,
    participant: str,
    session: str,
    patient: PhantomPatient,
    visit: int,
    grid: PhantomGrid,
) -> dict[str, float]:
    """Write masks on the T1w's grid, the infarct in MNI and point pairs; return the masks' mL."""
    masks = true_masks(patient, visit, grid)
    volumes: dict[str, float] = {}
    for name, label in TRUTH_MASKS.items():
        parts = Entities(label=label, suffix="mask", extension=".nii.gz")
        path = truth.derivative(participant, session, parts)
        save_image(path, masks[name], grid.affine, dtype=np.uint8)
        volumes[f"{name}_ml"] = float(masks[name].sum()) * grid.voxel_ml
    _write_points(truth, participant, session, patient, visit)
    return volumes


def _write_fraction(
    truth: OutputPaths,
    participant: str,
    session: str,
    patient: PhantomPatient,
    visit: int,
    grid: PhantomGrid,
) -> None:
    """Write the share of infarct in each voxel of the FLAIR's grid."""
    share = true_fractions(patient, visit, grid, sequence="FLAIR", labels=("lesion",))["lesion"]
    parts = Entities(space="FLAIR", label="L", suffix="probseg", extension=".nii.gz")
    save_image(truth.derivative(participant, session, parts), share, grid.affine)


def _write_mni_lesion(
    truth: OutputPaths, participant: str, session: str, patient: PhantomPatient, visit: int
) -> float:
    """Write the infarct carried to MNI by the true map, on the template's grid; return its mL."""
    template = patient.atlas.template
    share = lesion_in_mni(patient, visit)
    parts = Entities(space=TEMPLATE_SPACE, label="L", suffix="probseg", extension=".nii.gz")
    save_image(truth.derivative(participant, session, parts), share, template.affine)
    return float((share >= 0.5).sum() * abs(np.linalg.det(template.affine[:3, :3])) / 1000.0)


def _write_points(
    truth: OutputPaths, participant: str, session: str, patient: PhantomPatient, visit: int
) -> None:
    """Write matching points: T1w's native mm, MNI mm, and whether in the infarct."""
    points = true_points(patient, visit, n=N_POINTS)
    lines = ["native_x\tnative_y\tnative_z\tmni_x\tmni_y\tmni_z\tin_lesion"]
    for native, mni, inside in zip(points.native_mm, points.mni_mm, points.in_lesion, strict=True):
        numbers = "\t".join(f"{value:.4f}" for value in (*native, *mni))
        lines.append(f"{numbers}\t{int(inside)}")
    parts = Entities(desc="points", suffix="xfm", extension=".tsv")
    write_atomic(truth.derivative(participant, session, parts), "\n".join(lines) + "\n")


def _write_tables(root: Path, participants: list[str], sessions: tuple[str, ...], seed: int) -> None:
    rng = np.random.default_rng([seed, 5])
    ages = rng.integers(42, 80, len(participants))
    people = [[name, str(ages[k]), "FM"[k % 2]] for k, name in enumerate(participants)]
    _write_table(root / "participants.tsv", ["participant_id", "age", "sex"], people)
    for name in participants:
        rows = [
            [f"ses-{label}", str(DAYS[k]), str(DAYS[k] - INFUSION_DAY)] for k, label in enumerate(sessions)
        ]
        columns = ["session_id", "days_from_onset", "days_from_infusion"]
        _write_table(root / name / f"{name}_sessions.tsv", columns, rows)
    for score, course in SCORES.items():
        rows = [
            [name, f"ses-{label}", str(course[k])]
            for name in participants
            for k, label in enumerate(sessions)
        ]
        _write_table(root / "phenotype" / f"{score}.tsv", ["participant_id", "session_id", score], rows)


def _write_table(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    """Write a table with its data dictionary."""
    write_atomic(path, "\n".join("\t".join(row) for row in [columns, *rows]) + "\n")
    write_atomic(path.with_suffix(".json"), _json({name: COLUMNS[name] for name in columns}))


def _write_descriptions(out_dir: Path) -> None:
    kinds = {"bids": ("raw", "Phantom trial"), "truth": ("derivative", "Truth of the phantom trial")}
    for folder, (kind, name) in kinds.items():
        described: dict[str, Any] = {
            "Name": name,
            "BIDSVersion": "1.10.0",
            "DatasetType": kind,
            "License": "CC0",
        }
        if kind == "derivative":
            described["GeneratedBy"] = [{"Name": "mripipe", "Description": "phantom generator"}]
        write_atomic(out_dir / folder / "dataset_description.json", _json(described))
        write_atomic(out_dir / folder / "README", README)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True) + "\n"

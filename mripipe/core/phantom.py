"""Phantom patients: heads with a middle cerebral artery infarct over several visits, and the exact truth.

Spaces, all RAS+ mm: *native* (scanner, one pose a visit and sequence), *patient* (the head at rest) and
*MNI*. ``native -> patient`` is rigid, ``patient -> MNI`` is the visit's `AnatomyMap`. Tissue is looked up
once, native voxel to MNI, so no image is ever interpolated twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mripipe.core.phantom_anatomy import AnatomyMap, draw_anatomy, widen_ventricle
from mripipe.core.phantom_atlas import PhantomAtlas
from mripipe.core.phantom_fields import AffineArray, FloatArray, apply_affine, grid_points, sample
from mripipe.core.phantom_lesion import (
    LesionLevels,
    LesionThresholds,
    draw_levels,
    fit_thresholds,
)
from mripipe.core.phantom_scan import (
    FIELD_OF_VIEW_MM,
    SLAB_OF_VIEW_MM,
    PhantomGrid,
    add_rician_noise,
    bias_field,
    draw_pose,
    make_grid,
)
from mripipe.core.phantom_signal import Sequence, head_signal, lesion_fractions

Side = Literal["left", "right", "none"]

VISIT_DAYS = (45, 135, 410)
CAVITY_FIRST, CAVITY_LAST = 0.10, 0.50
POSE_DEGREES, POSE_MM = 8.0, 10.0
SCAN_DEGREES, SCAN_MM = 0.7, 0.7
"""Small motion between the sequences of a visit."""
ORIENTATIONS = ("RAS", "LAS", "PSR", "LPS", "ASR")
SEQUENCES = ("T1w", "T2w", "FLAIR", "dwi")
SLAB_VOXELS = 1_500_000
CENTRE_MNI_MM = (0.0, -18.0, 0.0)


@dataclass(frozen=True)
class PhantomVisit:
    """One visit of a phantom patient: the state of the brain and where the head lay."""

    days_from_onset: float
    anatomy: AnatomyMap
    """Patient mm to MNI mm at this visit, the widened ventricle included."""
    thresholds: LesionThresholds
    lesion_ml: float
    """True infarct volume in the patient, cavity included."""
    cavity_fraction: float
    """Cavity's share of the infarct."""
    pose: AffineArray
    """Patient mm to native mm of the visit's T1w (4, 4), rigid."""
    scan_motion: dict[str, AffineArray]
    """Native mm of the visit's T1w to native mm of each sequence (4, 4), rigid."""
    orientation: str
    """Where the T1w's array axes point."""
    oblique_deg: tuple[float, float, float]

    def native_from_patient(self, sequence: str = "T1w") -> AffineArray:
        """Rigid matrix (4, 4) from patient mm to a sequence's native mm."""
        return np.asarray(self.scan_motion[sequence] @ self.pose)


@dataclass(frozen=True)
class PhantomPatient:
    """A phantom patient with visits in time order."""

    seed: int
    side: Side
    """Side of the infarct; ``none`` for a healthy head (distractors are still there)."""
    atlas: PhantomAtlas
    levels: LesionLevels
    visits: tuple[PhantomVisit, ...]

    def visit_to_visit(self, first: int, second: int) -> AffineArray:
        """Rigid matrix (4, 4): native T1w mm of visit ``first`` to native T1w mm of visit ``second``."""
        return np.asarray(self.visits[second].pose @ np.linalg.inv(self.visits[first].pose))


def draw_patient(
    atlas: PhantomAtlas,
    *,
    seed: int,
    side: Side,
    lesion_ml: float = 80.0,
    days: tuple[float, ...] = VISIT_DAYS,
    distractors: bool = True,
) -> PhantomPatient:
    """Draw a patient from a seed.

    Parameters
    ----------
    atlas : PhantomAtlas
        From `prepare_atlas`.
    seed : int
        The same seed gives the same patient.
    side : {"left", "right", "none"}
        Side of the infarct.
    lesion_ml : float
        Infarct volume at the first visit in the patient's own millimetres; it shrinks by a known few
        percent a visit. Not used with side ``none``.
    days : tuple of float
        Days from onset of each visit.
    distractors : bool
        Whether there are white-matter hyperintensities and an old lacune on the other side.

    """
    rng = np.random.default_rng([seed, 1])
    anatomy = draw_anatomy(rng)
    levels = draw_levels(rng, atlas, side=side)
    shrink = rng.uniform(0.03, 0.07)
    widening = rng.uniform(2.0, 3.5)
    spots_ml = rng.uniform(0.8, 4.5) if distractors else 0.0
    visits: list[PhantomVisit] = []
    for index, day in enumerate(days):
        late = index / max(len(days) - 1, 1)
        volume = 0.0 if side == "none" else lesion_ml * (1.0 - shrink) ** index
        visit_rng = np.random.default_rng([seed, 2, index])
        cavity = CAVITY_FIRST + (CAVITY_LAST - CAVITY_FIRST) * late
        bent = widen_ventricle(anatomy, atlas, side=side, widening_mm=widening * late)
        clear = visits[0].thresholds.infarct + 8.0 if visits else -np.inf
        cuts = fit_thresholds(
            levels,
            atlas,
            bent,
            lesion_ml=volume,
            cavity_fraction=cavity,
            hyperintensity_ml=spots_ml,
            lacune=distractors,
            keep_clear_of=clear,
        )
        visits.append(_draw_visit(visit_rng, index, day, bent, cuts, volume, cavity))
    return PhantomPatient(seed, side, atlas, levels, tuple(visits))


def _draw_visit(
    rng: np.random.Generator,
    index: int,
    day: float,
    anatomy: AnatomyMap,
    thresholds: LesionThresholds,
    lesion_ml: float,
    cavity: float,
) -> PhantomVisit:
    pose = draw_pose(rng, degrees=POSE_DEGREES, millimetres=POSE_MM)
    motion = {name: draw_pose(rng, degrees=SCAN_DEGREES, millimetres=SCAN_MM) for name in SEQUENCES}
    motion["T1w"] = np.eye(4)
    oblique = rng.uniform(-6.0, 6.0, 3) if index % 2 else np.zeros(3)
    return PhantomVisit(
        days_from_onset=float(day),
        anatomy=anatomy,
        thresholds=thresholds,
        lesion_ml=lesion_ml,
        cavity_fraction=cavity if lesion_ml else 0.0,
        pose=pose,
        scan_motion=motion,
        orientation=ORIENTATIONS[int(rng.integers(len(ORIENTATIONS)))],
        oblique_deg=(float(oblique[0]), float(oblique[1]), float(oblique[2])),
    )


def visit_grid(
    patient: PhantomPatient,
    visit: int,
    sequence: str = "T1w",
    *,
    zooms_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    orientation: str | None = None,
    oblique_deg: tuple[float, float, float] | None = None,
) -> PhantomGrid:
    """Lay the grid on which a visit's sequence is acquired, the whole brain in view.

    Parameters
    ----------
    patient, visit, sequence
        Whose scan; ``visit`` counts from 0.
    zooms_mm : tuple
        Voxel size along right-left, front-back and foot-head.
    orientation : str, optional
        Where the array axes point; the visit's own for a T1w, ``LAS`` for others.
    oblique_deg : tuple, optional
        Rotation of the grid; the visit's own if not given, shifted a little for other sequences.

    """
    scan = patient.visits[visit]
    whole = max(zooms_mm) <= 2.0 and sequence in ("T1w", "T2w")
    drop = 22.0 if whole else 4.0
    centre_mni = np.array(CENTRE_MNI_MM)[:, None] - [[0.0], [0.0], [drop]]
    centre = apply_affine(scan.native_from_patient(sequence), scan.anatomy.to_patient(centre_mni))[:, 0]
    own = sequence == "T1w"
    turned = (
        scan.oblique_deg if own else (scan.oblique_deg[0] + 5.0, scan.oblique_deg[1], scan.oblique_deg[2])
    )
    return make_grid(
        centre,
        zooms_mm=zooms_mm,
        view_mm=FIELD_OF_VIEW_MM if whole else SLAB_OF_VIEW_MM,
        orientation=orientation or (scan.orientation if own else "LAS"),
        oblique_deg=turned if oblique_deg is None else oblique_deg,
    )


def render_visit(
    patient: PhantomPatient,
    visit: int,
    sequence: Sequence,
    grid: PhantomGrid,
    *,
    snr: float | None = 30.0,
    bias: float = 0.25,
    skull: bool = True,
    subslices: int = 1,
) -> FloatArray:
    """Render one image.

    Parameters
    ----------
    patient, visit, sequence
        What to render; ``visit`` counts from 0.
    grid : PhantomGrid
        Native voxels, from `visit_grid` or any other.
    snr : float or None
        Signal of the brightest brain tissue over the noise's deviation; None for no noise.
    bias : float
        Strength of the receive field: 0.25 gives 0.75 to 1.25; 0 for none.
    skull : bool
        False leaves only the brain, as after skull stripping.
    subslices : int
        Box average of this many sub-slices along the thickest axis: partial volume of thick slices.

    Returns
    -------
    array (X, Y, Z)
        float32; about 1000 in the brightest brain tissue.

    """
    scan = patient.visits[visit]
    signal = np.zeros(grid.shape, np.float32)
    for offset in _offsets(grid, subslices):
        for part, mm in _slabs(grid, scan.native_from_patient(sequence), offset):
            values = head_signal(sequence, patient.atlas, patient.levels, scan.thresholds, scan.anatomy, mm)
            signal[part] += values.reshape(signal[part].shape) / np.float32(subslices)
    if not skull:
        signal *= true_masks(patient, visit, grid, sequence=sequence, labels=("brain",))["brain"]
    rng = np.random.default_rng([patient.seed, 3, visit, SEQUENCES.index(sequence)])
    if bias:
        signal *= bias_field(rng, grid.shape, strength=bias)
    if snr is not None:
        noisy = add_rician_noise(rng, signal, sigma=1.0 / snr)
        signal = noisy if skull else np.where(signal > 0, noisy, 0).astype(np.float32)
    return signal * np.float32(1000.0)


LABELS = (
    "lesion",
    "cavity",
    "brain",
    "ventricle_left",
    "ventricle_right",
    "hyperintensity",
    "lacune",
)


def true_fraction(
    patient: PhantomPatient,
    visit: int,
    grid: PhantomGrid,
    *,
    sequence: str = "T1w",
    labels: tuple[str, ...] = LABELS,
    supersampling: int = 2,
) -> dict[str, FloatArray]:
    """Return the share of each voxel (X, Y, Z) that lies in each true region, 0 to 1.

    Counted on ``supersampling`` points along each voxel axis.
    """
    scan = patient.visits[visit]
    out = {name: np.zeros(grid.shape, np.float32) for name in labels}
    steps = (np.arange(supersampling) + 0.5) / supersampling - 0.5
    weight = np.float32(1.0 / supersampling**3)
    for i in steps:
        for j in steps:
            for k in steps:
                for part, mm in _slabs(grid, scan.native_from_patient(sequence), np.array([i, j, k])):
                    mni = scan.anatomy.to_mni(mm)
                    for name, inside in truth_at(patient, visit, mni, labels).items():
                        out[name][part] += inside.reshape(out[name][part].shape) * weight
    return out


def true_masks(
    patient: PhantomPatient,
    visit: int,
    grid: PhantomGrid,
    *,
    sequence: str = "T1w",
    labels: tuple[str, ...] = LABELS,
) -> dict[str, NDArray[np.bool_]]:
    """Return boolean masks (X, Y, Z) of the true regions on any native grid: half of the voxel or more."""
    supersampling = 1 if max(grid.zooms_mm) <= 1.0 else 2 if max(grid.zooms_mm) <= 2.0 else 3
    parts = true_fraction(patient, visit, grid, sequence=sequence, labels=labels, supersampling=supersampling)
    return {name: fraction >= 0.5 for name, fraction in parts.items()}


def truth_at(
    patient: PhantomPatient, visit: int, mni: NDArray[np.floating], labels: tuple[str, ...] = LABELS
) -> dict[str, NDArray[np.bool_]]:
    """Say which true regions contain MNI points (3, N): one boolean array (N,) a label."""
    atlas, affine = patient.atlas, patient.atlas.template.affine
    out: dict[str, NDArray[np.bool_]] = {}
    brain = sample(atlas.brain, affine, mni) >= 0.5
    inside = np.flatnonzero(brain)
    near = mni[:, inside]
    if "brain" in labels:
        out["brain"] = brain
    found: dict[str, NDArray[np.bool_]] = {}
    if {"ventricle_left", "ventricle_right"} & set(labels):
        fluid = sample(atlas.ventricles, affine, near) >= 0.5
        found["ventricle_left"], found["ventricle_right"] = fluid & (near[0] < 0), fluid & (near[0] > 0)
    if {"lesion", "cavity", "hyperintensity", "lacune"} & set(labels):
        abnormal = lesion_fractions(patient.levels, patient.visits[visit].thresholds, atlas, near)
        found |= {name: abnormal[name] >= 0.5 for name in ("lesion", "cavity", "hyperintensity", "lacune")}
    for name in set(found) & set(labels):
        whole = np.zeros(mni.shape[1], bool)
        whole[inside] = found[name]
        out[name] = whole
    return {name: out[name] for name in labels}


@dataclass(frozen=True)
class TruePoints:
    """Points inside the brain with their true partners."""

    native_mm: NDArray[np.float64]
    """Native RAS+ mm of the visit's sequence (N, 3)."""
    mni_mm: NDArray[np.float64]
    """MNI mm (N, 3)."""
    in_lesion: NDArray[np.bool_]
    """Whether the point lies in the infarct (N,)."""


def true_points(
    patient: PhantomPatient, visit: int, *, n: int = 3000, seed: int = 0, sequence: str = "T1w"
) -> TruePoints:
    """Draw points evenly in the patient's brain (ventricles and sulci included) with their true MNI mm."""
    rng = np.random.default_rng([patient.seed, 4, visit, seed])
    scan = patient.visits[visit]
    low, high = np.array([[-105.0], [-140.0], [-110.0]]), np.array([[105.0], [110.0], [110.0]])
    kept = np.empty((3, 0))
    while kept.shape[1] < n:
        drawn = rng.uniform(low, high, (3, 2 * n))
        inside = truth_at(patient, visit, scan.anatomy.to_mni(drawn), ("brain",))["brain"]
        kept = np.hstack([kept, drawn[:, inside]])
    kept = kept[:, :n]
    mni = scan.anatomy.to_mni(kept)
    return TruePoints(
        native_mm=apply_affine(scan.native_from_patient(sequence), kept).T,
        mni_mm=mni.T,
        in_lesion=truth_at(patient, visit, mni, ("lesion",))["lesion"],
    )


def native_to_mni(
    patient: PhantomPatient, visit: int, points: NDArray[np.float64], *, sequence: str = "T1w"
) -> NDArray[np.float64]:
    """Map native mm (N, 3) of a visit's sequence to MNI mm (N, 3), exactly."""
    scan = patient.visits[visit]
    inverse = np.linalg.inv(scan.native_from_patient(sequence))
    return np.asarray(scan.anatomy.to_mni(apply_affine(inverse, np.asarray(points, np.float64).T)).T)


def mni_to_native(
    patient: PhantomPatient, visit: int, points: NDArray[np.float64], *, sequence: str = "T1w"
) -> NDArray[np.float64]:
    """Map MNI mm (N, 3) to native mm (N, 3) of a visit's sequence; the inverse of `native_to_mni`."""
    scan = patient.visits[visit]
    inner = scan.anatomy.to_patient(np.asarray(points, np.float64).T)
    return np.asarray(apply_affine(scan.native_from_patient(sequence), inner).T)


def lesion_mni_ml(patient: PhantomPatient, visit: int) -> float:
    """Return the infarct's volume in MNI mm, carried by the true map, in mL."""
    affine = patient.atlas.template.affine
    points = grid_points(patient.atlas.brain.shape, affine)
    inside = truth_at(patient, visit, points, ("lesion",))["lesion"]
    return float(inside.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000.0)


def _offsets(grid: PhantomGrid, subslices: int) -> list[NDArray[np.float64]]:
    """Sub-slice centres along the thickest axis, in voxels from the slice's centre."""
    direction = np.eye(3)[int(np.argmax(grid.zooms_mm))]
    return [direction * ((k + 0.5) / subslices - 0.5) for k in range(subslices)]


def _slabs(
    grid: PhantomGrid, native_from_patient: AffineArray, offset: NDArray[np.float64]
) -> Iterator[tuple[tuple[slice, ...], FloatArray]]:
    """Cut a grid into slabs along its first axis; each with its voxels' patient mm (3, N).

    A generator: only one slab's points live at a time.
    """
    shifted = grid.affine.copy()
    shifted[:3, 3] += grid.affine[:3, :3] @ offset
    step = max(1, SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    patient_from_voxel = np.linalg.inv(native_from_patient) @ shifted
    for start in range(0, grid.shape[0], step):
        stop = min(start + step, grid.shape[0])
        slab = patient_from_voxel.copy()
        slab[:3, 3] += slab[:3, 0] * start
        yield (slice(start, stop),), grid_points((stop - start, *grid.shape[1:]), slab)

"""The truth of a phantom patient: regions on any grid, matching points, volumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mripipe.core.phantom_anatomy import AnatomyMap
from mripipe.core.phantom_fields import FloatArray, apply_affine, grid_points, sample
from mripipe.core.phantom_patient import PhantomPatient
from mripipe.core.phantom_scan import PhantomGrid, subvoxel_offsets, voxel_slabs
from mripipe.core.phantom_signal import lesion_fractions

ABNORMAL = ("lesion", "cavity", "hyperintensity", "lacune")
LABELS = ("brain", "ventricle_left", "ventricle_right", *ABNORMAL)
BRAIN_LOW_MM, BRAIN_HIGH_MM = (-82.0, -118.0, -74.0), (82.0, 82.0, 88.0)
"""Box around the template's brain in MNI mm."""


def true_fractions(
    patient: PhantomPatient,
    visit: int,
    grid: PhantomGrid,
    *,
    sequence: str = "T1w",
    labels: tuple[str, ...] = LABELS,
) -> dict[str, FloatArray]:
    """Return the share of each voxel (X, Y, Z) that lies in each true region, 0 to 1.

    Averaged over points at most 1 mm apart.

    Parameters
    ----------
    patient, visit
        Whose truth; ``visit`` counts from 0.
    grid : PhantomGrid
        Any native grid.
    sequence : str
        The sequence whose native space the grid lies in.
    labels : tuple of str
        Some of `LABELS`. The ventricles are the patient's left and right lateral ventricle.

    """
    scan = patient.visits[visit]
    out = {name: np.zeros(grid.shape, np.float32) for name in labels}
    low, high = _brain_box(scan.anatomy)
    for part, points in voxel_slabs(grid, scan.native_from_patient(sequence), np.zeros(3)):
        near = np.flatnonzero(np.all((points > low) & (points < high), axis=0))
        mni = scan.anatomy.to_mni(points[:, near])
        for name, values in truth_at(patient, visit, mni, labels).items():
            out[name][part].reshape(-1)[near] = values
    offsets = subvoxel_offsets(grid)
    if len(offsets) == 1:
        return out
    # Only voxels near an edge hold more than one value.
    mixed = np.nonzero(np.any([_near_edge(values) for values in out.values()], axis=0))
    patient_from_voxel = np.linalg.inv(scan.native_from_patient(sequence)) @ grid.affine
    sums = {name: np.zeros(mixed[0].size, np.float32) for name in labels}
    for offset in offsets:
        centres = (np.array(mixed) + offset[:, None]).astype(np.float32)
        mni = scan.anatomy.to_mni(apply_affine(patient_from_voxel, centres))
        for name, values in truth_at(patient, visit, mni, labels).items():
            sums[name] += values
    for name in labels:
        out[name][mixed] = sums[name] / np.float32(len(offsets))
    return out


def _near_edge(values: FloatArray) -> NDArray[np.bool_]:
    spread = ndimage.maximum_filter(values, 3) - ndimage.minimum_filter(values, 3)
    return np.asarray(spread > 0)


def true_masks(
    patient: PhantomPatient,
    visit: int,
    grid: PhantomGrid,
    *,
    sequence: str = "T1w",
    labels: tuple[str, ...] = LABELS,
) -> dict[str, NDArray[np.bool_]]:
    """Return the voxels (X, Y, Z) of which half or more lies in each true region; see `true_fractions`."""
    parts = true_fractions(patient, visit, grid, sequence=sequence, labels=labels)
    # Sums of eighths and the like miss one half by rounding.
    return {name: fraction >= 0.5 - 1e-4 for name, fraction in parts.items()}


def truth_at(
    patient: PhantomPatient, visit: int, mni: NDArray[np.floating], labels: tuple[str, ...] = LABELS
) -> dict[str, NDArray[np.floating]]:
    """Return the amount of each true region at MNI points (3, N): 0 to 1 (N,), with ramps at the edges."""
    atlas, affine = patient.atlas, patient.atlas.template.affine
    out: dict[str, NDArray[np.floating]] = {}
    if "brain" in labels:
        out["brain"] = sample(atlas.brain, affine, mni)
    if {"ventricle_left", "ventricle_right"} & set(labels):
        fluid = sample(atlas.ventricles, affine, mni)
        out["ventricle_left"], out["ventricle_right"] = fluid * (mni[0] < 0), fluid * (mni[0] > 0)
    if set(ABNORMAL) & set(labels):
        thresholds = patient.visits[visit].thresholds
        out |= lesion_fractions(patient.levels, thresholds, atlas, mni, names=labels)
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
    low, high = _brain_box(scan.anatomy)
    kept = np.empty((3, 0))
    while kept.shape[1] < n:
        drawn = rng.uniform(low, high, (3, 2 * n))
        inside = truth_at(patient, visit, scan.anatomy.to_mni(drawn), ("brain",))["brain"] >= 0.5
        kept = np.hstack([kept, drawn[:, inside]])
    kept = kept[:, :n]
    mni = scan.anatomy.to_mni(kept)
    return TruePoints(
        native_mm=np.asarray(apply_affine(scan.native_from_patient(sequence), kept).T, np.float64),
        mni_mm=np.asarray(mni.T, np.float64),
        in_lesion=truth_at(patient, visit, mni, ("lesion",))["lesion"] >= 0.5,
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


def lesion_in_mni(patient: PhantomPatient, visit: int) -> FloatArray:
    """Return the infarct carried to MNI by the true map: share of each voxel on the template's grid."""
    affine = patient.atlas.template.affine
    points = grid_points(patient.atlas.brain.shape, affine)
    return truth_at(patient, visit, points, ("lesion",))["lesion"].reshape(patient.atlas.brain.shape)


def lesion_mni_ml(patient: PhantomPatient, visit: int) -> float:
    """Return the volume of the infarct carried to MNI by the true map, in mL."""
    voxel_ml = abs(np.linalg.det(patient.atlas.template.affine[:3, :3])) / 1000.0
    return float((lesion_in_mni(patient, visit) >= 0.5).sum() * voxel_ml)


def _brain_box(anatomy: AnatomyMap) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Corners (3, 1) of a box in patient mm that holds the brain, whatever its displacement."""
    reach = np.abs(anatomy.displacement_mm).max(axis=(1, 2, 3))[:, None]
    box = np.array([BRAIN_LOW_MM, BRAIN_HIGH_MM]).T + np.hstack([-reach, reach])
    corners = np.array([[box[0, i], box[1, j], box[2, k]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    inner = apply_affine(np.linalg.inv(anatomy.affine), corners.T)
    return inner.min(1, keepdims=True).astype(np.float32), inner.max(1, keepdims=True).astype(np.float32)

"""A phantom patient: one head over several visits, with its infarct, its poses and its grids.

Spaces, all RAS+ mm: *native* (scanner, one pose a visit and sequence), *patient* (the head at rest) and
*MNI*. ``native -> patient`` is rigid, ``patient -> MNI`` is the visit's `AnatomyMap`. Tissue is looked up
once, native voxel to MNI, so no image is ever interpolated twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mripipe.core.phantom_anatomy import AnatomyMap, draw_anatomy, widen_ventricle
from mripipe.core.phantom_atlas import PhantomAtlas
from mripipe.core.phantom_fields import AffineArray, apply_affine
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
    draw_pose,
    make_grid,
)

Side = Literal["left", "right", "none"]

VISIT_DAYS = (45, 135, 410)
CAVITY_FIRST, CAVITY_LAST = 0.10, 0.50
POSE_DEGREES, POSE_MM = 8.0, 10.0
SCAN_DEGREES, SCAN_MM = 0.7, 0.7
"""Small motion between the sequences of a visit."""
ORIENTATIONS = ("RAS", "LAS", "PSR", "LPS", "ASR")
SEQUENCES = ("T1w", "T2w", "FLAIR", "dwi")
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
    tract_fa_ratio: float
    """FA of the corticospinal tract on the infarct's side over the other side's, 1 in a healthy head."""

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
    course = _draw_course(rng, len(days), lesion_ml=0.0 if side == "none" else lesion_ml)
    spots_ml = rng.uniform(0.8, 4.5) if distractors else 0.0
    states = [widen_ventricle(anatomy, atlas, side=side, widening_mm=mm) for mm in course.widening_mm]
    cuts = fit_thresholds(
        levels,
        atlas,
        states,
        lesion_ml=course.lesion_ml,
        cavity_fractions=course.cavity_fractions,
        hyperintensity_ml=spots_ml,
        lacune=distractors,
    )
    visits = [
        _draw_visit(np.random.default_rng([seed, 2, k]), float(day), states[k], cuts[k], course, k)
        for k, day in enumerate(days)
    ]
    return PhantomPatient(seed, side, atlas, levels, tuple(visits))


@dataclass(frozen=True)
class _Course:
    """What becomes of a patient, one value a visit."""

    lesion_ml: tuple[float, ...]
    cavity_fractions: tuple[float, ...]
    widening_mm: tuple[float, ...]
    tract_fa_ratios: tuple[float, ...]


def _draw_course(rng: np.random.Generator, n_visits: int, *, lesion_ml: float) -> _Course:
    shrink = rng.uniform(0.03, 0.07)
    widening = rng.uniform(2.0, 3.5)
    first_ratio, last_ratio = rng.uniform(0.86, 0.94), rng.uniform(0.66, 0.80)
    late = [index / max(n_visits - 1, 1) for index in range(n_visits)]
    return _Course(
        lesion_ml=tuple(lesion_ml * (1.0 - shrink) ** index for index in range(n_visits)),
        cavity_fractions=tuple(CAVITY_FIRST + (CAVITY_LAST - CAVITY_FIRST) * part for part in late),
        widening_mm=tuple(widening * part if lesion_ml else 0.0 for part in late),
        tract_fa_ratios=tuple(
            first_ratio + (last_ratio - first_ratio) * part if lesion_ml else 1.0 for part in late
        ),
    )


def _draw_visit(
    rng: np.random.Generator,
    day: float,
    anatomy: AnatomyMap,
    thresholds: LesionThresholds,
    course: _Course,
    index: int,
) -> PhantomVisit:
    pose = draw_pose(rng, degrees=POSE_DEGREES, millimetres=POSE_MM)
    motion = {name: draw_pose(rng, degrees=SCAN_DEGREES, millimetres=SCAN_MM) for name in SEQUENCES}
    motion["T1w"] = np.eye(4)
    oblique = rng.uniform(-6.0, 6.0, 3) if index % 2 else np.zeros(3)
    return PhantomVisit(
        days_from_onset=day,
        anatomy=anatomy,
        thresholds=thresholds,
        lesion_ml=course.lesion_ml[index],
        cavity_fraction=course.cavity_fractions[index] if course.lesion_ml[index] else 0.0,
        pose=pose,
        scan_motion=motion,
        orientation=ORIENTATIONS[int(rng.integers(len(ORIENTATIONS)))],
        oblique_deg=(float(oblique[0]), float(oblique[1]), float(oblique[2])),
        tract_fa_ratio=course.tract_fa_ratios[index],
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
    drop = 22.0 if whole else -4.0
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

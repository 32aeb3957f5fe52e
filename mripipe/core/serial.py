"""Visits of one head brought together rigidly, no visit favoured and in no particular order.

Every pair is registered in both directions; the motion between visits i and j is the mean of one direction
and the inverse of the other, in the Lie algebra of SE(3): inverse-consistent by construction (compare Reuter
et al. 2010, doi:10.1016/j.neuroimage.2010.07.020).  The positions d_k of all visits then follow from the
motions E_ij between them by weighted least squares of d_j - d_i = log E_ij, with sum d_k = 0: the template
lies halfway (Reuter et al. 2012, doi:10.1016/j.neuroimage.2012.02.084).

Sums in floating point depend on their order, so visits are worked on in the order of a digest of what they
hold: the same visits in another order give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_gradient_magnitude, map_coordinates

from mripipe.core.grid import Volume
from mripipe.core.registration import register_affine
from mripipe.core.rigid import motion_matrix, motion_vector, rigid_part

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]

COARSE_MM = 4.0
"""Voxel size of the first comparison: catches first guesses that are off by a centimetre."""
RIM_MM = 4.0
"""CSF and inner skull around the brain that are compared too: the brain's outline holds it in place."""
LESION_MARGIN_MM = 3.0
"""Left out around either visit's lesion: it grows, shrinks and pulls on its surroundings between visits."""
BOX_MARGIN_MM = 12.0
"""Of each image this much around the brain is kept: enough for the first guess's error and a window."""
EDGE_SIGMA_MM = 1.0
"""Smoothing of the edge images that stand in where two visits differ in sequence."""
RADIUS_MM = 70.0
"""Of a brain: turns a rotation into millimetres at its surface."""
BEST_MM = 0.05
"""Disagreement of the two directions below which no pair is trusted more than another."""
ROUNDS = 5
"""Of the least-squares solution: its linearisation is off by about the square of what is left."""


@dataclass(frozen=True, eq=False)
class SerialVisit:
    """One visit as the alignment needs it."""

    image: Volume
    """Bias-corrected head, skull and scalp left in."""
    brain: Mask
    """On the image's grid."""
    lesion: Mask
    """On the image's grid."""
    start: Floats
    """First guess, rigid: maps the mm of a space common to all visits to this visit's mm, shape (4, 4)."""
    sequence: str
    """BIDS suffix; visits of different sequences are compared by their edges."""


def align_rigidly(visits: Sequence[SerialVisit], *, refine: bool) -> tuple[Floats, ...]:
    """Bring all visits of one head into one space halfway between them.

    Parameters
    ----------
    visits : sequence of SerialVisit
        In any order: each visit's matrix is the same whatever the order.
    refine : bool
        Compare at half of `COARSE_MM` too, for about half of the error.

    Returns
    -------
    tuple of arrays (4, 4)
        One a visit, as given: rigid, maps the halfway space's mm to that visit's mm. The halfway space is the
        common space of the first guesses, moved so that the visits' corrections cancel out; a single visit
        keeps its first guess.

    """
    order = sorted(range(len(visits)), key=lambda k: _digest(visits[k]))
    cut = [_cut_out(visits[k]) for k in order]
    motions = {(i, j): _pair_motion(cut[i], cut[j], refine) for i, j in combinations(range(len(cut)), 2)}
    positions = _halfway_positions(len(cut), motions)
    found = {k: visits[k].start @ position for k, position in zip(order, positions, strict=True)}
    return tuple(rigid_part(found[k], np.zeros(3)) for k in range(len(visits)))


def _digest(visit: SerialVisit) -> bytes:
    """Return a digest of all that a visit holds."""
    digest = hashlib.sha256(visit.sequence.encode())
    for array in (visit.image.data, visit.image.affine, visit.brain, visit.lesion, visit.start):
        digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.digest()


def _cut_out(visit: SerialVisit) -> SerialVisit:
    """Return the visit on the part of its grid around the brain."""
    where = np.argwhere(visit.brain)
    margin = np.ceil(BOX_MARGIN_MM / visit.image.voxel_sizes_mm).astype(int)
    low = np.maximum(where.min(axis=0) - margin, 0)
    box = tuple(slice(a, b) for a, b in zip(low, where.max(axis=0) + margin + 1, strict=True))
    affine = visit.image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    image = Volume(visit.image.data[box], affine)
    return SerialVisit(image, visit.brain[box], visit.lesion[box], visit.start, visit.sequence)


def _pair_motion(first: SerialVisit, second: SerialVisit, refine: bool) -> tuple[Floats, float]:
    """Return the motion vector from first to second in the common space, and its weight."""
    there, back = _motion(first, second, refine), _motion(second, first, refine)
    apart = there + back
    disagreement_mm = float(np.hypot(RADIUS_MM * np.linalg.norm(apart[:3]), np.linalg.norm(apart[3:])))
    return (there - back) / 2.0, 1.0 / (BEST_MM**2 + disagreement_mm**2)


def _motion(fixed: SerialVisit, moving: SerialVisit, refine: bool) -> Floats:
    """Register one way; return the motion vector, common space to itself, by which the start was off."""
    start = moving.start @ np.linalg.inv(fixed.start)
    still, moved = fixed.image, moving.image
    if fixed.sequence != moving.sequence:
        still, moved = _edges(still), _edges(moved)
    region = _compared_region(fixed, moving, start)
    iterations = _iterations(float(fixed.image.voxel_sizes_mm.min()), refine=refine)
    found = register_affine(still, moved, start, fixed_mask=region, model="rigid", iterations=iterations)
    return motion_vector(np.linalg.inv(moving.start) @ rigid_part(found, np.zeros(3)) @ fixed.start)


def _iterations(voxel_mm: float, *, refine: bool) -> str:
    """Return the iterations per level that begin nearest to `COARSE_MM`."""
    halvings = max(0, round(np.log2(COARSE_MM / voxel_mm)))
    return "x".join(["60", "20" if refine else "0", *["0"] * halvings][: halvings + 1])


def _edges(image: Volume) -> Volume:
    """Return the gradient's magnitude, much alike in any sequence."""
    sigma = EDGE_SIGMA_MM / image.voxel_sizes_mm
    return Volume(gaussian_gradient_magnitude(image.data, sigma), image.affine)


def _compared_region(fixed: SerialVisit, moving: SerialVisit, start: Floats) -> Mask:
    """Return the fixed visit's brain with its rim, without the surroundings of either visit's lesion."""
    zooms = fixed.image.voxel_sizes_mm
    region = np.asarray(distance_transform_edt(~fixed.brain, sampling=zooms) <= RIM_MM)
    lesion = fixed.lesion | _carried(
        moving, np.linalg.inv(moving.image.affine) @ start @ fixed.image.affine, region
    )
    if lesion.any():
        region &= distance_transform_edt(~lesion, sampling=zooms) > LESION_MARGIN_MM
    return region


def _carried(moving: SerialVisit, to_voxel: Floats, region: Mask) -> Mask:
    """Return the moving visit's lesion within a region of the fixed grid."""
    where = to_voxel[:3, :3] @ np.argwhere(region).T + to_voxel[:3, 3:]
    lesion = np.zeros(region.shape, bool)
    lesion[region] = map_coordinates(moving.lesion.astype(np.float32), where, order=1) >= 0.5
    return lesion


def _halfway_positions(count: int, motions: Mapping[tuple[int, int], tuple[Floats, float]]) -> list[Floats]:
    """Return each visit's rigid matrix, halfway space to common space, from motions of all pairs.

    Minimises the weighted squares of what is left of each motion; the corrections' sum is zero.
    """
    laplacian = np.zeros((count, count))
    for (i, j), (_, weight) in motions.items():
        laplacian[[i, j], [i, j]] += weight
        laplacian[[i, j], [j, i]] -= weight
    # One motion common to all visits is free: the pseudoinverse sets it to zero.
    spread = np.linalg.pinv(laplacian, rcond=1e-9, hermitian=True)
    positions: list[Floats] = [np.eye(4) for _ in range(count)]
    for _ in range(ROUNDS):
        pull = np.zeros((count, 6))
        for (i, j), (vector, weight) in motions.items():
            left = np.linalg.inv(positions[j]) @ motion_matrix(vector) @ positions[i]
            pull[i] -= weight * motion_vector(left)
            pull[j] += weight * motion_vector(left)
        positions = [p @ motion_matrix(step) for p, step in zip(positions, spread @ pull, strict=True)]
    return positions

"""Which streamlines belong to a tract: those that pass all way-points, run smoothly and with the others.

Outliers by their Mahalanobis distance at equal steps along the bundle, as Yeatman et al. 2012,
doi:10.1371/journal.pone.0049790.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from dipy.tracking.streamlinespeed import set_number_of_points
from numpy.typing import NDArray

from mripipe.core.grid import world_to_voxel

Floats = NDArray[np.floating]
Lines = Sequence[NDArray[np.float32]]

SHARPEST_DEG = 75.0
"""Turn between two chords of a twentieth of a streamline: no large tract bends so within that."""
CHORDS = 20
LONGEST = 1.5
"""Times the median length: a longer way is a detour."""
FARTHEST = 4.0
"""Mahalanobis distance from the bundle's middle."""
NODES = 50
ROUNDS = 3
"""Every round narrows the bundle; a wild streamline widens the first."""
LEAST_TO_COMPARE = 20
"""Fewer streamlines have no distribution to be outside of."""
SPREAD_MM = 1.0
"""Least deviation of a bundle: half a voxel away is no outlier, however thin the bundle."""


def clean_streamlines(
    lines: Lines, gates: Sequence[NDArray[np.bool_]], affine: NDArray[np.float64]
) -> tuple[NDArray[np.float32], ...]:
    """Keep the streamlines that belong to the tract, turned to run from the first way-point to the last.

    Parameters
    ----------
    lines : sequence of arrays (K, 3)
        RAS+ mm.
    gates : sequence of arrays of bool (X, Y, Z)
        Way-points in order, two or more.
    affine : array (4, 4)
        Voxel index to RAS+ mm.

    """
    passing = [turned for line in lines if (turned := _through(line, gates, affine)) is not None]
    smooth = [line for line in passing if sharpest_turn_deg(line) <= SHARPEST_DEG]
    if not smooth:
        return ()
    lengths = np.array([length_mm(line) for line in smooth])
    direct = lengths <= LONGEST * np.median(lengths)
    return tuple(_without_outliers([line for line, kept in zip(smooth, direct, strict=True) if kept]))


def length_mm(line: Floats) -> float:
    """Return the length of a streamline (K, 3)."""
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def sharpest_turn_deg(line: NDArray[np.float32]) -> float:
    """Return the largest turn of a streamline (K, 3) between two of its `CHORDS`; 0 of a single point.

    Examples
    --------
    >>> corner = np.array([[0, 0, 0], [40, 0, 0], [40, 40, 0]], np.float32)
    >>> round(sharpest_turn_deg(corner))
    90
    >>> round(sharpest_turn_deg(corner[:2]))
    0

    """
    if len(line) < 2:
        return 0.0
    chords = np.diff(set_number_of_points(line, nb_points=CHORDS + 1), axis=0)
    chords /= np.maximum(np.linalg.norm(chords, axis=1, keepdims=True), 1e-6)
    cosines = np.einsum("ni,ni->n", chords[:-1], chords[1:])
    return float(np.rad2deg(np.arccos(np.clip(cosines, -1.0, 1.0))).max())


def _through(
    line: NDArray[np.float32], gates: Sequence[NDArray[np.bool_]], affine: NDArray[np.float64]
) -> NDArray[np.float32] | None:
    """Return a streamline from the first way-point to the last; None where it leaves one out."""
    index = np.round(world_to_voxel(line, affine)).astype(int)
    index = np.clip(index, 0, np.array(gates[0].shape) - 1)
    passed = [np.flatnonzero(gate[tuple(index.T)]) for gate in gates]
    if not all(places.size for places in passed):
        return None
    return line[::-1].copy() if passed[0].mean() > passed[-1].mean() else line


def _without_outliers(lines: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    for _ in range(ROUNDS):
        if len(lines) < LEAST_TO_COMPARE:
            break
        far = _distances(lines).max(axis=1) > FARTHEST
        if not far.any():
            break
        lines = [line for line, out in zip(lines, far, strict=True) if not out]
    return lines


def _distances(lines: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return each streamline's distance from the bundle's middle at equal steps, shape (N, NODES)."""
    points = np.stack([set_number_of_points(line, nb_points=NODES) for line in lines]).astype(np.float64)
    away = points - points.mean(axis=0)
    covariance = np.einsum("nki,nkj->kij", away, away) / len(lines) + SPREAD_MM**2 * np.eye(3)
    return np.asarray(np.sqrt(np.einsum("nki,kij,nkj->nk", away, np.linalg.inv(covariance), away)))

"""Find slices that are missing from a series of 2D images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

SAME_PLACE_MM: Final = 0.05
"""Slices of one place in different volumes differ by rounding, different slices by more than this."""
GAP: Final = 1.5
"""A step of this many usual steps between slices is a missing slice."""


@dataclass(frozen=True)
class SliceCheck:
    """What the places of a series' images say."""

    n_places: int
    """Different places along the slice direction."""
    n_volumes: int
    """Largest number of images at one place."""
    n_gaps: int
    """Slices missing between the first and the last place."""
    n_absent: int
    """Images missing for every place to have as many."""


def check_slices(normals: ArrayLike, positions_mm: ArrayLike) -> SliceCheck:
    """Check that slices are evenly spaced and that all places have the same number of images.

    Slices missing at either end of a single volume cannot be told from a smaller field of view.

    Parameters
    ----------
    normals : array_like
        Slice normal of every image, shape (N, 3).
    positions_mm : array_like
        Place of a corner of every image in mm, shape (N, 3).

    Returns
    -------
    SliceCheck

    Raises
    ------
    ValueError
        There is no image.

    Examples
    --------
    >>> places = [[0, 0, z] for z in (0, 3, 9, 12)]
    >>> check_slices([[0, 0, 1]] * 4, places).n_gaps
    1

    """
    normal = np.asarray(normals, dtype=np.float64).reshape(-1, 3)
    corners = np.asarray(positions_mm, dtype=np.float64).reshape(-1, 3)
    if not len(corners):
        raise ValueError("no image to check")
    # Along one normal: images of one series whose normals differ by rounding must not part.
    along = np.sort(corners @ normal[0])
    starts = np.concatenate(([0], np.flatnonzero(np.diff(along) > SAME_PLACE_MM) + 1))
    counts = np.diff(np.concatenate((starts, [len(along)])))
    steps = np.diff(along[starts])
    gaps = 0
    if len(steps) > 1:
        relative = steps / np.median(steps)
        gaps = int(np.round(relative[relative >= GAP]).sum() - (relative >= GAP).sum())
    volumes = int(counts.max())
    return SliceCheck(len(counts), volumes, gaps, int(volumes * len(counts) - len(along)))

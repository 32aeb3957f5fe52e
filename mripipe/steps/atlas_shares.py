"""Labels of an installed atlas: their names in the tables, and their share at any point of MNI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mripipe.atlases.sides import without_side
from mripipe.atlases.tables import AtlasLabel
from mripipe.core.grid import world_to_voxel

SEEN_AT = 0.5
"""Share from which a voxel of the atlas counts for how much of a label is in view; of its largest share."""
PLACES = 1000
"""Voxels looked at for that: each is carried through a deformation."""


@dataclass(frozen=True, eq=False)
class AtlasShare:
    """A label in the box that holds it."""

    values: NDArray[np.float32]
    affine: NDArray[np.float64]
    """Voxel index in the box to MNI mm."""

    def at(self, mni_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the share at points (N, 3), blended between voxels, 0 outside."""
        index = world_to_voxel(mni_mm, self.affine)
        out = np.zeros(len(index))
        near = np.all((index > -1) & (index < self.values.shape), axis=1)
        out[near] = ndimage.map_coordinates(self.values, index[near].T, order=1, mode="grid-constant")
        return out

    @property
    def points(self) -> NDArray[np.float64]:
        """Places of some voxels that are the label's for the most part, shape (M, 3)."""
        index = np.argwhere(self.values >= SEEN_AT * self.values.max())
        index = index[:: max(1, len(index) // PLACES)]
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])


def named_labels(atlas: str, table: Sequence[AtlasLabel]) -> dict[tuple[str, str], AtlasLabel]:
    """Return the labels of an atlas by their name in the tables, ``ATLAS:NAME``, and side.

    A name is the label's without its side, of letters and digits alone; where two labels of one side would
    have the same, the label's number is added to both.

    Examples
    --------
    >>> rows = [AtlasLabel(1, "Tapetum (L)", side="left"), AtlasLabel(2, "Tapetum (R)", side="right")]
    >>> list(named_labels("JHU", rows))
    [('JHU:Tapetum', 'left'), ('JHU:Tapetum', 'right')]

    """
    names = {row.index: without_side(row.name) for row in table}
    counts = Counter((names[row.index], row.side) for row in table)
    twice = {name for (name, _), count in counts.items() if count > 1}
    return {
        (
            f"{atlas}:{names[row.index]}" + (f"_{row.index}" if names[row.index] in twice else ""),
            row.side,
        ): row
        for row in table
    }


def boxed_share(share: NDArray[np.float32], affine: NDArray[np.float64]) -> AtlasShare:
    """Cut out the box that holds a label."""
    held = np.argwhere(share > 0)
    low, high = held.min(axis=0), held.max(axis=0) + 1
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ low
    return AtlasShare(share[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], moved)

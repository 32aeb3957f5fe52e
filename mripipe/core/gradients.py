"""Gradient tables: b-values and directions, kept in the world's RAS+ axes.

A bvec file counts its directions along the image's own axes, the first reversed where the affine's
determinant is positive (FSL's convention, which BIDS follows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mripipe.errors import InputError

B0_MAX = 50.0
"""s/mm^2; scanners note b = 5 or so for a volume without diffusion weighting."""
SHELL_GAP = 100.0
"""s/mm^2; b-values that lie closer belong to one shell."""
UNIT_TOLERANCE = 0.02
"""Directions are written with two to six digits; a length further from 1 is not one that was meant."""
SAME_DIRECTION = 0.9995
"""Cosine above which two directions (or opposite ones) are one: less than 2 degrees apart."""


@dataclass(frozen=True, eq=False)
class GradientTable:
    """b-values and directions of a diffusion series. Both arrays are read-only.

    Raises
    ------
    InputError
        Shapes do not fit, a value is not finite or a b-value negative, or a weighted volume has no direction.

    """

    b_values: NDArray[np.float64]
    """s/mm^2, shape (N,)."""
    directions: NDArray[np.float64]
    """Unit vectors along RAS+ axes, shape (N, 3); zero where there is no diffusion weighting."""

    def __post_init__(self) -> None:
        b = np.array(self.b_values, np.float64)
        rows = np.array(self.directions, np.float64)
        if b.ndim != 1 or rows.shape != (b.size, 3):
            raise InputError(
                f"gradient table: {b.size} b-values need {b.size} x 3 directions, found shape {rows.shape}"
            )
        if not (np.isfinite(b).all() and np.isfinite(rows).all() and (b >= 0).all()):
            raise InputError(
                "gradient table: expected finite numbers and b of 0 or more; correct bval and bvec"
            )
        lengths = np.linalg.norm(rows, axis=1)
        weighted = b > B0_MAX
        if not (lengths[weighted] > 0.1).all():
            first = int(np.flatnonzero(weighted & (lengths <= 0.1))[0])
            raise InputError(
                f"gradient table: volume {first} has b = {b[first]:g}, no direction; drop it or correct bvec"
            )
        rows = np.where(weighted[:, None], rows / np.maximum(lengths, 1e-12)[:, None], 0.0)
        for array, name in ((b, "b_values"), (rows, "directions")):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def is_b0(self) -> NDArray[np.bool_]:
        """Volumes without diffusion weighting, shape (N,)."""
        return np.asarray(self.b_values <= B0_MAX)

    @property
    def shells(self) -> tuple[float, ...]:
        """Mean b-value of each shell above b0, in rising order."""
        return tuple(float(np.mean(self.b_values[members])) for members in self._members())

    @property
    def shell_index(self) -> NDArray[np.int64]:
        """Number of each volume's shell, -1 for b0, shape (N,)."""
        index = np.full(self.b_values.size, -1)
        for number, members in enumerate(self._members()):
            index[members] = number
        return index

    @property
    def n_directions(self) -> int:
        """How many different directions there are; opposite ones count as one."""
        rows = self.directions[~self.is_b0]
        kept: list[NDArray[np.float64]] = []
        for row in rows:
            if all(abs(float(row @ other)) < SAME_DIRECTION for other in kept):
                kept.append(row)
        return len(kept)

    def take(self, volumes: NDArray[np.bool_] | NDArray[np.integer] | Sequence[int]) -> GradientTable:
        """Return the table of some volumes."""
        return GradientTable(self.b_values[volumes], self.directions[volumes])

    def turned(self, rotations: NDArray[np.floating]) -> GradientTable:
        """Turn each direction by its own rotation, shape (N, 3, 3)."""
        return GradientTable(self.b_values, np.einsum("nij,nj->ni", rotations, self.directions))

    def _members(self) -> list[NDArray[np.int64]]:
        weighted = np.flatnonzero(~self.is_b0)
        order = weighted[np.argsort(self.b_values[weighted], kind="stable")]
        if not order.size:
            return []
        cuts = np.flatnonzero(np.diff(self.b_values[order]) > SHELL_GAP) + 1
        return [np.sort(part) for part in np.split(order, cuts)]


def directions_from_fsl(vectors: ArrayLike, affine: ArrayLike) -> NDArray[np.float64]:
    """Turn the columns of a bvec file into RAS+ directions, shape (N, 3); lengths stay.

    Parameters
    ----------
    vectors : array (3, N)
        As in the file.
    affine : array (4, 4)
        Of the image that the file belongs to: voxel index to RAS+ mm.

    Examples
    --------
    >>> directions_from_fsl([[1.0], [0.0], [0.0]], np.diag([2.0, 2.0, 2.0, 1.0])).tolist()
    [[-1.0, 0.0, 0.0]]
    >>> directions_from_fsl([[1.0], [0.0], [0.0]], np.diag([-2.0, 2.0, 2.0, 1.0])).tolist()
    [[-1.0, 0.0, 0.0]]

    """
    return np.asarray((_fsl_axes(affine) @ np.asarray(vectors, np.float64)).T + 0.0)


def directions_to_fsl(directions: ArrayLike, affine: ArrayLike) -> NDArray[np.float64]:
    """Turn RAS+ directions (N, 3) into the columns of a bvec file, (3, N): `directions_from_fsl` undone."""
    return np.asarray(np.linalg.inv(_fsl_axes(affine)) @ np.asarray(directions, np.float64).T + 0.0)


def without_direction(b_values: ArrayLike, vectors: ArrayLike) -> NDArray[np.bool_]:
    """Say which volumes have b > 0 and no direction: images that the scanner derived, as trace and ADC.

    Parameters
    ----------
    b_values : array (N,)
        s/mm^2.
    vectors : array (3, N)

    Returns
    -------
    array of bool, shape (N,)

    """
    lengths = np.linalg.norm(np.asarray(vectors, np.float64), axis=0)
    return np.asarray((np.asarray(b_values, np.float64) > B0_MAX) & (lengths <= 0.1))


def odd_lengths(b_values: ArrayLike, vectors: ArrayLike) -> NDArray[np.bool_]:
    """Say which weighted volumes have a direction whose length is not 1, shape (N,)."""
    lengths = np.linalg.norm(np.asarray(vectors, np.float64), axis=0)
    weighted = np.asarray(b_values, np.float64) > B0_MAX
    return np.asarray(weighted & (lengths > 0.1) & (np.abs(lengths - 1.0) > UNIT_TOLERANCE))


def _fsl_axes(affine: ArrayLike) -> NDArray[np.float64]:
    """Return the matrix (3, 3) whose columns are the directions of FSL's axes in RAS+."""
    linear = np.asarray(affine, np.float64)[:3, :3]
    # The nearest rotation: an axis of a sheared or badly rounded header must not change a length.
    u, _, vt = np.linalg.svd(linear / np.linalg.norm(linear, axis=0))
    axes = u @ vt
    if np.linalg.det(linear) > 0:
        axes[:, 0] *= -1.0
    return np.asarray(axes)

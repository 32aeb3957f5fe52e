"""Whether another sequence of a visit lies where a registration has put it.

A registration goes downhill from where it starts and does not know whether it has arrived. Three things
tell: how far the head would have moved in the scanner, whether another pose, a centimetre or more away, fits
better, and how much of the brain is in the other image's view at all. The fit is normalised mutual
information (Studholme et al. 1999, doi:10.1016/S0031-3203(98)00091-0) over brain, skull and scalp on a coarse
grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from skimage.metrics import normalized_mutual_information

from mripipe.core.contrast_pose import refine_pose
from mripipe.core.coregistration import (
    COARSE,
    FINE,
    compared_region,
    register_sequence,
    without_brightest,
)
from mripipe.core.grid import Volume, voxel_to_world, world_to_voxel
from mripipe.core.rough_brain import to_isotropic

Floats = NDArray[np.floating]

GRID_MM = 4.0
SHIFTS_MM = (10.0, 20.0)
TURN_DEG = 15.0
"""Moves the brain's surface by 2 cm, as the larger shift does."""
BINS = 32
DOUBTFUL_GAIN = -0.005
"""A pose that others come this near to in fit may be a dead end. On real images right ones were better than
all others by 0.01 to 0.08, dead ends by 0.002 at most."""
LEAST_SHARED = 0.5
"""Poses that have less than this part of the brain's surroundings in view are not compared."""


@dataclass(frozen=True)
class Placement:
    """How one sequence lies over another."""

    moved_mm: float
    """The furthest that a point of the brain moves between the scanner's position and the one found."""
    gain: float | None
    """Normalised mutual information of the best of some poses a centimetre and more away, less that of the
    one found: above 0 where another pose fits better; None where too little is in view to tell."""
    in_view: float
    """Share of the brain, 0 to 1, that lies in the other image's field of view."""
    better: Floats | None
    """The pose that fits better; None where none of those tried does."""

    @property
    def doubtful(self) -> bool:
        """Whether another pose fits about as well."""
        return self.gain is not None and self.gain > DOUBTFUL_GAIN


def check_placement(
    reference: Volume, brain: NDArray[np.bool_], moving: Volume, found: Floats, start: Floats
) -> Placement:
    """Judge the pose of a sequence over the reference image.

    Parameters
    ----------
    reference : Volume
    brain : array of bool, shape of ``reference.data``
    moving : Volume
        Any contrast, grid and slice thickness.
    found, start : array (4, 4)
        Reference RAS mm to moving RAS mm: the pose to judge, and the scanner's own by the headers (the
        identity).

    """
    compared = _compared(reference, brain, moving)
    brain_points = compared.points[compared.in_brain]
    gain, best = compared.best_of(_poses_away(found, start, brain_points), found)
    return Placement(
        moved_mm=_furthest_mm(found, start, brain_points),
        gain=gain,
        in_view=float(np.mean(np.isfinite(compared.seen_from(found)[compared.in_brain]))),
        better=best if gain is not None and gain > 0 else None,
    )


@dataclass(frozen=True, eq=False)
class _Compared:
    """What is compared of two images."""

    points: Floats
    """Reference mm of the brain's surroundings, shape (N, 3)."""
    values: Floats
    """What the reference shows there, shape (N,)."""
    in_brain: NDArray[np.bool_]
    """Shape (N,)."""
    other: Volume

    def seen_from(self, pose: Floats) -> NDArray[np.float64]:
        """Return the other image's values (N,) by a pose, not a number outside its field of view."""
        index = world_to_voxel(self.points @ pose[:3, :3].T + pose[:3, 3], self.other.affine)
        return np.asarray(map_coordinates(self.other.data, index.T, order=1, cval=np.nan))

    def best_of(self, poses: Iterable[Floats], found: Floats) -> tuple[float | None, Floats | None]:
        """Return how much better the best of some poses fits than the one found, and that pose."""
        here = self.seen_from(found)
        gain, best = None, None
        for pose in poses:
            more = _gain(self.values, self.seen_from(pose), here)
            if more is not None and (gain is None or more > gain):
                gain, best = more, pose
        return gain, best


def _compared(reference: Volume, brain: NDArray[np.bool_], moving: Volume) -> _Compared:
    fixed, share, near = compared_region(reference, brain, GRID_MM)
    points = voxel_to_world(np.argwhere(near), fixed.affine)
    return _Compared(points, fixed.data[near], share[near] >= 0.5, to_isotropic(moving, GRID_MM))


def register_and_check(
    reference: Volume,
    brain: NDArray[np.bool_],
    moving: Volume,
    start: Floats,
    *,
    left_out: NDArray[np.bool_] | None = None,
) -> tuple[Floats, Placement]:
    """Register a sequence, from turned starts too where the pose found is not beyond doubt; refine the pose.

    Mutual information of whole heads is right to some tenths of a millimetre; what the images show from place
    to place (`mripipe.core.contrast_pose`) tells it more exactly.

    Parameters
    ----------
    reference, brain, moving
        As for `check_placement`.
    start : array (4, 4)
        The scanner's own position.
    left_out : array of bool, shape of ``reference.data``, optional
        Where nothing is compared in the search, as in an infarct.

    Returns
    -------
    matrix : array (4, 4)
        Reference RAS mm to moving RAS mm; the first one found where no other is beyond doubt.
    placement : Placement
        Of this pose, as it was before it was refined.

    """
    found, placed = _searched(reference, brain, moving, start, left_out)
    compared = brain if left_out is None else brain & ~left_out
    fixed, share, _ = compared_region(reference, compared, float(moving.voxel_sizes_mm.mean()))
    return refine_pose(fixed, share >= 0.5, moving, found), placed


def _searched(
    reference: Volume,
    brain: NDArray[np.bool_],
    moving: Volume,
    start: Floats,
    left_out: NDArray[np.bool_] | None,
) -> tuple[Floats, Placement]:
    """Return the pose of most mutual information.

    A search from the scanner's position finds heads turned by about 12 degrees. An image that was laid on
    the line of the commissures, while the others of the visit were not, is turned by more.
    """

    def search(guess: Floats, *levels: int) -> Floats:
        return register_sequence(reference, brain, moving, guess, left_out=left_out, levels=levels)

    found = search(start, COARSE, FINE)
    placed = check_placement(reference, brain, moving, found, start)
    if not placed.doubtful:
        return found, placed
    compared = _compared(reference, brain, moving)
    guesses = [search(guess, COARSE) for guess in _turned(start, compared.points[compared.in_brain])]
    if placed.better is not None:
        guesses.append(placed.better)
    _, best = compared.best_of(guesses, found)
    if best is None:
        return found, placed
    again = search(best, FINE)
    judged = check_placement(reference, brain, moving, again, start)
    firmer = judged.gain is not None and placed.gain is not None and judged.gain < placed.gain
    return (again, judged) if firmer else (found, placed)


def _poses_away(found: Floats, start: Floats, points: Floats) -> Iterator[Floats]:
    """Give the scanner's own position, and the found one shifted and turned about the brain's middle."""
    if _furthest_mm(found, start, points) >= SHIFTS_MM[0]:
        yield start
    for axis in np.concatenate([np.eye(3), -np.eye(3)]):
        for shift in SHIFTS_MM:
            step = np.eye(4)
            step[:3, 3] = shift * axis
            yield found @ step
    yield from _turned(found, points)


def _turned(pose: Floats, points: Floats) -> Iterator[Floats]:
    """Give a pose turned about the middle of the points (N, 3), either way about each axis."""
    middle = np.eye(4)
    middle[:3, 3] = points.mean(axis=0)
    for axis in np.concatenate([np.eye(3), -np.eye(3)]):
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_rotvec(TURN_DEG * axis, degrees=True).as_matrix()
        yield pose @ middle @ turn @ np.linalg.inv(middle)


def _furthest_mm(one: Floats, other: Floats, points: Floats) -> float:
    """Return how far apart two poses put any of the points (N, 3), at most."""
    difference = one - other
    return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).max())


def _gain(values: Floats, there: Floats, here: Floats) -> float | None:
    """Return how much better one pose fits than another, over points that both have in view."""
    shared = np.isfinite(there) & np.isfinite(here)
    if np.mean(shared) < LEAST_SHARED:
        return None
    fixed, away, at = (without_brightest(seen[shared]) for seen in (values, there, here))
    return _similarity(fixed, away) - _similarity(fixed, at)


def _similarity(one: Floats, other: Floats) -> float:
    return float(normalized_mutual_information(one, other, bins=BINS))

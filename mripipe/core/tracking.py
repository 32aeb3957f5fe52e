"""Follow a tract through a person's own diffusion, from its atlas's way-points, by dipy.

Streamlines are begun all along the way, follow the fibres of each voxel by chance in proportion to how much
runs in each direction, and end where they leave the corridor, in the lesion and where diffusion has no
direction. A lesion ends them because nothing in it tells a fibre from a scar: what is left are the fibres
that pass it by, and a tract that it cuts has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dipy.tracking.stopping_criterion import BinaryStoppingCriterion
from dipy.tracking.tracker import probabilistic_tracking
from dipy.tracking.utils import density_map
from numpy.typing import NDArray

from mripipe.core.gradients import GradientTable
from mripipe.core.grid import voxel_sizes_mm, voxel_to_world
from mripipe.core.tracking_cleaning import clean_streamlines
from mripipe.core.tracking_fibres import Response, find_fibres, grid_axes
from mripipe.core.tracking_way import Way

Streamlines = tuple[NDArray[np.float32], ...]

SEEDS = 12000
STEP_VOXELS = 0.5
"""Of the shortest side of a voxel."""
LARGEST_TURN_DEG = 30.0
"""Between two steps."""
LEAST_FA = 0.12
"""Below, diffusion has no direction; a degenerated tract keeps twice as much."""
LEAST_SHARE = 0.1
"""Directions with less than this share of the largest are not taken."""
LARGEST_LENGTH_MM = 300.0
SEED_OF_CHANCE = 20
"""Any fixed number: the same data give the same streamlines."""


@dataclass(frozen=True, eq=False)
class TrackedStreamlines:
    """A tract as it was followed."""

    streamlines: Streamlines
    """Points (K, 3) in RAS+ mm, each from the first way-point to the last."""
    density: NDArray[np.float32]
    """Share of the streamlines that pass each voxel (X, Y, Z), 0 to 1; all 0 without one."""
    n_begun: int
    """Streamlines that were begun."""


def track_way(
    signal: NDArray[np.float32],
    table: GradientTable,
    affine: NDArray[np.float64],
    way: Way,
    *,
    fa: NDArray[np.floating],
    directions: NDArray[np.floating],
    lesion: NDArray[np.bool_],
    response: Response,
    n_seeds: int = SEEDS,
) -> TrackedStreamlines:
    """Follow a tract and clean it.

    Parameters
    ----------
    signal : array (X, Y, Z, N)
        b = 0 and one shell, `mripipe.core.tracking_fibres.tracking_volumes`.
    table : GradientTable
        Of these volumes.
    affine : array (4, 4)
        Voxel index to RAS+ mm.
    way : Way
        On the same grid.
    fa : array (X, Y, Z)
    directions : array (X, Y, Z, 3)
        Main direction of diffusion along RAS+ axes, in which streamlines set out.
    lesion : array of bool (X, Y, Z)
    response : Response
        Of the series.
    n_seeds : int
        Streamlines to begin.

    """
    open_to = way.corridor & (fa >= LEAST_FA) & ~lesion
    nothing = TrackedStreamlines((), np.zeros(fa.shape, np.float32), 0)
    seeds = np.argwhere(way.seeds & open_to)
    if not len(seeds) or not all((gate & open_to).any() for gate in way.gates):
        return nothing
    box = _box(open_to)
    place = affine.copy()
    place[:3, 3] = voxel_to_world([part.start for part in box], affine)
    fibres = find_fibres(signal[box], table, affine, where=open_to[box], response=response)
    positions, headings = _beginnings(seeds, directions, affine, n_seeds)
    raw = probabilistic_tracking(
        positions,
        BinaryStoppingCriterion(open_to[box]),
        place,
        seed_directions=headings,
        sf=fibres.amplitudes,
        sphere=fibres.sphere,
        step_size=STEP_VOXELS * float(voxel_sizes_mm(affine).min()),
        max_angle=LARGEST_TURN_DEG,
        max_len=LARGEST_LENGTH_MM,
        pmf_threshold=LEAST_SHARE,
        random_seed=SEED_OF_CHANCE,
        nbr_threads=1,
    )
    kept = clean_streamlines([np.asarray(line, np.float32) for line in raw], way.gates, affine)
    density = np.zeros(fa.shape, np.float32)
    if kept:
        density = (density_map(kept, affine, fa.shape) / len(kept)).astype(np.float32)
    return TrackedStreamlines(kept, density, n_seeds)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the part of the grid that holds a mask: amplitudes of the whole would not fit in memory."""
    found = np.argwhere(mask)
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(found.min(axis=0), found.max(axis=0), strict=True))


def _beginnings(
    voxels: NDArray[np.integer],
    directions: NDArray[np.floating],
    affine: NDArray[np.float64],
    count: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Choose places within voxels (N, 3), in RAS mm, and the way to set out there, along the grid's axes."""
    chance = np.random.default_rng(SEED_OF_CHANCE)
    chosen = voxels[chance.integers(len(voxels), size=count)]
    heading = np.asarray(directions[tuple(chosen.T)], np.float64) @ grid_axes(affine)
    known = np.linalg.norm(heading, axis=1) > 0.5
    place = voxel_to_world(chosen + chance.uniform(-0.5, 0.5, chosen.shape), affine)
    return place[known], heading[known]

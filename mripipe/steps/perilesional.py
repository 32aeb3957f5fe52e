"""Measure the tissue around a visit's lesion, and its mirror, on the diffusion grid."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mripipe.core.grid import voxel_to_world
from mripipe.core.perilesional import mirror_pairs
from mripipe.model.diffusion import PerilesionalRing, TractStatus
from mripipe.steps.diffusion_place import LESION_SHARE, PlacedDiffusion

RINGS_MM = ((0, 5), (5, 10), (10, 15))
"""From the lesion's border."""
LARGEST_MD = 1.5e-3
"""mm^2/s: a voxel above it holds too much CSF to say anything of tissue."""
LEAST_PAIRS = 10
"""Pairs of voxels that a mean needs."""


def measure_rings(
    placed: PlacedDiffusion, fa: NDArray[np.float64], md: NDArray[np.float64], side: str
) -> tuple[PerilesionalRing, ...]:
    """Return FA and MD at 0-5, 5-10 and 10-15 mm around the lesion and at the mirrored places.

    Parameters
    ----------
    placed : PlacedDiffusion
    fa, md : array (N,)
        At the brain's voxels; MD in mm^2/s.
    side : str
        Of the lesion: ``left``, ``right``, ``bilateral`` or ``none``.

    """
    if side not in ("left", "right"):
        return rings_without("no_lesion_found" if side == "none" else "low_quality")
    tissue = (placed.lesion < LESION_SHARE) & (fa > 0) & (md > 0) & (md < LARGEST_MD)
    world = voxel_to_world(np.argwhere(placed.brain), placed.grid.affine)
    voxel_mm = float(np.cbrt(abs(np.linalg.det(placed.grid.affine[:3, :3]))))
    pairs = mirror_pairs(
        world, placed.mni_mm, placed.infarct >= 0.5, tissue, voxel_mm=voxel_mm, reach_mm=RINGS_MM[-1][1]
    )
    own: Literal["left", "right"] = "left" if side == "left" else "right"
    rings = []
    for inner, outer in RINGS_MM:
        chosen = (pairs.distance_mm >= inner) & (pairs.distance_mm < outer)
        if np.count_nonzero(chosen) < LEAST_PAIRS:
            rings.append(PerilesionalRing(inner, outer, "not_covered", own))
            continue
        near, mirror = pairs.near[chosen], pairs.mirror[chosen]
        rings.append(
            PerilesionalRing(
                inner,
                outer,
                "ok",
                own,
                fa=float(fa[near].mean()),
                md=float(md[near].mean()) * 1e3,
                mirror_fa=float(fa[mirror].mean()),
                mirror_md=float(md[mirror].mean()) * 1e3,
                n_voxels=near.size,
            )
        )
    return tuple(rings)


def rings_without(status: TractStatus) -> tuple[PerilesionalRing, ...]:
    """Return the rings of a visit in which they could not be measured."""
    return tuple(PerilesionalRing(inner, outer, status) for inner, outer in RINGS_MM)

"""Tracts of installed atlases at a visit's diffusion voxels: no diffusion value is interpolated."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mripipe.atlases.atlas import read_atlas
from mripipe.atlases.template import load_template
from mripipe.atlases.tracts import WHOLE
from mripipe.core.grid import voxel_to_world, world_to_voxel
from mripipe.core.tract_course import TractAt
from mripipe.core.tract_measures import slice_weights
from mripipe.model.atlas import AtlasFiles
from mripipe.model.diffusion import TractAsymmetry, TractMetrics
from mripipe.model.stages import NormalisedVisit
from mripipe.steps.atlas_shares import AtlasShare, boxed_share, named_labels
from mripipe.steps.diffusion_place import PlacedDiffusion
from mripipe.steps.load import load_own_mask
from mripipe.steps.tract_rows import SIDES, Measured, asymmetry_row, hemisphere_of, metric_row

MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class InstalledTracts:
    """Rows of one atlas."""

    metrics: tuple[TractMetrics, ...]
    asymmetry: tuple[TractAsymmetry, ...]


def measure_installed(
    files: AtlasFiles,
    placed: PlacedDiffusion,
    values: dict[str, NDArray[np.float64]],
    normalised: NormalisedVisit,
    *,
    lesion_side: str,
    usable: bool,
) -> InstalledTracts:
    """Measure the tracts of an installed atlas as those of our own, weighted by their share alone.

    Rows are named ``ATLAS:TRACT``. Left and right are those that were checked when it was installed. The
    atlas is taken as if it lay in our template space.

    Parameters
    ----------
    files : AtlasFiles
    placed : PlacedDiffusion
    values : dict of array (N,)
        Maps at the brain's voxels.
    normalised : NormalisedVisit
        For the lesion in MNI.
    lesion_side : str
    usable : bool
        Whether the series has directions enough.

    """
    atlas = read_atlas(files)
    metrics: dict[tuple[str, str], TractMetrics] = {}
    loads: dict[str, tuple[float, float]] = {}
    with_load = lesion_side in SIDES
    lesion = load_own_mask(normalised.mni_lesion_mask) if with_load else None
    for (name, side), row in named_labels(atlas.name, atlas.table).items():
        tract = boxed_share(atlas.share(row.index), atlas.affine)
        own: Literal["left", "right"] | None = next((s for s in SIDES if s == side), None)
        metrics[name, side] = metric_row(
            name,
            WHOLE,
            None,
            _look_up(tract, placed, values, one_sided=own is not None),
            None if own is None else hemisphere_of(own, lesion_side),
            own,
            other=None,
            usable=usable,
        )
        if lesion is not None and side == lesion_side:
            loads[name] = _load(tract, lesion)
    pairs = [name for name, side in metrics if side == "left" and (name, "right") in metrics]
    rows = [
        asymmetry_row(metrics[name, "left"], metrics[name, "right"], lesion_side, loads.get(name))
        for name in pairs
    ]
    return InstalledTracts(tuple(metrics.values()), tuple(rows))


def _look_up(
    tract: AtlasShare, placed: PlacedDiffusion, values: dict[str, NDArray[np.float64]], *, one_sided: bool
) -> Measured:
    """Look a tract up at the brain's voxels."""
    share = tract.at(placed.mni_mm)
    inside = share > 0
    found = share[inside].astype(np.float32)
    still = np.zeros(len(found), np.float32)
    at = TractAt(found, found, still, still.astype(np.int8), np.zeros((len(found), 3), np.float32))
    mine = {name: array[inside] for name, array in values.items()}
    lesion, mirrored = placed.lesion[inside], placed.mirrored_lesion[inside] * one_sided
    # A map has no centre line: the whole of it is one level.
    one = np.zeros(len(found), np.int64)
    return Measured(at, np.ones(len(found)), mine, lesion, mirrored, {WHOLE: _coverage(tract, placed)}, one)


def _coverage(tract: AtlasShare, placed: PlacedDiffusion) -> float:
    """Share of the tract that lies in the field of view and shows tissue."""
    index = np.round(placed.index_of(tract.points)).astype(int)
    seen = np.all((index >= 0) & (index < placed.grid.data.shape), axis=1)
    seen[seen] = placed.grid.data[tuple(index[seen].T)] > 0
    return float(seen.mean())


def _load(tract: AtlasShare, lesion: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the raw and the weighted lesion load in mL on the template's grid, as for our own tracts."""
    affine = load_template().affine
    corners = np.array(list(product(*((-1, n) for n in tract.values.shape))))
    ends = world_to_voxel(voxel_to_world(corners, tract.affine), affine)
    low = np.maximum(np.floor(ends.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(ends.max(axis=0)).astype(int) + 1, lesion.shape)
    index = np.mgrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].reshape(3, -1).T
    share = tract.at(voxel_to_world(index, affine))
    index, share = index[share > 0], share[share > 0]
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / MM3_PER_ML
    hit = lesion[tuple(index.T)] * share * voxel_ml
    return float(hit.sum()), float((hit * slice_weights(share, index[:, 2])).sum())

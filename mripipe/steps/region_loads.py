"""How much of the infarct lies in each region of installed atlases, such as the lobes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mripipe.atlases.atlas import read_atlas
from mripipe.atlases.template import load_template
from mripipe.core.grid import voxel_to_world, world_to_voxel
from mripipe.model.atlas import AtlasFiles
from mripipe.model.results import RegionLoad
from mripipe.steps.atlas_shares import AtlasShare, boxed_share, named_labels


def region_loads(
    atlases: Sequence[AtlasFiles],
    lesion_mni_mm: NDArray[np.floating],
    voxel_ml: float,
    mni_mask: NDArray[np.bool_] | None,
) -> tuple[RegionLoad, ...]:
    """Measure the infarct in every region of installed atlases.

    Left and right are those that were checked when an atlas was installed. It is taken as if it lay in our
    template's space.

    Parameters
    ----------
    atlases : sequence of AtlasFiles
    lesion_mni_mm : array (N, 3)
        Where in MNI the infarct's voxels of the native grid lie.
    voxel_ml : float
        Volume of such a voxel.
    mni_mask : array of bool, the template's shape, or None
        Infarct in MNI; None where there is none: the regions are named, without values.

    Returns
    -------
    tuple of RegionLoad

    """
    loads = []
    for files in atlases:
        atlas = read_atlas(files)
        for (name, side), row in named_labels(atlas.name, atlas.table).items():
            own = side if side in ("left", "right") else "bilateral"
            if mni_mask is None:
                loads.append(RegionLoad(name, own))
                continue
            region = boxed_share(atlas.share(row.index), atlas.affine)
            inside_ml = float(region.at(lesion_mni_mm).sum()) * voxel_ml
            loads.append(RegionLoad(name, own, inside_ml, _lesioned_percent(region, mni_mask)))
    return tuple(loads)


def _lesioned_percent(region: AtlasShare, mni_mask: NDArray[np.bool_]) -> float:
    """Return what percentage of a region is infarct, each of the atlas's voxels looked up in the mask."""
    held = np.argwhere(region.values > 0)
    share = region.values[tuple(held.T)].astype(float)
    places = voxel_to_world(held, region.affine)
    index = np.round(world_to_voxel(places, load_template().affine)).astype(int)
    seen = np.all((index >= 0) & (index < mni_mask.shape), axis=1)
    hit = np.zeros(len(index))
    hit[seen] = mni_mask[tuple(index[seen].T)]
    return 100.0 * float((hit * share).sum() / share.sum())

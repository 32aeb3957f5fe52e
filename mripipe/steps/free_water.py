"""A visit's free water: maps where the shells allow them, else the reason why there are none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mripipe.core.free_water import fit_free_water, free_water_obstacle
from mripipe.core.gradients import GradientTable
from mripipe.core.tensor_maps import tensor_maps
from mripipe.model.diffusion import DiffusionVisit
from mripipe.steps.load import save_image

MEASURES = ("fwf", "fa_tissue")
"""Fields and columns: fraction of free water, and FA of the tissue beside it."""


@dataclass(frozen=True)
class FreeWaterMaps:
    """What was made, and what is told of it."""

    told: str
    """For the record of the steps."""
    paths: dict[str, Path] = field(default_factory=dict)
    """``fwf`` and ``fa_tissue`` (X, Y, Z), 0 where there is no value; empty where shells do not allow it."""


def save_free_water(
    data: NDArray[np.float32],
    table: GradientTable,
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    *,
    folder: Path,
) -> FreeWaterMaps:
    """Fit free water in a prepared series and write its maps.

    Parameters
    ----------
    data : array (X, Y, Z, N)
    table : GradientTable
        Of the N volumes.
    mask : array (X, Y, Z)
        Where it is fitted.
    affine : array (4, 4)
    folder : Path
        Where files are written.

    """
    obstacle = free_water_obstacle(table)
    if obstacle is not None:
        return FreeWaterMaps(f"free water: not estimated: {obstacle}")
    fit = fit_free_water(data[mask], table)
    paths = {}
    for name, values in zip(MEASURES, (fit.fraction, tensor_maps(fit.elements).fa), strict=True):
        whole = np.zeros(mask.shape, np.float32)
        whole[mask] = np.nan_to_num(values)
        paths[name] = save_image(folder / f"{name}.nii.gz", whole, affine)
    return FreeWaterMaps("free water: estimated beside the tensor", paths)


def free_water_values(diffusion: DiffusionVisit, where: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Return the maps' values at some voxels, NaN where there is none; empty where there are no maps."""
    if diffusion.fwf is None or diffusion.fa_tissue is None:
        return {}
    # Not by `load_image`, which takes a map without any free water for an empty image.
    fraction, tissue = (
        np.asarray(nib.Nifti1Image.from_filename(path).dataobj, np.float64)[where]
        for path in (diffusion.fwf, diffusion.fa_tissue)
    )
    tissue[tissue <= 0] = np.nan
    fraction[(fraction <= 0) & np.isnan(tissue)] = np.nan
    return {"fwf": fraction, "fa_tissue": tissue}

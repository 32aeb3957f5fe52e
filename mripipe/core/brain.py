"""Brain mask of any head: the template's mask, carried over by an affine and a smooth deformation.

A mask that follows intensity is bitten into by a dark infarct at the surface; this one can only bend
smoothly, so a cavity stays inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, distance_transform_edt

from mripipe.core.grid import Volume
from mripipe.core.registration import register_deformable
from mripipe.core.rough_brain import isolate_brain, to_isotropic
from mripipe.core.roughspace import RoughMap, push_to_native

Floats = NDArray[np.floating]

GRID_STEP = 2
"""Every other voxel of the 1 mm template: the surface needs no more."""
ITERATIONS = "60x40x0"
SMOOTHING = "3vox 1vox"
"""Stiffer than for normalisation, so that the surface bridges an infarct."""
RIM_MM = 6.0
"""Background around the brain that is compared: the dark CSF and skull that show where it ends."""
CORE_MM = 6.0
"""What lies this deep in the first mask is brain or infarct, however dark."""


def carry_mask(mask: NDArray[np.bool_], affine: Floats, matrix: Floats, target: Volume) -> NDArray[np.bool_]:
    """Carry a mask to another grid by a matrix alone, as a probability cut at one half.

    Parameters
    ----------
    mask : array of bool (X, Y, Z)
        On a grid with ``affine``.
    matrix : array (4, 4)
        The mask's mm to the target's mm.
    target : Volume
        Whose grid to fill.

    """
    pull = np.linalg.inv(matrix @ affine) @ target.affine
    carried = affine_transform(
        mask.astype(np.float32), pull[:3, :3], pull[:3, 3], output_shape=target.shape, order=1
    )
    return np.asarray(carried >= 0.5)


@dataclass(frozen=True)
class BrainFit:
    """A brain mask and the smooth deformation that it came from."""

    mask: NDArray[np.bool_]
    """Brain with ventricles and sulci, infarct included; the image's grid."""
    map: RoughMap
    """Template mm to the image's mm, on a coarse grid."""


def extract_brain(
    image: Volume, template: Volume, template_mask: NDArray[np.bool_], matrix: Floats, *, sequence: str
) -> BrainFit:
    """Find the brain of a head.

    Parameters
    ----------
    image : Volume
        Whole head or stripped, bias-corrected, any grid.
    template : Volume
        The template in the image's contrast, 1 mm.
    template_mask : array of bool, shape of ``template.data``
    matrix : array (4, 4)
        Affine, template mm to native mm.
    sequence : str
        BIDS suffix of the image.

    Returns
    -------
    BrainFit

    """
    part = (slice(None, None, GRID_STEP),) * 3
    affine = template.affine @ np.diag([GRID_STEP, GRID_STEP, GRID_STEP, 1.0])
    fixed = Volume(np.ascontiguousarray(template.data[part]), affine)
    mask = template_mask[part]
    distance = distance_transform_edt(~mask, sampling=GRID_STEP)
    moving = _without_scalp(image, template_mask, template.affine, matrix, sequence)
    bent = register_deformable(
        fixed, moving, matrix, fixed_mask=distance < RIM_MM, iterations=ITERATIONS, smoothing=SMOOTHING
    )
    found = RoughMap(matrix, bent.displacement, affine)
    carried = push_to_native(template_mask.astype(np.float32), template.affine, image, found)
    return BrainFit(carried >= 0.5, found)


def _without_scalp(
    image: Volume, template_mask: NDArray[np.bool_], affine: Floats, matrix: Floats, sequence: str
) -> Volume:
    """Return the brain in its dark surroundings on the coarse grid; scalp and neck would pull at the edge."""
    isolated = isolate_brain(image, sequence=sequence)
    part = (slice(None, None, GRID_STEP),) * 3
    core = distance_transform_edt(template_mask[part], sampling=GRID_STEP) > CORE_MM
    coarse = affine @ np.diag([GRID_STEP, GRID_STEP, GRID_STEP, 1.0])
    sure = carry_mask(core, coarse, matrix, isolated)
    raw = to_isotropic(image, float(isolated.voxel_sizes_mm[0])).data
    data = np.where(sure, np.clip(raw, 0.0, isolated.data.max()), isolated.data)
    return Volume(data.astype(np.float32), isolated.affine)

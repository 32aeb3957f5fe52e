"""Deform a visit's brain onto the template with the infarct filled from the other hemisphere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

from mripipe.atlases.template import Template
from mripipe.core.affine_search import in_contrast_of
from mripipe.core.filling import fill_lesion
from mripipe.core.grid import Volume
from mripipe.core.registration import register_deformable
from mripipe.core.roughspace import RoughMap, pull_to_template

GRID_STEP = 2
"""Every other template voxel: the field is smoother than that, and a file of it is small."""
SMOOTHING = "3vox 0.5vox"
RIM_VOXELS = 1
"""Background that is compared, in coarse voxels: a wide one would rule the step size."""
LESION_RIM_VOXELS = 2
"""Around the filled infarct, in coarse voxels, where nothing is compared."""


def deform_filled(
    image: Volume,
    brain: Volume,
    lesion: Volume,
    start: RoughMap,
    suffix: str,
    template: Template,
    passes: Sequence[str],
) -> RoughMap:
    """Fill the infarct and register, once for each of ``passes``, each mirroring by the map before it.

    Parameters
    ----------
    image : Volume
        Bias-corrected, native grid.
    brain, lesion : Volume
        Masks, on the same grid.
    start : RoughMap
        Template mm to native mm, by which the first filling mirrors. A map that has seen the dark infarct has
        shrunk it, and mirrors too little into it. Its affine is kept.
    suffix : str
        Sequence of the image.
    template : Template
    passes : sequence of str
        Iterations at 8, 4 and 2 mm.

    Returns
    -------
    RoughMap
        Template mm to native mm, every other template voxel.

    """
    near, found = _near(brain), start
    for iterations in passes:
        filled, unfilled = fill_lesion(image, lesion.data > 0, brain.data > 0, found)
        stripped = Volume(np.where(near, filled.data, 0.0).astype(np.float32), image.affine)
        found = _deform(stripped, lesion, unfilled, found, suffix, template, iterations)
    return found


def undeformed(matrix: NDArray[np.floating], template: Template) -> RoughMap:
    """Return a matrix, template mm to native mm, as a map that does not deform."""
    still = np.zeros((*template.mask[coarse_part()].shape, 3), np.float32)
    return RoughMap(np.asarray(matrix, float), still, coarse_affine(template))


def coarse_part() -> tuple[slice, slice, slice]:
    """Return the template's voxels that are the deformation's grid."""
    part = slice(None, None, GRID_STEP)
    return part, part, part


def coarse_affine(template: Template) -> NDArray[np.float64]:
    """Return voxel index to RAS+ mm of the deformation's grid."""
    return np.asarray(template.affine @ np.diag([GRID_STEP, GRID_STEP, GRID_STEP, 1.0]))


def _near(brain: Volume) -> NDArray[np.bool_]:
    """Return the brain and 2 mm of CSF and dura around it; more would bring in scalp."""
    distance = distance_transform_edt(brain.data == 0, sampling=brain.voxel_sizes_mm)
    return np.asarray(distance <= 2.0)


def _deform(
    image: Volume,
    lesion: Volume,
    unfilled: NDArray[np.bool_],
    known: RoughMap,
    suffix: str,
    template: Template,
    iterations: str,
) -> RoughMap:
    """Register the filled brain; the infarct, carried by what is known, is left out of the comparison."""
    picture = in_contrast_of(suffix, template.t1, template.gm, template.wm, template.csf)
    part, affine = coarse_part(), coarse_affine(template)
    smooth = gaussian_filter(picture, GRID_STEP / 4.0)[part]
    region = binary_dilation(template.mask[part], iterations=RIM_VOXELS)
    rim = LESION_RIM_VOXELS
    # Where the other side could not fill it, the infarct itself is still there: keep further away.
    for left_out, extra in ((lesion.data > 0, 0), (unfilled, rim)):
        if left_out.any():
            there = Volume(left_out.astype(np.float32), lesion.affine)
            carried = (
                pull_to_template(
                    there, known, region.shape, affine, then=np.eye(4), outside=0.0, region=region
                )
                >= 0.5
            )
            region &= ~binary_dilation(carried, iterations=rim + extra)
    found = register_deformable(
        Volume(smooth, affine),
        image,
        known.matrix,
        fixed_mask=region,
        iterations=iterations,
        smoothing=SMOOTHING,
    )
    return RoughMap(found.matrix, found.displacement, affine)

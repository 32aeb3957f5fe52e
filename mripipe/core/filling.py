"""Enantiomorphic filling: a lesion replaced by the mirrored healthy side, for registration only.

Nachev et al. 2008, doi:10.1016/j.neuroimage.2007.10.002. The mirror is the template's midplane carried to
the head by its rough map, so no second registration is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from mripipe.core.deformation import sample_field
from mripipe.core.grid import Volume, voxel_sizes_mm
from mripipe.core.roughspace import RoughMap, template_points

MIRROR = np.array([[-1.0], [1.0], [1.0]])
EDGE_MM = 1.5
"""Width over which the filling fades in, so that it has no edge of its own."""


def mirrored_indices(
    image: Volume, rough: RoughMap, region: NDArray[np.bool_] | None = None
) -> NDArray[np.floating]:
    """Return where the mirror images of voxels lie, all or a region's, as indices (3, N) of the same grid."""
    points = template_points(image, rough, region) * MIRROR
    points = points + sample_field(rough.displacement, rough.affine, points)
    index = np.linalg.inv(image.affine) @ rough.matrix
    return np.asarray(index[:3, :3] @ points + index[:3, 3:])


def fill_lesion(
    image: Volume, lesion: NDArray[np.bool_], brain: NDArray[np.bool_], rough: RoughMap
) -> tuple[Volume, NDArray[np.bool_]]:
    """Fill a lesion from the other hemisphere.

    Parameters
    ----------
    image : Volume
        Bias-corrected.
    lesion, brain : array of bool, shape of ``image.data``
    rough : RoughMap
        Template mm to the image's mm.

    Returns
    -------
    filled : Volume
    unfilled : array of bool, shape of ``image.data``
        Lesion whose mirror image is lesion too, or lies outside the brain: it must be masked instead.

    """
    if not lesion.any():
        return image, np.zeros(lesion.shape, bool)
    blur = EDGE_MM / voxel_sizes_mm(image.affine)
    # Half the width inside, half outside: the weight reaches one at the lesion's own edge.
    weight = np.clip(2.0 * gaussian_filter(lesion.astype(np.float32), blur), 0.0, 1.0)
    region = weight > 0
    where = mirrored_indices(image, rough, region)
    mirrored = map_coordinates(image.data, where, order=1, mode="nearest")
    sound = (brain & ~lesion).astype(np.float32)
    usable = map_coordinates(sound, where, order=1, mode="constant") > 0.5
    share = weight[region] * usable
    data = image.data.astype(np.float32)
    data[region] = (1.0 - share) * data[region] + share * mirrored
    unfilled = np.zeros(lesion.shape, bool)
    unfilled[region] = ~usable
    return Volume(data, image.affine), lesion & unfilled

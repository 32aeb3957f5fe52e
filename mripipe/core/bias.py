"""Bias field of a receive coil, by N4 (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908)."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from mripipe.core.grid import Volume
from mripipe.core.itk import one_thread, to_itk
from mripipe.core.rough_brain import to_isotropic

WORKING_MM = 4.0
"""A receive field varies over centimetres, so it is estimated on a coarse grid."""
ITERATIONS = (40, 30, 20)
CONTROL_POINTS = (4, 4, 4)
"""Control points of the coarsest spline: with three levels a knot every 3 cm or so."""


def correct_bias(image: Volume, mask: NDArray[np.bool_]) -> Volume:
    """Divide an image by its smooth receive field.

    Parameters
    ----------
    image : Volume
    mask : array of bool, shape of ``image.data``
        Where to estimate the field: the brain.

    Returns
    -------
    Volume
        On the same grid; the field's geometric mean over the mask is 1.

    """
    coarse = to_isotropic(image, WORKING_MM)
    small = to_itk(coarse)
    region = to_itk(to_isotropic(Volume(mask.astype(np.float32), image.affine), WORKING_MM)) > 0.5
    region = sitk.And(region, sitk.Cast(small > 0, sitk.sitkUInt8))
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.SetNumberOfControlPoints(CONTROL_POINTS)
    with one_thread():
        n4.Execute(small, region)
        # Asked for the field on another grid, N4 lays it along that grid's axes wherever they point: it is
        # taken on the grid it was fitted on and carried over from there.
        log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(small)).transpose(2, 1, 0)
    pull = np.linalg.inv(coarse.affine) @ image.affine
    field = affine_transform(
        log_field, pull[:3, :3], pull[:3, 3], output_shape=image.shape, order=1, mode="nearest"
    )
    field = np.exp(np.clip(field - field[mask].mean(), -1.5, 1.5))
    return Volume((image.data / field).astype(np.float32), image.affine)

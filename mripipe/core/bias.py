"""Bias field of a receive coil, by N4 (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908)."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mripipe.core.grid import Volume
from mripipe.core.itk import to_itk
from mripipe.core.rough_brain import to_isotropic

WORKING_MM = 4.0
"""A receive field varies over centimetres, so it is estimated on a coarse grid."""
ITERATIONS = (50, 40, 30)
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
    small = to_itk(to_isotropic(image, WORKING_MM))
    region = to_itk(to_isotropic(Volume(mask.astype(np.float32), image.affine), WORKING_MM)) > 0.5
    region = sitk.And(region, sitk.Cast(small > 0, sitk.sitkUInt8))
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    # One thread: sums in another order would change the last bits.
    n4.SetNumberOfThreads(1)
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.SetNumberOfControlPoints(CONTROL_POINTS)
    n4.Execute(small, region)
    log_field = n4.GetLogBiasFieldAsImage(to_itk(image))
    field = sitk.GetArrayFromImage(log_field).transpose(2, 1, 0)
    field = np.exp(np.clip(field - field[mask].mean(), -1.5, 1.5))
    return Volume((image.data / field).astype(np.float32), image.affine)

"""Rigid registration of one visit's sequences to each other, by mutual information.

Mattes et al. 2003, doi:10.1109/TMI.2003.809072.  Every voxel of the brain is used and one thread, so that no
sample is drawn at random and no sum depends on the machine.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from mripipe.core.grid import Volume
from mripipe.core.itk import LPS, affine_transform, one_thread, to_itk
from mripipe.core.rough_brain import to_isotropic

Floats = NDArray[np.floating]

GRID_MM = 2.0
BINS = 32
RIM_MM = 12.0
"""Skull and scalp around the brain are compared too.

With the brain alone, a pose with half of it over the background makes the other image look richer and wins.
"""
BRIGHTEST_PERCENTILE = 99.0
COARSE, FINE = 2, 1
"""Levels of the search: how many voxels of the grid become one."""
COARSE_BLUR_MM = 3.0
LARGEST_STEP_MM = 0.5
"""A head moves little between sequences; on coarser grids and with longer steps the search ran away."""


def register_sequence(
    reference: Volume,
    brain: NDArray[np.bool_],
    moving: Volume,
    start: Floats,
    *,
    left_out: NDArray[np.bool_] | None = None,
    levels: tuple[int, ...] = (COARSE, FINE),
) -> Floats:
    """Find the rigid matrix that lays another sequence of the same visit over the reference image.

    Parameters
    ----------
    reference : Volume
    brain : array of bool, shape of ``reference.data``
    moving : Volume
        Any contrast, grid and slice thickness.
    start : array (4, 4)
        First guess, reference mm to moving mm: the identity where both come from one session on the scanner.
    left_out : array of bool, shape of ``reference.data``, optional
        Where nothing is compared, as in an infarct.
    levels : tuple of int
        One after the other. The fine one alone where the first guess is about right: on a coarse grid a
        search may run away. The coarse one alone to see whether a guess leads anywhere.

    Returns
    -------
    array (4, 4)
        Reference RAS mm to moving RAS mm.

    """
    fixed, share, region = compared_region(reference, brain, GRID_MM)
    middle = np.argwhere(share > 0.5).mean(axis=0) @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    pose = sitk.Euler3DTransform()
    pose.SetCenter((LPS[:3, :3] @ middle).tolist())
    with one_thread():
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(BINS)
        if left_out is not None:
            region &= to_isotropic(Volume(left_out.astype(np.float32), reference.affine), GRID_MM).data < 0.5
        method.SetMetricFixedMask(
            sitk.Cast(to_itk(Volume(region.astype(np.float32), fixed.affine)) > 0.5, sitk.sitkUInt8)
        )
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetInterpolator(sitk.sitkLinear)
        # ITK's own gradient image is blurred by the thickest slice; it has pointed away from the right place.
        method.SetMetricUseMovingImageGradientFilter(False)
        method.SetMovingInitialTransform(affine_transform(start))
        method.SetInitialTransform(pose, inPlace=True)
        method.SetOptimizerAsRegularStepGradientDescent(LARGEST_STEP_MM, 1e-4, 200, relaxationFactor=0.5)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel(levels)
        method.SetSmoothingSigmasPerLevel([0.0 if level == FINE else COARSE_BLUR_MM for level in levels])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.Execute(to_itk(_clipped(fixed)), to_itk(_clipped(moving)))
    turn, centre = np.array(pose.GetMatrix()).reshape(3, 3), np.array(pose.GetCenter())
    found = np.eye(4)
    found[:3, :3] = turn
    found[:3, 3] = np.array(pose.GetTranslation()) + centre - turn @ centre
    return np.asarray(start @ LPS @ found @ LPS)


def compared_region(
    reference: Volume, brain: NDArray[np.bool_], grid_mm: float
) -> tuple[Volume, Floats, NDArray[np.bool_]]:
    """Return the reference image on an isotropic grid, the share of brain, and the brain with its rim."""
    fixed = to_isotropic(reference, grid_mm)
    share = to_isotropic(Volume(brain.astype(np.float32), reference.affine), grid_mm).data
    return fixed, share, np.asarray(distance_transform_edt(share < 0.5, sampling=grid_mm) <= RIM_MM)


def without_brightest(values: Floats) -> Floats:
    """Cut the brightest: a few bright voxels of fat or vessels would squeeze the brain into a few bins."""
    return np.asarray(np.minimum(values, np.percentile(values, BRIGHTEST_PERCENTILE)))


def _clipped(image: Volume) -> Volume:
    return Volume(without_brightest(image.data).astype(np.float32), image.affine)

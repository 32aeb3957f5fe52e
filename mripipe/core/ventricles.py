"""The two lateral ventricles of a brain, by the template's place for them and the image's CSF.

The CSF of a tissue mixture is mostly that of sulci, partly tissue, and brighter on T1w than the fluid of a
ventricle: a border half way between it and grey matter lies outside the ventricle's.  The fluid's level is
therefore taken from the ventricle's own core, and the border drawn at half the step between that and what
borders it in place, white matter here and caudate there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter, label

from mripipe.core.grid import Volume
from mripipe.core.tissue import TissueModel, log_density

Floats = NDArray[np.floating]

SEED_MM = ((-8.0, -10.0, 24.0), (8.0, -10.0, 24.0))
"""In the bodies of the template's lateral ventricles, left and right."""
WIDENING_MM = 6.0
"""How far beyond the template's, once aligned, a widened ventricle may reach."""
CORE_SHARE = 0.25
"""The deepest part of the ventricles, free of partial volume, from which the fluid's level is taken."""
BORDER_MM = 2.0
"""Deviation of the Gaussian over which the tissue beside the ventricle is averaged: the nearest voxels."""


def template_ventricles(csf: Floats, affine: Floats) -> NDArray[np.bool_]:
    """Return the template's lateral ventricles, both sides, on its grid (X, Y, Z)."""
    pieces, _ = label(csf > 0.5)
    index = [np.round(np.linalg.inv(affine) @ (*seed, 1.0))[:3].astype(int) for seed in SEED_MM]
    found = {int(pieces[tuple(i)]) for i in index} - {0}
    return np.asarray(np.isin(pieces, list(found)))


def ventricle_room(csf: Floats, affine: Floats) -> NDArray[np.bool_]:
    """Return where a patient's lateral ventricles may lie on the template's grid, about 1 mm voxels."""
    steps = round(WIDENING_MM / float(np.linalg.norm(affine[:3, 0])))
    return np.asarray(binary_dilation(template_ventricles(csf, affine), iterations=steps))


def fluid_mask(image: Volume, brain: NDArray[np.bool_], model: TissueModel) -> NDArray[np.bool_]:
    """Return brain voxels whose intensity in one image is CSF's rather than a tissue's."""
    values = image.data[brain].astype(np.float64)[:, None]
    logs = np.stack([log_density(values, m, c) for m, c in zip(model.means, model.covariances, strict=True)])
    csf, grey = float(model.means[2, 0]), float(model.means[0, 0])
    # Darker than all CSF on T1w, brighter on T2w, is CSF too, whatever the Gaussians' tails say.
    beyond = (values[:, 0] < csf) if csf < grey else (values[:, 0] > csf)
    fluid = np.zeros(brain.shape, bool)
    fluid[brain] = (logs[2] > np.maximum(logs[0], logs[1])) | beyond
    return fluid


def ventricle_fluid(
    image: Volume, fluid: NDArray[np.bool_], inside: NDArray[np.bool_], grey: float
) -> NDArray[np.bool_]:
    """Draw the ventricles' border at half the step from their fluid to the tissue beside them.

    Parameters
    ----------
    image : Volume
        Any contrast in which fluid and tissue differ.
    fluid : array of bool, shape of ``image.data``
        A first guess, as from `fluid_mask`.
    inside : array of bool, shape of ``image.data``
        Where ventricles may lie: in the brain and outside the infarct.
    grey : float
        Brightness of grey matter.

    Returns
    -------
    array of bool
        Fluid within `inside`; the first guess itself where it has no voxel there or no contrast to grey
        matter.

    """
    first = _largest(fluid & inside)
    if not first.any():
        return first
    zooms = image.voxel_sizes_mm
    reach = np.ceil(4 * BORDER_MM / zooms).astype(int) + 1
    box = tuple(
        slice(max(0, int(i.min()) - r), int(i.max()) + r + 1)
        for i, r in zip(np.nonzero(inside), reach, strict=True)
    )
    values, where = image.data[box].astype(np.float64), inside[box]
    depth = distance_transform_edt(first[box], sampling=zooms)
    core = depth >= np.quantile(depth[depth > 0], 1 - CORE_SHARE)
    level = float(np.median(values[core]))
    if level == grey:
        return fluid & inside
    tissue = where & ((grey - values) / (grey - level) < 0.5)
    weight = gaussian_filter(tissue.astype(np.float64), BORDER_MM / zooms)
    total = gaussian_filter(np.where(tissue, values, 0.0), BORDER_MM / zooms)
    # Far inside a wide ventricle there is no tissue to compare with.
    beside = np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), grey)
    found = np.zeros_like(inside)
    found[box] = where & ((values - level) / (beside - level) < 0.5)
    return found


def ventricle_volumes_ml(
    fluid: NDArray[np.bool_],
    room: NDArray[np.bool_],
    lesion: NDArray[np.bool_],
    x_mm: Floats,
    voxel_ml: float,
) -> tuple[float, float]:
    """Return the volumes of the left and right lateral ventricle.

    Parameters
    ----------
    fluid, room, lesion : arrays of bool (X, Y, Z)
        CSF by intensity; where ventricles may lie; the infarct, whose cavity is none.
    x_mm : array (X, Y, Z)
        MNI x, negative on the left.
    voxel_ml : float

    """
    ventricle = fluid & room & ~lesion
    left, right = (
        float(np.count_nonzero(_largest(ventricle & half))) * voxel_ml for half in (x_mm < 0, x_mm >= 0)
    )
    return left, right


def ventricle_overlap(fluid: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    """Return the Dice of a carried image's ventricles with the template's, both on the template's grid.

    Parameters
    ----------
    fluid, wanted : arrays of bool (X, Y, Z)
        Fluid in the ventricles' room, of which pieces that touch no template ventricle are sulci, and the
        template's ventricles; the infarct left out of both.

    Returns
    -------
    float
        0 where there is nothing of either.

    """
    pieces, _ = label(fluid)
    touched = np.unique(pieces[wanted])
    found = np.isin(pieces, touched[touched > 0])
    both = int(np.count_nonzero(found) + np.count_nonzero(wanted))
    return 2.0 * int(np.count_nonzero(found & wanted)) / max(1, both)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest piece of a mask: sulci within the room are cut off."""
    pieces, count = label(mask)
    if count == 0:
        return mask
    return np.asarray(pieces == int(np.argmax(np.bincount(pieces.ravel())[1:])) + 1)

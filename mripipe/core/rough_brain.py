"""Rough brain of any head image: the bright region inside the dark ring of the skull.

In T1w, T2w and FLAIR alike, bone and the CSF or dura beside it are darker than brain (or, on T2w, than the
CSF that joins the brain), so an opening with a ball separates brain from scalp. The result starts a
registration; it is no brain mask: a cavity at the surface is missed, the edge is a few mm off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, binary_dilation, distance_transform_edt, gaussian_filter, label

from mripipe.core.grid import Volume

Floats = NDArray[np.floating]

GRID_MM = 2.0
"""Working grid."""
DARK_FRACTION = 0.45
"""Darker than this share of the brain's typical brightness is taken for bone, air or CSF."""
FAT_FRACTION = 1.5
"""On T1w, brighter than this multiple of the brain's typical brightness is taken for fat."""
FAT_RIM_VOXELS = 2
"""Reach of fat's partial volume, in voxels of the working grid."""
OPENING_RADII_MM = (3.0, 4.5, 6.0, 8.0, 10.0, 12.0)
"""Tried in turn until what is left is no larger than a brain."""
MARGIN_MM = 4.0
"""Kept around the rough brain: it misses thin cortex and CSF."""
LARGEST_BRAIN_ML = 1700.0
"""With its CSF, the largest adult brain that is not a leak into the scalp."""
HEAD_ABOVE_CENTRE_MM = 85.0
"""From the top of the scalp down to the brain's centre in an adult head."""
CORE_RADIUS_MM = 35.0
"""A ball about the brain's centre that holds nothing but brain in any pose."""


def to_isotropic(image: Volume, spacing_mm: float) -> Volume:
    """Resample linearly onto an axis-aligned RAS+ grid that covers the image's field of view."""
    ends = [(-0.5, size - 0.5) for size in image.shape]
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    world = image.affine[:3, :3] @ corners + image.affine[:3, 3:]
    low, high = world.min(axis=1), world.max(axis=1)
    shape = np.maximum(1, np.ceil((high - low) / spacing_mm)).astype(int)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = low + spacing_mm / 2.0
    zooms = np.linalg.norm(image.affine[:3, :3], axis=0)
    # Half the new spacing as deviation keeps fine voxels from aliasing and leaves thick slices alone.
    smooth = gaussian_filter(image.data, np.where(zooms < spacing_mm, 0.5 * spacing_mm / zooms, 0.0))
    pull = np.linalg.inv(image.affine) @ affine
    data = affine_transform(smooth, pull[:3, :3], pull[:3, 3], output_shape=tuple(shape), order=1)
    return Volume(data.astype(np.float32), affine)


def head_centre(image: Volume) -> Floats:
    """Return where the brain's centre must roughly be, RAS mm, measured from the top of the head down."""
    bright = image.data > 0.25 * np.percentile(image.data, 98)
    points = np.argwhere(bright) @ image.affine[:3, :3].T + image.affine[:3, 3]
    # A percentile, not the maximum: noise and wrapped-around signal lie above the head.
    top = np.percentile(points[:, 2], 99.9)
    head = points[points[:, 2] > top - 1.5 * HEAD_ABOVE_CENTRE_MM]
    middle = np.percentile(head, 1, axis=0) / 2 + np.percentile(head, 99, axis=0) / 2
    return np.array([middle[0], middle[1], max(top - HEAD_ABOVE_CENTRE_MM, points[:, 2].min())])


def isolate_brain(image: Volume, *, sequence: str) -> Volume:
    """Cut the brain out of a head, roughly and generously.

    Parameters
    ----------
    image : Volume
        Whole head, with or without neck, or stripped brain; any orientation and slice thickness.
    sequence : str
        BIDS suffix: ``T1w``, ``T2w`` or ``FLAIR``.

    Returns
    -------
    Volume
        On an axis-aligned RAS+ grid of `GRID_MM`: brain and `MARGIN_MM` around it, 0 elsewhere, bright
        outliers cut.

    Raises
    ------
    ValueError
        If there is nothing like a brain in the image.

    """
    small = to_isotropic(image, GRID_MM)
    brain = _rough_brain(small, sequence) if small.data.max() > 0 else np.zeros(small.shape, bool)
    if not brain.any():
        raise ValueError(
            "image: expected a head, found no bright region of a brain's size; look at the image"
        )
    near = distance_transform_edt(~brain, sampling=GRID_MM) < MARGIN_MM
    level = np.percentile(small.data[brain], 98)
    return Volume(np.where(near, np.clip(small.data, 0.0, level), 0.0).astype(np.float32), small.affine)


def _rough_brain(small: Volume, sequence: str) -> NDArray[np.bool_]:
    """Return the brain on an isotropic grid, by an opening as wide as it needs to be."""
    centre = head_centre(small)
    grid = np.indices(small.data.shape, dtype=np.float32)
    offset = grid * GRID_MM + (small.affine[:3, 3] - centre).astype(np.float32)[:, None, None, None]
    core = np.sum(offset**2, axis=0) < CORE_RADIUS_MM**2
    typical = np.median(small.data[core]) if core.any() else np.percentile(small.data, 90)
    bright = small.data > DARK_FRACTION * typical
    if sequence == "T1w":
        # The rim of fat, mixed with air or bone, is as bright as brain: it goes with the fat.
        bright &= ~binary_dilation(small.data > FAT_FRACTION * typical, iterations=FAT_RIM_VOXELS)
    depth = distance_transform_edt(np.pad(bright, 1), sampling=GRID_MM)
    for radius in OPENING_RADII_MM:
        brain = _opened(depth, np.pad(core, 1), radius)[1:-1, 1:-1, 1:-1]
        if brain.sum() * GRID_MM**3 / 1000.0 <= LARGEST_BRAIN_ML:
            break
    return brain


def _opened(depth: Floats, core: NDArray[np.bool_], radius_mm: float) -> NDArray[np.bool_]:
    """Open a region, given each voxel's depth in it, and keep the piece that fills most of the core."""
    pieces, count = label(depth > radius_mm)
    if count == 0:
        return np.zeros(depth.shape, bool)
    overlap = np.bincount(pieces[core], minlength=count + 1)
    overlap[0] = 0
    if not overlap.any():
        overlap = np.bincount(pieces.ravel())
        overlap[0] = 0
    kept = pieces == np.argmax(overlap)
    return np.asarray(distance_transform_edt(~kept, sampling=GRID_MM) < radius_mm)

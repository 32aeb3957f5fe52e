"""Outlines for images that are shown in turn in one space, on the same planes of the same template.

Each image is drawn by :func:`mripipe.figures.mosaic.mosaic` on the same cuts, so that its pictures lie
exactly on those of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_multiotsu

from mripipe.core.grid import Volume
from mripipe.figures.mosaic import Cut

# Smooths away cortical detail that no single brain has, mm; larger than a voxel, smaller than a gyrus.
_EDGE_SMOOTHING_MM = 1.0

# Fewer grey levels than this in a brain are no image of tissue.
_LEAST_GREYS = 16


def template_outlines(brain: Volume, white_matter: Volume) -> dict[str, Volume]:
    """Prepare the template's landmarks: the brain's surface and the border of the white matter.

    Parameters
    ----------
    brain : Volume
        Template brain mask.
    white_matter : Volume
        White-matter probability, 0 to 1; its border follows cortex, ventricles and deep grey matter.

    Returns
    -------
    dict of str to Volume
        ``template-brain`` and ``template-tissue``, to be traced where they are one half.

    """
    sigma = _EDGE_SMOOTHING_MM / white_matter.voxel_sizes_mm
    smooth = ndimage.gaussian_filter(white_matter.data, sigma)
    return {
        "template-brain": brain,
        "template-tissue": Volume(smooth, white_matter.affine),
    }


def tissue_edges(image: Volume, brain: Volume) -> Volume:
    """Return what is not fluid in a brain, to be traced where it is one half: ventricles and sulci show.

    Parameters
    ----------
    image : Volume
        Reference image; fluid is its darkest class, as on T1w, or its brightest.
    brain : Volume
        Its brain mask, 0 and 1: returned as it is where the image shows no classes.

    """
    sigma = _EDGE_SMOOTHING_MM / image.voxel_sizes_mm
    smooth = ndimage.gaussian_filter(image.data, sigma)
    inside = brain.data > 0.5
    # The brightest are vessels: they must not rule the thresholds.
    seen = np.minimum(smooth[inside], np.percentile(smooth[inside], 99.5))
    if np.unique(seen).size < _LEAST_GREYS:
        return brain
    low, high = threshold_multiotsu(seen, classes=3)
    # Fluid is less than grey matter, and than white matter.
    fluid = seen < low if np.mean(seen < low) < np.mean(seen > high) else seen > high
    tissue = np.zeros(image.data.shape, np.float32)
    tissue[inside] = ~fluid
    return Volume(ndimage.gaussian_filter(tissue, 0.5 * sigma), image.affine)


def add_outlines(cuts: Sequence[Cut], more: Sequence[Cut]) -> list[Cut]:
    """Lay further outlines on cuts of the same planes, on top of what is there.

    Parameters
    ----------
    cuts, more : sequence of Cut
        Of the same planes in the same order.

    """
    return [replace(cut, paths={**cut.paths, **extra.paths}) for cut, extra in zip(cuts, more, strict=True)]

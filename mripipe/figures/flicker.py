"""Outlines for images that are shown in turn in one space, on the same planes of the same template.

Each image is drawn by :func:`mripipe.figures.mosaic.mosaic` on the same cuts, so that its pictures lie
exactly on those of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scipy import ndimage

from mripipe.core.grid import Volume
from mripipe.figures.mosaic import Cut

# Smooths away cortical detail that no single brain has, mm; larger than a voxel, smaller than a gyrus.
_EDGE_SMOOTHING_MM = 1.0


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


def add_outlines(cuts: Sequence[Cut], more: Sequence[Cut]) -> list[Cut]:
    """Lay further outlines on cuts of the same planes, on top of what is there.

    Parameters
    ----------
    cuts, more : sequence of Cut
        Of the same planes in the same order.

    """
    return [replace(cut, paths={**cut.paths, **extra.paths}) for cut, extra in zip(cuts, more, strict=True)]

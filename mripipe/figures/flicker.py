"""The same planes of two images in one space, under the same template outlines, to be shown in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from mripipe.figures.mosaic import mosaic
from mripipe.figures.planes import Plane, Volume

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
    spacing = np.linalg.norm(white_matter.affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(np.asarray(white_matter.data, np.float32), _EDGE_SMOOTHING_MM / spacing)
    return {
        "template-brain": Volume(np.asarray(brain.data, np.float32), brain.affine),
        "template-tissue": Volume(smooth, white_matter.affine),
    }


def flicker(
    frames: Mapping[str, Volume], planes: Sequence[Plane], outlines: Mapping[str, Volume]
) -> dict[str, list[str]]:
    """Draw every frame on the same planes with the same outlines.

    Parameters
    ----------
    frames : mapping of str to Volume
        Images in template space by name, for example before and after deformation.
    planes : sequence of Plane
        Where to cut, template RAS+ mm.
    outlines : mapping of str to Volume
        Masks in template space by kind, as for :func:`mripipe.figures.mosaic.mosaic`.

    Returns
    -------
    dict of str to list of str
        For each frame one SVG text a plane; the frames lie exactly on each other when stacked.

    """
    return {name: mosaic(image, planes, outlines, name=name) for name, image in frames.items()}

"""Slices in colours that show the direction of diffusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mripipe.core.grid import Volume
from mripipe.figures.mosaic import Cut, draw_panel
from mripipe.figures.planes import sample_plane
from mripipe.figures.svg import colour_image

_BRIGHTEST_FA = 0.8
"""FA that is shown in full brightness."""


def direction_colours(fa: Volume, directions: NDArray[np.floating]) -> tuple[Volume, Volume, Volume]:
    """Return red, green and blue, 0 to 1: how much diffusion runs left-right, front-back, up-down, times FA.

    Parameters
    ----------
    fa : Volume
    directions : array (X, Y, Z, 3)
        Main direction of diffusion along the axes of the picture's space, RAS+; its sign has no meaning.

    """
    bright = np.clip(fa.data / _BRIGHTEST_FA, 0.0, 1.0)[..., None]
    shares = (np.abs(directions) * bright).astype(np.float32)
    red, green, blue = (Volume(np.ascontiguousarray(shares[..., axis]), fa.affine) for axis in range(3))
    return red, green, blue


def colour_mosaic(channels: Sequence[Volume], cuts: Sequence[Cut], *, name: str) -> list[str]:
    """Draw one picture for each cut.

    Parameters
    ----------
    channels : three of Volume
        Red, green and blue, 0 to 1; any orientation.
    cuts : sequence of Cut
        Planes with outlines.
    name : str
        What is shown, for the picture's description.

    Returns
    -------
    list of str
        SVG text, one for each plane.

    """
    panels = []
    for cut in cuts:
        # Linear: a spline would overshoot where colours change, into hues that are nowhere.
        pixels = np.stack([sample_plane(channel, cut.plane) for channel in channels], axis=-1)
        panels.append(draw_panel(colour_image(pixels), cut, name=name))
    return panels

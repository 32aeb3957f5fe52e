"""Main directions of diffusion as short lines over FA: a wrong gradient table shows at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mripipe.core.grid import Volume, world_to_voxel
from mripipe.figures.mosaic import Cut, draw_panel
from mripipe.figures.planes import Plane, sample_plane
from mripipe.figures.svg import grey_image

_LEAST_FA = 0.25
"""Below, the direction is mostly noise."""
_WINDOW = (0.0, 1.6)
"""FA shown as black and as white: no tissue is so bright that the lines are lost on it."""
_SIZE_MM = 100.0
_STICK = 0.95
"""Longest line, as a share of the distance between two."""


def stick_planes(fa: Volume) -> list[Plane]:
    """Plan an axial, a coronal and a sagittal plane through the middle of the white matter."""
    inside = np.argwhere(fa.data > _LEAST_FA)
    points = inside @ fa.affine[:3, :3].T + fa.affine[:3, 3] if len(inside) else np.zeros((1, 3))
    x, y, z = (float(value) for value in np.median(points, axis=0))
    middle, spacing = (x, y, z), float(fa.voxel_sizes_mm.min()) / 2.0
    # Beside the midline, where a sagittal plane meets fibres and not the cleft between the hemispheres.
    return [
        Plane("axial", z, middle, _SIZE_MM, spacing),
        Plane("coronal", y, middle, _SIZE_MM, spacing),
        Plane("sagittal", x + 3.0, middle, _SIZE_MM, spacing),
    ]


def stick_panels(
    fa: Volume, directions: NDArray[np.floating], planes: Sequence[Plane], *, name: str
) -> list[str]:
    """Draw the planes, FA in grey and a line a voxel along the main direction of diffusion.

    Parameters
    ----------
    fa : Volume
    directions : array (X, Y, Z, 3)
        Unit vectors along RAS+ axes; a line is the part of it that lies in the plane.
    planes : sequence of Plane
        From `stick_planes`.
    name : str
        What is shown, for the picture's description.

    """
    step_mm = float(fa.voxel_sizes_mm.min())
    panels = []
    for plane in planes:
        cut = Cut(plane, {"sticks": _sticks(fa, directions, plane, step_mm)})
        panels.append(draw_panel(grey_image(sample_plane(fa, plane), _WINDOW), cut, name=name))
    return panels


def _sticks(fa: Volume, directions: NDArray[np.floating], plane: Plane, step_mm: float) -> str:
    """Return path data, mm from the top left corner: one line for each place on a grid of `step_mm`."""
    count = int(plane.extent_mm / step_mm)
    offsets = (np.arange(count) + 0.5) * step_mm
    across, down = (grid.ravel() for grid in np.meshgrid(offsets, offsets))
    _, right, up = plane.axes
    first = plane.frame()[0]
    points = np.tile(first, (across.size, 1))
    points[:, right] += across - plane.spacing_mm / 2.0
    points[:, up] -= down - plane.spacing_mm / 2.0
    # Half a voxel always goes up: rounding to even would meet one voxel twice and the next never.
    index = np.floor(world_to_voxel(points, fa.affine) + 0.5).astype(int)
    seen = np.all((index >= 0) & (index < fa.data.shape), axis=1)
    seen[seen] = fa.data[tuple(index[seen].T)] > _LEAST_FA
    way = directions[tuple(index[seen].T)] * step_mm * _STICK
    parts = [
        f"M{x - dx / 2:.1f} {y + dy / 2:.1f}l{dx:.1f} {-dy:.1f}"
        for x, y, dx, dy in zip(across[seen], down[seen], way[:, right], way[:, up], strict=True)
    ]
    return "".join(parts)

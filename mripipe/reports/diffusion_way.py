"""Diffusion images laid over their reference image for display; distortion by the field undone on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mripipe.core.grid import Volume
from mripipe.core.itk import matrix_of
from mripipe.errors import InputError
from mripipe.reports.images import move_to_reference
from mripipe.steps.diffusion_bend import parts_of, way_back
from mripipe.steps.diffusion_place import map_points
from mripipe.steps.transforms import resample


@dataclass(frozen=True, eq=False)
class DiffusionWay:
    """From a reference image to a diffusion series."""

    rigid: NDArray[np.float64]
    """Takes the reference's RAS+ points (mm) to the series', (4, 4)."""
    bend: sitk.Transform | None
    """Takes those to where the series shows them; None where the field was not sought in the anatomy."""
    whole: sitk.Transform
    """Both, LPS mm."""

    def moved(self, volume: Volume, *, distorted: bool = False) -> Volume:
        """Lay an image of the series over the reference, or as it is distorted."""
        if self.bend is not None and not distorted:
            volume = Volume(resample(volume, volume, self.bend), volume.affine)
        return move_to_reference(volume, self.rigid)

    def moved_vectors(
        self, vectors: NDArray[np.float32], affine: NDArray[np.float64]
    ) -> NDArray[np.floating]:
        """Turn directions (X, Y, Z, 3) to the reference's axes, each where it belongs."""
        if self.bend is not None:
            # Of the nearest voxel: a direction's sign is chance, and two cannot be averaged.
            parts = [resample(Volume(part, affine), Volume(part, affine), self.bend, nearest=True)
                     for part in np.ascontiguousarray(np.moveaxis(vectors, -1, 0))]  # fmt: skip
            vectors = np.stack(parts, axis=-1)
        return vectors @ self.rigid[:3, :3]

    def points(self, points_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Take RAS+ points (N, 3) of the series to the reference."""
        return map_points(way_back(self.whole), points_mm)


def read_way(path: Path) -> DiffusionWay:
    """Read the way of a visit's diffusion.

    Raises
    ------
    InputError
        If the file cannot be read, or does not begin with a rigid transform.

    """
    try:
        way = sitk.ReadTransform(str(path))
        rigid, bend = parts_of(way)
    except RuntimeError as error:
        raise InputError(f"{path.name}: cannot be read as the way of diffusion for the report") from error
    return DiffusionWay(matrix_of(rigid), bend, way)

"""Where a diffusion series lies: its way to the visit's anatomy and on to MNI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.spatial import KDTree

from mripipe.core.grid import Volume, voxel_to_world, world_to_voxel
from mripipe.core.itk import LPS, affine_transform
from mripipe.core.placement import register_and_check
from mripipe.model.diffusion import DiffusionVisit
from mripipe.model.stages import NormalisedVisit
from mripipe.steps.diffusion_bend import bent, find_bend, way_back
from mripipe.steps.load import load_image, load_own_mask
from mripipe.steps.transforms import resample, write_transform

Floats = NDArray[np.floating]

LESION_SHARE = 0.1
"""A voxel of which this much is lesion is left out: what fills a cavity rules the tensor of the voxel."""

PART_MM = 1.0
"""A voxel is cut into parts about as large to tell how much of it is lesion."""
MIRROR_MM = 4.0
"""From a voxel's mirrored place to the voxel that stands for it, at most."""


@dataclass(frozen=True, eq=False)
class PlacedDiffusion:
    """The brain's voxels of a diffusion grid, and where they lie."""

    grid: Volume
    """The b = 0 image."""
    brain: NDArray[np.bool_]
    """Brain by the reference image's mask, inside the series' own (X, Y, Z)."""
    infarct: NDArray[np.float64]
    """Share of each of the brain's voxels that is infarct, shape (N,)."""
    lesion: NDArray[np.float64]
    """The same, older infarcts of the other side counted too."""
    mirrored_lesion: NDArray[np.float64]
    """`lesion` at the mirrored place in MNI."""
    mni_mm: NDArray[np.float64]
    """Place of the brain's voxels in MNI, shape (N, 3)."""
    from_template: sitk.Transform
    """Maps MNI points to diffusion points, LPS mm."""
    to_reference: Path
    """Resamples diffusion images onto the reference image."""

    def index_of(self, mni_mm: Floats) -> NDArray[np.float64]:
        """Return the fractional voxel index of MNI points, shape (N, 3)."""
        return world_to_voxel(map_points(self.from_template, mni_mm), self.grid.affine)


def place_diffusion(
    diffusion: DiffusionVisit, normalised: NormalisedVisit, folder: Path
) -> tuple[PlacedDiffusion, tuple[str, ...], tuple[str, ...]]:
    """Register the b = 0 image rigidly to the reference image, the lesion left out; look voxels up in MNI.

    Where the field still distorts the series, it is sought in the anatomy, and the way is bent by it.

    Returns
    -------
    tuple
        Where the voxels lie, what was done beside the rigid registration, and a warning where the place is
        not beyond doubt.

    """
    prepared = normalised.segmented.prepared
    reference, b0 = load_image(prepared.preproc), load_image(diffusion.b0)
    head, lesion = load_own_mask(prepared.brain_mask), load_own_mask(normalised.segmented.final_mask)
    matrix, placement = register_and_check(reference, head, b0, np.eye(4), left_out=lesion)
    way: sitk.Transform = affine_transform(matrix)
    told: tuple[str, ...] = ()
    if diffusion.distorted_along is not None:
        bend = find_bend(diffusion, diffusion.distorted_along, normalised, way)
        way, told = way if bend.transform is None else bent(bend.transform, way), (bend.told,)
    written = write_transform(way, folder / "to_reference.h5")
    doubt = (
        f"diffusion may be misplaced over the {prepared.reference_suffix}: another position, a centimetre or"
        " more away, fits about as well as the one found; look at its pictures"
    )
    return place_by(diffusion, normalised, written), told, (doubt,) if placement.doubtful else ()


def place_by(diffusion: DiffusionVisit, normalised: NormalisedVisit, to_reference: Path) -> PlacedDiffusion:
    """Look voxels up in MNI by a transform that `place_diffusion` has found."""
    prepared = normalised.segmented.prepared
    reference, b0 = load_image(prepared.preproc), load_image(diffusion.b0)
    head, lesion = load_own_mask(prepared.brain_mask), load_own_mask(normalised.segmented.final_mask)
    way = sitk.ReadTransform(str(to_reference))
    there = way_back(way)
    older = normalised.segmented.contralateral_mask
    inside, infarct = (_shares(part, reference.affine, b0, there) for part in (head, lesion))
    share = _shares(lesion | load_own_mask(older), reference.affine, b0, there) if older else infarct
    brain = (inside >= 0.5) & load_own_mask(diffusion.mask)
    to_mni = sitk.CompositeTransform([sitk.ReadTransform(str(normalised.from_mni)), there])
    mni_mm = map_points(to_mni, voxel_to_world(np.argwhere(brain), b0.affine))
    own = share[brain]
    return PlacedDiffusion(
        grid=b0,
        brain=brain,
        infarct=infarct[brain],
        lesion=own,
        mirrored_lesion=_at_mirrored(own, mni_mm),
        mni_mm=mni_mm,
        from_template=sitk.CompositeTransform([way, sitk.ReadTransform(str(normalised.to_mni))]),
        to_reference=to_reference,
    )


def _shares(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], onto: Volume, there: sitk.Transform
) -> NDArray[np.float64]:
    """Return how much of each of another grid's voxels lies in a mask, by parts of a voxel."""
    parts = np.ceil(onto.voxel_sizes_mm / PART_MM).astype(int)
    fine = onto.affine.copy()
    fine[:3, :3] /= parts
    fine[:3, 3] += onto.affine[:3, :3] @ (0.5 / parts - 0.5)
    grid = Volume(np.zeros(np.array(onto.shape) * parts, np.float32), fine)
    found = resample(Volume(mask.astype(np.float32), affine), grid, there)
    split = [size for pair in zip(onto.shape, parts, strict=True) for size in pair]
    return np.asarray(found.reshape(split).mean(axis=(1, 3, 5), dtype=np.float64))


def _at_mirrored(values: NDArray[np.float64], mni_mm: Floats) -> NDArray[np.float64]:
    """Return voxels' values at their mirrored places: of the nearest voxel there, 0 where there is none."""
    apart, nearest = KDTree(mni_mm).query(mni_mm * np.array([-1.0, 1.0, 1.0]), distance_upper_bound=MIRROR_MM)
    return np.where(np.isfinite(apart), np.append(values, 0.0)[nearest], 0.0)


def map_points(transform: sitk.Transform, points_mm: Floats) -> NDArray[np.float64]:
    """Map RAS mm points (N, 3) through an ITK transform, to RAS mm."""
    lps = np.asarray(points_mm, np.float64) @ LPS[:3, :3]
    moved = [transform.TransformPoint(point) for point in lps.tolist()]
    return np.asarray(np.array(moved, np.float64).reshape(-1, 3) @ LPS[:3, :3])

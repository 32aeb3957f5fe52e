"""The way of diffusion to its anatomy, bent where the field distorts the series and no image shows it.

The series itself is left as it is: what is looked up in it, is looked up where the field puts it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mripipe.core.diffusion_anatomy import TissueShown, agreement, field_from_anatomy, unbent, where_borne_out
from mripipe.core.grid import Volume
from mripipe.core.itk import displacement_transform, one_thread
from mripipe.model.diffusion import DiffusionVisit
from mripipe.model.stages import NormalisedVisit
from mripipe.steps.load import load_image, load_own_mask
from mripipe.steps.tissues import tissue_shares
from mripipe.steps.transforms import resample

Floats = NDArray[np.floating]

WEIGHTING = 1000.0
"""s/mm^2, of the signal that FA is looked at beside."""
STORED_MM = 4.0
"""Between the points that a field is stored at; it changes over some centimetres."""
LEAST_ML = 100.0
"""Less brain in view than this tells nothing of a field that changes over centimetres."""
LESION_SHARE = 0.1
"""A voxel of which this much is infarct says nothing of where it belongs."""


@dataclass(frozen=True, eq=False)
class Bend:
    """What the anatomy tells of the field."""

    transform: sitk.DisplacementFieldTransform | None
    """From where a point of the head belongs to where the series shows it; None where nothing is gained."""
    told: str


def find_bend(
    diffusion: DiffusionVisit, axis: int, normalised: NormalisedVisit, rigid: sitk.Transform
) -> Bend:
    """Find distortion by the field from the tissues of the reference image.

    Parameters
    ----------
    diffusion : DiffusionVisit
    axis : int
        Array axis of the phase encoding.
    normalised : NormalisedVisit
        Of the same visit.
    rigid : SimpleITK.Transform
        Maps points of the reference image to points of the series.

    Returns
    -------
    Bend
        Only where b = 0, which is not used to find the field, agrees better with the tissues by it; nothing
        where it does so nowhere.

    """
    b0 = load_image(diffusion.b0)
    shown = _shown(b0, normalised, rigid.GetInverse())
    name = normalised.segmented.prepared.reference_suffix
    sought = f"distortion by the field sought in the tissues of the {name}"
    if shown.region.sum() * b0.voxel_volume_ml < LEAST_ML:
        return Bend(None, f"{sought}: nothing found, less than {LEAST_ML:.0f} mL of brain in view")
    fa, md = load_image(diffusion.fa).data, load_image(diffusion.md).data
    signal = np.where(md > 0, b0.data * np.exp(-WEIGHTING * md), 0.0).astype(np.float32)
    zooms = b0.voxel_sizes_mm
    found = field_from_anatomy(fa, signal, shown, zooms, axis)
    found = where_borne_out(found, b0.data, shown, zooms, axis)
    before = agreement(b0.data, shown)
    after = agreement(unbent(b0.data, found, float(zooms[axis]), axis, pressed=True), shown)
    compared = f"they explain {100 * before:.0f} % of b = 0 without it, {100 * after:.0f} % with it"
    if after <= before:
        return Bend(None, f"{sought}: nothing gained, {compared}")
    moved = np.abs(found[shown.region])
    told = (
        f"{sought}: {np.median(moved):.1f} mm in the middle, at most {moved.max():.1f} mm; {compared}; "
        "images left as they are, tracts looked up by it"
    )
    return Bend(_transform(found, b0, axis), told)


def bent(bend: sitk.Transform, rigid: sitk.Transform) -> sitk.CompositeTransform:
    """Return the way from the reference image to the series as it is distorted."""
    return sitk.CompositeTransform([bend, rigid])


def parts_of(way: sitk.Transform) -> tuple[sitk.Transform, sitk.DisplacementFieldTransform | None]:
    """Return the rigid part of a way from the reference image to a series, and its bend if it has one."""
    if way.IsLinear():
        return way, None
    both = sitk.CompositeTransform(way)
    return both.GetNthTransform(1), sitk.DisplacementFieldTransform(both.GetNthTransform(0))


def way_back(way: sitk.Transform) -> sitk.Transform:
    """Return the way from the series to the reference image."""
    rigid, bend = parts_of(way)
    back_again: sitk.Transform = rigid.GetInverse()
    if bend is None:
        return back_again
    with one_thread():
        straight = sitk.InvertDisplacementField(
            bend.GetDisplacementField(),
            maximumNumberOfIterations=200,
            maxErrorToleranceThreshold=1e-4,
            meanErrorToleranceThreshold=1e-5,
            enforceBoundaryCondition=False,
        )
    return sitk.CompositeTransform([back_again, sitk.DisplacementFieldTransform(straight)])


def _shown(b0: Volume, normalised: NormalisedVisit, there: sitk.Transform) -> TissueShown:
    """Carry tissues, brain and infarct to the diffusion grid, as blurred as its voxels are."""
    segmented = normalised.segmented
    image, brain = load_image(segmented.prepared.preproc), load_own_mask(segmented.prepared.brain_mask)
    coarser = np.maximum(b0.voxel_sizes_mm.mean() ** 2 - image.voxel_sizes_mm**2, 0.0)
    deviation = np.sqrt(coarser / (8.0 * np.log(2.0))) / image.voxel_sizes_mm

    def carried(part: NDArray[np.floating] | NDArray[np.bool_]) -> NDArray[np.float32]:
        blurred = gaussian_filter(part.astype(np.float32), deviation)
        return resample(Volume(blurred, image.affine), b0, there)

    tissues = tissue_shares(image, brain, sitk.ReadTransform(str(normalised.from_mni)))
    masks = [load_own_mask(path) for path in (segmented.final_mask, segmented.contralateral_mask) if path]
    infarct = carried(np.logical_or.reduce(masks))
    region = (carried(brain) >= 0.5) & (infarct < LESION_SHARE)
    return TissueShown(np.stack([carried(part) for part in tissues]), region)


def _transform(field_mm: Floats, grid: Volume, axis: int) -> sitk.DisplacementFieldTransform:
    """Return a displacement along an array axis as an ITK transform, thinned to what it needs."""
    every = np.maximum(np.floor(STORED_MM / grid.voxel_sizes_mm), 1).astype(int)
    padded = np.pad(field_mm, [(0, int(k)) for k in every], mode="edge")
    thinned = padded[tuple(slice(None, None, int(k)) for k in every)]
    affine = grid.affine.copy()
    affine[:3, :3] *= every
    along = grid.affine[:3, axis] / np.linalg.norm(grid.affine[:3, axis])
    return displacement_transform(thinned[..., None] * along, affine)

"""From a visit's files to its pictures: which planes are cut, which outlines lie on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mripipe.atlases.template import load_template
from mripipe.core.grid import Volume, voxel_to_world
from mripipe.errors import InputError
from mripipe.figures.flicker import add_outlines, template_outlines
from mripipe.figures.mosaic import Cut, cut_outlines, mosaic
from mripipe.figures.planes import Plane, field_of_view, mask_points, planes_through
from mripipe.model.results import VisitResult
from mripipe.model.stages import CoregisteredImage
from mripipe.reports.diffusion_pictures import diffusion_galleries
from mripipe.reports.gallery import Gallery
from mripipe.reports.images import move_to_reference, read_linear_transform, read_volume

N_AXIAL_NATIVE = 10
N_AXIAL_MNI = 4

AFFINE = "Affine only"
DEFORMABLE = "Deformable"


def native_galleries(visit: VisitResult) -> list[Gallery]:
    """Draw the reference image, and FLAIR beside it, with brain and lesion outlined."""
    if visit.preproc is None:
        return []
    name = visit.reference_suffix or "reference image"
    try:
        image = read_volume(visit.preproc)
        outlines = _native_outlines(visit)
    except InputError as error:
        return [Gallery(name, problem=str(error))]
    cuts = cut_outlines(native_planes(image, outlines), outlines)
    galleries = [Gallery(name, tuple(mosaic(image, cuts, name=name)), tuple(outlines))]
    galleries += [_gallery_beside(beside, cuts, tuple(outlines)) for beside in visit.coregistered]
    return galleries + diffusion_galleries(visit, image, outlines, [cut.plane for cut in cuts])


def _gallery_beside(beside: CoregisteredImage, cuts: Sequence[Cut], kinds: tuple[str, ...]) -> Gallery:
    """Draw another sequence on the reference image's planes."""
    name = beside.suffix
    try:
        image = move_to_reference(read_volume(beside.image), read_linear_transform(beside.to_reference))
    except InputError as error:
        return Gallery(name, problem=str(error))
    return Gallery(name, tuple(mosaic(image, cuts, name=name)), kinds)


def native_planes(image: Volume, outlines: dict[str, Volume]) -> list[Plane]:
    """Plan planes through the lesion, else through the brain, else through the whole image."""
    everything = _corners(image)
    brain = mask_points(outlines["brain"]) if "brain" in outlines else everything
    lesion = mask_points(outlines["lesion"]) if "lesion" in outlines else brain
    return planes_through(lesion, field_of_view(brain), n_axial=N_AXIAL_NATIVE)


def mni_planes(lesions: Sequence[Volume], brain: Volume) -> list[Plane]:
    """Plan the same MNI planes for all visits: through the lesions together, else through the brain."""
    inside = mask_points(brain)
    points = np.concatenate([mask_points(lesion) for lesion in lesions]) if lesions else inside
    view = field_of_view(inside, margin_mm=4.0)
    return planes_through(points, view, n_axial=N_AXIAL_MNI, spacing_mm=0.7)


def mni_frames(visits: Sequence[VisitResult]) -> list[dict[str, Gallery]]:
    """Draw each visit in MNI space before and after deformation, on planes shared by all visits.

    Returns
    -------
    list of dict of str to Gallery
        One for each visit: frames by name, empty where there is no MNI image.

    """
    template = load_template()
    brain = Volume(template.mask.astype(np.float32), template.affine)
    lesions = [_mask_or_none(visit.mni_lesion_mask) for visit in visits]
    planes = mni_planes([lesion for lesion in lesions if lesion is not None], brain)
    landmarks = template_outlines(brain, Volume(template.wm, template.affine))
    cuts = cut_outlines(planes, landmarks)
    drawn = []
    for visit, lesion in zip(visits, lesions, strict=True):
        own = {} if lesion is None else {"lesion": lesion}
        kinds = (*landmarks, *own)
        drawn.append(_frames(visit, add_outlines(cuts, cut_outlines(planes, own)), kinds))
    return drawn


def _frames(visit: VisitResult, cuts: Sequence[Cut], kinds: tuple[str, ...]) -> dict[str, Gallery]:
    """Draw one visit's frames; a file that cannot be read is told in place of its pictures."""
    galleries: dict[str, Gallery] = {}
    for name, path in {AFFINE: visit.mni_affine_image, DEFORMABLE: visit.mni_image}.items():
        if path is None:
            continue
        try:
            panels = mosaic(read_volume(path), cuts, name=name)
            galleries[name] = Gallery(name, tuple(panels), kinds)
        except InputError as error:
            galleries[name] = Gallery(name, problem=str(error))
    return galleries


def _native_outlines(visit: VisitResult) -> dict[str, Volume]:
    """Read the masks on the reference grid that exist and are not empty."""
    masks = {"brain": _mask(visit.brain_mask), "lesion": _mask(visit.lesion_mask)}
    return {kind: mask for kind, mask in masks.items() if mask is not None}


def _mask(path: Path | None) -> Volume | None:
    """Read a mask as 0 and 1; None where there is no file or nothing in it."""
    if path is None:
        return None
    volume = read_volume(path)
    inside = volume.data > 0
    return Volume(inside.astype(np.float32), volume.affine) if inside.any() else None


def _mask_or_none(path: Path | None) -> Volume | None:
    """Read a mask that pictures can do without."""
    try:
        return _mask(path)
    except InputError:
        return None


def _corners(image: Volume) -> NDArray[np.float64]:
    """Return the RAS+ mm of the centres of all voxels at a coarse step, enough to span the image."""
    steps = [np.unique(np.linspace(0, n - 1, 16).round()) for n in image.data.shape]
    grid = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return voxel_to_world(grid, image.affine)

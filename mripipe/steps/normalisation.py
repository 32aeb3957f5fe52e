"""Carry one visit to MNI152NLin2009aSym and back, the infarct made harmless."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from mripipe.atlases.template import Template, load_template
from mripipe.core.affine_search import in_contrast_of
from mripipe.core.deformation import invert_field, jacobian_determinant
from mripipe.core.grid import Volume
from mripipe.core.itk import affine_transform, displacement_transform
from mripipe.core.roughspace import RoughMap
from mripipe.core.tissue import fit_tissues
from mripipe.core.ventricles import (
    fluid_mask,
    template_ventricles,
    ventricle_fluid,
    ventricle_overlap,
    ventricle_room,
)
from mripipe.model.settings import Level, RegistrationSettings
from mripipe.model.stages import AlignedVisits, NormalisedVisit, SegmentedVisit
from mripipe.steps.filled_deformation import coarse_part, deform_filled, undeformed
from mripipe.steps.load import load_image, load_own_mask, save_image
from mripipe.steps.transforms import resample, write_transform

ITERATIONS: dict[Level, tuple[str, str]] = {
    "fast": ("40x0x0", "40x20x0"),
    "standard": ("60x40x0", "40x40x20"),
}
"""At 8, 4 and 2 mm, of the first pass, which mirrors by the affine alone, and the second."""
LOW_DICE = 0.85
"""Tissue overlap outside the infarct below which a visit is flagged. The brain mask alone gives this much, so
that it tells a wrong mask rather than a wrong map: half a centimetre astray costs 0.05."""
LOW_VENTRICLE_DICE = 0.5
"""Overlap of the ventricles below which a visit is flagged: real heads reach 0.79 to 0.89 on T1w, 0.75 on
T2w, 0.60 on FLAIR alone; a map that is 8 mm astray gives 0.2 to 0.4."""
LEAST_VENTRICLES_ML = 2.0
"""Of the template's ventricles, outside the infarct, that are worth comparing."""


@dataclass(frozen=True)
class _Fit:
    """How a visit lies on the template, for the quality figures."""

    tissue_dice: float
    correlation: float
    ventricle_dice: float | None


def normalise_visit(
    segmented: SegmentedVisit, aligned: AlignedVisits, *, settings: RegistrationSettings, folder: Path
) -> NormalisedVisit:
    """Register one visit to MNI, and carry its image and infarct there in one interpolation.

    The affine is that of the within-subject template, the same for all visits; the deformation is the visit's
    own, because ventricles and infarct change between visits.

    Parameters
    ----------
    segmented : SegmentedVisit
    aligned : AlignedVisits
        Of the same participant, this visit among them.
    settings : RegistrationSettings
    folder : Path
        Where files are written.

    Returns
    -------
    NormalisedVisit

    """
    template = load_template()
    prepared = segmented.prepared
    image = load_image(prepared.preproc)
    brain, lesion = (
        Volume(load_own_mask(path).astype(np.float32), image.affine)
        for path in (prepared.brain_mask, segmented.final_mask)
    )
    matrix = _affine_of(prepared.session.session_id, aligned)
    iterations = ITERATIONS[settings.level]
    found = deform_filled(
        image,
        brain,
        lesion,
        undeformed(matrix, template),
        prepared.reference_suffix,
        template,
        iterations if lesion.data.any() else iterations[-1:],
    )
    forward, backward = _both_ways(found)
    grid = Volume(template.t1, template.affine)
    moved = resample(image, grid, forward, cubic=True)
    probability = resample(lesion, grid, forward)
    jacobian = jacobian_determinant(found.displacement, found.affine)[template.mask[coarse_part()]]
    folded_percent = 100.0 * float(np.mean(jacobian <= 0))
    picture = in_contrast_of(prepared.reference_suffix, template.t1, template.gm, template.wm, template.csf)
    seen = resample(brain, grid, forward)
    fit = _fit(Volume(moved, template.affine), seen, probability, template, picture)
    doubts = _doubts(fit, folded_percent)
    return NormalisedVisit(
        segmented=segmented,
        to_mni=write_transform(forward, folder / "to_mni.h5"),
        from_mni=write_transform(backward, folder / "from_mni.h5"),
        mni_image=save_image(folder / "mni_image.nii.gz", moved, template.affine),
        mni_affine_image=save_image(
            folder / "mni_affine_image.nii.gz",
            resample(image, grid, affine_transform(matrix)),
            template.affine,
        ),
        mni_lesion_probability=save_image(
            folder / "mni_lesion_probability.nii.gz", probability, template.affine
        ),
        mni_lesion_mask=save_image(
            folder / "mni_lesion_mask.nii.gz", probability >= 0.5, template.affine, dtype=np.uint8
        ),
        jacobian_min=float(jacobian.min()),
        jacobian_max=float(jacobian.max()),
        tissue_dice=fit.tissue_dice,
        correlation=fit.correlation,
        ventricle_dice=fit.ventricle_dice,
        folded_percent=folded_percent,
        low_quality=bool(doubts),
        warnings=(*aligned.warnings, *doubts),
    )


def _both_ways(found: RoughMap) -> tuple[sitk.CompositeTransform, sitk.CompositeTransform]:
    """Return the transforms of MNI points to native points and back; the one listed last comes first."""
    forward = sitk.CompositeTransform(
        [affine_transform(found.matrix), displacement_transform(found.displacement, found.affine)]
    )
    inverse = displacement_transform(invert_field(found.displacement, found.affine), found.affine)
    return forward, sitk.CompositeTransform([inverse, affine_transform(np.linalg.inv(found.matrix))])


def _affine_of(session_id: str, aligned: AlignedVisits) -> NDArray[np.floating]:
    """Return MNI mm to this visit's native mm, through the within-subject template."""
    index = aligned.session_ids.index(session_id)
    return np.asarray(np.array(aligned.to_visit[index]) @ np.array(aligned.affine_to_mni))


def _fit(
    moved: Volume,
    brain: NDArray[np.float32],
    lesion: NDArray[np.float32],
    template: Template,
    picture: NDArray[np.float32],
) -> _Fit:
    """Compare the carried image with the template outside the infarct."""
    judged = template.mask & (brain >= 0.5) & ~binary_dilation(lesion > 0.1, iterations=3)
    priors = np.stack([template.gm[judged], template.wm[judged], template.csf[judged]], axis=1) + 0.01
    priors /= priors.sum(axis=1, keepdims=True)
    model = fit_tissues(moved.data[judged][::8, None].astype(float), priors[::8].astype(float))
    fluid = fluid_mask(moved, judged, model)
    tissue = judged & ~fluid
    wanted = judged & (template.gm + template.wm >= 0.5)
    both = np.count_nonzero(tissue) + np.count_nonzero(wanted)
    dice = 2.0 * np.count_nonzero(tissue & wanted) / max(1, int(both))
    correlation = np.corrcoef(moved.data[judged], picture[judged])[0, 1]
    room = judged & ventricle_room(template.csf, template.affine)
    ventricles = ventricle_fluid(moved, fluid, room, float(model.means[0, 0]))
    wanted = judged & template_ventricles(template.csf, template.affine)
    enough = np.count_nonzero(wanted) * moved.voxel_volume_ml >= LEAST_VENTRICLES_ML
    overlap = ventricle_overlap(ventricles, wanted) if enough else None
    return _Fit(float(dice), float(correlation), overlap)


def _doubts(fit: _Fit, folded_percent: float) -> tuple[str, ...]:
    """Say which checks of the registration are not passed."""
    found = []
    for name, value, least in (
        ("tissue", fit.tissue_dice, LOW_DICE),
        ("ventricle", fit.ventricle_dice, LOW_VENTRICLE_DICE),
    ):
        if value is not None and value < least:
            found.append(
                f"registration to MNI: {name} overlap {value:.2f}, expected {least} or more: look at it"
            )
    if folded_percent > 0:
        share = f"{folded_percent:.2g} % of the brain"
        found.append(f"registration to MNI: the deformation folds in {share}: do not use it")
    return tuple(found)

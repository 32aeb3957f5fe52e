"""Measure one visit: infarct, territory, brain and ventricles, on the native grid and in MNI."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mripipe.atlases.template import load_template
from mripipe.atlases.territories import MCA_LABELS, TERRITORY_LABELS, load_territories
from mripipe.core.border import surface_area_mm2
from mripipe.core.change import repeat_deviation_ml
from mripipe.core.grid import Volume, voxel_sizes_mm
from mripipe.core.itk import LPS
from mripipe.core.ventricles import fluid_mask, ventricle_fluid, ventricle_room, ventricle_volumes_ml
from mripipe.core.volumetry import count_components, lesion_side, lesion_volume_ml
from mripipe.model.atlas import AtlasFiles
from mripipe.model.results import (
    LesionVolumes,
    NormalisationQuality,
    RegionLoad,
    TerritoryLoad,
    VisitResult,
)
from mripipe.model.stages import NormalisedVisit
from mripipe.steps.load import load_image, load_own_mask
from mripipe.steps.region_loads import region_loads
from mripipe.steps.tissues import visit_tissues
from mripipe.steps.transforms import resample

LEAST_MCA_SHARE = 0.2
"""A lesion with less than a fifth of it in the territory of this artery is no infarct of it."""


def measure_visit(
    normalised: NormalisedVisit, *, atlases: tuple[AtlasFiles, ...] = (), folder: Path
) -> VisitResult:
    """Measure a visit that has been carried to MNI.

    Parameters
    ----------
    normalised : NormalisedVisit
    atlases : tuple of AtlasFiles
        Installed atlases in whose regions the infarct is measured too.
    folder : Path
        Not written to: measuring makes no files.

    Returns
    -------
    VisitResult

    """
    segmented, prepared = normalised.segmented, normalised.segmented.prepared
    session = prepared.session
    volumes, territories, regions = _volumes(normalised, atlases)
    elsewhere = _elsewhere(volumes)
    if volumes.status == "ok" and (normalised.low_quality or (elsewhere and segmented.source == "auto")):
        volumes = replace(volumes, status="low_quality")
    return VisitResult(
        participant_id=session.participant_id,
        session_id=session.session_id,
        volumes=volumes,
        reference_suffix=prepared.reference_suffix,
        preproc=prepared.preproc,
        brain_mask=prepared.brain_mask,
        lesion_probability=segmented.probability,
        lesion_mask=segmented.final_mask,
        auto_mask=segmented.auto_mask,
        contralateral_mask=segmented.contralateral_mask,
        coregistered=prepared.coregistered,
        mni_image=normalised.mni_image,
        mni_lesion_mask=normalised.mni_lesion_mask,
        to_mni=normalised.to_mni,
        from_mni=normalised.from_mni,
        mni_affine_image=normalised.mni_affine_image,
        quality=NormalisationQuality(
            tissue_dice=normalised.tissue_dice,
            jacobian_min=normalised.jacobian_min,
            jacobian_max=normalised.jacobian_max,
            correlation=normalised.correlation,
            ventricle_dice=normalised.ventricle_dice,
            folded_percent=normalised.folded_percent,
        ),
        territories=territories,
        regions=regions,
        warnings=(*prepared.warnings, *segmented.warnings, *normalised.warnings, *elsewhere),
    )


def _elsewhere(volumes: LesionVolumes) -> tuple[str, ...]:
    """Say that a lesion hardly touches the territory that it should lie in."""
    share = volumes.mca_fraction
    if share is None or share >= LEAST_MCA_SHARE:
        return ()
    return (
        f"{100 * share:.0f} % of the lesion lies in the territory of the middle cerebral artery, expected"
        f" {100 * LEAST_MCA_SHARE:.0f} % or more: it may be no infarct of that artery; look at its outline",
    )


def _volumes(
    normalised: NormalisedVisit, atlases: tuple[AtlasFiles, ...]
) -> tuple[LesionVolumes, tuple[TerritoryLoad, ...], tuple[RegionLoad, ...]]:
    """Measure infarct, brain and ventricles; what an absent infarct cannot have stays None."""
    segmented, prepared = normalised.segmented, normalised.segmented.prepared
    session = prepared.session
    image, brain = load_image(prepared.preproc), load_own_mask(prepared.brain_mask)
    mask = load_own_mask(segmented.final_mask)
    from_mni = sitk.ReadTransform(str(normalised.from_mni))
    x_mm = _mni_x(image, from_mni)
    side = lesion_side(mask, x_mm)
    left, right = _ventricles(image, brain, mask, x_mm, from_mni)
    ipsi, contra = {"left": (left, right), "right": (right, left)}.get(side, (None, None))
    volumes = LesionVolumes(
        participant_id=session.participant_id,
        session_id=session.session_id,
        status="no_lesion_found",
        days_from_onset=session.days_from_onset,
        days_from_infusion=session.days_from_infusion,
        source="manual" if segmented.source == "manual" else "auto",
        side=side,
        brain_ml=lesion_volume_ml(brain, image.affine),
        ventricle_ipsi_ml=ipsi,
        ventricle_contra_ml=contra,
        sequences="+".join(segmented.sequences) or prepared.reference_suffix,
    )
    if not mask.any():
        return volumes, (), region_loads(atlases, np.zeros((0, 3)), 0.0, None)
    mni_mask = load_own_mask(normalised.mni_lesion_mask)
    lesion_ml = lesion_volume_ml(mask, image.affine)
    surface_cm2 = surface_area_mm2(mask, image.affine) / 100.0
    places = _lesion_mni_mm(mask, image, from_mni)
    inside_ml = _inside_ml(places, image.voxel_volume_ml)
    mca_ml = float(sum(inside_ml[label] for labels in MCA_LABELS.values() for label in labels))
    measured = replace(
        volumes,
        status="ok",
        lesion_ml=lesion_ml,
        lesion_ml_lower=segmented.lesion_ml_lower,
        lesion_ml_upper=segmented.lesion_ml_upper,
        lesion_mni_ml=lesion_volume_ml(mni_mask, load_template().affine),
        mca_ml=mca_ml,
        mca_fraction=mca_ml / lesion_ml,
        mca_territory_percent=_territory_percent(mni_mask, side),
        n_components=count_components(mask),
        cavity_ml=segmented.cavity_ml,
        gliosis_ml=lesion_ml - segmented.cavity_ml,
        auto_ml=segmented.auto_ml if segmented.source == "manual" else None,
        auto_dice=segmented.auto_dice,
        surface_cm2=surface_cm2,
        repeat_sd_ml=repeat_deviation_ml(surface_cm2, voxel_sizes_mm(image.affine)),
        contralateral_ml=segmented.contralateral_ml,
    )
    regions = region_loads(atlases, places, image.voxel_volume_ml, mni_mask)
    return measured, _territories(inside_ml, mni_mask), regions


def _mni_x(image: Volume, from_mni: sitk.Transform) -> NDArray[np.float32]:
    """Return the MNI x of every native voxel: negative on the patient's left."""
    template = load_template()
    across = np.arange(template.mask.shape[0]) * template.affine[0, 0] + template.affine[0, 3]
    ramp = np.broadcast_to(across[:, None, None], template.mask.shape).astype(np.float32)
    # Shifted to be positive, so that 0 means outside the template.
    shift = 200.0
    carried = resample(Volume(ramp + shift, template.affine), image, from_mni)
    return np.where(carried > 1.0, carried - shift, 0.0).astype(np.float32)


def _lesion_mni_mm(mask: NDArray[np.bool_], image: Volume, from_mni: sitk.Transform) -> NDArray[np.float64]:
    """Return where in MNI the voxels of a native lesion lie, RAS mm (N, 3)."""
    points = np.argwhere(mask) @ image.affine[:3, :3].T + image.affine[:3, 3]
    moved = [from_mni.TransformPoint(point) for point in (points @ LPS[:3, :3]).tolist()]
    return np.asarray(np.array(moved) @ LPS[:3, :3], np.float64)


def _inside_ml(mni: NDArray[np.float64], voxel_ml: float) -> NDArray[np.float64]:
    """Return the volume of a native lesion by territory label."""
    atlas = load_territories()
    index = np.round((mni - atlas.affine[:3, 3]) @ np.linalg.inv(atlas.affine[:3, :3]).T).astype(int)
    inside = np.all((index >= 0) & (index < atlas.labels.shape), axis=1)
    return _counts(atlas.labels[tuple(index[inside].T)]) * voxel_ml


def _counts(labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return how often each territory's label occurs."""
    return np.bincount(labels.ravel(), minlength=len(TERRITORY_LABELS) + 1).astype(float)


def _territories(inside_ml: NDArray[np.float64], mni_mask: NDArray[np.bool_]) -> tuple[TerritoryLoad, ...]:
    """Return the load of every territory: mL on the native grid, percent of the territory in MNI."""
    labels = load_territories().labels
    whole, lesioned = _counts(labels), _counts(labels[mni_mask])
    parts: list[tuple[str, str, tuple[int, ...]]] = [
        (row.abbreviation.partition("_")[0], row.side, (row.index,)) for row in TERRITORY_LABELS
    ]
    parts += [("MCA", side, indices) for side, indices in MCA_LABELS.items()]
    return tuple(
        TerritoryLoad(
            territory=name,
            side="left" if side == "left" else "right",
            lesion_ml=float(inside_ml[list(indices)].sum()),
            lesioned_percent=100.0 * float(lesioned[list(indices)].sum() / whole[list(indices)].sum()),
        )
        for name, side, indices in parts
    )


def _territory_percent(mni_mask: NDArray[np.bool_], side: str) -> float | None:
    """Return what percentage of the MCA territory on its side a lesion takes; None without one side."""
    if side not in MCA_LABELS:
        return None
    territory = load_territories().mask(MCA_LABELS[side])
    return 100.0 * float(np.count_nonzero(mni_mask & territory)) / float(np.count_nonzero(territory))


def _ventricles(
    image: Volume,
    brain: NDArray[np.bool_],
    lesion: NDArray[np.bool_],
    x_mm: NDArray[np.float32],
    from_mni: sitk.Transform,
) -> tuple[float, float]:
    """Return the volumes of the left and right lateral ventricle in mL."""
    template = load_template()
    room = ventricle_room(template.csf, template.affine).astype(np.float32)
    here = resample(Volume(room, template.affine), image, from_mni) >= 0.5
    model, _ = visit_tissues(image, brain, from_mni)
    inside = here & brain & ~lesion
    fluid = ventricle_fluid(image, fluid_mask(image, brain, model), inside, float(model.means[0, 0]))
    return ventricle_volumes_ml(fluid, here, lesion, x_mm, image.voxel_volume_ml)

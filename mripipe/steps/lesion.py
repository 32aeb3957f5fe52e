"""The infarct of one visit: the expert's mask where one is given, else what the program finds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mripipe.atlases.template import load_template
from mripipe.atlases.territories import mca_mask
from mripipe.core.agreement import dice_coefficient
from mripipe.core.border import volume_interval_ml
from mripipe.core.distance import depth_within
from mripipe.core.grid import Volume
from mripipe.core.itk import matrix_of, to_itk
from mripipe.core.lesion import lesion_log_odds, tissue_priors
from mripipe.core.lesion_acute import acute_log_odds
from mripipe.core.lesion_field import ACUTE_MM, lesion_probability
from mripipe.core.lesion_outline import closed_outline
from mripipe.core.lesion_select import (
    select_acute,
    select_contralateral,
    select_infarct,
    selected_probability,
)
from mripipe.core.roughspace import pull_to_template, push_to_native
from mripipe.core.ventricles import template_ventricles
from mripipe.core.volumetry import lesion_side, lesion_volume_ml
from mripipe.errors import InputError
from mripipe.model.settings import LesionSettings
from mripipe.model.stages import PreparedVisit, SegmentedVisit
from mripipe.model.study import DIFFUSION_MAPS, Session
from mripipe.steps.filled_deformation import deform_filled, undeformed
from mripipe.steps.load import (
    LoadedMap,
    load_image,
    load_mask,
    load_own_mask,
    load_plain,
    load_probability,
    load_rough_map,
    save_image,
)
from mripipe.steps.sequences import BESIDE

BOX_MARGIN = 5
"""Template voxels around the brain, so that smoothing near its edge sees the outside."""
NEVER = -100.0
"""Log odds where no infarct is looked for."""
SKIN_MM = 1.5
"""Outermost layer of a brain mask, CSF and partial volume, in which no infarct is looked for."""
CLOSE_PASSES = ("40x0x0", "40x20x0")
"""Iterations at 8, 4 and 2 mm of the map by which an infarct is looked for again."""
LEAST_SEEN = 0.1
"""Share of the brain that a sequence must show for tissues to be fitted in it."""
PENCIL_MM, BORDER_MM, GREY_BORDER_MM = 0.5, 0.7, 2.0
"""Uncertainty of the border: what a reader's pencil is good for, a program that does a little worse, and one
that sees a T1w alone. There gliosis may be as grey as cortex, 2 mm thick at least, and the border lies on
either side of it."""


def segment_visit(
    prepared: PreparedVisit, *, masks: Session | None = None, settings: LesionSettings, folder: Path
) -> SegmentedVisit:
    """Find the infarct, and take the expert's mask in its place where one is given.

    Parameters
    ----------
    prepared : PreparedVisit
    masks : Session, optional
        The visit with what came after it was prepared: masks, and its day where the infarct is acute; those
        of ``prepared.session`` where not given.
    settings : LesionSettings
    folder : Path
        Where files are written.

    Returns
    -------
    SegmentedVisit
        What the program finds is kept beside an expert's mask, to be compared with it.

    Raises
    ------
    InputError
        An expert mask is empty, or a mask or map is on a grid that is neither the reference's nor
        that of a FLAIR or T2w beside it; another program's map is missing or holds no probabilities.

    """
    if masks is not None:
        session = replace(
            prepared.session,
            lesion_mask=masks.lesion_mask,
            external_lesion=masks.external_lesion,
            days_from_onset=masks.days_from_onset,
        )
        prepared = replace(prepared, session=session)
    reference = load_image(prepared.preproc)
    given = prepared.session.lesion_mask
    # Without another program's map there is nothing to compare an expert's mask with but what is found here.
    external = settings.segmenter == "external" and not (given and prepared.session.external_lesion is None)
    segmenter = _by_another_program if external else _by_acute if _shows_acute(prepared) else _by_asymmetry
    found = segmenter(prepared, reference, folder)
    if given is None:
        return describe_infarct(found, found.probability, reference, folder)
    drawn = _on_reference(load_mask(given, _grids(prepared, reference)), prepared, reference)
    return describe_infarct(found, drawn, reference, folder)


@dataclass(frozen=True)
class FoundInfarct:
    """What a segmenter says of a visit, on the reference's grid, and what it says it from."""

    prepared: PreparedVisit
    """The visit with the map by which it was found."""
    probability: NDArray[np.float32]
    contralateral: NDArray[np.float32] | None
    """Probability of older infarcts on the other side; None where they are not looked for."""
    cavity: Path
    """Probability that a voxel of the infarct is cavity, native grid."""
    log_odds: Path | None
    """What each voxel says by itself, on the symmetric grid; `NEVER` where no infarct is looked for."""
    native_log_odds: Path | None
    """The same on the native grid; 0 where no infarct is looked for."""
    sequences: tuple[str, ...] = ()
    """What it was found in."""
    acute: bool = False


def describe_infarct(
    found: FoundInfarct, used: NDArray[np.float32], reference: Volume, folder: Path
) -> SegmentedVisit:
    """Measure the infarct that is used, an expert's or the one found, and write it and the one found."""
    prepared, affine = found.prepared, reference.affine
    mask, auto = used >= 0.5, found.probability >= 0.5
    manual = prepared.session.lesion_mask is not None
    border_mm = PENCIL_MM if manual else GREY_BORDER_MM if found.sequences == ("T1w",) else BORDER_MM
    lower, upper = volume_interval_ml(mask, affine, border_mm=border_mm)
    final = save_image(folder / "lesion_mask.nii.gz", mask, affine, dtype=np.uint8)
    other_ml, other = None, None
    # An expert's mask says what counts on either side.
    if found.contralateral is not None and mask.any() and not manual:
        old = (found.contralateral >= 0.5) & ~mask
        other_ml = lesion_volume_ml(old, affine)
        if old.any():
            other = save_image(folder / "contralateral_mask.nii.gz", old, affine, dtype=np.uint8)
    auto_path = save_image(folder / "auto_mask.nii.gz", auto, affine, dtype=np.uint8) if manual else final
    return SegmentedVisit(
        prepared=prepared,
        source="manual" if manual else "auto",
        side=_side(mask, reference, prepared),
        probability=save_image(folder / "lesion_probability.nii.gz", used, affine),
        auto_mask=auto_path,
        manual_mask=final if manual else None,
        final_mask=final,
        lesion_ml=lesion_volume_ml(mask, affine),
        lesion_ml_lower=lower,
        lesion_ml_upper=upper,
        cavity_ml=lesion_volume_ml(mask & (load_plain(found.cavity).data >= 0.5), affine),
        auto_ml=lesion_volume_ml(auto, affine),
        auto_dice=dice_coefficient(mask, auto) if manual else None,
        cavity=found.cavity,
        log_odds=found.log_odds,
        native_log_odds=found.native_log_odds,
        sequences=found.sequences,
        acute=found.acute,
        contralateral_ml=other_ml,
        contralateral_mask=other,
    )


def infarct_from_log_odds(
    log_odds: Volume,
    prepared: PreparedVisit,
    reference: Volume,
    elsewhere: NDArray[np.floating] | None = None,
    *,
    acute: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the infarct's probability on the reference's grid, and that of older ones on the other side.

    Parameters
    ----------
    log_odds : Volume
        On the symmetric grid; `NEVER` where no infarct is looked for.
    prepared : PreparedVisit
    reference : Volume
    elsewhere : array, shape of the log odds, optional
        See `mripipe.core.lesion_field.lesion_probability`.
    acute : bool
        Whether it is an infarct of the first days, which may lie in small pieces.

    """
    rough = load_rough_map(prepared)
    region = log_odds.data > NEVER / 2
    evidence = np.where(region, log_odds.data, 0.0)
    # A template voxel of 1 mm^3 is this much of the patient's brain.
    voxel_ml = abs(float(np.linalg.det(rough.matrix[:3, :3]))) / 1000.0
    template = load_template()
    box, affine = _symmetric_box(template.mask, template.affine)
    territory = _territory()[box]
    brain = load_own_mask(prepared.brain_mask)

    def native(probability: NDArray[np.floating], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
        if not kept.any():
            return np.zeros(reference.shape, np.float32)
        selected = selected_probability(probability, kept)
        # Fragments of a clot leave pieces of their own.
        outlined = selected if acute else closed_outline(selected, region)
        return push_to_native(outlined, affine, reference, rough, brain)

    if acute:
        probability = lesion_probability(evidence, region, elsewhere, start_mm=ACUTE_MM, core_mm=ACUTE_MM)
        return native(probability, select_acute(probability, territory, voxel_ml=voxel_ml)), None
    probability = lesion_probability(evidence, region, elsewhere)
    kept = select_infarct(probability, territory, region, voxel_ml=voxel_ml)
    other = select_contralateral(probability, kept, territory, region, voxel_ml=voxel_ml)
    return native(probability, kept), native(probability, other)


@dataclass(frozen=True, eq=False)
class _Symmetric:
    """A visit's images on the symmetric template grid."""

    images: dict[str, NDArray[np.float32]]
    """By suffix, the reference image first; NaN outside their view."""
    region: NDArray[np.bool_]
    """Where an infarct is looked for."""
    priors: NDArray[np.floating]
    territory: NDArray[np.bool_]
    ventricles: NDArray[np.bool_]
    affine: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Look:
    """What a visit's images say of an infarct, on the symmetric grid, and the infarct that follows."""

    prepared: PreparedVisit
    """The visit with the map to that grid."""
    log_odds: Volume
    """`NEVER` where no infarct is looked for."""
    cavity: NDArray[np.float32]
    sequences: tuple[str, ...]
    probability: NDArray[np.float32]
    """On the reference's grid, as `contralateral` is."""
    contralateral: NDArray[np.float32] | None
    acute: bool

    @property
    def infarct(self) -> NDArray[np.bool_]:
        """The infarct's mask on the reference's grid."""
        return self.probability >= 0.5


def _on_symmetric_grid(prepared: PreparedVisit, reference: Volume, suffixes: tuple[str, ...]) -> _Symmetric:
    """Carry a visit to the symmetric grid: the reference image, and those of `suffixes` that there are."""
    template, rough = load_template(), load_rough_map(prepared)
    box, affine = _symmetric_box(template.mask, template.affine)
    where = template.mask[box]
    brain = load_own_mask(prepared.brain_mask)

    def pull(image: Volume, then: NDArray[np.floating], outside: float) -> NDArray[np.float32]:
        return pull_to_template(image, rough, where.shape, affine, then=then, outside=outside, region=where)

    seen = pull(Volume(brain.astype(np.float32), reference.affine), np.eye(4), 0.0) >= 0.5
    images = {prepared.reference_suffix: pull(reference, np.eye(4), np.nan)}
    region = depth_within(seen & np.isfinite(images[prepared.reference_suffix])) > SKIN_MM
    for beside in prepared.coregistered:
        if beside.suffix in suffixes and not beside.misplaced:
            there = matrix_of(sitk.ReadTransform(str(beside.to_reference)))
            image = pull(load_plain(beside.image), there, np.nan)
            if np.isfinite(image[region]).mean() >= LEAST_SEEN:
                images[beside.suffix] = image
    priors = tissue_priors(template.gm[box], template.wm[box], template.csf[box])
    ventricles = template_ventricles(template.csf, template.affine)[box]
    return _Symmetric(images, region, priors, _territory()[box], ventricles, affine)


def _by_asymmetry(prepared: PreparedVisit, reference: Volume, folder: Path) -> FoundInfarct:
    """Segment on the symmetric template grid, map the brain anew with that filled, and segment again.

    The first map can only bend stiffly, or the infarct would bend it.
    """
    look = _look(prepared, reference)
    if look.infarct.any():
        again = _look(_map_closer(prepared, reference, look.infarct, folder), reference, look.infarct)
        # What ADC alone shows is not lost: there the first look stands.
        if again.infarct.any() or "ADC" not in look.sequences:
            look = again
    return _write_found(look, reference, folder)


def _look(prepared: PreparedVisit, reference: Volume, suspect: NDArray[np.bool_] | None = None) -> _Look:
    """Look for the infarct on the symmetric grid.

    ``suspect`` is what an earlier look found, on the reference's grid. ADC, whose voxels are large and
    distorted, says that there is an infarct, and has no part in where it ends.
    """
    grid = _on_symmetric_grid(prepared, reference, (*BESIDE, "ADC") if suspect is None else BESIDE)
    if suspect is not None:
        there = Volume(suspect.astype(np.float32), reference.affine)
        rough, shape = load_rough_map(prepared), grid.region.shape
        carried = pull_to_template(
            there, rough, shape, grid.affine, then=np.eye(4), outside=0.0, region=grid.region
        )
        suspect = carried >= 0.5
    sequences = tuple(grid.images)
    odds, cavity = lesion_log_odds(
        np.stack(list(grid.images.values())),
        sequences,
        grid.region,
        grid.priors,
        grid.territory,
        grid.ventricles,
        suspect,
    )
    return _decide(odds, cavity, sequences, grid, prepared, reference)


def _map_closer(
    prepared: PreparedVisit, reference: Volume, infarct: NDArray[np.bool_], folder: Path
) -> PreparedVisit:
    """Return the visit with a map that follows its sulci and ventricles, the infarct found so far filled."""
    template = load_template()
    brain, lesion = (
        Volume(mask.astype(np.float32), reference.affine)
        for mask in (load_own_mask(prepared.brain_mask), infarct)
    )
    start = undeformed(np.array(prepared.affine_to_mni), template)
    suffix = prepared.reference_suffix
    found = deform_filled(reference, brain, lesion, start, suffix, template, CLOSE_PASSES)
    warp = save_image(folder / "close_warp.nii.gz", found.displacement, found.affine)
    return replace(prepared, rough_warp=warp)


def _shows_acute(prepared: PreparedVisit) -> bool:
    """Say whether diffusion shows an infarct of the first days."""
    return prepared.session.is_acute and any(prepared.beside(suffix) for suffix in DIFFUSION_MAPS)


def _by_acute(prepared: PreparedVisit, reference: Volume, folder: Path) -> FoundInfarct:
    """Segment an infarct of the first days by diffusion, which shows it before any other sequence."""
    grid = _on_symmetric_grid(prepared, reference, DIFFUSION_MAPS)
    kinds = tuple(suffix for suffix in DIFFUSION_MAPS if suffix in grid.images)
    if not kinds:
        return _by_asymmetry(prepared, reference, folder)
    images = np.stack([grid.images[suffix] for suffix in kinds])
    odds = acute_log_odds(images, kinds, grid.region, grid.priors, grid.territory)
    look = _decide(odds, np.zeros_like(odds), kinds, grid, prepared, reference, acute=True)
    return _write_found(look, reference, folder)


def _decide(
    odds: NDArray[np.float32],
    cavity: NDArray[np.float32],
    sequences: tuple[str, ...],
    grid: _Symmetric,
    prepared: PreparedVisit,
    reference: Volume,
    *,
    acute: bool = False,
) -> _Look:
    """Find the infarct by its log odds on the symmetric grid."""
    log_odds = Volume(np.where(grid.region, odds, np.float32(NEVER)), grid.affine)
    infarct, other = infarct_from_log_odds(log_odds, prepared, reference, acute=acute)
    return _Look(prepared, log_odds, cavity, sequences, infarct, other, acute)


def _write_found(look: _Look, reference: Volume, folder: Path) -> FoundInfarct:
    """Carry what a look says of each voxel to the native grid, and write it."""
    rough, brain = load_rough_map(look.prepared), load_own_mask(look.prepared.brain_mask)
    odds = look.log_odds
    looked_at = np.where(odds.data > NEVER / 2, odds.data, np.float32(0.0))
    cavity, native_odds = (
        push_to_native(part, odds.affine, reference, rough, brain) for part in (look.cavity, looked_at)
    )
    return FoundInfarct(
        look.prepared,
        look.probability,
        look.contralateral,
        save_image(folder / "cavity.nii.gz", cavity, reference.affine),
        save_image(folder / "log_odds.nii.gz", odds.data, odds.affine),
        save_image(folder / "native_log_odds.nii.gz", native_odds, reference.affine),
        look.sequences,
        look.acute,
    )


def _by_another_program(prepared: PreparedVisit, reference: Volume, folder: Path) -> FoundInfarct:
    """Take another program's probability as it is; what is cavity is still told from the images."""
    session = prepared.session
    if session.external_lesion is None:
        raise InputError(
            f"{session.participant_id} {session.session_id}: no *_label-L_probseg.nii.gz of another program"
            " found; give its folder with -d/--derivatives, or choose another segmenter"
        )
    loaded = load_probability(session.external_lesion, _grids(prepared, reference))
    found = _by_asymmetry(prepared, reference, folder)
    return FoundInfarct(
        found.prepared, _on_reference(loaded, prepared, reference), None, found.cavity, None, None
    )


def _territory() -> NDArray[np.bool_]:
    return np.asarray(mca_mask("left") | mca_mask("right"))


def _symmetric_box(
    mask: NDArray[np.bool_], affine: NDArray[np.floating]
) -> tuple[tuple[slice, slice, slice], NDArray[np.float64]]:
    """Return a box around the template's brain, symmetric along the first axis, as slices, and its affine."""
    bounds = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis)))
        bounds.append(
            [max(0, int(used[0]) - BOX_MARGIN), min(mask.shape[axis], int(used[-1]) + 1 + BOX_MARGIN)]
        )
    low = min(bounds[0][0], mask.shape[0] - bounds[0][1])
    bounds[0] = [low, mask.shape[0] - low]
    shifted = np.array(affine, float)
    shifted[:3, 3] = affine[:3, :3] @ [first for first, _ in bounds] + affine[:3, 3]
    x, y, z = (slice(first, last) for first, last in bounds)
    return (x, y, z), shifted


def _grids(prepared: PreparedVisit, reference: Volume) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Return the grids that a mask may be drawn on."""
    grids: dict[str, tuple[tuple[int, ...], Any]] = {
        prepared.reference_suffix: (reference.shape, reference.affine)
    }
    for image in prepared.coregistered:
        if image.suffix in BESIDE:
            volume = load_plain(image.image)
            grids[image.suffix] = (volume.shape, volume.affine)
    return grids


def _on_reference(drawn: LoadedMap, prepared: PreparedVisit, reference: Volume) -> NDArray[np.float32]:
    """Return a mask or probability on the reference grid; one on another is carried as a probability."""
    if drawn.grid == prepared.reference_suffix:
        return drawn.data.astype(np.float32)
    image = to_itk(Volume(drawn.data.astype(np.float32), drawn.affine))
    beside = prepared.beside(drawn.grid)
    assert beside is not None  # the grids that a mask may lie on are those of the images there are
    transform = sitk.ReadTransform(str(beside.to_reference))
    carried = sitk.Resample(image, to_itk(reference), transform, sitk.sitkLinear, 0.0)
    return np.asarray(sitk.GetArrayFromImage(carried).transpose(2, 1, 0))


def _side(mask: NDArray[np.bool_], reference: Volume, prepared: PreparedVisit) -> str:
    """Return the side of a native mask, by the sign of x in MNI."""
    index = np.argwhere(mask)
    to_mni = np.linalg.inv(np.array(prepared.affine_to_mni)) @ reference.affine
    x = index @ to_mni[0, :3] + to_mni[0, 3]
    return lesion_side(np.ones(len(index), bool), x)

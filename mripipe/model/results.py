"""What a visit and a participant end up with: numbers with their units in the names, files by path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mripipe.model.diffusion import DiffusionResult
from mripipe.model.stages import CoregisteredImage

Source = Literal["auto", "manual"]
Side = Literal["left", "right", "bilateral", "none"]
Status = Literal["ok", "no_lesion_found", "low_quality", "missing_input", "failed"]


@dataclass(frozen=True)
class LesionVolumes:
    """One visit's row of ``lesion_volumes.tsv``; None is written as ``n/a``."""

    participant_id: str
    session_id: str
    status: Status
    """``ok``, or why values are missing."""
    days_from_onset: float | None = None
    days_from_infusion: float | None = None
    source: Source | None = None
    """``manual`` where an expert mask was used, else ``auto``; None where there is neither."""
    side: Side | None = None
    lesion_ml: float | None = None
    """On the native grid of the reference image: the primary value."""
    lesion_ml_lower: float | None = None
    lesion_ml_upper: float | None = None
    lesion_mni_ml: float | None = None
    """In MNI152NLin2009aSym: secondary."""
    mca_ml: float | None = None
    """Part of the lesion inside the MCA territory, native grid."""
    mca_fraction: float | None = None
    """``mca_ml / lesion_ml``, 0 to 1."""
    mca_territory_percent: float | None = None
    """Percent of the MCA territory on the lesion's side that is lesion."""
    n_components: int | None = None
    """26-connected pieces of the lesion on the native grid."""
    brain_ml: float | None = None
    ventricle_ipsi_ml: float | None = None
    """Lateral ventricle on the lesion's side."""
    ventricle_contra_ml: float | None = None
    cavity_ml: float | None = None
    """Part of the lesion that is filled with fluid, native grid."""
    gliosis_ml: float | None = None
    """The rest of the lesion."""
    auto_ml: float | None = None
    """What the program found by itself, where an expert mask was used."""
    auto_dice: float | None = None
    """Overlap of the two."""
    sequences: str | None = None
    """What the infarct was found in, ``T1w+FLAIR``; the reference image alone where an expert drew it."""
    surface_cm2: float | None = None
    """Surface of the lesion, native grid."""
    change_ml: float | None = None
    """Since the first visit measured alike; None at that visit."""
    change_mdc_ml: float | None = None
    """Smallest change that is told from none."""
    change: Literal["detected", "not_detected"] | None = None
    """Whether the change is larger than that."""
    contralateral_ml: float | None = None
    """Older infarcts on the other side, native grid; not part of the lesion."""
    repeat_sd_ml: float | None = None
    """Deviation of the volume between scans of an unchanged brain."""


@dataclass(frozen=True)
class NormalisationQuality:
    """How well a visit fits the template."""

    tissue_dice: float
    """Dice of (grey + white) matter outside the lesion, subject's warped to MNI against the template's."""
    jacobian_min: float
    """Smallest determinant of the deformation inside the brain; 0 or less is a fold."""
    jacobian_max: float
    correlation: float
    """Correlation of the warped image with the template, in its contrast, inside the brain."""
    ventricle_dice: float | None = None
    """Dice of the lateral ventricles outside the lesion; None where too little of them is left to compare."""
    folded_percent: float | None = None
    """Percent of the brain where the deformation folds."""


@dataclass(frozen=True)
class TerritoryLoad:
    """How much of one arterial territory is lesion."""

    territory: str
    """As in the atlas: ``ACA``, ``MCAs``, ``MCAi``, ``MCAl``, ``PCA``, ``VB``; ``MCA`` is its three parts."""
    side: Literal["left", "right"]
    lesion_ml: float
    """Lesion inside the territory, native grid."""
    lesioned_percent: float
    """Percent of the territory that is lesion, in MNI."""


@dataclass(frozen=True)
class RegionLoad:
    """How much of one region of an installed atlas is lesion."""

    region: str
    """``ATLAS:NAME``, without the side."""
    side: str
    """``left``, ``right``, or ``bilateral`` for one that has no side."""
    lesion_ml: float | None = None
    """Lesion inside the region, native grid; None without a lesion."""
    lesioned_percent: float | None = None
    """Percent of the region that is lesion, in MNI."""


@dataclass(frozen=True)
class VisitResult:
    """Everything made for one visit; a path is None where the file was not made."""

    participant_id: str
    session_id: str
    volumes: LesionVolumes
    reference_suffix: str | None = None
    """``T1w``, ``T2w`` or ``FLAIR``."""
    preproc: Path | None = None
    """Bias-corrected reference image, native grid."""
    brain_mask: Path | None = None
    lesion_probability: Path | None = None
    lesion_mask: Path | None = None
    """The mask that was used (``desc-final``), native reference grid."""
    auto_mask: Path | None = None
    """What the program found by itself (``desc-auto``), native reference grid."""
    contralateral_mask: Path | None = None
    """Older infarcts on the other side, native reference grid."""
    coregistered: tuple[CoregisteredImage, ...] = ()
    """The visit's other sequences, each on its own grid with its way to the reference image."""
    mni_image: Path | None = None
    mni_lesion_mask: Path | None = None
    to_mni: Path | None = None
    """ITK composite that maps MNI points to native points (resamples native images onto MNI)."""
    from_mni: Path | None = None
    """ITK composite that maps native points to MNI points."""
    mni_affine_image: Path | None = None
    """The reference image on the MNI grid by the affine alone, for the report's flicker."""
    quality: NormalisationQuality | None = None
    territories: tuple[TerritoryLoad, ...] = ()
    """Every territory on either side; empty where there is no lesion."""
    regions: tuple[RegionLoad, ...] = ()
    """The same for installed atlases that were asked for."""
    diffusion: DiffusionResult | None = None
    """None where diffusion was left out."""
    warnings: tuple[str, ...] = ()
    """One line each, fit for the report."""
    error: str | None = None
    """The one line that says why the visit failed; None when it did not."""


@dataclass(frozen=True)
class SubjectResult:
    """One participant's visits in time order."""

    participant_id: str
    visits: tuple[VisitResult, ...]
    template: Path | None = None
    """Within-subject template, where there are two visits or more."""
    report: Path | None = None
    """The participant's HTML report."""

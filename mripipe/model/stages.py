"""What each stage hands to the next: files by path, small numbers by value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mripipe.model.study import Session

Matrix = tuple[tuple[float, float, float, float], ...]
"""Four rows of an affine, RAS mm to RAS mm."""


@dataclass(frozen=True)
class CoregisteredImage:
    """A sequence of a visit beside its reference image, on its own grid."""

    suffix: str
    """``FLAIR``, ``T2w``, ``trace`` or ``ADC``."""
    image: Path
    """Bias-corrected; ADC in 10^-3 mm^2/s, as it is."""
    to_reference: Path
    """Resamples it onto the reference image: an ITK transform that maps reference points to its points."""
    misplaced: bool = False
    """Whether another pose fits better: no infarct is looked for in it."""


@dataclass(frozen=True)
class PreparedVisit:
    """A visit's images, bias-corrected, with a brain mask and a first affine to MNI."""

    session: Session
    """As read from the study."""
    reference_suffix: str
    """``T1w``, ``T2w`` or ``FLAIR``: the sequence of the reference image."""
    preproc: Path
    """Bias-corrected reference image, native grid."""
    brain_mask: Path
    """Brain with infarct, ventricles and sulci, native grid."""
    affine_to_mni: Matrix
    """Maps MNI mm to native reference mm."""
    rough_warp: Path
    """Displacement in RAS mm on a coarse MNI grid, (X, Y, Z, 3): MNI point p lies at affine(p + u(p))."""
    coregistered: tuple[CoregisteredImage, ...] = ()
    """What the visit has beside its reference image: FLAIR, T2w, trace, ADC."""
    warnings: tuple[str, ...] = ()

    def beside(self, suffix: str) -> CoregisteredImage | None:
        """Return the image of a suffix that lies beside the reference, or None."""
        return next((image for image in self.coregistered if image.suffix == suffix), None)


@dataclass(frozen=True)
class SegmentedVisit:
    """A prepared visit with its infarct."""

    prepared: PreparedVisit
    source: str
    """``auto`` or ``manual``."""
    side: str
    """``left``, ``right``, ``bilateral`` or ``none``."""
    probability: Path
    """Lesion probability, native reference grid (0 or 1 for an expert mask)."""
    auto_mask: Path
    """What the program found."""
    manual_mask: Path | None
    """The expert mask on the native reference grid."""
    final_mask: Path
    """What is used."""
    lesion_ml: float
    lesion_ml_lower: float
    lesion_ml_upper: float
    cavity_ml: float
    """Part of the lesion that is filled with fluid; the rest is gliosis."""
    auto_ml: float
    """What the program found, also where an expert mask is used."""
    auto_dice: float | None
    """Overlap of what the program found with the expert mask; None where there is none or both are empty."""
    cavity: Path
    """Probability that a lesion voxel is cavity, native reference grid."""
    log_odds: Path | None
    """What each voxel says of an infarct by itself, on the symmetric grid; None from another program."""
    native_log_odds: Path | None
    """The same on the native reference grid."""
    warnings: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    """What the program found it in, the reference image first."""
    acute: bool = False
    """Whether it was looked for as an infarct of the first days, in diffusion alone."""
    contralateral_ml: float | None = None
    """Older infarcts on the other side, not part of the lesion; None where they are not looked for."""
    contralateral_mask: Path | None = None
    """Where they are, native reference grid; None where there are none."""


@dataclass(frozen=True)
class AlignedVisits:
    """All visits of a participant in one within-subject space."""

    session_ids: tuple[str, ...]
    to_visit: tuple[Matrix, ...]
    """One a session: maps within-subject template mm to that visit's native mm (rigid)."""
    template: Path | None
    """Mean image of all visits in the within-subject space; None for a single visit."""
    affine_to_mni: Matrix
    """Maps MNI mm to within-subject template mm."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class NormalisedVisit:
    """A visit carried to MNI and back."""

    segmented: SegmentedVisit
    to_mni: Path
    """ITK composite that maps MNI points to native points."""
    from_mni: Path
    """ITK composite that maps native points to MNI points."""
    mni_image: Path
    mni_affine_image: Path
    """The image on the MNI grid by the affine alone."""
    mni_lesion_probability: Path
    mni_lesion_mask: Path
    jacobian_min: float
    jacobian_max: float
    tissue_dice: float
    correlation: float
    ventricle_dice: float | None = None
    """None where too little of the ventricles lies outside the infarct."""
    folded_percent: float = 0.0
    low_quality: bool = False
    """Whether a check of the registration was not passed; a warning says which."""
    warnings: tuple[str, ...] = ()

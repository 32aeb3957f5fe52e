"""What the diffusion stage hands on, and what it ends up with; units in the names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TractStatus = Literal[
    "ok",
    "no_lesion_found",
    "truncated_by_lesion",
    "not_covered",
    "low_quality",
    "missing_input",
    "failed",
]
Hemisphere = Literal["ipsilesional", "contralesional"]


@dataclass(frozen=True)
class DiffusionVisit:
    """A visit's diffusion series, prepared, with its tensor maps; all images on the series' own grid."""

    participant_id: str
    session_id: str
    series: Path
    """Prepared signal (X, Y, Z, N), 0 outside the head."""
    bval: Path
    bvec: Path
    b0: Path
    """Mean of the volumes without weighting."""
    mask: Path
    """Rough mask of the head's tissue."""
    fa: Path
    md: Path
    """mm^2/s, as are ad and rd."""
    ad: Path
    rd: Path
    direction: Path
    """Main direction of diffusion along RAS+ axes, (X, Y, Z, 3)."""
    n_directions: int
    """Different directions that the tensor was fitted to."""
    steps: tuple[str, ...] = ()
    """What was done, one line each."""
    motion: tuple[tuple[float, ...], ...] = ()
    """Shift in mm and turn in degrees (x, y, z each) of every volume against the first; may be empty."""
    dropped_slices: tuple[tuple[int, int], ...] = ()
    """Volume and slice (from 0, in RAS order) of what fell out and was replaced."""
    warnings: tuple[str, ...] = ()
    fwf: Path | None = None
    """Fraction of free water, 0 to 1; None where the shells do not allow it, as fa_tissue."""
    fa_tissue: Path | None = None
    """FA of the tissue beside the free water; 0 where there is none."""
    b0_distorted: Path | None = None
    """As `b0`, before distortion by the field was undone; None where it was left."""
    eddy_mm: tuple[float, ...] = ()
    """How far eddy currents displaced the head in each volume, at most; empty where it was not sought."""
    distorted_along: int | None = None
    """Array axis of the phase encoding, along which the field still distorts the images and is to be sought
    in the anatomy; None where it was undone, where the axis is not told, or where it is to be left."""


@dataclass(frozen=True)
class TractMetrics:
    """One visit's row of ``tract_metrics.tsv``; None is written as ``n/a``."""

    tract: str
    segment: str
    status: TractStatus
    hemisphere: Hemisphere | None = None
    """None without a lesion on one side, and for a tract that crosses the midline."""
    side: Literal["left", "right"] | None = None
    fa: float | None = None
    """Mean weighted by the tract's probability, lesion left out."""
    md: float | None = None
    """10^-3 mm^2/s, as are ad and rd."""
    ad: float | None = None
    rd: float | None = None
    fa_with_lesion: float | None = None
    md_with_lesion: float | None = None
    n_voxels: int | None = None
    """Voxels with a probability of 1/2 or more that are not lesion."""
    lesion_fraction: float | None = None
    """Share of the tract that is lesion, 0 to 1."""
    coverage: float | None = None
    """Share of the tract inside the field of view, 0 to 1."""
    fwf: float | None = None
    """Mean fraction of free water; None where the shells do not allow it, as fa_tissue."""
    fa_tissue: float | None = None
    """Mean FA of the tissue beside the free water, weighted by its share as well."""


@dataclass(frozen=True)
class TractAsymmetry:
    """One visit's row of ``tract_asymmetry.tsv``; None is written as ``n/a``."""

    tract: str
    segment: str
    status: TractStatus
    rfa: float | None = None
    """FA ipsilesional / contralesional."""
    fa_asymmetry: float | None = None
    """(contra - ipsi) / (contra + ipsi)."""
    rmd: float | None = None
    lesion_load_ml: float | None = None
    lesion_load_weighted_ml: float | None = None


@dataclass(frozen=True)
class TractProfile:
    """A tract from its lower or front end to the other, in equal steps."""

    tract: str
    side: Literal["left", "right"]
    fa: tuple[float | None, ...]
    """Lesion left out; None where nothing is left."""
    md: tuple[float | None, ...]
    """10^-3 mm^2/s."""
    lesion: tuple[bool, ...]
    """Where more than half of the cross-section is lesion."""


@dataclass(frozen=True)
class PerilesionalRing:
    """Tissue at some distance from the lesion, and the same places on the other side."""

    inner_mm: int
    """From the lesion's border."""
    outer_mm: int
    status: TractStatus
    side: Literal["left", "right"] | None = None
    """Of the lesion; None without a lesion on one side."""
    fa: float | None = None
    """Mean of the voxels that are neither lesion nor CSF, there and at the mirrored place."""
    md: float | None = None
    """10^-3 mm^2/s."""
    mirror_fa: float | None = None
    mirror_md: float | None = None
    n_voxels: int | None = None
    """Pairs of a voxel and its mirror."""


@dataclass(frozen=True)
class TrackedTract:
    """A tract on one side as it was followed through the person's own diffusion."""

    tract: str
    side: Literal["left", "right"]
    status: TractStatus
    n_streamlines: int | None = None
    """That belong to the tract, of those that were begun; None where none could be."""
    streamlines: Path | None = None
    """TCK, RAS+ mm."""
    density: Path | None = None
    """Share of the streamlines that pass each voxel, 0 to 1, on the series' grid."""


@dataclass(frozen=True)
class TrackedVisit:
    """What tracking gave for one visit."""

    tracts: tuple[TrackedTract, ...]
    metrics: tuple[TractMetrics, ...]
    asymmetry: tuple[TractAsymmetry, ...]
    step: str
    """What was done, one line."""


@dataclass(frozen=True)
class DiffusionResult:
    """All that diffusion gave for one visit; a path is None where the file was not made."""

    status: TractStatus
    metrics: tuple[TractMetrics, ...] = ()
    asymmetry: tuple[TractAsymmetry, ...] = ()
    profiles: tuple[TractProfile, ...] = ()
    rings: tuple[PerilesionalRing, ...] = ()
    series: Path | None = None
    bval: Path | None = None
    bvec: Path | None = None
    b0: Path | None = None
    fa: Path | None = None
    md: Path | None = None
    ad: Path | None = None
    rd: Path | None = None
    direction: Path | None = None
    to_reference: Path | None = None
    """Resamples diffusion images onto the reference image: maps reference points to diffusion points; rigid,
    and bent by the field where that was found in the anatomy."""
    steps: tuple[str, ...] = ()
    motion: tuple[tuple[float, ...], ...] = ()
    dropped_slices: tuple[tuple[int, int], ...] = ()
    warnings: tuple[str, ...] = ()
    tracked: tuple[TrackedTract, ...] = ()
    """Empty where tracking was left out."""
    fwf: Path | None = None
    fa_tissue: Path | None = None
    b0_distorted: Path | None = None
    """As `b0`, before distortion by the field was undone."""
    eddy_mm: tuple[float, ...] = ()

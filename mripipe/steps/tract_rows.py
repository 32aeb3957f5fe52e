"""A tract's row in the tables, and the comparison of its sides, from what was looked up at its voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mripipe.core.tract_course import TractAt
from mripipe.core.tract_levels import level_sizes, shared_sizes, sized
from mripipe.core.tract_measures import asymmetry, weighted_mean
from mripipe.model.diffusion import Hemisphere, TractAsymmetry, TractMetrics, TractStatus
from mripipe.steps.diffusion_place import LESION_SHARE

LEAST_COVERAGE = 0.5
"""Share of a tract in view below which its mean is another tract's."""
LEAST_LEFT = 0.1
"""Share of a tract outside the lesion below which nothing is said of it."""
LEAST_VOXELS = 10.0
"""Weights that have to be left, in voxels."""
SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
MAPS = ("fa", "md", "ad", "rd")


@dataclass(frozen=True, eq=False)
class Measured:
    """A tract on one side, or one that crosses."""

    at: TractAt
    """At the brain's voxels with a probability above 0."""
    coherence: NDArray[np.float64]
    """How much diffusion runs along the tract, `mripipe.core.tract_coherence`."""
    values: dict[str, NDArray[np.float64]]
    lesion: NDArray[np.float64]
    mirrored_lesion: NDArray[np.float64]
    """Share of lesion in each voxel, and at the mirrored place; the latter 0 where no other side is."""
    coverage: dict[str, float]
    """Of each segment."""
    levels: NDArray[np.int64]
    """Level of the tract that each voxel lies in, `mripipe.core.tract_levels`."""

    def share(self, segment: int | None) -> NDArray[np.float64]:
        """Probability of the tract, or of one of its segments, at each voxel."""
        probability = self.at.probability.astype(np.float64)
        return probability if segment is None else np.where(self.at.segment == segment, probability, 0.0)

    def weights(self, segment: int | None, *, with_lesion: bool = False) -> NDArray[np.float64]:
        """Weight of each voxel in a mean, 0 outside the segment and, unless asked for, in the lesion."""
        weights = np.where(self.share(segment) > 0, self.at.core * self.coherence, 0.0)
        return weights if with_lesion else np.where(self.lesion < LESION_SHARE, weights, 0.0)

    def compared(self, segment: int | None) -> NDArray[np.float64]:
        """Weight of each voxel in a mean that is held against the other side's.

        What the lesion takes from one side is left out on the other too: without that a lesion that takes
        the densest piece of a tract lowers the mean of what is left, and a ratio tells of the lesion's place.
        Where that leaves next to nothing, the other side has no mean to be held against.
        """
        kept = self.weights(segment)
        shared = np.where(self.mirrored_lesion < LESION_SHARE, kept, 0.0)
        return shared if self._is_enough(shared, segment) else kept

    def _is_enough(self, left: NDArray[np.float64], segment: int | None) -> bool:
        return bool(left.sum() >= LEAST_LEFT * self.weights(segment, with_lesion=True).sum())

    def mean_weights(self, segment: int | None, other: Measured | None) -> NDArray[np.float64]:
        """Weight of each voxel in a mean, the lesion left out.

        Parameters
        ----------
        segment : int, optional
        other : Measured, optional
            The other side, with which levels are shared where there is enough left of it to be compared.

        """
        sizes = self._level_sizes(segment)
        if other is not None and other._is_enough(other.weights(segment), segment):
            sizes = shared_sizes(sizes, other._level_sizes(segment)) or sizes
        return sized(self.compared(segment), self.levels, sizes)

    def _level_sizes(self, segment: int | None) -> dict[int, float]:
        return level_sizes(self.compared(segment), self.weights(segment, with_lesion=True), self.levels)


def hemisphere_of(side: str, lesion: str) -> Hemisphere | None:
    """Return which hemisphere a side is; None where the lesion is not on one side."""
    if lesion not in ("left", "right"):
        return None
    return "ipsilesional" if side == lesion else "contralesional"


def metric_row(
    tract: str,
    segment: str,
    number: int | None,
    found: Measured,
    hemisphere: Hemisphere | None,
    side: Literal["left", "right"] | None,
    *,
    other: Measured | None,
    usable: bool,
) -> TractMetrics:
    """Measure one tract or segment; a value that cannot be measured stays None, with the reason.

    `other` is the same tract on the other side, None for one that crosses or stands alone.
    """
    everything, kept = found.weights(number, with_lesion=True), found.mean_weights(number, other)
    all_of_it = found.share(number)
    healthy = np.where(found.lesion < LESION_SHARE, all_of_it, 0.0)
    total = float(all_of_it.sum())
    share = float((all_of_it * found.lesion).sum() / total) if total > 0 else None
    coverage = found.coverage[segment]
    status: TractStatus = "ok"
    if coverage < LEAST_COVERAGE or total < LEAST_VOXELS:
        status = "not_covered"
    elif not usable:
        status = "low_quality"
    elif healthy.sum() < max(LEAST_LEFT * total, LEAST_VOXELS) or kept.sum() <= 0:
        status = "truncated_by_lesion"
    if status != "ok":
        return TractMetrics(
            tract, segment, status, hemisphere, side, lesion_fraction=share, coverage=coverage
        )
    fa, md, ad, rd = (weighted_mean(found.values[name], kept).value for name in MAPS)
    return TractMetrics(
        tract,
        segment,
        status,
        hemisphere,
        side,
        fa=fa,
        md=_per_thousand(md),
        ad=_per_thousand(ad),
        rd=_per_thousand(rd),
        fa_with_lesion=weighted_mean(found.values["fa"], everything).value,
        md_with_lesion=_per_thousand(weighted_mean(found.values["md"], everything).value),
        n_voxels=int(np.count_nonzero(healthy >= 0.5)),
        lesion_fraction=share,
        coverage=coverage,
        **_free_water(found.values, kept),
    )


def _free_water(
    values: dict[str, NDArray[np.float64]], weights: NDArray[np.float64]
) -> dict[str, float | None]:
    """Return means of the free water's maps, empty where there are none."""
    if "fwf" not in values:
        return {}
    tissue = np.nan_to_num(1.0 - values["fwf"])
    return {
        "fwf": weighted_mean(values["fwf"], weights).value,
        "fa_tissue": weighted_mean(values["fa_tissue"], weights * tissue).value,
    }


def _per_thousand(value: float | None) -> float | None:
    return None if value is None else value * 1e3


def asymmetry_row(
    left: TractMetrics,
    right: TractMetrics,
    lesion: str,
    load: tuple[float, float] | None,
) -> TractAsymmetry:
    """Compare the sides of a tract or of one of its segments.

    Parameters
    ----------
    left, right : TractMetrics
        Rows of both sides.
    lesion : str
        Its side.
    load : tuple of float, optional
        Raw and weighted lesion load in mL.

    """
    raw, weighted = (None, None) if load is None else load
    ipsi, contra = (left, right) if lesion == "left" else (right, left)
    status = _pair_status(ipsi, contra, lesion)
    if status != "ok" or ipsi.fa is None or contra.fa is None or ipsi.md is None or contra.md is None:
        return TractAsymmetry(
            left.tract, left.segment, status, lesion_load_ml=raw, lesion_load_weighted_ml=weighted
        )
    rfa, fa_asymmetry = asymmetry(ipsi.fa, contra.fa)
    return TractAsymmetry(
        left.tract,
        left.segment,
        status,
        rfa=rfa,
        fa_asymmetry=fa_asymmetry,
        rmd=ipsi.md / contra.md,
        lesion_load_ml=raw,
        lesion_load_weighted_ml=weighted,
    )


def _pair_status(ipsi: TractMetrics, contra: TractMetrics, side: str) -> TractStatus:
    """Return the status of a comparison: without one lesioned side there is nothing to compare."""
    if side == "none":
        return "no_lesion_found"
    if side == "bilateral":
        return "low_quality"
    return ipsi.status if ipsi.status != "ok" else contra.status

"""Rows of tracts that are followed in the person, beside those of the atlas's tracts."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from mripipe.atlases.tracts import TRACT_NAMES, WHOLE
from mripipe.model.diffusion import (
    DiffusionResult,
    TrackedTract,
    TrackedVisit,
    TractAsymmetry,
    TractMetrics,
    TractStatus,
)

WAY_POINTS: Final = {"CST": ("rostral_pons", "posterior_limb_internal_capsule", "subcortical")}
"""Tracts that are followed, and the segments that a streamline must pass."""
Side = Literal["left", "right"]
SIDES: Final[tuple[Side, Side]] = ("left", "right")


def tracked_name(tract: str) -> str:
    """Return the name of the rows of a tract that was followed.

    Examples
    --------
    >>> tracked_name("CST")
    'CST_tracked'

    """
    return f"{tract}_tracked"


TRACKED_NAMES: Final = {
    tracked_name(tract): f"{TRACT_NAMES[tract]}, followed in the person" for tract in WAY_POINTS
}


def with_tracked(result: DiffusionResult, tracked: TrackedVisit) -> DiffusionResult:
    """Add to a visit's tracts those that were followed."""
    return replace(
        result,
        metrics=(*result.metrics, *tracked.metrics),
        asymmetry=(*result.asymmetry, *tracked.asymmetry),
        steps=(*result.steps, tracked.step),
        tracked=tracked.tracts,
    )


def without_tracking(result: DiffusionResult, status: TractStatus, message: str | None) -> DiffusionResult:
    """Add rows that say why nothing was followed."""
    tracts = [(tract, side) for tract in WAY_POINTS for side in SIDES]
    tracked = TrackedVisit(
        tuple(TrackedTract(tract, side, status) for tract, side in tracts),
        tuple(TractMetrics(tracked_name(tract), WHOLE, status, side=side) for tract, side in tracts),
        tuple(TractAsymmetry(tracked_name(tract), WHOLE, status) for tract in WAY_POINTS),
        "tracts not followed",
    )
    warnings = (*result.warnings, message) if message else result.warnings
    return replace(with_tracked(result, tracked), steps=result.steps, warnings=warnings)

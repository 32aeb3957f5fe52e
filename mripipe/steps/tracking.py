"""Follow the corticospinal tract in a visit's own diffusion, and measure it where its streamlines run.

Where the data do not allow it, or the lesion cuts the tract, a status says so and the atlas's values stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
from nibabel.streamlines.tck import TckFile
from nibabel.streamlines.tractogram import Tractogram
from numpy.typing import NDArray

from mripipe.atlases.tracts import WHOLE, load_tracts
from mripipe.bids.files import write_atomic
from mripipe.core.gradients import GradientTable, directions_from_fsl
from mripipe.core.tracking import TrackedStreamlines, track_way
from mripipe.core.tracking_fibres import Response, find_response, harmonic_order, tracking_volumes
from mripipe.core.tracking_way import Way, way_of
from mripipe.core.tract_measures import asymmetry, weighted_mean
from mripipe.model.diffusion import (
    DiffusionResult,
    DiffusionVisit,
    TrackedTract,
    TrackedVisit,
    TractAsymmetry,
    TractMetrics,
    TractStatus,
)
from mripipe.model.stages import NormalisedVisit
from mripipe.steps.diffusion_place import LESION_SHARE, PlacedDiffusion, place_by
from mripipe.steps.load import save_image
from mripipe.steps.tracked import SIDES, WAY_POINTS, Side, tracked_name

LEAST_STREAMLINES: Final = 50
"""Fewer do not tell where a tract runs."""
LEAST_OF_OTHER: Final = 0.05
"""Of the other side's: fewer, beside a lesion, have found a way round a tract that is cut."""
LEAST_COVERAGE: Final = 0.5
"""Share of a way-point in view below which it cannot be passed."""
PASSED: Final = 0.01
"""Share of the streamlines from which a voxel counts as the tract's."""
MAPS: Final = ("fa", "md", "ad", "rd")


@dataclass(frozen=True, eq=False)
class _Scene:
    """What is followed, on the diffusion grid."""

    signal: NDArray[np.float32]
    """b = 0 and one shell (X, Y, Z, N)."""
    table: GradientTable
    affine: NDArray[np.float64]
    maps: dict[str, NDArray[np.float32]]
    directions: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    response: Response


def track_visit(
    diffusion: DiffusionVisit, tracts: DiffusionResult, normalised: NormalisedVisit, *, folder: Path
) -> TrackedVisit:
    """Follow the tracts of `WAY_POINTS` on both sides.

    Parameters
    ----------
    diffusion : DiffusionVisit
    tracts : DiffusionResult
        Of the same visit: the atlas's tracts, and the way to the reference image.
    normalised : NormalisedVisit
    folder : Path
        Where streamlines and densities are written.

    Returns
    -------
    TrackedVisit

    """
    if tracts.to_reference is None:
        raise ValueError("tracking: the visit's diffusion has no place in its anatomy")
    placed = place_by(diffusion, normalised, tracts.to_reference)
    scene = _read(diffusion, placed)
    found: dict[tuple[str, Side], TrackedStreamlines | None] = {}
    for tract in WAY_POINTS:
        for side in SIDES:
            way = _way(tract, side, placed, _rows_of(tracts, tract, side))
            seen = None if scene is None or way is None else _follow(scene, way)
            found[tract, side] = seen
    rows = []
    tracked = []
    for (tract, side), lines in found.items():
        other = found[tract, "right" if side == "left" else "left"]
        status = _status(scene, lines, other, _rows_of(tracts, tract, side))
        tracked.append(_save(tract, side, status, lines, placed, folder))
        rows.append(_metrics(tracts, tract, side, status, lines, scene))
    pairs = [_pair(tracts, tract, rows) for tract in WAY_POINTS]
    return TrackedVisit(tuple(tracked), tuple(rows), tuple(pairs), _told(scene, tracked))


def _read(diffusion: DiffusionVisit, placed: PlacedDiffusion) -> _Scene | None:
    """Read what tracking needs; None where the series does not allow it."""
    affine = placed.grid.affine
    table = GradientTable(
        np.loadtxt(diffusion.bval, ndmin=1),
        directions_from_fsl(np.loadtxt(diffusion.bvec, ndmin=2), affine),
    )
    chosen = tracking_volumes(table)
    if chosen is None:
        return None
    signal = _array(diffusion.series)[..., chosen]
    table = table.take(chosen)
    maps = {name: _array(getattr(diffusion, name)) for name in MAPS}
    lesion = np.zeros(placed.brain.shape, bool)
    lesion[placed.brain] = placed.lesion >= LESION_SHARE
    response = find_response(
        signal, table, affine, fa=maps["fa"], md=maps["md"], allowed=placed.brain & ~lesion
    )
    if response is None:
        return None
    return _Scene(signal, table, affine, maps, _array(diffusion.direction), lesion, response)


def _array(path: Path) -> NDArray[np.float32]:
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj, np.float32)


def _rows_of(tracts: DiffusionResult, tract: str, side: str) -> dict[str, TractMetrics]:
    """Return the atlas's rows of a tract on one side, by segment."""
    return {row.segment: row for row in tracts.metrics if (row.tract, row.side) == (tract, side)}


def _way(tract: str, side: Side, placed: PlacedDiffusion, rows: dict[str, TractMetrics]) -> Way | None:
    """Look the way up; None where a way-point is out of view."""
    points = WAY_POINTS[tract]
    if _coverage(rows, points) < LEAST_COVERAGE:
        return None
    return way_of(
        load_tracts().course(tract),
        side,
        way_points=points,
        inside=placed.brain,
        mni_mm=placed.mni_mm,
        affine=placed.grid.affine,
    )


def _coverage(rows: dict[str, TractMetrics], points: tuple[str, ...]) -> float:
    return min(rows[name].coverage or 0.0 for name in points)


def _follow(scene: _Scene, way: Way) -> TrackedStreamlines:
    return track_way(
        scene.signal,
        scene.table,
        scene.affine,
        way,
        fa=scene.maps["fa"],
        directions=scene.directions,
        lesion=scene.lesion,
        response=scene.response,
    )


def _status(
    scene: _Scene | None,
    lines: TrackedStreamlines | None,
    other: TrackedStreamlines | None,
    rows: dict[str, TractMetrics],
) -> TractStatus:
    """Say what a tract's streamlines are worth."""
    if scene is None:
        return "low_quality"
    if lines is None:
        return "not_covered"
    count = len(lines.streamlines)
    lesioned = bool(rows[WHOLE].lesion_fraction)
    compared = len(other.streamlines) if other is not None else 0
    if lesioned and count < max(LEAST_STREAMLINES, LEAST_OF_OTHER * compared):
        return "truncated_by_lesion"
    return "ok" if count >= LEAST_STREAMLINES else "low_quality"


def _save(
    tract: str,
    side: Side,
    status: TractStatus,
    lines: TrackedStreamlines | None,
    placed: PlacedDiffusion,
    folder: Path,
) -> TrackedTract:
    """Write streamlines and density of a tract that was found; of one that was not, nothing."""
    count = len(lines.streamlines) if lines is not None else None
    if lines is None or status != "ok":
        return TrackedTract(tract, side, status, count)
    packed = BytesIO()
    TckFile(Tractogram(lines.streamlines, affine_to_rasmm=np.eye(4))).save(packed)
    name = f"{tract}_{side}"
    return TrackedTract(
        tract,
        side,
        status,
        count,
        streamlines=write_atomic(folder / f"{name}.tck", packed.getvalue()),
        density=save_image(folder / f"{name}.nii.gz", lines.density, placed.grid.affine),
    )


def _metrics(
    tracts: DiffusionResult,
    tract: str,
    side: Side,
    status: TractStatus,
    lines: TrackedStreamlines | None,
    scene: _Scene | None,
) -> TractMetrics:
    """Average the maps by the density of streamlines."""
    atlas = _rows_of(tracts, tract, side)
    row = TractMetrics(
        tracked_name(tract),
        WHOLE,
        status,
        atlas[WHOLE].hemisphere,
        side,
        coverage=_coverage(atlas, WAY_POINTS[tract]),
    )
    if lines is None or scene is None or status != "ok":
        return row
    weights = lines.density.astype(np.float64).ravel()
    fa, md, ad, rd = (weighted_mean(scene.maps[name].ravel(), weights).value for name in MAPS)
    return replace(
        row,
        fa=fa,
        md=None if md is None else md * 1e3,
        ad=None if ad is None else ad * 1e3,
        rd=None if rd is None else rd * 1e3,
        n_voxels=int(np.count_nonzero(weights >= PASSED)),
    )


def _pair(tracts: DiffusionResult, tract: str, rows: list[TractMetrics]) -> TractAsymmetry:
    """Compare the sides of a tract."""
    name = tracked_name(tract)
    sides = {row.hemisphere: row for row in rows if row.tract == name}
    ipsi, contra = sides.get("ipsilesional"), sides.get("contralesional")
    if ipsi is None or contra is None:
        atlas = next(r for r in tracts.asymmetry if (r.tract, r.segment) == (tract, WHOLE))
        return TractAsymmetry(name, WHOLE, atlas.status)
    if ipsi.fa is None or contra.fa is None or ipsi.md is None or contra.md is None:
        return TractAsymmetry(name, WHOLE, contra.status if ipsi.status == "ok" else ipsi.status)
    rfa, fa_asymmetry = asymmetry(ipsi.fa, contra.fa)
    return TractAsymmetry(name, WHOLE, "ok", rfa=rfa, fa_asymmetry=fa_asymmetry, rmd=ipsi.md / contra.md)


def _told(scene: _Scene | None, tracked: list[TrackedTract]) -> str:
    if scene is None:
        return "tracts not followed: too few directions at one b-value, or no b = 0"
    counts = ", ".join(f"{row.tract} {row.side} {row.n_streamlines or 0}" for row in tracked)
    order = harmonic_order(scene.table.n_directions)
    return f"tracts followed, harmonics of order {order}: {counts} streamlines"

"""Measure a visit's tracts on the diffusion grid, where no diffusion value has been interpolated."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from mripipe.atlases.template import load_template
from mripipe.atlases.tracts import WHOLE, load_tracts
from mripipe.core.grid import voxel_to_world
from mripipe.core.tract_coherence import along_tract, both_sides, rotation_between
from mripipe.core.tract_course import Course, TractAt, tract_at
from mripipe.core.tract_levels import levels_of
from mripipe.core.tract_measures import profile, slice_weights
from mripipe.core.volumetry import lesion_side
from mripipe.model.atlas import AtlasFiles
from mripipe.model.diffusion import (
    DiffusionResult,
    DiffusionVisit,
    Hemisphere,
    TractAsymmetry,
    TractMetrics,
    TractProfile,
    TractStatus,
)
from mripipe.model.stages import NormalisedVisit
from mripipe.steps.diffusion_place import PlacedDiffusion, place_diffusion
from mripipe.steps.free_water import free_water_values
from mripipe.steps.installed_tracts import measure_installed
from mripipe.steps.load import load_image, load_own_mask
from mripipe.steps.perilesional import measure_rings, rings_without
from mripipe.steps.tract_rows import MAPS, SIDES, Measured, asymmetry_row, hemisphere_of, metric_row

LEAST_DIRECTIONS = 15
"""Fewer directions than this make FA depend on where the fibres point (Jones 2004,
doi:10.1002/mrm.20033, asks for 20 and more)."""
KEPT = ({f.name for f in fields(DiffusionVisit)} & {f.name for f in fields(DiffusionResult)}) - {
    "steps",
    "warnings",
}
"""What is said of the fitted diffusion goes into the result as it is."""
Side = Literal["left", "right", "both"]
OTHER: dict[str, Literal["left", "right"]] = {"left": "right", "right": "left"}


@dataclass(frozen=True, eq=False)
class _Axes:
    """Directions of diffusion at the brain's voxels in MNI axes, and a way to find voxels by MNI place."""

    directions: NDArray[np.float64]
    tree: KDTree


def measure_tracts(
    diffusion: DiffusionVisit,
    normalised: NormalisedVisit,
    *,
    atlases: tuple[AtlasFiles, ...] = (),
    folder: Path,
) -> DiffusionResult:
    """Place a visit's diffusion maps in its anatomy and measure every tract of the atlas.

    Parameters
    ----------
    diffusion : DiffusionVisit
    normalised : NormalisedVisit
        Of the same visit.
    atlases : tuple of AtlasFiles
        Installed atlases whose tracts are measured too.
    folder : Path
        Where the transform is written.

    Returns
    -------
    DiffusionResult

    """
    placed, told, doubts = place_diffusion(diffusion, normalised, folder)
    values = {name: load_image(getattr(diffusion, name)).data[placed.brain].astype(float) for name in MAPS}
    values |= free_water_values(diffusion, placed.brain)
    atlas, axes = load_tracts(), _axes(diffusion, placed)
    side = _lesion_side(placed)
    usable = diffusion.n_directions >= LEAST_DIRECTIONS
    measured: dict[tuple[str, Side], Measured] = {
        (course.name, s): _measure(course, s, values, placed, axes)
        for course, s in product(atlas.paired, SIDES)
    }
    metrics = [
        row
        for course, s in product(atlas.paired, SIDES)
        for row in _rows(course, measured, s, hemisphere_of(s, side), usable=usable)
    ]
    for course in atlas.crossing:
        found = _measure(course, "both", values, placed, axes)
        # Other segments of a tract that crosses are courses of their own.
        metrics += _rows(course, {(course.name, "both"): found}, "both", None, usable=usable)
    loads = _lesion_loads(normalised, side)
    asymmetries = [row for course in atlas.paired for row in _asymmetries(course, metrics, side, loads)]
    for files in atlases:
        more = measure_installed(files, placed, values, normalised, lesion_side=side, usable=usable)
        metrics += list(more.metrics)
        asymmetries += list(more.asymmetry)
    warnings = [*diffusion.warnings, *doubts]
    if not usable:
        warnings.append(
            f"diffusion: {diffusion.n_directions} directions, {LEAST_DIRECTIONS} needed: tracts not measured"
        )
    return DiffusionResult(
        status="ok" if usable else "low_quality",
        metrics=tuple(metrics),
        asymmetry=tuple(asymmetries),
        profiles=tuple(
            _profile(course, s, measured[course.name, s]) for course, s in product(atlas.paired, SIDES)
        ),
        rings=(
            measure_rings(placed, values["fa"], values["md"], side)
            if usable
            else rings_without("low_quality")
        ),
        to_reference=placed.to_reference,
        **{name: getattr(diffusion, name) for name in KEPT},
        steps=(*diffusion.steps, *told),
        warnings=tuple(warnings),
    )


def tracts_without_diffusion(status: TractStatus, message: str | None = None) -> DiffusionResult:
    """Return the rows of a visit whose tracts could not be measured, all ``n/a``."""
    atlas = load_tracts()
    metrics = [
        TractMetrics(course.name, segment, status, side=s)
        for course, s in product(atlas.paired, SIDES)
        for segment in segments_of(course)
    ]
    metrics += [TractMetrics(course.name, course.segments[0], status) for course in atlas.crossing]
    rows = [
        TractAsymmetry(course.name, segment, status)
        for course in atlas.paired
        for segment in segments_of(course)
    ]
    warnings = (message,) if message else ()
    return DiffusionResult(
        status, tuple(metrics), tuple(rows), rings=rings_without(status), warnings=warnings
    )


def segments_of(course: Course) -> tuple[str, ...]:
    """Names under which a tract is measured: the whole of it first."""
    return course.segments if course.crosses else tuple(dict.fromkeys((WHOLE, *course.segments)))


def _lesion_side(placed: PlacedDiffusion) -> str:
    """Side of the infarct on the diffusion grid: ``left``, ``right``, ``bilateral`` or ``none``."""
    return lesion_side(placed.infarct >= 0.5, placed.mni_mm[:, 0])


def _measure(
    course: Course, side: Side, values: dict[str, NDArray[np.float64]], placed: PlacedDiffusion, axes: _Axes
) -> Measured:
    """Look a tract up at the brain's voxels."""
    whole = tract_at(course, placed.mni_mm, side=side)
    inside = whole.probability > 0
    at = TractAt(
        whole.probability[inside],
        whole.core[inside],
        whole.position[inside],
        whole.segment[inside],
        whole.tangent[inside],
    )
    own = along_tract(axes.directions, whole.tangent, values["fa"])
    other = None
    if side != "both":
        mirrored = tract_at(course, placed.mni_mm, side=OTHER[side])
        other = along_tract(axes.directions, mirrored.tangent, values["fa"])
    coherence = both_sides(axes.tree, placed.mni_mm[inside], own, other)
    mine = {name: array[inside] for name, array in values.items()}
    lesion, opposite = placed.lesion[inside], np.zeros(int(inside.sum()))
    if other is not None:
        opposite = placed.mirrored_lesion[inside]
    levels = levels_of(at.position, course.pieces_mm.sum())
    return Measured(at, coherence, mine, lesion, opposite, _coverage(course, side, placed), levels)


def _axes(diffusion: DiffusionVisit, placed: PlacedDiffusion) -> _Axes:
    """Turn the main directions of diffusion into MNI axes."""
    native = voxel_to_world(np.argwhere(placed.brain), placed.grid.affine)
    turn = rotation_between(native, placed.mni_mm)
    stored = np.asarray(nib.Nifti1Image.from_filename(diffusion.direction).dataobj, np.float64)
    return _Axes(stored[placed.brain] @ turn.T, KDTree(placed.mni_mm))


@lru_cache(maxsize=32)
def _samples(name: str, first_segment: str, side: str) -> tuple[NDArray[np.float64], TractAt]:
    """Points in and around a tract, evenly spread in MNI, with the tract there."""
    atlas = load_tracts()
    course = next(
        c for c in (*atlas.paired, *atlas.crossing) if (c.name, c.segments[0]) == (name, first_segment)
    )
    grid = np.mgrid[-75:76:3, -110:76:3, -54:85:3].reshape(3, -1).T.astype(float)
    at = tract_at(course, grid, side=side)
    kept = at.probability > 0.5
    return grid[kept], TractAt(
        at.probability[kept], at.core[kept], at.position[kept], at.segment[kept], at.tangent[kept]
    )


def _coverage(course: Course, side: str, placed: PlacedDiffusion) -> dict[str, float]:
    """Share of each segment that lies in the field of view and shows tissue."""
    points, at = _samples(course.name, course.segments[0], side)
    index = np.round(placed.index_of(points)).astype(int)
    seen = np.all((index >= 0) & (index < placed.grid.data.shape), axis=1)
    # The border of the brain mask may cut the edge of a tract that is in view.
    seen[seen] = placed.grid.data[tuple(index[seen].T)] > 0
    shares = {WHOLE: float(seen.mean())}
    for number, segment in enumerate(course.segments):
        mine = at.segment == number
        shares[segment] = float(seen[mine].mean()) if mine.any() else shares[WHOLE]
    return shares


def _rows(
    course: Course,
    measured: dict[tuple[str, Side], Measured],
    side: Side,
    hemisphere: Hemisphere | None,
    *,
    usable: bool,
) -> list[TractMetrics]:
    """Measure a tract of one side, or one that crosses, and its segments."""
    found, other = measured[course.name, side], None
    own: Literal["left", "right"] | None = None
    if side != "both":
        own, other = side, measured[course.name, OTHER[side]]
    rows = []
    for segment in segments_of(course):
        number = None if segment == WHOLE else course.segments.index(segment)
        rows.append(
            metric_row(course.name, segment, number, found, hemisphere, own, other=other, usable=usable)
        )
    return rows


def _asymmetries(
    course: Course,
    metrics: list[TractMetrics],
    side: str,
    loads: dict[tuple[str, str], tuple[float, float]],
) -> list[TractAsymmetry]:
    """Compare the sides of a tract and of its segments."""
    by_place = {(row.tract, row.segment, row.side): row for row in metrics}
    rows = []
    for segment in segments_of(course):
        load = loads.get((course.name, segment))
        left, right = (by_place[course.name, segment, s] for s in SIDES)
        rows.append(asymmetry_row(left, right, side, load))
    return rows


def _lesion_loads(normalised: NormalisedVisit, side: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Return each tract's and segment's raw and weighted lesion load in mL on the lesion's side, in MNI.

    Raw: the sum over the lesion's voxels of the tract's probability. Weighted: the same sum, each axial
    slice multiplied by the tract's largest section over its section there (Zhu et al. 2010,
    doi:10.1161/STROKEAHA.109.577023). A cut through a small section counts as much as one through a large
    one, so that the whole of a section lost on one slice of 1 mm weighs the same on every level.
    """
    if side not in ("left", "right"):
        return {}
    template, lesion = load_template(), load_own_mask(normalised.mni_lesion_mask)
    voxel_ml = abs(float(np.linalg.det(template.affine[:3, :3]))) / 1000.0
    loads = {}
    for course in load_tracts().paired:
        index, probability, segment, factor = _on_template(course.name, side)
        hit = lesion[tuple(index.T)] * probability.astype(float) * voxel_ml
        for name in segments_of(course):
            mine = hit if name == WHOLE else hit * (segment == course.segments.index(name))
            loads[course.name, name] = (float(mine.sum()), float((mine * factor).sum()))
    return loads


@lru_cache(maxsize=16)
def _on_template(
    name: str, side: str
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int8], NDArray[np.float64]]:
    """Return a tract's voxels on the template's grid: index, probability, segment, weight of the slice."""
    template = load_template()
    course = load_tracts().course(name)
    reach = max(max(node.across_mm, node.along_mm) for node in course.nodes) + 5.0
    centres = np.array([node.centre_mm for node in course.nodes]) * [
        -1.0 if side == "left" else 1.0,
        1.0,
        1.0,
    ]
    inverse = np.linalg.inv(template.affine)
    corners = np.stack([centres.min(axis=0) - reach, centres.max(axis=0) + reach])
    ends = np.sort(corners @ inverse[:3, :3].T + inverse[:3, 3], axis=0)
    low = np.maximum(np.floor(ends[0]).astype(int), 0)
    high = np.minimum(np.ceil(ends[1]).astype(int) + 1, template.mask.shape)
    index = np.mgrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].reshape(3, -1).T
    at = tract_at(course, index @ template.affine[:3, :3].T + template.affine[:3, 3], side=side)
    kept = at.probability > 0
    index, probability = index[kept], at.probability[kept]
    return index, probability, at.segment[kept], slice_weights(probability, index[:, 2])


def _profile(course: Course, side: Literal["left", "right"], found: Measured) -> TractProfile:
    """Follow FA and MD along a tract."""
    kept, position = found.weights(None), found.at.position.astype(float)
    fa, md = (profile(found.values[name], kept, position) for name in ("fa", "md"))
    share = profile(found.lesion, found.share(None), position)
    return TractProfile(
        course.name,
        side,
        fa=tuple(None if np.isnan(value) else float(value) for value in fa),
        md=tuple(None if np.isnan(value) else float(value) * 1e3 for value in md),
        lesion=tuple(bool(value > 0.5) for value in np.nan_to_num(share)),
    )

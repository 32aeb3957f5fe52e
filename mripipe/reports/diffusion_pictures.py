"""A visit's diffusion as pictures: tracts over coloured FA, b = 0 over the anatomy, directions, motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from SimpleITK import ReadTransform

from mripipe.atlases.tracts import load_tracts
from mripipe.core.grid import Volume
from mripipe.core.tract_course import Course, tract_at
from mripipe.errors import InputError
from mripipe.figures.colour import colour_mosaic, direction_colours
from mripipe.figures.flicker import add_outlines, tissue_edges
from mripipe.figures.mosaic import Cut, cut_outlines, mosaic
from mripipe.figures.motion import motion_chart
from mripipe.figures.planes import Plane
from mripipe.figures.sticks import stick_panels, stick_planes
from mripipe.figures.svg import outline_path
from mripipe.model.diffusion import DiffusionResult
from mripipe.model.results import VisitResult
from mripipe.reports.diffusion_way import read_way
from mripipe.reports.gallery import Gallery
from mripipe.reports.images import read_vectors, read_volume
from mripipe.reports.streamline_pictures import draw_streamlines
from mripipe.steps.diffusion_place import map_points

CONTOUR_MM = 1.2
"""Distance between the points at which tracts are looked up."""
MAIN_TRACT = "CST"


def diffusion_galleries(
    visit: VisitResult, image: Volume, masks: dict[str, Volume], planes: Sequence[Plane]
) -> list[Gallery]:
    """Draw a visit's diffusion on the planes of its reference image.

    Parameters
    ----------
    visit : VisitResult
    image : Volume
        The reference image.
    masks : dict of str to Volume
        ``brain`` and ``lesion`` on its grid, those that there are.
    planes : sequence of Plane
        In the reference image's space.

    """
    diffusion = visit.diffusion
    if diffusion is None or diffusion.to_reference is None:
        return []
    drawn = (
        ("Fractional anisotropy and tracts", _tracts),
        ("Corticospinal tract, followed in this visit's diffusion", draw_streamlines),
        ("Diffusion, b = 0, on the reference image", _registration),
        ("The same before distortion by the field was undone", _before_unwarping),
        ("Main direction of diffusion", _directions),
    )
    galleries = []
    for title, draw in drawn:
        try:
            found = draw(visit, diffusion, image, masks, planes)
        except InputError as error:
            found = Gallery(title, problem=str(error))
        if found is not None:
            galleries.append(replace(found, title=title))
    return galleries


def motion_figure(diffusion: DiffusionResult | None) -> str:
    """Plot head motion over the volumes; empty where it was not sought."""
    if diffusion is None or not diffusion.motion:
        return ""
    return motion_chart(diffusion.motion, sorted({volume for volume, _ in diffusion.dropped_slices}))


def _tracts(
    visit: VisitResult,
    diffusion: DiffusionResult,
    image: Volume,
    masks: dict[str, Volume],
    planes: Sequence[Plane],
) -> Gallery | None:
    """Draw FA in the colours of its directions with outlines of tracts and lesion."""
    if diffusion.fa is None or diffusion.direction is None or diffusion.to_reference is None:
        return None
    way, own = read_way(diffusion.to_reference), read_volume(diffusion.fa)
    fa = way.moved(own)
    directions = way.moved_vectors(read_vectors(diffusion.direction), own.affine)
    cuts = cut_outlines(planes, {kind: mask for kind, mask in masks.items() if kind == "lesion"})
    kinds = ["lesion"] if "lesion" in masks else []
    if visit.from_mni is not None:
        traced = _tract_cuts(visit.from_mni, planes)
        cuts = add_outlines(traced, cuts)
        kinds = ["tract", "main-tract", *kinds]
    panels = colour_mosaic(direction_colours(fa, directions), cuts, name="Fractional anisotropy")
    return Gallery(
        "",
        tuple(panels),
        tuple(kinds),
        note="Colour is the main direction of diffusion: red left-right, green front-back, blue up-down. "
        "Tracts are those of the atlas, carried to this visit; each should lie on tissue of one colour.",
    )


def _registration(
    visit: VisitResult,
    diffusion: DiffusionResult,
    image: Volume,
    masks: dict[str, Volume],
    planes: Sequence[Plane],
) -> Gallery | None:
    """Draw the mean image without weighting with the edges of the reference image's tissue."""
    return _over_reference(
        diffusion.b0,
        diffusion,
        image,
        masks,
        planes,
        note="Thin lines are the edges of fluid in the reference image: ventricles and sulci should meet "
        "them. Where the front of the brain or the temporal lobes depart, the field has distorted diffusion.",
    )


def _before_unwarping(
    visit: VisitResult,
    diffusion: DiffusionResult,
    image: Volume,
    masks: dict[str, Volume],
    planes: Sequence[Plane],
) -> Gallery | None:
    """Draw the same image before distortion by the field was undone, in the series or for the picture."""
    kept = diffusion.b0_distorted
    if kept is None and (diffusion.to_reference is None or read_way(diffusion.to_reference).bend is None):
        return None
    return _over_reference(
        kept or diffusion.b0,
        diffusion,
        image,
        masks,
        planes,
        distorted=True,
        note="The front of the brain and the temporal lobes should meet the lines better once distortion is "
        "undone than here.",
    )


def _over_reference(
    path: Path | None,
    diffusion: DiffusionResult,
    image: Volume,
    masks: dict[str, Volume],
    planes: Sequence[Plane],
    *,
    note: str,
    distorted: bool = False,
) -> Gallery | None:
    """Draw a diffusion image with the edges of the reference image's tissue."""
    if path is None or diffusion.to_reference is None:
        return None
    moved = read_way(diffusion.to_reference).moved(read_volume(path), distorted=distorted)
    outlines = dict(masks)
    if "brain" in masks:
        outlines["reference-tissue"] = tissue_edges(image, masks["brain"])
    panels = mosaic(moved, cut_outlines(planes, outlines), name="Diffusion, b = 0")
    return Gallery("", tuple(panels), tuple(outlines), note=note)


def _directions(
    visit: VisitResult,
    diffusion: DiffusionResult,
    image: Volume,
    masks: dict[str, Volume],
    planes: Sequence[Plane],
) -> Gallery | None:
    """Draw main directions as lines: the check of the gradient table."""
    if diffusion.fa is None or diffusion.direction is None:
        return None
    fa = read_volume(diffusion.fa)
    panels = stick_panels(
        fa, read_vectors(diffusion.direction), stick_planes(fa), name="Main direction of diffusion"
    )
    return Gallery(
        "",
        tuple(panels),
        ("sticks",),
        note="Lines should follow the tracts: from side to side in the arch of the corpus callosum, upwards "
        "in the capsules and peduncles. A flipped or exchanged axis of the b-vectors breaks them.",
        large=True,
    )


def _tract_cuts(from_mni: Path, planes: Sequence[Plane]) -> list[Cut]:
    """Trace the atlas's tracts on planes of the reference image's space."""
    try:
        transform = ReadTransform(str(from_mni))
    except RuntimeError as error:
        raise InputError(f"{from_mni.name}: cannot be read as an ITK transform for the report") from error
    atlas = load_tracts()
    tracts: list[tuple[Course, str]] = [(course, "both") for course in atlas.crossing]
    tracts += [(course, side) for course in atlas.paired for side in ("left", "right")]
    cuts = []
    for plane in planes:
        count = max(round(plane.extent_mm / CONTOUR_MM), 1)
        coarse = replace(plane, spacing_mm=plane.extent_mm / count)
        mni = map_points(transform, _plane_points(coarse))
        inside = {kind: np.zeros(len(mni), np.float32) for kind in ("tract", "main-tract")}
        for course, side in tracts:
            kind = "main-tract" if course.name == MAIN_TRACT else "tract"
            np.maximum(inside[kind], tract_at(course, mni, side=side).probability, out=inside[kind])
        paths = {
            kind: outline_path(share.reshape(count, count), coarse.spacing_mm)
            for kind, share in inside.items()
        }
        cuts.append(Cut(plane, {kind: path for kind, path in paths.items() if path}))
    return cuts


def _plane_points(plane: Plane) -> NDArray[np.float64]:
    """Return the RAS mm of a plane's pixels, row by row, shape (N, 3)."""
    first, right, lower = plane.frame()
    steps = np.arange(plane.n_pixels)[:, None]
    rows = first + steps * (lower - first)
    return np.asarray((rows[:, None] + (steps * (right - first))[None]).reshape(-1, 3))

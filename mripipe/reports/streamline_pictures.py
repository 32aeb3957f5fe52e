"""Pictures of the tracts that were followed in a visit's own diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.streamlines.tractogram_file import DataError, HeaderError
from numpy.typing import NDArray

from mripipe.core.grid import Volume
from mripipe.errors import InputError
from mripipe.figures.mosaic import Cut, cut_outlines, mosaic
from mripipe.figures.planes import Plane
from mripipe.figures.streamlines import streamline_path
from mripipe.model.diffusion import DiffusionResult, TrackedTract
from mripipe.model.results import VisitResult
from mripipe.reports.diffusion_way import DiffusionWay, read_way
from mripipe.reports.gallery import Gallery
from mripipe.reports.images import read_volume

Lines = list[NDArray[np.floating]]


def draw_streamlines(
    visit: VisitResult,
    diffusion: DiffusionResult,
    image: Volume,
    masks: dict[str, Volume],
    planes: Sequence[Plane],
) -> Gallery | None:
    """Draw the streamlines of both sides over FA, and each side's alone; None where tracking was left out."""
    if not diffusion.tracked or diffusion.fa is None or diffusion.to_reference is None or not planes:
        return None
    way = read_way(diffusion.to_reference)
    lines = {
        tract.side: _read(tract.streamlines, way)
        for tract in diffusion.tracked
        if tract.streamlines is not None
    }
    if not lines:
        return Gallery("", problem=f"{_told(diffusion.tracked)}. The atlas's values stay.")
    fa = way.moved(read_volume(diffusion.fa))
    lesion = {kind: mask for kind, mask in masks.items() if kind == "lesion"}
    everything = [line for side in lines.values() for line in side]
    cuts = [_cut(replace(planes[0], orientation="coronal"), everything, lesion)]
    cuts += [_cut(replace(planes[0], orientation="sagittal"), lines[side], lesion) for side in sorted(lines)]
    return Gallery(
        "",
        tuple(mosaic(fa, cuts, name="Fractional anisotropy and streamlines")),
        ("streamlines", *lesion),
        note=f"{_told(diffusion.tracked)}. Streamlines are seen through the whole head, the infarct only "
        "where it meets the slice. They should run from the pons through the posterior limb of the internal "
        "capsule to the central sulcus, and end at the infarct.",
        large=True,
    )


def _cut(view: Plane, lines: Lines, lesion: dict[str, Volume]) -> Cut:
    """Cut through the middle of the streamlines."""
    middle = float(np.median(np.concatenate(lines)[:, view.axes[0]]))
    plane = replace(view, position_mm=middle)
    (cut,) = cut_outlines([plane], lesion)
    return replace(cut, paths={"streamlines": streamline_path(lines, plane), **cut.paths})


def _read(path: Path, way: DiffusionWay) -> Lines:
    """Read streamlines, in the reference image's space."""
    try:
        found = list(nib.streamlines.load(path).streamlines)
    except (OSError, ValueError, DataError, HeaderError) as error:
        raise InputError(f"{path.name}: cannot be read for the report ({type(error).__name__})") from error
    ends = np.cumsum([len(line) for line in found])[:-1]
    return list(np.split(way.points(np.concatenate(found)), ends)) if found else []


def _told(tracked: Sequence[TrackedTract]) -> str:
    return "; ".join(
        f"{tract.side}: {tract.n_streamlines} streamlines"
        if tract.status == "ok"
        else f"{tract.side}: not followed ({tract.status.replace('_', ' ')})"
        for tract in tracked
    ).capitalize()

"""Correct a diffusion series: lost slices, motion, eddy currents, distortion, noise; interpolated once.

Noise is told from signal by what volumes share in a neighbourhood, and where the head moved between them they
share less: weak signal is then taken for noise. It is therefore removed when they lie over each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from dipy.denoise.gibbs import gibbs_removal
from numpy.typing import NDArray

from mripipe.core.diffusion_denoise import denoise
from mripipe.core.diffusion_mask import diffusion_mask
from mripipe.core.diffusion_motion import SeriesMotion, estimate_motion, motion_numbers, still, turned_table
from mripipe.core.diffusion_resample import FieldWarp, resample_series
from mripipe.core.diffusion_slices import fill_dropped_slices, find_dropped_slices
from mripipe.core.gradient_axes import AxesCheck, check_axes
from mripipe.core.gradients import GradientTable
from mripipe.core.grid import Volume, voxel_sizes_mm, voxel_to_world
from mripipe.core.tensor import fit_tensor, tensor_volumes
from mripipe.core.tensor_maps import main_directions, tensor_maps
from mripipe.model.settings import DiffusionSettings
from mripipe.model.study import Session
from mripipe.steps.diffusion_distortion import Distortion, find_distortion
from mripipe.steps.diffusion_series import Series

LEAST_TO_PREDICT = 10
"""Directions: fewer leave the prediction of one volume from the others to chance."""
MANY_DROPPED = 10
"""Slices that fell out, from which a reader is warned."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A series after preparation."""

    data: NDArray[np.float32]
    """(X, Y, Z, N)."""
    mask: NDArray[np.bool_]
    """Rough mask of the head's tissue (X, Y, Z)."""
    table: GradientTable
    motion: tuple[tuple[float, ...], ...]
    eddy_mm: tuple[float, ...]
    """How far eddy currents displaced the head in each volume, at most; empty where it was not sought."""
    dropped: tuple[tuple[int, int], ...]
    distorted: NDArray[np.float32] | None
    """Mean at b = 0 before distortion was undone (X, Y, Z); None where it was left."""
    distorted_along: int | None
    """Array axis along which the field still distorts and may be sought; None where it may not."""
    steps: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Part:
    """Volumes that are distorted alike."""

    volumes: NDArray[np.int64]
    mask: NDArray[np.bool_]
    table: GradientTable

    @property
    def can_predict(self) -> bool:
        return self.table.n_directions >= LEAST_TO_PREDICT


def prepare_series(series: Series, session: Session, settings: DiffusionSettings) -> Prepared:
    """Correct a series as the settings ask for; what is done is told in ``steps``.

    Parameters
    ----------
    series : Series
        One that is preprocessed is left as it is.
    session : Session
        Whose field maps are looked at.
    settings : DiffusionSettings

    """
    steps: list[str] = []
    if series.preprocessed:
        settings = replace(
            settings, denoise=False, gibbs=False, outliers=False, motion=False, distortion="none"
        )
        steps.append("already preprocessed by another program, taken as it is")
    data, parts = series.data, _parts(series)
    dropped: tuple[tuple[int, int], ...] = ()
    if settings.gibbs:
        data = _without_ringing(data, series.slice_axis)
        steps.append("ringing beside edges removed")
    if settings.outliers and parts[0].can_predict:
        data, dropped = _without_dropped_slices(data, series, parts)
        steps.append(f"slices that fell out: {len(dropped) or 'none'}{', replaced' if dropped else ''}")
    motion = _motion(data, series, parts, settings)
    distorted, distortion = None, Distortion(None, "distortion by the field: left as it is")
    if settings.distortion == "auto":
        plain = [_mean_plain(data, series, part, motion) for part in parts]
        distortion = find_distortion(series, session, plain[0], plain[1] if len(plain) > 1 else None)
        distorted = plain[0].data if distortion.warp is not None else None
    data, mask, motion = _laid_over(data, series, parts, motion, distortion.warp)
    table, numbers = turned_table(series.table, motion), _numbers(motion, mask, series, parts, settings)
    steps += _motion_told(motion, sought=bool(numbers), eddy=settings.eddy)
    if not series.preprocessed:
        steps.append(_distortion_told(distortion, mask))
    if settings.denoise:
        cleaned = denoise(data, mask)
        data = cleaned.data
        steps.append(f"denoised: noise of deviation {cleaned.sigma:.3g} removed")
    if settings.robust:
        steps.append("tensor: fitted robustly")
    axes = _check_table(data, table, series, mask)
    steps.append(_axes_told(axes))
    warnings = (*series.notes, *distortion.notes, *_dropped_warning(dropped), *_axes_warning(axes))
    left = settings.distortion == "auto" and distortion.warp is None
    along = _encoded_along(series) if left else None
    eddy = () if motion.eddy_mm is None else tuple(round(float(mm), 4) for mm in motion.eddy_mm)
    return Prepared(data, mask, table, numbers, eddy, dropped, distorted, along, tuple(steps), warnings)


def _parts(series: Series) -> list[_Part]:
    """Split a series by the direction of its phase encoding; the main part comes first."""
    opposite = series.opposite if series.opposite.size else np.zeros(series.data.shape[3], bool)
    parts: list[_Part] = []
    for volumes in (np.flatnonzero(~opposite), np.flatnonzero(opposite)):
        if not volumes.size:
            continue
        table = series.table.take(volumes)
        if parts and table.is_b0.all():
            # Without weighting fat and fluid are bright: the main part's mask is the better guess.
            mask = parts[0].mask
        else:
            mask = _rough_mask(series.data[..., volumes], table, series.affine)
        parts.append(_Part(volumes, mask, table))
    return parts


def _rough_mask(
    data: NDArray[np.float32], table: GradientTable, affine: NDArray[np.float64]
) -> NDArray[np.bool_]:
    weighted = ~table.is_b0
    mean = data[..., weighted if weighted.any() else slice(None)].mean(axis=3)
    return diffusion_mask(mean, voxel_sizes_mm(affine))


def _without_ringing(data: NDArray[np.float32], slice_axis: int) -> NDArray[np.float32]:
    """Shift by parts of a voxel where ringing is least (Kellner et al. 2016, doi:10.1002/mrm.26054)."""
    cleaned = gibbs_removal(data, slice_axis=slice_axis, num_processes=1, inplace=False)
    return np.asarray(np.maximum(cleaned, 0.0), np.float32)


def _without_dropped_slices(
    data: NDArray[np.float32], series: Series, parts: Sequence[_Part]
) -> tuple[NDArray[np.float32], tuple[tuple[int, int], ...]]:
    out, dropped = data, []
    for part in parts:
        if not part.can_predict:
            continue
        own = data[..., part.volumes]
        found = find_dropped_slices(own, part.table, part.mask, axis=series.slice_axis)
        if not found.any():
            continue
        out = out.copy() if out is data else out
        filled = fill_dropped_slices(own, part.table, part.mask, found, axis=series.slice_axis)
        out[..., part.volumes] = filled
        dropped += [(int(part.volumes[volume]), int(place)) for volume, place in np.argwhere(found)]
    return out, tuple(sorted(dropped))


def _motion(
    data: NDArray[np.float32], series: Series, parts: Sequence[_Part], settings: DiffusionSettings
) -> SeriesMotion:
    """Find each volume's motion and eddy currents against the first volume of its part."""
    n_volumes = data.shape[3]
    sought = [part for part in parts if settings.motion and part.can_predict]
    axis = _encoded_along(series) if sought and settings.eddy else None
    whole = still(n_volumes)
    eddy = None if axis is None else still(n_volumes)
    for part in sought:
        own = estimate_motion(data[..., part.volumes], series.affine, part.table, part.mask, eddy_axis=axis)
        whole.matrices[part.volumes], whole.largest_mm[part.volumes] = own.matrices, own.largest_mm
        if eddy is not None and own.eddy is not None and own.eddy_mm is not None:
            eddy.matrices[part.volumes], eddy.largest_mm[part.volumes] = own.eddy, own.eddy_mm
    return whole if eddy is None else replace(whole, eddy=eddy.matrices, eddy_mm=eddy.largest_mm)


def _encoded_along(series: Series) -> int | None:
    """Return the array axis of the phase encoding; None where no sidecar tells it."""
    return None if series.phase_encoding is None else "ijk".index(series.phase_encoding[0])


def _mean_plain(data: NDArray[np.float32], series: Series, part: _Part, motion: SeriesMotion) -> Volume:
    """Return the mean of a part's volumes without weighting, laid over its first; of all where none is."""
    chosen = part.volumes[part.table.is_b0] if part.table.is_b0.any() else part.volumes
    own = SeriesMotion(motion.matrices[chosen], motion.largest_mm[chosen])
    laid = resample_series(data[..., chosen], series.affine, own, part.mask)
    return Volume(laid.mean(axis=3), series.affine)


def _laid_over(
    data: NDArray[np.float32],
    series: Series,
    parts: Sequence[_Part],
    motion: SeriesMotion,
    warp: FieldWarp | None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], SeriesMotion]:
    """Interpolate each volume once; return the head's mask then, and its motion against the first volume."""
    mask = parts[0].mask
    if warp is None:
        return resample_series(data, series.affine, motion, mask), mask, motion
    head = np.logical_or.reduce([part.mask for part in parts])
    laid = resample_series(data, series.affine, motion, head, warp)
    whole = replace(motion, matrices=motion.matrices @ warp.poses)
    return laid, _rough_mask(laid, series.table, series.affine), whole


def _numbers(
    motion: SeriesMotion,
    mask: NDArray[np.bool_],
    series: Series,
    parts: Sequence[_Part],
    settings: DiffusionSettings,
) -> tuple[tuple[float, ...], ...]:
    if not (settings.motion and parts[0].can_predict):
        return ()
    middle = voxel_to_world(np.argwhere(mask), series.affine).mean(axis=0)
    return motion_numbers(motion, middle)


def _motion_told(motion: SeriesMotion, *, sought: bool, eddy: bool) -> list[str]:
    if not sought:
        return []
    told = [f"head motion corrected: at most {motion.largest_mm.max():.1f} mm, b-vectors turned"]
    if motion.eddy_mm is not None:
        told.append(f"eddy currents corrected: at most {motion.eddy_mm.max():.1f} mm")
    elif eddy:
        told.append("eddy currents: not sought, no sidecar tells the phase encoding")
    return told


def _distortion_told(distortion: Distortion, mask: NDArray[np.bool_]) -> str:
    if distortion.warp is None:
        return distortion.told
    moved = np.abs(distortion.warp.displacement_mm[mask])
    return f"{distortion.told}: {np.median(moved):.1f} mm in the middle, at most {moved.max():.1f} mm"


def _dropped_warning(dropped: tuple[tuple[int, int], ...]) -> list[str]:
    volumes = {volume for volume, _ in dropped}
    if len(dropped) < MANY_DROPPED:
        return []
    return [
        f"diffusion: {len(dropped)} slices in {len(volumes)} volumes fell out and were replaced: see motion"
    ]


def _check_table(
    data: NDArray[np.float32], table: GradientTable, series: Series, mask: NDArray[np.bool_]
) -> AxesCheck:
    """Fit a tensor and ask whether its directions make tracts; a wrong table is told, never changed."""
    chosen = tensor_volumes(table)
    fit = fit_tensor(data[mask][:, chosen], table.take(chosen))
    fa = np.zeros(mask.shape)
    fa[mask] = np.nan_to_num(tensor_maps(fit.elements).fa)
    directions = np.zeros((*mask.shape, 3))
    directions[mask] = np.nan_to_num(main_directions(fit.elements))
    return check_axes(directions, fa, series.affine)


def _axes_told(found: AxesCheck) -> str:
    if found.best == 0.0:
        return "b-vectors: not checked, too little white matter"
    return f"b-vectors checked: {'as given' if found.name is None else 'another order fits better'}"


def _axes_warning(found: AxesCheck) -> list[str]:
    if found.name is None:
        return []
    return [
        f"b-vectors: tracts hold together with {found.name} ({found.best:.2f}, now {found.as_given:.2f});"
        " nothing was changed, check the bvec file"
    ]

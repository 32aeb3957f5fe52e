"""A visit's diffusion series: read, prepared, and its tensor maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dipy.denoise.gibbs import gibbs_removal
from numpy.typing import NDArray

from mripipe.bids.files import write_atomic
from mripipe.core.diffusion_denoise import denoise
from mripipe.core.diffusion_mask import diffusion_mask
from mripipe.core.diffusion_motion import estimate_motion, motion_numbers, turned_table
from mripipe.core.diffusion_resample import resample_series
from mripipe.core.diffusion_slices import fill_dropped_slices, find_dropped_slices
from mripipe.core.gradient_axes import AxesCheck, check_axes
from mripipe.core.gradients import GradientTable, directions_to_fsl
from mripipe.core.grid import voxel_sizes_mm, voxel_to_world
from mripipe.core.tensor import TensorFit, fit_tensor, tensor_volumes
from mripipe.core.tensor_maps import main_directions, tensor_maps
from mripipe.core.tensor_robust import fit_tensor_robust
from mripipe.model.diffusion import DiffusionVisit
from mripipe.model.settings import DiffusionSettings
from mripipe.model.study import Session
from mripipe.steps.diffusion_series import Series, load_series
from mripipe.steps.free_water import FreeWaterMaps, save_free_water
from mripipe.steps.load import save_image

LEAST_TO_PREDICT = 10
"""Directions: fewer leave the prediction of one volume from the others to chance."""
MANY_DROPPED = 10
"""Slices that fell out, from which a reader is warned."""
LARGEST_STORED = 32767.0
"""Signals are stored as whole numbers, as scanners do."""
SMALLEST_SCALE = 1000.0
"""Where the largest signal is smaller, whole numbers would be too coarse: the series is scaled."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A series after preparation."""

    data: NDArray[np.float32]
    """(X, Y, Z, N)."""
    table: GradientTable
    motion: tuple[tuple[float, ...], ...]
    dropped: tuple[tuple[int, int], ...]
    steps: tuple[str, ...]
    warnings: tuple[str, ...]


def fit_diffusion(session: Session, *, settings: DiffusionSettings, folder: Path) -> DiffusionVisit:
    """Prepare a visit's diffusion series and fit the tensor.

    Parameters
    ----------
    session : Session
        With a ``dwi`` scan or more; other scans are not looked at.
    settings : DiffusionSettings
    folder : Path
        Where files are written.

    Returns
    -------
    DiffusionVisit

    Raises
    ------
    InputError
        The series or its gradients are unfit for use.

    """
    series = load_series(session)
    mask = diffusion_mask(_mean_weighted(series), voxel_sizes_mm(series.affine))
    prepared = prepare_series(series, mask, settings)
    chosen = tensor_volumes(prepared.table)
    table = prepared.table.take(chosen)
    signal = prepared.data[mask][:, chosen]
    fit = fit_tensor_robust(signal, table) if settings.robust else fit_tensor(signal, table)
    water = FreeWaterMaps("free water: not asked for")
    if settings.free_water:
        water = save_free_water(prepared.data, prepared.table, mask, series.affine, folder=folder)
    return DiffusionVisit(
        participant_id=session.participant_id,
        session_id=session.session_id,
        **_save_series(prepared, series.affine, mask, folder),
        **_save_maps(fit, series.affine, mask, folder),
        **water.paths,
        n_directions=table.n_directions,
        steps=(*prepared.steps, water.told),
        motion=prepared.motion,
        dropped_slices=prepared.dropped,
        warnings=prepared.warnings,
    )


def prepare_series(series: Series, mask: NDArray[np.bool_], settings: DiffusionSettings) -> Prepared:
    """Correct a series as the settings ask for; what is done is told in ``steps``."""
    data, table = series.data, series.table
    steps: list[str] = []
    motion: tuple[tuple[float, ...], ...] = ()
    dropped: tuple[tuple[int, int], ...] = ()
    warnings = list(series.notes)
    if settings.denoise:
        cleaned = denoise(data, mask)
        data = cleaned.data
        steps.append(f"denoised: noise of deviation {cleaned.sigma:.3g} removed")
    if settings.gibbs:
        data = _without_ringing(data, series.slice_axis)
        steps.append("ringing beside edges removed")
    enough = table.n_directions >= LEAST_TO_PREDICT
    if settings.outliers and enough:
        data, dropped = _without_dropped_slices(data, series, mask)
        steps.append(f"slices that fell out: {len(dropped) or 'none'}{', replaced' if dropped else ''}")
    if settings.motion and enough:
        found = estimate_motion(data, series.affine, table, mask)
        data, table = resample_series(data, series.affine, found, mask), turned_table(table, found)
        middle = voxel_to_world(np.argwhere(mask), series.affine).mean(axis=0)
        motion = motion_numbers(found, middle)
        steps.append(f"head motion corrected: at most {found.largest_mm.max():.1f} mm, b-vectors turned")
    if settings.robust:
        steps.append("tensor: fitted robustly")
    axes = _check_table(data, table, series, mask)
    steps.append(_axes_told(axes))
    return Prepared(
        data,
        table,
        motion,
        dropped,
        tuple(steps),
        (*warnings, *_dropped_warning(dropped), *_axes_warning(axes)),
    )


def _without_ringing(data: NDArray[np.float32], slice_axis: int) -> NDArray[np.float32]:
    """Shift by parts of a voxel where ringing is least (Kellner et al. 2016, doi:10.1002/mrm.26054)."""
    cleaned = gibbs_removal(data, slice_axis=slice_axis, num_processes=1, inplace=False)
    return np.asarray(np.maximum(cleaned, 0.0), np.float32)


def _without_dropped_slices(
    data: NDArray[np.float32], series: Series, mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], tuple[tuple[int, int], ...]]:
    found = find_dropped_slices(data, series.table, mask, axis=series.slice_axis)
    if not found.any():
        return data, ()
    filled = fill_dropped_slices(data, series.table, mask, found, axis=series.slice_axis)
    return filled, tuple((int(volume), int(place)) for volume, place in np.argwhere(found))


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


def _mean_weighted(series: Series) -> NDArray[np.float32]:
    weighted = ~series.table.is_b0
    return np.asarray(series.data[..., weighted if weighted.any() else slice(None)].mean(axis=3))


def _save_series(
    prepared: Prepared, affine: NDArray[np.float64], mask: NDArray[np.bool_], folder: Path
) -> dict[str, Path]:
    """Write the series, its gradients, the mean b = 0 image and the mask."""
    shown = np.where(mask[..., None], np.maximum(prepared.data, 0.0), 0.0)
    largest = float(shown.max())
    if not SMALLEST_SCALE <= largest <= LARGEST_STORED:
        shown *= np.float32(0.5 * LARGEST_STORED / max(largest, 1e-12))
    b = prepared.table.b_values
    rows = directions_to_fsl(prepared.table.directions, affine)
    bvec = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in rows) + "\n"
    # The largest b that is none gives the best idea of the tissue where there is no b = 0.
    plain = prepared.table.is_b0 if prepared.table.is_b0.any() else b == b.min()
    return {
        "series": save_image(folder / "series.nii.gz", np.rint(shown), affine, dtype=np.int16),
        "bval": write_atomic(folder / "series.bval", " ".join(f"{value:g}" for value in b) + "\n"),
        "bvec": write_atomic(folder / "series.bvec", bvec),
        "b0": save_image(folder / "b0.nii.gz", prepared.data[..., plain].mean(axis=3), affine),
        "mask": save_image(folder / "mask.nii.gz", mask, affine, dtype=np.uint8),
    }


def _save_maps(
    fit: TensorFit, affine: NDArray[np.float64], mask: NDArray[np.bool_], folder: Path
) -> dict[str, Path]:
    maps = tensor_maps(fit.elements)
    paths = {}
    for name in ("fa", "md", "ad", "rd"):
        whole = np.zeros(mask.shape, np.float32)
        whole[mask] = np.nan_to_num(getattr(maps, name))
        paths[name] = save_image(folder / f"{name}.nii.gz", whole, affine)
    directions = np.zeros((*mask.shape, 3), np.float32)
    directions[mask] = np.nan_to_num(main_directions(fit.elements))
    paths["direction"] = save_image(folder / "direction.nii.gz", directions, affine)
    return paths

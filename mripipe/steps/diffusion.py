"""A visit's diffusion series: read, prepared, and its tensor maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mripipe.bids.files import write_atomic
from mripipe.core.diffusion_denoise import denoise
from mripipe.core.diffusion_mask import diffusion_mask
from mripipe.core.diffusion_motion import estimate_motion, motion_numbers, resample_series, turned_table
from mripipe.core.gradient_axes import check_axes
from mripipe.core.gradients import GradientTable, directions_to_fsl
from mripipe.core.grid import voxel_sizes_mm, voxel_to_world
from mripipe.core.tensor import TensorFit, fit_tensor, tensor_volumes
from mripipe.core.tensor_maps import main_directions, tensor_maps
from mripipe.model.diffusion import DiffusionVisit
from mripipe.model.settings import DiffusionSettings
from mripipe.model.study import Session
from mripipe.steps.diffusion_series import Series, load_series
from mripipe.steps.load import save_image

LEAST_FOR_MOTION = 10
"""Directions: fewer leave the prediction of one volume from the others to chance."""
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
    fit = fit_tensor(prepared.data[mask][:, chosen], table)
    return DiffusionVisit(
        participant_id=session.participant_id,
        session_id=session.session_id,
        **_save_series(prepared, series.affine, mask, folder),
        **_save_maps(fit, series.affine, mask, folder),
        n_directions=table.n_directions,
        steps=prepared.steps,
        motion=prepared.motion,
        warnings=prepared.warnings,
    )


def prepare_series(series: Series, mask: NDArray[np.bool_], settings: DiffusionSettings) -> Prepared:
    """Correct a series as the settings ask for; what is done is told in ``steps``."""
    data, table = series.data, series.table
    steps: list[str] = []
    motion: tuple[tuple[float, ...], ...] = ()
    warnings = list(series.notes)
    if settings.denoise:
        cleaned = denoise(data, mask)
        data = cleaned.data
        steps.append(f"denoised: noise of deviation {cleaned.sigma:.3g} removed")
    if settings.motion and table.n_directions >= LEAST_FOR_MOTION:
        found = estimate_motion(data, series.affine, table, mask)
        data, table = resample_series(data, series.affine, found, mask), turned_table(table, found)
        middle = voxel_to_world(np.argwhere(mask), series.affine).mean(axis=0)
        motion = motion_numbers(found, middle)
        steps.append(f"head motion corrected: at most {found.largest_mm.max():.1f} mm, b-vectors turned")
    steps.append("distortion: not corrected")
    warnings += _axes_warning(data, table, series, mask)
    return Prepared(data, table, motion, tuple(steps), tuple(warnings))


def _axes_warning(
    data: NDArray[np.float32], table: GradientTable, series: Series, mask: NDArray[np.bool_]
) -> list[str]:
    """Fit a tensor and ask whether its directions make tracts; a wrong table is told, never changed."""
    chosen = tensor_volumes(table)
    fit = fit_tensor(data[mask][:, chosen], table.take(chosen))
    fa = np.zeros(mask.shape)
    fa[mask] = np.nan_to_num(tensor_maps(fit.elements).fa)
    directions = np.zeros((*mask.shape, 3))
    directions[mask] = np.nan_to_num(main_directions(fit.elements))
    found = check_axes(directions, fa, series.affine)
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

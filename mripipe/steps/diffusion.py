"""A visit's diffusion series: read, prepared, and its tensor maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mripipe.bids.files import write_atomic
from mripipe.core.gradients import directions_to_fsl
from mripipe.core.tensor import TensorFit, fit_tensor, tensor_volumes
from mripipe.core.tensor_maps import main_directions, tensor_maps
from mripipe.core.tensor_robust import fit_tensor_robust
from mripipe.model.diffusion import DiffusionVisit
from mripipe.model.settings import DiffusionSettings
from mripipe.model.study import Session
from mripipe.steps.diffusion_prepare import Prepared, prepare_series
from mripipe.steps.diffusion_series import load_series
from mripipe.steps.free_water import FreeWaterMaps, save_free_water
from mripipe.steps.load import save_image

LARGEST_STORED = 32767.0
"""Signals are stored as whole numbers, as scanners do."""
SMALLEST_SCALE = 1000.0
"""Where the largest signal is smaller, whole numbers would be too coarse: the series is scaled."""


def fit_diffusion(session: Session, *, settings: DiffusionSettings, folder: Path) -> DiffusionVisit:
    """Prepare a visit's diffusion series and fit the tensor.

    Parameters
    ----------
    session : Session
        With a ``dwi`` scan or more, and the images of its ``fmap`` folder; other scans are not looked at.
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
    series = load_series(session, with_opposite=settings.distortion == "auto")
    prepared = prepare_series(series, session, settings)
    mask = prepared.mask
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
        eddy_mm=prepared.eddy_mm,
        distorted_along=prepared.distorted_along,
    )


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
    distorted = {}
    if prepared.distorted is not None:
        distorted["b0_distorted"] = save_image(folder / "b0_distorted.nii.gz", prepared.distorted, affine)
    return {
        "series": save_image(folder / "series.nii.gz", np.rint(shown), affine, dtype=np.int16),
        "bval": write_atomic(folder / "series.bval", " ".join(f"{value:g}" for value in b) + "\n"),
        "bvec": write_atomic(folder / "series.bvec", bvec),
        "b0": save_image(folder / "b0.nii.gz", prepared.data[..., plain].mean(axis=3), affine),
        **distorted,
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

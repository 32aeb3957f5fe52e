"""Remove noise from a series by the spectrum of its signal around each voxel.

The volumes of a small neighbourhood share few patterns; what is left of their covariance follows the
Marchenko-Pastur law, which tells noise from signal without a setting (Veraart et al. 2016,
doi:10.1016/j.neuroimage.2016.08.016; estimator of Cordero-Grande et al. 2019,
doi:10.1016/j.neuroimage.2019.06.039). Neighbourhoods at every other voxel overlap, and a voxel takes the
mean of all that hold it, those of fewer patterns counting more (Manjon et al. 2013,
doi:10.1371/journal.pone.0073021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRIDE = 2
BATCH = 512


@dataclass(frozen=True, eq=False)
class Denoised:
    """A series without the noise that could be told from signal."""

    data: NDArray[np.float32]
    """(X, Y, Z, N)."""
    sigma: float
    """Deviation of the noise: the median over neighbourhoods, in the signal's units."""


def denoise(data: NDArray[np.float32], mask: NDArray[np.bool_]) -> Denoised:
    """Denoise a series; to be done before anything that interpolates.

    Parameters
    ----------
    data : array (X, Y, Z, N)
    mask : array of bool (X, Y, Z)
        Neighbourhoods with their middle in it are used.

    Returns
    -------
    Denoised
        The series as it was where no neighbourhood reaches.

    """
    width = _width(data.shape[3])
    half = width // 2
    centres = _centres(mask, half)
    if not len(centres):
        return Denoised(data, 0.0)
    offsets = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    strides = np.array([data.shape[1] * data.shape[2], data.shape[2], 1])
    flat = data.reshape(-1, data.shape[3])
    shifts, places = offsets @ strides, centres @ strides
    total = np.zeros_like(flat)
    weight = np.zeros(len(flat), np.float32)
    sigmas = []
    for first in range(0, len(places), BATCH):
        index = places[first : first + BATCH, None] + shifts
        cleaned, own, sigma = _clean(flat[index])
        sigmas.append(sigma)
        # Neighbourhoods have different middles, so that no place is met twice in one shift.
        for number in range(len(shifts)):
            total[index[:, number]] += cleaned[:, number] * own[:, None]
            weight[index[:, number]] += own
    seen = weight > 0
    total[seen] /= weight[seen, None]
    total[~seen] = flat[~seen]
    return Denoised(total.reshape(data.shape), float(np.sqrt(np.median(np.concatenate(sigmas)))))


def _width(n_volumes: int) -> int:
    """Return the smallest odd edge of a cube that holds at least as many voxels as there are volumes."""
    width = 3
    while width**3 < n_volumes:
        width += 2
    return max(width, 5)


def _centres(mask: NDArray[np.bool_], half: int) -> NDArray[np.int64]:
    """Return the middles (M, 3): every other voxel of the mask whose cube lies in the image."""
    inside = np.zeros_like(mask)
    part = tuple(slice(half, size - half, STRIDE) for size in mask.shape)
    inside[part] = mask[part]
    return np.argwhere(inside)


def _clean(
    patches: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Project patches (B, voxels, volumes) on their signal; return them, their weights, noise variances."""
    small, large = sorted(patches.shape[1:])
    few = patches if patches.shape[2] == small else patches.transpose(0, 2, 1)
    values, vectors = np.linalg.eigh(few.transpose(0, 2, 1) @ few)
    values = np.maximum(values, 0.0)
    counts = np.arange(1, small + 1)
    by_sum = np.cumsum(values, axis=1) / (counts * large)
    by_width = (values - values[:, :1]) / (4.0 * np.sqrt(counts / (large - (small - counts))) * large)
    fits = by_width < by_sum
    n_noise = np.where(fits.any(axis=1), small - np.argmax(fits[:, ::-1], axis=1), 0)
    keep = np.arange(small)[None, :] >= n_noise[:, None]
    signal = (vectors * keep[:, None, :]) @ vectors.transpose(0, 2, 1)
    cleaned = few @ signal
    if few is not patches:
        cleaned = cleaned.transpose(0, 2, 1)
    variance = np.take_along_axis(by_sum, np.maximum(n_noise - 1, 0)[:, None], axis=1)[:, 0]
    return cleaned, (1.0 / (1.0 + small - n_noise)).astype(np.float32), variance

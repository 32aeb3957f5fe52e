"""Trace image and apparent diffusion coefficient (ADC) of a diffusion series, without a tensor.

The geometric mean over directions spread evenly decays with the mean of the tensor's eigenvalues:
trace = b0 exp(-b ADC) (Basser and Jones 2002, doi:10.1002/nbm.783).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mripipe.core.gradients import GradientTable
from mripipe.errors import InputError

B_RANGE = (500.0, 1500.0)
"""s/mm^2; less weighs perfusion, more is no longer a single exponential."""
LEAST_SIGNAL = 0.1
"""Of the brightest b = 0 signal: below it is noise, whose decay means nothing."""
LARGEST_ADC = 4.0
"""10^-3 mm^2/s; free water at body temperature has 3."""


@dataclass(frozen=True, eq=False)
class MeanDiffusion:
    """What a series says without regard to direction; all of shape (X, Y, Z)."""

    b0: NDArray[np.float32]
    trace: NDArray[np.float32]
    adc: NDArray[np.float32]
    """10^-3 mm^2/s, 0 where there is too little signal."""


def mean_diffusion(data: NDArray[np.floating], table: GradientTable) -> MeanDiffusion:
    """Average a diffusion series.

    Parameters
    ----------
    data : array (X, Y, Z, N)
    table : GradientTable
        Of N volumes.

    Raises
    ------
    InputError
        No volume at b = 0, or none in `B_RANGE`.

    """
    weighted = (table.b_values >= B_RANGE[0]) & (table.b_values <= B_RANGE[1])
    if not table.is_b0.any() or not weighted.any():
        raise InputError(
            f"ADC: expected volumes at b = 0 and at b = {B_RANGE[0]:g} to {B_RANGE[1]:g} s/mm^2, found"
            f" {int(table.is_b0.sum())} and {int(weighted.sum())}; the infarct is found without"
        )
    b0 = data[..., table.is_b0].mean(axis=3)
    positive = np.maximum(data[..., weighted], 1e-3 * float(b0.max()))
    trace = np.exp(np.log(positive).mean(axis=3))
    decay = np.log(np.maximum(b0, 1e-3 * float(b0.max())) / trace)
    adc = 1000.0 * decay / float(table.b_values[weighted].mean())
    signal = b0 >= LEAST_SIGNAL * float(np.percentile(b0, 95.0))
    return MeanDiffusion(
        b0.astype(np.float32),
        trace.astype(np.float32),
        np.where(signal, np.clip(adc, 0.0, LARGEST_ADC), 0.0).astype(np.float32),
    )

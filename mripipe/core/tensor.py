"""Diffusion tensor by weighted least squares on the logarithm of the signal.

``ln S = ln S0 - b g^T D g`` is fitted twice: first every volume with the same weight, then with the square of
the signal that the first fit predicts, the inverse of the variance of ``ln S`` (Basser et al. 1994,
doi:10.1006/jmrb.1994.1037; Salvador et al. 2005, doi:10.1002/hbm.20076; Veraart et al. 2013,
doi:10.1016/j.neuroimage.2013.05.028). The predicted signal falls with b, so the weights follow the b-value.

The normal equations of many voxels are solved side by side by Cholesky's method, an array operation a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mripipe.core.gradients import GradientTable
from mripipe.errors import InputError

Floats = NDArray[np.floating]

B_MAX = 1500.0
"""s/mm^2; beyond, the signal of tissue no longer falls as a single exponential."""
B_TOLERANCE = 50.0
"""Scanners note b = 1505 for what was meant as 1500."""
CHUNK = 8192
"""Voxels at a time: what is worked on stays in the processor's cache."""
N_TERMS = 7
"""ln S0 and six elements."""
PAIRS = tuple((i, j) for i in range(N_TERMS) for j in range(i + 1))
SMALLEST_PIVOT = 1e-12
"""Relative to the diagonal: below, a voxel's weights leave an element undetermined."""


@dataclass(frozen=True, eq=False)
class TensorFit:
    """Tensors of some voxels."""

    elements: NDArray[np.float64]
    """xx, xy, yy, xz, yz, zz along RAS+ axes in mm^2/s, shape (N, 6)."""
    log_s0: NDArray[np.float64]
    """Logarithm of the signal without weighting, shape (N,)."""


def tensor_volumes(table: GradientTable, *, b_max: float = B_MAX) -> NDArray[np.bool_]:
    """Say which volumes a tensor is fitted to, shape (N,): b up to `b_max`.

    Raises
    ------
    InputError
        Fewer than six directions, or directions that lie on a cone: they fix no tensor.

    """
    chosen = np.asarray(table.b_values <= b_max + B_TOLERANCE)
    part = table.take(chosen)
    if not part.is_b0.any() and len(part.shells) < 2:
        raise InputError(
            "gradient table: expected a volume at b = 0 or two shells up to "
            f"b = {b_max:g}, found {len(part.shells)} shells; a tensor cannot be fitted"
        )
    design = design_matrix(part)
    if np.linalg.matrix_rank(design, tol=1e-3) < N_TERMS:
        raise InputError(
            f"gradient table: {part.n_directions} directions up to b = {b_max:g} fix no tensor; six or more "
            "that are spread in space are needed"
        )
    return chosen


def design_matrix(table: GradientTable) -> NDArray[np.float64]:
    """Return the linear model of ``ln S``, shape (N, 7): ln S0, then the elements in 10^-3 mm^2/s."""
    x, y, z = table.directions.T
    b = table.b_values / 1000.0
    quadratic = np.stack([x * x, 2 * x * y, y * y, 2 * x * z, 2 * y * z, z * z], axis=1)
    return np.asarray(np.column_stack([np.ones_like(b), -b[:, None] * quadratic]))


def fit_tensor(
    signal: Floats,
    table: GradientTable,
    *,
    floor: float | None = None,
    weights: Floats | None = None,
    start: TensorFit | None = None,
) -> TensorFit:
    """Fit a tensor to every voxel by weighted least squares.

    Parameters
    ----------
    signal : array (N, V)
        Any scale. All volumes are used: choose them with `tensor_volumes` before.
    table : GradientTable
        Of the V volumes.
    floor : float, optional
        Smaller signals count as this; the smallest positive signal where not given.
    weights : array (N, V), optional
        0 to 1, multiplied with the weights of the fit: leaves outliers out.
    start : TensorFit, optional
        Fit whose predicted signal gives the weights, such as an earlier one of the same voxels; the one in
        which every volume has the same weight where not given.

    Returns
    -------
    TensorFit

    Examples
    --------
    >>> axes = np.vstack([np.zeros((1, 3)), np.eye(3), np.sqrt(0.5) * (1 - np.eye(3))])
    >>> table = GradientTable(np.array([0.0] + [1000.0] * 6), axes)
    >>> signal = 800.0 * np.exp(-table.b_values * 0.0007)
    >>> (np.round(fit_tensor(signal[None], table).elements * 1e3, 6) + 0.0).tolist()
    [[0.7, 0.0, 0.7, 0.0, 0.0, 0.7]]

    """
    if signal.ndim != 2 or signal.shape[1] != table.b_values.size:
        raise InputError(
            f"signal: expected {table.b_values.size} volumes in the last of two axes, found {signal.shape}"
        )
    if floor is None:
        positive = signal[signal > 0]
        floor = float(positive.min()) if positive.size else 1.0
    design = design_matrix(table)
    products = np.stack([design[:, i] * design[:, j] for i, j in PAIRS], axis=1)
    plain = np.linalg.pinv(design).T
    terms = np.empty((N_TERMS, signal.shape[0]))
    for first in range(0, signal.shape[0], CHUNK):
        part = slice(first, first + CHUNK)
        logs = np.log(np.maximum(signal[part], np.asarray(floor, signal.dtype))).astype(np.float64)
        before = logs @ plain if start is None else _terms(start, part)
        own = None if weights is None else weights[part]
        terms[:, part] = _fit_chunk(logs, design, products, before, own)
    return TensorFit(np.ascontiguousarray(terms[1:].T) * 1e-3, terms[0])


def predict(fit: TensorFit, table: GradientTable) -> NDArray[np.float64]:
    """Return the signal of tensors under a gradient table, shape (N, V)."""
    return np.asarray(np.exp(_terms(fit, slice(None)) @ design_matrix(table).T))


def expected_signal(fit: TensorFit, table: GradientTable, signal: Floats) -> NDArray[np.float64]:
    """Return what tensors predict of a signal (N, V), at most a voxel's largest; 0 where none was fitted.

    Where there is no tissue a fit to noise may predict any number.
    """
    with np.errstate(over="ignore"):
        found = np.nan_to_num(predict(fit, table))
    return np.asarray(np.minimum(found, signal.max(axis=1, keepdims=True)), np.float64)


def _terms(fit: TensorFit, part: slice) -> NDArray[np.float64]:
    return np.column_stack([fit.log_s0[part], fit.elements[part] * 1e3])


def _fit_chunk(logs: Floats, design: Floats, products: Floats, before: Floats, own: Floats | None) -> Floats:
    """Return the terms (7, n) of some voxels, weighted by what earlier terms (n, 7) predict."""
    predicted = before @ design.T
    # Relative to each voxel's largest, so that no scale of the signal overflows.
    predicted -= predicted.max(axis=1, keepdims=True)
    squared = np.exp(2.0 * predicted)
    if own is not None:
        squared *= own
    normal = np.ascontiguousarray((squared @ products).T)
    right = np.ascontiguousarray(((squared * logs) @ design).T)
    return solve_normal(normal, right)


def solve_normal(normal: Floats, right: Floats) -> Floats:
    """Solve many small symmetric systems at once.

    Parameters
    ----------
    normal : array (28, n)
        Lower triangles, row by row: one system a column.
    right : array (7, n)

    Returns
    -------
    array (7, n)
        A system that is singular gives numbers that are not finite.

    """
    size = right.shape[0]
    row = [[normal[i * (i + 1) // 2 + j] for j in range(i + 1)] for i in range(size)]
    low: list[list[Floats]] = [[] for _ in range(size)]
    inverse: list[Floats] = []
    solution: list[Floats] = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for i in range(size):
            for j in range(i):
                value = row[i][j].copy()
                for k in range(j):
                    value -= low[i][k] * low[j][k]
                value *= inverse[j]
                low[i].append(value)
            pivot = row[i][i].copy()
            for k in range(i):
                pivot -= low[i][k] * low[i][k]
            pivot[pivot <= SMALLEST_PIVOT * row[i][i]] = np.nan
            inverse.append(1.0 / np.sqrt(pivot))
            value = right[i].copy()
            for k in range(i):
                value -= low[i][k] * solution[k]
            solution.append(value * inverse[i])
        for i in reversed(range(size)):
            value = solution[i]
            for k in range(i + 1, size):
                value = value - low[k][i] * solution[k]
            solution[i] = value * inverse[i]
    return np.stack(solution)

"""Free water beside tissue: a tensor and an isotropic part of known diffusivity in each voxel.

``S = S_t exp(-b g^T D g) + S_w exp(-b WATER)``; the fraction of free water is ``S_w / (S_t + S_w)``, weighted
by the signal at b = 0 as in Pasternak et al. 2009, doi:10.1002/mrm.22055. Two shells fix the fraction without
smoothing over voxels: Hoy et al. 2014, doi:10.1016/j.neuroimage.2014.09.053, who also search a list of
fractions first. From the best of these all eight unknowns are found by least squares on the signal (Levenberg
and Marquardt), many voxels side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mripipe.core.gradients import GradientTable
from mripipe.core.tensor import (
    B_MAX,
    B_TOLERANCE,
    PAIRS,
    TensorFit,
    design_matrix,
    fit_tensor,
    solve_normal,
    tensor_volumes,
)
from mripipe.errors import InputError

Floats = NDArray[np.floating]

WATER = 3.0e-3
"""mm^2/s; of water at the body's temperature."""
ONLY_WATER = 2.7e-3
"""mm^2/s: from this mean diffusivity of the plain tensor on a voxel holds water alone."""
NO_TISSUE = 0.95
"""Fraction of water from which what is left is noise: the tissue's tensor is then not given."""
TISSUE_MD = 1.6e-3
"""mm^2/s; tissue is not sought above, though it may be found there."""
LEAST_RATIO = 1.4
"""b of the highest over that of the lowest shell; closer ones do not tell water from tissue."""
HIGHEST_LOW = 900.0
"""s/mm^2; where the lowest shell is higher, too little of the water's signal is left."""
FRACTIONS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
ROUNDS = 15
ARRIVED = 1e-6
"""A round that explains less than this share of what was unexplained is a voxel's last."""
SMALLEST_GAIN = 1e-12
CHUNK = 8192
SMALLEST = 1e-3
"""Of the signal at b = 0: what is left for tissue is taken as this at least."""


@dataclass(frozen=True, eq=False)
class FreeWaterFit:
    """Free water and tissue of some voxels."""

    fraction: NDArray[np.float64]
    """Of free water, 0 to 1, shape (N,); NaN where there is no signal."""
    elements: NDArray[np.float64]
    """The tissue's tensor, xx, xy, yy, xz, yz, zz along RAS+ axes in mm^2/s, shape (N, 6).

    NaN where there is no tissue to speak of.
    """


def free_water_obstacle(table: GradientTable) -> str | None:
    """Say why a series' shells up to b = 1500 do not tell free water from tissue; None where they do.

    Examples
    --------
    >>> axes = np.vstack([np.zeros((1, 3)), np.eye(3), np.sqrt(0.5) * (1 - np.eye(3))])
    >>> free_water_obstacle(GradientTable(np.array([0.0] + [1000.0] * 6), axes))
    'one shell (b = 1000)'

    """
    low = table.take(table.b_values <= B_MAX + B_TOLERANCE)
    shells = low.shells
    shown = ", ".join(f"{b:.0f}" for b in shells)
    if not low.is_b0.any():
        return "no volume at b = 0"
    if len(shells) < 2:
        return f"one shell (b = {shown})" if shells else f"no shell up to b = {B_MAX:g}"
    if shells[-1] < LEAST_RATIO * shells[0] or shells[0] > HIGHEST_LOW:
        return f"shells too close or too high (b = {shown})"
    return None


def fit_free_water(signal: Floats, table: GradientTable) -> FreeWaterFit:
    """Fit free water and a tensor of tissue to every voxel.

    Parameters
    ----------
    signal : array (N, V)
        Any scale. Volumes above b = 1500 are left out.
    table : GradientTable
        Of the V volumes.

    Returns
    -------
    FreeWaterFit

    Raises
    ------
    InputError
        The shells do not allow it, see `free_water_obstacle`, or the directions fix no tensor.

    Examples
    --------
    >>> axes = np.vstack([np.eye(3), np.sqrt(0.5) * (1 - np.eye(3))])
    >>> rows = np.vstack([np.zeros((1, 3)), axes, axes])
    >>> table = GradientTable(np.array([0.0] + [500.0] * 6 + [1000.0] * 6), rows)
    >>> signal = 700 * np.exp(-table.b_values * 0.7e-3) + 300 * np.exp(-table.b_values * WATER)
    >>> found = fit_free_water(signal[None], table)
    >>> round(float(found.fraction[0]), 3), np.round(found.elements[0, [0, 2, 5]] * 1e3, 3).tolist()
    (0.3, [0.7, 0.7, 0.7])

    """
    obstacle = free_water_obstacle(table)
    if obstacle is not None:
        raise InputError(
            f"gradient table: {obstacle}; free water needs b = 0 and two shells up to b = {B_MAX:g}, the "
            f"lower at most {HIGHEST_LOW:g} and the upper {LEAST_RATIO:g} times as high or more"
        )
    chosen = tensor_volumes(table)
    part = table.take(chosen)
    fraction = np.full(len(signal), np.nan)
    elements = np.full((len(signal), 6), np.nan)
    for first in range(0, len(signal), CHUNK):
        rows = slice(first, first + CHUNK)
        fraction[rows], elements[rows] = _fit_chunk(np.asarray(signal[rows, :][:, chosen], np.float64), part)
    return FreeWaterFit(fraction, elements)


def _fit_chunk(signal: Floats, table: GradientTable) -> tuple[Floats, Floats]:
    """Return the fraction (n,) and the tissue's elements (n, 6) of some voxels."""
    fraction = np.full(len(signal), np.nan)
    elements = np.full((len(signal), 6), np.nan)
    s0 = signal[:, table.is_b0].mean(axis=1)
    usable = np.flatnonzero(np.isfinite(signal).all(axis=1) & (s0 > 0))
    scaled = np.maximum(signal[usable] / s0[usable, None], 0.0)
    plain = fit_tensor(scaled, table, floor=SMALLEST)
    md = plain.elements[:, [0, 2, 5]].mean(axis=1)
    mixed = md < ONLY_WATER
    fraction[usable] = np.where(np.isfinite(md), 1.0, np.nan)
    scaled, usable = scaled[mixed], usable[mixed]
    start = _start(scaled, table, TensorFit(plain.elements[mixed], plain.log_s0[mixed]))
    terms = _refine(scaled, table, start)
    tissue = np.exp(terms[0])
    fraction[usable] = terms[7] / (tissue + terms[7])
    found = terms[1:7].T * 1e-3
    found[fraction[usable] > NO_TISSUE] = np.nan
    elements[usable] = found
    return fraction, elements


def _start(signal: Floats, table: GradientTable, plain: TensorFit) -> Floats:
    """Return the terms (8, n) of the fraction, of a list of them, whose tensor explains most."""
    design, water = design_matrix(table), np.exp(-table.b_values * WATER)
    best = np.full(len(signal), np.inf)
    terms = np.empty((8, len(signal)))
    for fraction in FRACTIONS:
        rest = np.maximum(signal - fraction * water, SMALLEST)
        fit = fit_tensor(rest, table, floor=SMALLEST, start=plain)
        own = np.vstack([fit.log_s0, fit.elements.T * 1e3])
        with np.errstate(over="ignore", invalid="ignore"):
            missed = ((np.exp(own.T @ design.T) + fraction * water - signal) ** 2).sum(axis=1)
        # Water that is called tissue explains the signal as well.
        md = fit.elements[:, [0, 2, 5]].mean(axis=1)
        missed = np.where(np.isfinite(missed), missed, 1e30) + np.where(md > TISSUE_MD, 1e20, 0.0)
        better = missed < best
        best[better] = missed[better]
        terms[:7, better], terms[7, better] = own[:, better], fraction
    return terms


def _refine(signal: Floats, table: GradientTable, terms: Floats) -> Floats:
    """Return terms (8, n) that miss the signal least: ln S_t, six elements in 10^-3 mm^2/s, S_w."""
    design, water = design_matrix(table), np.exp(-table.b_values * WATER)
    products = np.stack([design[:, i] * design[:, j] for i, j in PAIRS], axis=1)
    found = terms.copy()
    live, damping = np.arange(len(signal)), np.full(len(signal), 1e-3)
    tissue, missed = _missed(signal, design, water, terms)
    for _ in range(ROUNDS):
        moved = terms + _step(signal, tissue, terms, damping, (design, water, products))
        moved[7] = np.maximum(moved[7], 0.0)
        after, left = _missed(signal, design, water, moved)
        better = left < missed
        gained = np.where(better, missed - left, np.inf)
        found[:, live[better]] = moved[:, better]
        terms = np.where(better, moved, terms)
        tissue[better], missed = after[better], np.where(better, left, missed)
        damping = np.where(better, damping * 0.2, damping * 8.0)
        # Voxels that have arrived are left alone, which saves most of the time.
        on = gained > ARRIVED * missed + SMALLEST_GAIN
        live, signal, tissue, missed = live[on], signal[on], tissue[on], missed[on]
        terms, damping = terms[:, on], damping[on]
        if not live.size:
            break
    return found


def _step(
    signal: Floats, tissue: Floats, terms: Floats, damping: Floats, model: tuple[Floats, Floats, Floats]
) -> Floats:
    """Return the next change of all terms (8, n)."""
    design, water, products = model
    rest = signal - tissue - terms[7][:, None] * water
    # At the border, where less water than none would fit best, only the tensor moves.
    free = ((terms[7] > 0) | (rest @ water > 0)).astype(float)
    cross = ((tissue * water) @ design) * free[:, None]
    corner = np.full((1, len(signal)), water @ water)
    normal = np.vstack([((tissue**2) @ products).T, cross.T, corner])
    normal[[i * (i + 3) // 2 for i in range(8)]] *= 1.0 + damping
    right = np.vstack([((tissue * rest) @ design).T, ((rest @ water) * free)[None]])
    return np.asarray(np.nan_to_num(solve_normal(normal, right)))


def _missed(signal: Floats, design: Floats, water: Floats, terms: Floats) -> tuple[Floats, Floats]:
    """Return the tissue's signal (n, V) and the sum of squares (n,) that terms leave unexplained."""
    with np.errstate(over="ignore", invalid="ignore"):
        tissue = np.exp(terms[:7].T @ design.T)
        left = ((tissue + terms[7][:, None] * water - signal) ** 2).sum(axis=1)
    return tissue, np.where(np.isfinite(left), left, np.inf)

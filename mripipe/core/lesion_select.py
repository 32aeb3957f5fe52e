"""From lesion probability to the one infarct: pieces, side and what is left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, generate_binary_structure, label

from mripipe.core.distance import depth_within
from mripipe.core.grid import box_about

SHEET_MM = 2.5
"""Half the thickness up to which a sheet counts as thin: cortex is 2 to 4 mm thick."""
RIM_MM = 6.0
"""Depth below the brain mask's edge that a sheet of surface CSF reaches."""
SMALLEST_INFARCT_ML = 3.0
"""No infarct of the MCA's territory in this population is smaller; hyperintensities and lacunes are."""
SMALLEST_PIECE_ML = 0.3
"""A second piece of the infarct is at least this large."""
LEAST_IN_TERRITORY = 0.5
"""Share of the main piece that lies in the MCA territory."""
SMALLEST_ACUTE_ML = 0.5
SMALLEST_FRAGMENT_ML = 0.03
"""The same of an acute infarct: fragments of a clot leave pieces of a few voxels of a diffusion image."""
REACH_MM = 15.0
"""Other pieces lie this close to the main one, or they are larger: see below."""
SMALLEST_FAR_PIECE_ML = 1.0
FAR_IN_TERRITORY = 0.9
"""Further away a piece is a branch's own infarct, larger and wholly in the territory; hyperintensities of
white matter lie about the ventricle, where territories meet."""


def without_rim(found: NDArray[np.bool_], brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cut off thin sheets along the brain's surface: CSF between a mask's edge and the cortex, no infarct.

    Parameters
    ----------
    found, brain : arrays of bool (X, Y, Z)
        1 mm voxels.

    """
    if not found.any():
        return found.copy()
    # Distances are needed about what was found alone; beyond the grid there is no brain.
    margin = int(RIM_MM) + 1
    box = box_about(np.pad(found, margin), margin)
    part, inside = np.pad(found, margin)[box], np.pad(brain, margin)[box]
    deep = depth_within(part) > SHEET_MM
    opened = depth_within(~deep) < SHEET_MM if deep.any() else deep
    superficial = depth_within(inside) <= RIM_MM
    kept = np.zeros(np.add(found.shape, 2 * margin), bool)
    kept[box] = part & (opened | ~superficial)
    return kept[margin:-margin, margin:-margin, margin:-margin]


def select_infarct(
    probability: NDArray[np.floating],
    territory: NDArray[np.bool_],
    brain: NDArray[np.bool_],
    *,
    voxel_ml: float = 1e-3,
) -> NDArray[np.bool_]:
    """Keep the main infarct and its pieces on the same side.

    Parameters
    ----------
    probability : array (X, Y, Z)
        On the symmetric grid: the first half of the first axis is one hemisphere, 1 mm voxels.
    territory : array of bool (X, Y, Z)
        MCA territory of both sides.
    brain : array of bool (X, Y, Z)
    voxel_ml : float
        Volume of a voxel of the patient's brain, in mL.

    Returns
    -------
    array of bool (X, Y, Z)
        Empty where nothing is large enough, or in the right place, to be called an infarct.

    """
    none = np.zeros(probability.shape, bool)
    pieces, count = label(without_rim(probability >= 0.5, brain), structure=generate_binary_structure(3, 3))
    if count == 0:
        return none
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:] * voxel_ml
    inside = np.bincount(pieces[territory], minlength=count + 1)[1:] * voxel_ml
    allowed = (sizes >= SMALLEST_INFARCT_ML) & (inside >= LEAST_IN_TERRITORY * sizes)
    if not allowed.any():
        return none
    main = int(np.argmax(np.where(allowed, inside, 0.0))) + 1
    left = np.arange(probability.shape[0])[:, None, None] < probability.shape[0] / 2
    on_left = (pieces == main)[: probability.shape[0] // 2].sum() * 2 > (pieces == main).sum()
    same_side = left if on_left else ~left
    near = depth_within(pieces != main) <= REACH_MM
    touching = np.bincount(pieces[near & same_side], minlength=count + 1)[1:] > 0
    here = np.bincount(pieces[territory & same_side], minlength=count + 1)[1:] * voxel_ml
    far = (sizes >= SMALLEST_FAR_PIECE_ML) & (here >= FAR_IN_TERRITORY * sizes)
    kept = np.flatnonzero((touching & (sizes >= SMALLEST_PIECE_ML)) | far) + 1
    # The main piece may bulge over the midline with the brain; the others may not lie there.
    return np.asarray(np.isin(pieces, kept) & (same_side | (pieces == main)))


def select_contralateral(
    probability: NDArray[np.floating],
    infarct: NDArray[np.bool_],
    territory: NDArray[np.bool_],
    brain: NDArray[np.bool_],
    *,
    voxel_ml: float = 1e-3,
) -> NDArray[np.bool_]:
    """Find infarcts of the other hemisphere: older strokes, which are told apart and not counted.

    Parameters
    ----------
    probability, territory, brain, voxel_ml
        As for `select_infarct`.
    infarct : array of bool (X, Y, Z)
        What `select_infarct` found; with none there is no other side.

    Returns
    -------
    array of bool (X, Y, Z)
        Pieces as large as an infarct must be, wholly in the MCA territory.

    """
    if not infarct.any():
        return np.zeros(probability.shape, bool)
    half = probability.shape[0] // 2
    left = np.arange(probability.shape[0])[:, None, None] < probability.shape[0] / 2
    other = ~left if infarct[:half].sum() * 2 > infarct.sum() else left
    found = without_rim(probability >= 0.5, brain) & other & ~infarct
    pieces, count = label(found, structure=generate_binary_structure(3, 3))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:] * voxel_ml
    inside = np.bincount(pieces[territory], minlength=count + 1)[1:] * voxel_ml
    allowed = (sizes >= SMALLEST_INFARCT_ML) & (inside >= FAR_IN_TERRITORY * sizes)
    return np.asarray(np.isin(pieces, np.flatnonzero(allowed) + 1))


def select_acute(
    probability: NDArray[np.floating], territory: NDArray[np.bool_], *, voxel_ml: float = 1e-3
) -> NDArray[np.bool_]:
    """Keep the pieces of an acute infarct in the MCA territory of one side: the one that holds the largest.

    Parameters
    ----------
    probability, territory, voxel_ml
        As for `select_infarct`.

    Returns
    -------
    array of bool (X, Y, Z)
        Empty where the largest piece is too small to be told from noise.

    """
    pieces, count = label(probability >= 0.5, structure=generate_binary_structure(3, 3))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:] * voxel_ml
    inside = np.bincount(pieces[territory], minlength=count + 1)[1:] * voxel_ml
    allowed = (sizes >= SMALLEST_FRAGMENT_ML) & (inside >= LEAST_IN_TERRITORY * sizes)
    if not (allowed & (sizes >= SMALLEST_ACUTE_ML)).any():
        return np.zeros(probability.shape, bool)
    main = int(np.argmax(np.where(allowed, inside, 0.0))) + 1
    half = probability.shape[0] // 2
    left = np.arange(probability.shape[0])[:, None, None] < half
    on_left = (pieces[:half] == main).sum() * 2 > (pieces == main).sum()
    return np.asarray(np.isin(pieces, np.flatnonzero(allowed) + 1) & (left if on_left else ~left))


def selected_probability(probability: NDArray[np.floating], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the probability of what was selected, with the doubtful voxels just outside its border.

    Were these set to 0, the place of one half between them and a doubtful voxel inside would move inwards
    when the map is interpolated.

    Parameters
    ----------
    probability : array (X, Y, Z)
    kept : array of bool (X, Y, Z)
        Voxels of at least one half that were selected.

    Examples
    --------
    >>> row, kept = np.array([[[0.75, 0.625, 0.375, 0.125, 0.875]]]), np.array([[[1, 1, 0, 0, 0]]], bool)
    >>> selected_probability(row, kept).ravel().tolist()
    [0.75, 0.625, 0.375, 0.0, 0.0]

    """
    beside = binary_dilation(kept, generate_binary_structure(3, 3)) & (probability < 0.5)
    return np.where(kept | beside, probability, 0.0).astype(np.float32)

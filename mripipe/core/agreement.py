"""How well a lesion mask agrees with a reference.

Dice = 2 |A and B| / (|A| + |B|). HD95 is the larger of the two 95th percentiles of the distance from one
surface to the other. Lesion-wise F1 = TP / (TP + (FP + FN) / 2) over 26-connected lesions, where one voxel of
overlap is a hit: TP are reference lesions hit, FN reference lesions missed, FP test lesions that hit nothing.

References
----------
Maier-Hein et al. 2024, Metrics reloaded, doi:10.1038/s41592-023-02151-z (Dice, HD95); Hernandez Petzsche et
al. 2022, ISLES 2022, doi:10.1038/s41597-022-01875-5 (lesion-wise F1, lesion count).

"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion, generate_binary_structure, label
from scipy.spatial import cKDTree

from mripipe.core.grid import voxel_to_world
from mripipe.core.reliability import (
    BlandAltman,
    bland_altman,
    icc_2_1,
    minimal_detectable_change,
    within_subject_sd,
)
from mripipe.core.volumetry import lesion_volume_ml
from mripipe.errors import InputError

_HD_PERCENT: Final = 95


@dataclass(frozen=True)
class Agreement:
    """Agreement of a test mask with a reference mask."""

    dice: float
    """0 to 1; 1 where both are empty, 0 where one is."""
    reference_ml: float
    test_ml: float
    volume_difference_ml: float
    """Test minus reference."""
    hd95_mm: float | None
    """None where a mask is empty: there is no surface to measure from."""
    lesion_f1: float
    """0 to 1; 1 where both are empty, 0 where one is."""
    n_reference: int
    """26-connected lesions of the reference."""
    n_test: int
    count_difference: int
    """Test minus reference."""

    @property
    def absolute_volume_difference_ml(self) -> float:
        """Size of the volume difference."""
        return abs(self.volume_difference_ml)

    @property
    def absolute_count_difference(self) -> int:
        """Size of the difference in the number of lesions."""
        return abs(self.count_difference)


@dataclass(frozen=True)
class SetAgreement:
    """Agreement over a set of pairs; volumes are compared in mL, test against reference."""

    pairs: tuple[Agreement, ...]
    """In the order given."""
    mean_dice: float
    icc_2_1: float | None
    """Of the volumes, absolute agreement; None with fewer than two pairs, or all volumes the same."""
    volume_bland_altman: BlandAltman | None
    """Of test minus reference, mL; None with fewer than two pairs."""
    within_subject_sd_ml: float
    minimal_detectable_change_ml: float


def agreement_over(pairs: Sequence[Agreement]) -> SetAgreement:
    """Sum up the agreement of a set of pairs, each of them another brain or visit.

    Parameters
    ----------
    pairs : sequence of Agreement

    Raises
    ------
    InputError
        If there is no pair.

    """
    if not pairs:
        raise InputError("no pair of masks to sum up; give one at least")
    volumes = np.array([(pair.reference_ml, pair.test_ml) for pair in pairs])
    several = len(pairs) > 1
    icc = icc_2_1(volumes) if several else float("nan")
    within = within_subject_sd(volumes)
    return SetAgreement(
        pairs=tuple(pairs),
        mean_dice=float(np.mean([pair.dice for pair in pairs])),
        icc_2_1=icc if isfinite(icc) else None,
        volume_bland_altman=bland_altman(volumes[:, 1], volumes[:, 0]) if several else None,
        within_subject_sd_ml=within,
        minimal_detectable_change_ml=minimal_detectable_change(within),
    )


def agreement(reference: NDArray[Any], test: NDArray[Any], affine: ArrayLike) -> Agreement:
    """Compare two masks on one grid.

    Parameters
    ----------
    reference, test : array, shape (X, Y, Z)
        Zero outside.
    affine : array, shape (4, 4)
        Voxel index to RAS+ mm; may be anisotropic, oblique or sheared.

    Raises
    ------
    InputError
        If the shapes differ or are not 3D.

    Examples
    --------
    >>> a = np.zeros((8, 8, 8)); a[2:4, 2:4, 2:4] = 1
    >>> b = np.roll(a, 1, axis=2)
    >>> found = agreement(a, b, np.diag([1.0, 1.0, 3.0, 1.0]))
    >>> found.dice, found.hd95_mm, found.lesion_f1
    (0.5, 3.0, 1.0)

    """
    first, second = np.asarray(reference) != 0, np.asarray(test) != 0
    if first.ndim != 3 or first.shape != second.shape:
        raise InputError(
            f"masks of shape {first.shape} and {second.shape} cannot be compared: expected one 3D grid; "
            "resample one onto the other's grid"
        )
    reference_ml, test_ml = lesion_volume_ml(first, affine), lesion_volume_ml(second, affine)
    n_reference, n_missed = _lesions(first, second)
    n_test, n_false = _lesions(second, first)
    return Agreement(
        dice=dice_coefficient(first, second),
        reference_ml=reference_ml,
        test_ml=test_ml,
        volume_difference_ml=test_ml - reference_ml,
        hd95_mm=_hd95_mm(first, second, affine),
        lesion_f1=_f1(n_reference - n_missed, n_false, n_missed),
        n_reference=n_reference,
        n_test=n_test,
        count_difference=n_test - n_reference,
    )


def dice_coefficient(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return Dice; 1 where both are empty."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return float(2 * np.count_nonzero(first & second) / total) if total else 1.0


def _lesions(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the number of lesions in a mask, and how many of them touch no voxel of the other."""
    labels, n_lesions = label(mask, structure=generate_binary_structure(3, 3))
    n_hit = np.unique(labels[mask & other]).size
    return int(n_lesions), int(n_lesions - n_hit)


def _f1(n_true: int, n_false: int, n_missed: int) -> float:
    """Return F1; 1 where there is nothing to find and nothing was found."""
    total = n_true + (n_false + n_missed) / 2
    return n_true / total if total else 1.0


def _hd95_mm(first: NDArray[np.bool_], second: NDArray[np.bool_], affine: ArrayLike) -> float | None:
    """Return the 95 % Hausdorff distance between the masks' surface voxels."""
    if not first.any() or not second.any():
        return None
    # Distances between points in the world, not a distance transform, whose axes must be orthogonal.
    one, other = (voxel_to_world(np.argwhere(_surface(mask)), affine) for mask in (first, second))
    there, back = cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]
    return float(max(np.percentile(there, _HD_PERCENT), np.percentile(back, _HD_PERCENT)))


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask's voxels with a face that is not shared with the mask."""
    return np.asarray(mask & ~binary_erosion(mask))

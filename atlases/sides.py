"""Left and right of a label map: what the names say against where the voxels are.

A label map whose header mirrors it looks right in every viewer and puts every result on the wrong side of the
patient. The names are the only independent witness, so they are held against the mean x of each label.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mripipe.errors import InputError

from .tables import AtlasLabel

LEFT_WORDS = frozenset({"left", "l", "lh", "letf", "lefft", "leftt"})
RIGHT_WORDS = frozenset({"right", "r", "rh", "rigth", "rihgt", "rigt", "righ", "rgiht"})
"""Words that tell a side, with the usual slips of the pen."""

MIN_STEM = 3
"""Letters before a glued L or R (``ACAL``, ``ACAR``); shorter stems pair up by chance (``CL``, ``CR``)."""

ONE_SIDED = 0.95
"""Share of a label's voxels on one side from which the label is of that side; the rest is smoothing."""

LISTED = 6
"""Labels named in an error before the rest are only counted."""


@dataclass(frozen=True)
class SideCheck:
    """Sides of the labels of an atlas."""

    sides: Mapping[int, str]
    """``left``, ``right`` or ``midline`` for each label."""
    verified: bool
    """Whether names on both sides agree with the positions; else the sides are the header's word alone."""
    notes: tuple[str, ...]
    """What a user should know."""


def side_in_name(name: str) -> str | None:
    """Side that a region's name tells, ``left`` or ``right``; None where it tells neither or both.

    Examples
    --------
    >>> side_in_name("R_Corticospinal_Tract"), side_in_name("ctx-lh-insula"), side_in_name("LeftThalamus")
    ('right', 'left', 'left')
    >>> side_in_name("Area 5L"), side_in_name("lingual gyrus")
    (None, None)

    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = {word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced)}
    left, right = bool(words & LEFT_WORDS), bool(words & RIGHT_WORDS)
    if left == right:
        return None
    return "left" if left else "right"


def without_side(name: str) -> str:
    """Name of a region without the words that tell its side, so that left and right have the same.

    Examples
    --------
    >>> without_side("R_Corticospinal_Tract"), without_side("Corticospinal_Tract_L"), without_side("Fornix")
    ('Corticospinal_Tract', 'Corticospinal_Tract', 'Fornix')
    >>> without_side("ctx-lh-insula"), without_side("Cingulum (hippocampus) L")
    ('ctx_insula', 'Cingulum_hippocampus')

    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) if side_in_name(name) else name
    words = [word for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]
    kept = [word for word in words if word.lower() not in LEFT_WORDS | RIGHT_WORDS]
    return "_".join(kept or words)


def named_sides(labels: Sequence[AtlasLabel]) -> tuple[dict[int, str], tuple[str, ...]]:
    """Sides that a label table tells.

    A name that several labels share is no evidence: one of them is misspelt (a right side named as the left
    one). A glued L or R counts where its mirror name is in the table too.

    Parameters
    ----------
    labels : sequence of AtlasLabel

    Returns
    -------
    sides : dict
        Label index to ``left`` or ``right``; labels whose side the table does not tell are not in it.
    notes : tuple of str
        Names shared by several labels.

    """
    sides: dict[int, str] = {}
    notes = []
    # Abbreviations first: the full name, where it tells, has the last word.
    for names in ({row.index: row.abbreviation for row in labels}, {row.index: row.name for row in labels}):
        counts = Counter(name.lower() for name in names.values() if name != "n/a")
        for index, name in names.items():
            side = side_in_name(name) or _glued_side(name, counts)
            if side and counts[name.lower()] == 1:
                sides[index] = side
        for name in sorted(name for name, count in counts.items() if count > 1):
            shared = [index for index, other in names.items() if other.lower() == name]
            notes.append(f"labels {', '.join(map(str, shared))} share the name '{names[shared[0]]}'")
    return sides, tuple(notes)


def _glued_side(name: str, counts: Mapping[str, int]) -> str | None:
    letter, stem = name[-1:].lower(), name[:-1].lower()
    if len(stem) < MIN_STEM or letter not in ("l", "r"):
        return None
    mirror = stem + ("r" if letter == "l" else "l")
    return {"l": "left", "r": "right"}[letter] if counts.get(mirror) else None


def check_sides(
    labels: Sequence[AtlasLabel],
    volume: NDArray[np.integer],
    affine: NDArray[np.float64],
    *,
    name: str,
) -> SideCheck:
    """Hold the sides in the names against the positions.

    Parameters
    ----------
    labels : sequence of AtlasLabel
        Labels that are in the volume.
    volume : array of int, shape (X, Y, Z), or (X, Y, Z, N)
        Labels, or the share of label k + 1 in volume k on any scale.
    affine : array, shape (4, 4)
        Voxel index to RAS+ mm, x = 0 on the midline.
    name : str
        What an error calls the atlas.

    Returns
    -------
    SideCheck

    Raises
    ------
    InputError
        If a label named left has its mean x above 0, or one named right below.

    """
    mean_x_mm, left_share = _positions(volume, affine, max(row.index for row in labels))
    named, notes = named_sides(labels)
    wrong = [
        row
        for row in labels
        if row.index in named and (mean_x_mm[row.index] < 0) != (named[row.index] == "left")
    ]
    if wrong:
        raise InputError(_wrong_sides(wrong, len(named), mean_x_mm, name))
    sides = {row.index: named.get(row.index) or _position_side(left_share[row.index]) for row in labels}
    verified = {"left", "right"} <= set(named.values())
    return SideCheck(sides, verified, notes)


def _positions(
    volume: NDArray[np.integer], affine: NDArray[np.float64], largest: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean x in mm and share of voxels at x < 0 of every label value; NaN for absent ones."""
    voxels = np.nonzero(volume)
    held = volume[voxels].astype(np.int64)
    values, share = (held, np.ones(len(held))) if volume.ndim == 3 else (voxels[3] + 1, held.astype(float))
    x_mm = np.stack(voxels[:3], axis=-1) @ affine[0, :3] + affine[0, 3]
    counts = np.bincount(values, share, minlength=largest + 1)
    counts[counts == 0] = np.nan
    totals = (np.bincount(values, share * weights, minlength=largest + 1) for weights in (x_mm, x_mm < 0))
    mean_x_mm, left_share = (total / counts for total in totals)
    return mean_x_mm, left_share


def _position_side(left_share: float) -> str:
    if left_share >= ONE_SIDED:
        return "left"
    return "right" if left_share <= 1 - ONE_SIDED else "midline"


def _wrong_sides(wrong: Sequence[AtlasLabel], n_named: int, mean_x_mm: NDArray[np.float64], name: str) -> str:
    shown = ", ".join(
        f"{row.index} '{row.name}' (x {mean_x_mm[row.index]:+.0f} mm)" for row in wrong[:LISTED]
    )
    more = f" and {len(wrong) - LISTED} more" if len(wrong) > LISTED else ""
    cause = (
        "the header mirrors the image, or the table is not its own: get a copy that agrees with its names"
        if len(wrong) == n_named
        else "correct these names, or the image"
    )
    return (
        f"{name}: expected labels named left at x < 0 and right at x > 0 mm, found {len(wrong)} of {n_named} "
        f"on the other side: {shown}{more}; {cause}"
    )

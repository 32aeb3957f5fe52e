"""Territories of the cerebral arteries in MNI152NLin2009aSym, mirror-symmetric.

Sources of the borders: ``arterial_territories.json``; how the map is made: ``docs/atlases.md``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mripipe.errors import RequestError

from .atlas import Atlas, load_atlas
from .tables import AtlasLabel

TERRITORIES_NAME = "arterial_territories"

TERRITORIES = (
    ("ACA", "anterior cerebral artery"),
    ("MCAs", "middle cerebral artery, superior division"),
    ("MCAi", "middle cerebral artery, inferior division"),
    ("MCAl", "middle cerebral artery, lenticulostriate"),
    ("PCA", "posterior cerebral artery"),
    ("VB", "vertebrobasilar: brainstem and cerebellum"),
)
"""Abbreviation and name; the n-th (from 1) has label 2n - 1 on the left and 2n on the right."""

TERRITORY_LABELS = tuple(
    AtlasLabel(2 * number + offset, f"{name}, {side}", f"{short}_{side[0].upper()}", side)
    for number, (short, name) in enumerate(TERRITORIES)
    for offset, side in ((1, "left"), (2, "right"))
)
"""The label table."""

MCA_LABELS = {
    side: tuple(
        row.index for row in TERRITORY_LABELS if row.side == side and row.abbreviation.startswith("MCA")
    )
    for side in ("left", "right")
}
"""Labels of the middle cerebral artery on each side: superior and inferior division, lenticulostriate."""


@lru_cache(maxsize=1)
def load_territories() -> Atlas:
    """Load the arterial territories, on the grid of `mripipe.atlases.template.load_template`.

    Returns
    -------
    Atlas
        Labels of shape (197, 233, 189). Shared between callers: its arrays are read-only.

    Raises
    ------
    InputError
        If the file is not the one that was built (checksum).

    """
    return load_atlas(TERRITORIES_NAME)


def mca_mask(side: str) -> NDArray[np.bool_]:
    """Territory of the middle cerebral artery.

    Parameters
    ----------
    side : str
        ``left`` or ``right``.

    Returns
    -------
    array of bool, shape (197, 233, 189)
        On the template's grid.

    Raises
    ------
    RequestError
        For another side.

    """
    if side not in MCA_LABELS:
        raise RequestError(f"expected side left or right, found '{side}'; ask for one of them")
    return load_territories().mask(MCA_LABELS[side])

"""Fluid of a ventricle that a lost neighbourhood has drawn wide, apart from a cavity that opens into it.

A cavity's border towards the ventricle is where the mirrored ventricle ends. By that alone a ventricle that
is wider than its mirror image would be infarct. Widening moves the wall by some millimetres; fluid that
reaches no further than that from where a ventricle is expected, and hangs together with it, is the
ventricle's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from mripipe.core.distance import depth_within
from mripipe.core.grid import box_about
from mripipe.core.ventricles import WIDENING_MM

Masks = NDArray[np.bool_]

MISFIT_MM = 2.0
"""Of the rough alignment: fluid this close to the expected ventricle touches it."""


def widened_ventricle(infarct: Masks, fluid: Masks, ventricles: Masks) -> Masks:
    """Return what of an infarct is the fluid of a ventricle that was drawn wide.

    Parameters
    ----------
    infarct : array of bool (X, Y, Z)
        As found so far, 1 mm voxels.
    fluid : array of bool (X, Y, Z)
        Like CSF.
    ventricles : array of bool (X, Y, Z)
        Where lateral ventricles are expected.

    Returns
    -------
    array of bool (X, Y, Z)
        Within `infarct`.

    """
    found = np.zeros(infarct.shape, bool)
    if not (infarct & fluid).any() or not ventricles.any():
        return found
    box = box_about(infarct | ventricles, 1)
    away = depth_within(~ventricles[box])
    inner = infarct[box] & fluid[box]
    pieces, count = label(inner)
    nearest, furthest = np.full(count + 1, np.inf), np.zeros(count + 1)
    np.minimum.at(nearest, pieces[inner], away[inner])
    np.maximum.at(furthest, pieces[inner], away[inner])
    found[box] = np.isin(pieces, np.flatnonzero((nearest <= MISFIT_MM) & (furthest <= WIDENING_MM)))
    return found

"""Smallest change of a volume that repeated scans of an unchanged brain would rarely show.

MDC = 1.96 sqrt(2) SD, with SD the within-subject deviation of one measurement (Weir 2005,
doi:10.1519/15184.1). What differs from scan to scan is where the border is drawn, so the deviation grows with
the infarct's surface: SD = displacement x surface. A border is placed to a share of the voxel that holds it,
so that the displacement grows with the voxels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

REPEAT_SHARE = 0.1
"""Deviation of the whole border's place between two scans of one brain, in voxel edges.

Phantoms of 1 mm scanned twice gave 0.02 to 0.03 mm, two real scans of one head, 0.7 x 0.7 x 3 mm and cut in
other slices, 0.2 mm: the share is the larger of the two.
"""
CONFIDENCE = 1.96


def repeat_deviation_ml(surface_cm2: float, voxel_mm: ArrayLike) -> float:
    """Return the deviation of an infarct's volume between scans of one brain, in mL.

    Parameters
    ----------
    surface_cm2 : float
    voxel_mm : array-like (3,)
        Edges of a voxel. A border looks into every direction: the root of their mean square counts.

    Examples
    --------
    A ball of 80 mL has a surface of 90 cm^2.

    >>> round(repeat_deviation_ml(90.0, (1.0, 1.0, 1.0)), 2)
    0.9

    """
    edge_mm = float(np.sqrt(np.mean(np.square(np.asarray(voxel_mm, float)))))
    return REPEAT_SHARE * edge_mm / 10.0 * surface_cm2


def minimal_detectable_change_ml(deviation_ml: float, other_ml: float) -> float:
    """Return the smallest change between two visits that is told from none, in mL.

    Parameters
    ----------
    deviation_ml, other_ml : float
        From `repeat_deviation_ml`, of each visit.

    Examples
    --------
    >>> round(minimal_detectable_change_ml(0.9, 0.9), 2)
    2.49

    """
    return CONFIDENCE * math.hypot(deviation_ml, other_ml)

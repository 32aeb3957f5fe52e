"""Smallest change of a volume that repeated scans of an unchanged brain would rarely show.

MDC = 1.96 sqrt(2) SD, with SD the within-subject deviation of one measurement (Weir 2005,
doi:10.1519/15184.1). What differs from scan to scan is where the border is drawn, so the deviation grows with
the infarct's surface: SD = displacement x surface.
"""

from __future__ import annotations

import math

REPEAT_MM = 0.1
"""Deviation of the whole border's place between two scans of one brain.

Phantoms scanned twice gave 0.02 to 0.03 mm, two real scans of one head in other slices 0.2 mm.
"""
CONFIDENCE = 1.96


def minimal_detectable_change_ml(surface_cm2: float, other_cm2: float) -> float:
    """Return the smallest change between two visits that is told from none, in mL.

    Parameters
    ----------
    surface_cm2, other_cm2 : float
        Surface of the infarct at each visit.

    Examples
    --------
    A ball of 80 mL has a surface of 90 cm^2.

    >>> round(minimal_detectable_change_ml(90.0, 90.0), 2)
    2.49

    """
    one, other = (REPEAT_MM / 10.0 * surface for surface in (surface_cm2, other_cm2))
    return CONFIDENCE * math.sqrt(one**2 + other**2)

"""Whether the surroundings of a voxel, taken together, are as dark or bright as they should be.

Gliosis on T1w is often as bright as grey matter, or as grey matter mixed with CSF, and a voxel of it says
little by itself. Over some millimetres cortex is grey matter, white matter and CSF together, and an infarct
is one grey throughout: the average gives it away. It is compared with the average that the template and the
mirrored place lead to expect, and with the mirrored place's own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from mripipe.core.distance import depth_within
from mripipe.core.smoothing import smoother_within

Floats = NDArray[np.floating]

REACH_MM = 4.0
"""Deviation of the Gaussian: a gyrus with both its banks and its white matter."""
LEAST_DEVIATIONS = 2.5
"""An average further off than this many robust deviations speaks for an infarct. Healthy brain has heavier
tails than a Gaussian: on three real heads without an infarct one voxel in 30 to 45 lies beyond."""
RIM_MM = 6.0
"""Nearer to the brain mask's edge nothing speaks for an infarct here: what a mask takes in of skull and CSF
differs between the sides."""
PEAK_MM = 6
"""The deepest point of an infarct is looked for this far off: where it is half as deep, its border lies."""
LEAST_SPREAD_PERCENTILE = 5.0


def regional_log_odds(
    image: Floats, seen: NDArray[np.bool_], expected: Floats, means: Floats
) -> NDArray[np.float32]:
    """Return what the surroundings of each voxel say of an infarct.

    Parameters
    ----------
    image : array (X, Y, Z)
        Levelled image on the symmetric 1 mm grid, on which white matter and CSF lie on either side of grey
        matter, as on T1w and T2w.
    seen : array of bool (X, Y, Z)
        The brain, where the image shows it.
    expected : array (4, N)
        Probability of grey matter, white matter, CSF, and grey matter mixed with CSF in the N voxels of
        ``seen``; columns sum to 1.
    means : array (3,)
        Brightness of grey matter, white matter and CSF.

    Returns
    -------
    array (X, Y, Z)
        Log odds that an infarct is there, how seldom one is taken into account; 0 outside ``seen``.

    """
    grey, white, csf = (float(mean) for mean in means)
    # CSF is drawn half way to grey matter: sulci differ most between people and sides, and are no infarct.
    fluid = (grey + csf) / 2.0
    levels = np.array([grey, white, fluid, 0.25 * grey + 0.75 * fluid])
    smooth = smoother_within(seen, REACH_MM)
    typical, square = (_filled(levels**power @ expected, seen) for power in (1, 2))
    own = smooth(np.clip(np.where(seen, image, 0.0), min(white, fluid), max(white, fluid)))
    spread = smooth(square - typical**2)
    wanted = smooth(typical)
    rest = own - np.where(seen & seen[::-1], 0.5 * (wanted + own[::-1]), wanted)
    spread = np.sqrt(
        np.maximum(0.5 * (spread + spread[::-1]), np.percentile(spread[seen], LEAST_SPREAD_PERCENTILE))
    )
    off = np.where(seen, (rest - np.median(rest[seen])) / spread, 0.0) * np.sign(fluid - white)
    off /= 1.4826 * np.median(np.abs(off[seen])) + 1e-9
    peak = maximum_filter(off, size=2 * PEAK_MM + 1)
    odds = off - np.maximum(LEAST_DEVIATIONS, 0.5 * peak)
    rim = depth_within(seen) <= RIM_MM
    return np.where(seen, np.where(rim, np.minimum(odds, 0.0), odds), 0.0).astype(np.float32)


def _filled(values: Floats, seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    volume = np.zeros(seen.shape)
    volume[seen] = values
    return volume

"""Infarct probability from what voxels say by themselves, their neighbours and the patient's other visits.

A mean-field iteration of a Markov random field: each voxel takes the vote of its surroundings, in space and
in time, into account. What has no core of strong evidence is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mripipe.core.distance import depth_within
from mripipe.core.smoothing import smoother_within

Floats = NDArray[np.floating]

START_MM = 3.5
"""Evidence averaged over this reach starts the iteration: a sulcus is narrower, an infarct is wider."""
NEIGHBOUR_MM = 1.5
NEIGHBOUR_WEIGHT = 4.0
"""Reach and strength of the neighbours' say."""
MEAN_FIELD_STEPS = 15
OTHER_VISITS_LOG_ODDS = 1.5
"""The other visits' say at the same place is cut here: they settle what is doubtful, for borders move."""
CORE_MM = 3.0
CORE_LOG_ODDS = 1.0
"""An infarct has a core: over this reach the evidence is e to 1 on average. Gyri that look odd have none."""
ACUTE_MM = 1.0
"""`START_MM` and `CORE_MM` of an acute infarct: a plug's fragments are small, and far brighter than noise."""
CORE_REACH_MM = 15.0
"""No part of an infarct is further from a core than this."""


def lesion_probability(
    log_odds: Floats,
    brain: NDArray[np.bool_],
    elsewhere: Floats | None = None,
    *,
    start_mm: float = START_MM,
    core_mm: float = CORE_MM,
) -> NDArray[np.float32]:
    """Return the probability of infarct in each voxel.

    Parameters
    ----------
    log_odds : array (X, Y, Z)
        From `mripipe.core.lesion.lesion_log_odds`, on a 1 mm grid.
    brain : array of bool (X, Y, Z)
    elsewhere : array (X, Y, Z), optional
        Mean log odds at the same place at the patient's other visits; 0 where none saw it.
    start_mm, core_mm : float
        Reach of the average that starts the iteration, and of the one that finds cores.

    Returns
    -------
    array (X, Y, Z)
        0 outside the brain and far from every core.

    """
    if elsewhere is not None:
        said = smoother_within(brain, NEIGHBOUR_MM)(elsewhere)
        log_odds = log_odds + np.clip(said, -OTHER_VISITS_LOG_ODDS, OTHER_VISITS_LOG_ODDS)
    probability = mean_field(log_odds, brain, start_mm=start_mm)
    strength = smoother_within(brain, core_mm, least=0.3)(log_odds)
    core = (strength >= CORE_LOG_ODDS) & (probability >= 0.5)
    if not core.any():
        return np.zeros_like(probability)
    return np.where(depth_within(~core) <= CORE_REACH_MM, probability, np.float32(0.0))


def mean_field(
    log_odds: Floats, brain: NDArray[np.bool_], *, start_mm: float = START_MM
) -> NDArray[np.float32]:
    """Let neighbours agree: the fixed point of P = sigmoid(log odds + weight x mean of their 2P - 1)."""
    start = smoother_within(brain, start_mm)(log_odds)
    votes = smoother_within(brain, NEIGHBOUR_MM)
    probability = np.where(brain, expit(NEIGHBOUR_WEIGHT * start), 0.0).astype(np.float32)
    for _ in range(MEAN_FIELD_STEPS):
        odds = log_odds + NEIGHBOUR_WEIGHT * votes(2.0 * probability - 1.0)
        probability = np.where(brain, expit(odds), 0.0).astype(np.float32)
    return probability

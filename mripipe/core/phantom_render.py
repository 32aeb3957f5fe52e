"""Images of a phantom patient as the scanner gives them."""

from __future__ import annotations

import numpy as np

from mripipe.core.phantom_fields import FloatArray
from mripipe.core.phantom_patient import SEQUENCES, PhantomPatient
from mripipe.core.phantom_scan import PhantomGrid, add_rician_noise, bias_field, slice_offsets, voxel_slabs
from mripipe.core.phantom_signal import Sequence, head_signal
from mripipe.core.phantom_truth import true_masks

SCALE = 1000.0
"""Signal of the brightest brain tissue before bias and noise."""


def render_visit(
    patient: PhantomPatient,
    visit: int,
    sequence: Sequence,
    grid: PhantomGrid,
    *,
    snr: float | None = 30.0,
    bias: float = 0.25,
    skull: bool = True,
    subslices: int = 1,
) -> FloatArray:
    """Render one image.

    Parameters
    ----------
    patient, visit, sequence
        What to render; ``visit`` counts from 0.
    grid : PhantomGrid
        Native voxels, from `visit_grid` or any other.
    snr : float or None
        Signal of the brightest brain tissue over the noise's deviation; None for no noise.
    bias : float
        Strength of the receive field: 0.25 gives 0.75 to 1.25; 0 for none.
    skull : bool
        False leaves only the brain, as after skull stripping.
    subslices : int
        Box average of this many sub-slices along the thickest axis: partial volume of thick slices.

    Returns
    -------
    array (X, Y, Z)
        float32; about 1000 in the brightest brain tissue.

    """
    scan = patient.visits[visit]
    signal = np.zeros(grid.shape, np.float32)
    for offset in slice_offsets(grid, subslices):
        for part, mm in voxel_slabs(grid, scan.native_from_patient(sequence), offset):
            values = head_signal(sequence, patient.atlas, patient.levels, scan.thresholds, scan.anatomy, mm)
            signal[part] += values.reshape(signal[part].shape) / np.float32(subslices)
    if not skull:
        signal *= true_masks(patient, visit, grid, sequence=sequence, labels=("brain",))["brain"]
    rng = np.random.default_rng([patient.seed, 3, visit, SEQUENCES.index(sequence)])
    if bias:
        signal *= bias_field(rng, grid.shape, strength=bias)
    if snr is not None:
        noisy = add_rician_noise(rng, signal, sigma=1.0 / snr)
        signal = noisy if skull else np.where(signal > 0, noisy, 0).astype(np.float32)
    return signal * np.float32(SCALE)

"""Tissues of a visit's own brain, by the template's maps carried to it."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mripipe.atlases.template import load_template
from mripipe.core.grid import Volume
from mripipe.core.tissue import TissueModel, fit_tissues, log_density, posterior
from mripipe.steps.transforms import resample

EVERY = 8
"""Voxels that the mixture is fitted to: one in so many."""


def visit_tissues(
    image: Volume, brain: NDArray[np.bool_], from_mni: sitk.Transform
) -> tuple[TissueModel, NDArray[np.float64]]:
    """Fit grey matter, white matter and CSF; return the template's priors (N, 3) in the brain too."""
    template = load_template()
    tissues = (Volume(part, template.affine) for part in (template.gm, template.wm, template.csf))
    carried = [resample(tissue, image, from_mni)[brain] for tissue in tissues]
    priors = np.stack(carried, axis=1).astype(float) + 0.01
    priors /= priors.sum(axis=1, keepdims=True)
    return fit_tissues(image.data[brain][::EVERY, None].astype(float), priors[::EVERY]), priors


def tissue_shares(image: Volume, brain: NDArray[np.bool_], from_mni: sitk.Transform) -> NDArray[np.float32]:
    """Return the probability of grey matter, white matter and CSF (3, X, Y, Z), 0 outside the brain."""
    model, priors = visit_tissues(image, brain, from_mni)
    values = image.data[brain][:, None].astype(float)
    logs = [log_density(values, m, c) for m, c in zip(model.means, model.covariances, strict=True)]
    shares = np.zeros((3, *brain.shape), np.float32)
    shares[:, brain] = posterior(np.stack(logs), priors.T)
    return shares

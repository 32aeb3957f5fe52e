"""The symmetric MNI template (MNI152NLin2009aSym, 1 mm), from the files that nilearn's wheel carries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

TEMPLATE_SPACE = "MNI152NLin2009aSym"


@dataclass(frozen=True)
class Template:
    """Template images on one grid, mirror-symmetric about x = 0, axes RAS+, 1 mm."""

    t1: NDArray[np.float32]
    """T1-weighted intensity, 0 outside the brain, at most 1; shape (197, 233, 189)."""
    gm: NDArray[np.float32]
    """Grey-matter probability, 0 to 1."""
    wm: NDArray[np.float32]
    """White-matter probability, 0 to 1."""
    mask: NDArray[np.bool_]
    """Brain, ventricles included."""
    affine: NDArray[np.float64]
    """Voxel index to RAS+ mm, shape (4, 4)."""

    @property
    def csf(self) -> NDArray[np.float32]:
        """Cerebrospinal fluid inside the brain mask: what is neither grey nor white matter, 0 to 1."""
        rest = np.clip(1.0 - self.gm - self.wm, 0.0, 1.0)
        return np.where(self.mask, rest, 0.0).astype(np.float32)


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Load the template; no network is used.

    Returns
    -------
    Template
        Shared between callers: its arrays are read-only.

    References
    ----------
    Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033.

    """
    # Imported here: nilearn takes seconds to import and most commands need no template.
    from nilearn import datasets

    image = datasets.load_mni152_template(resolution=1)
    gm, wm, mask = (
        np.asanyarray(load(resolution=1).dataobj)
        for load in (
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
            datasets.load_mni152_brain_mask,
        )
    )
    arrays = (
        np.asanyarray(image.dataobj).astype(np.float32),
        np.clip(gm, 0, 1).astype(np.float32),
        np.clip(wm, 0, 1).astype(np.float32),
        mask > 0,
    )
    for array in arrays:
        array.setflags(write=False)
    return Template(*arrays, affine=np.asarray(image.affine, float))

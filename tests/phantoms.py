"""Phantom patients for other tests: drawn once, shared."""

from __future__ import annotations

from functools import lru_cache

import nibabel as nib
import numpy as np

from mripipe.atlases.template import load_template
from mripipe.core.phantom import PhantomPatient, Sequence, Side, draw_patient, render_visit, visit_grid
from mripipe.core.phantom_atlas import PhantomAtlas, PhantomTemplate, prepare_atlas


@lru_cache(maxsize=1)
def phantom_atlas() -> PhantomAtlas:
    template = load_template()
    return prepare_atlas(PhantomTemplate(template.gm, template.wm, template.mask, template.affine))


@lru_cache(maxsize=4)
def patient(seed: int = 1, side: Side = "left", lesion_ml: float = 80.0, visits: int = 1) -> PhantomPatient:
    return draw_patient(
        phantom_atlas(), seed=seed, side=side, lesion_ml=lesion_ml, days=(45, 135, 410)[:visits]
    )


def image(
    who: PhantomPatient,
    visit: int = 0,
    sequence: Sequence = "T1w",
    *,
    zooms_mm: tuple[float, float, float] = (2.0, 2.0, 2.0),
    orientation: str | None = None,
    snr: float | None = 30.0,
) -> nib.Nifti1Image:
    grid = visit_grid(who, visit, sequence, zooms_mm=zooms_mm, orientation=orientation)
    data = render_visit(who, visit, sequence, grid, snr=snr)
    return nib.Nifti1Image(data.astype(np.float32), grid.affine)

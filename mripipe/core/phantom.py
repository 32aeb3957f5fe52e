"""Phantom patients: heads with a middle cerebral artery infarct over several visits, and the exact truth.

Spaces, all RAS+ mm: *native* (scanner, one pose a visit and sequence), *patient* (the head at rest) and
*MNI*. ``native -> patient`` is rigid, ``patient -> MNI`` is the visit's map, smooth and invertible. Tissue
is looked up once, from native voxel to MNI, so no image is ever interpolated twice.

Examples
--------
>>> from mripipe.atlases.template import load_template
>>> template = load_template()
>>> maps = PhantomTemplate(template.gm, template.wm, template.mask, template.affine)
>>> patient = draw_patient(prepare_atlas(maps), seed=1, side="left", lesion_ml=60.0)
>>> grid = visit_grid(patient, 0, "T1w", zooms_mm=(2.0, 2.0, 2.0))
>>> image, masks = render_visit(patient, 0, "T1w", grid), true_masks(patient, 0, grid)
>>> image.shape == masks["lesion"].shape == grid.shape
True

"""

from __future__ import annotations

from mripipe.core.phantom_atlas import PhantomAtlas, PhantomTemplate, prepare_atlas
from mripipe.core.phantom_patient import PhantomPatient, PhantomVisit, Side, draw_patient, visit_grid
from mripipe.core.phantom_render import render_visit
from mripipe.core.phantom_scan import PhantomGrid, make_grid
from mripipe.core.phantom_signal import Sequence
from mripipe.core.phantom_truth import (
    LABELS,
    TruePoints,
    lesion_in_mni,
    lesion_mni_ml,
    mni_to_native,
    native_to_mni,
    true_fractions,
    true_masks,
    true_points,
    truth_at,
)

__all__ = [
    "LABELS",
    "PhantomAtlas",
    "PhantomGrid",
    "PhantomPatient",
    "PhantomTemplate",
    "PhantomVisit",
    "Sequence",
    "Side",
    "TruePoints",
    "draw_patient",
    "lesion_in_mni",
    "lesion_mni_ml",
    "make_grid",
    "mni_to_native",
    "native_to_mni",
    "prepare_atlas",
    "render_visit",
    "true_fractions",
    "true_masks",
    "true_points",
    "truth_at",
    "visit_grid",
]

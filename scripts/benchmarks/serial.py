"""Measure the alignment of visits on phantom patients with noise and a lesion that changes.

Usage: python scripts/benchmarks/serial.py [SEED ...]

Each patient has two visits of 1 mm T1w with the exact brain and lesion masks; the first guess is off by some
millimetres and degrees. Errors are taken over the brain's surface.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from mripipe.atlases.template import load_template
from mripipe.core.grid import Volume
from mripipe.core.phantom import (
    PhantomPatient,
    PhantomTemplate,
    draw_patient,
    prepare_atlas,
    render_visit,
    true_masks,
    visit_grid,
)
from mripipe.core.rigid import motion_matrix
from mripipe.core.serial import SerialVisit, align_rigidly

LESIONS_ML = (60.0, 100.0, 150.0)
START_SPREAD = np.array([0.03, 0.03, 0.03, 2.0, 2.0, 2.0])
"""Of the first guess: radians and mm."""


def scan(patient: PhantomPatient, visit: int, rng: np.random.Generator) -> SerialVisit:
    """Render a visit with a first guess some way off."""
    grid = visit_grid(patient, visit, "T1w")
    image = render_visit(patient, visit, "T1w", grid)
    masks = true_masks(patient, visit, grid)
    start = patient.visits[visit].native_from_patient("T1w") @ motion_matrix(rng.normal(0.0, START_SPREAD))
    return SerialVisit(
        Volume(image.astype(np.float32), grid.affine), masks["brain"], masks["lesion"], start, "T1w"
    )


def surface_errors_mm(
    visit: SerialVisit, found: NDArray[np.float64], truth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far a visit-to-visit matrix puts points of the brain's surface from where they belong."""
    rim = np.argwhere(visit.brain & ~binary_erosion(visit.brain))[::20]
    points = rim @ visit.image.affine[:3, :3].T + visit.image.affine[:3, 3]
    apart = found - truth
    return np.asarray(np.linalg.norm(points @ apart[:3, :3].T + apart[:3, 3], axis=1))


def main(seeds: list[int]) -> None:
    """Print the error before and after, CPU seconds, and whether the order of visits matters."""
    template = load_template()
    atlas = prepare_atlas(PhantomTemplate(template.gm, template.wm, template.mask, template.affine))
    print("seed  lesion_ml  level     start_mm  mean_mm  max_mm  cpu_s  swap_changes_bytes")
    for number, seed in enumerate(seeds):
        lesion_ml = LESIONS_ML[number % len(LESIONS_ML)]
        side = "left" if number % 2 else "right"
        patient = draw_patient(atlas, seed=seed, side=side, lesion_ml=lesion_ml, days=(45, 410))
        visits = [scan(patient, visit, np.random.default_rng((seed, visit))) for visit in (0, 1)]
        truth = patient.visit_to_visit(0, 1)
        first = visits[1].start @ np.linalg.inv(visits[0].start)
        before = surface_errors_mm(visits[0], first, truth).mean()
        for level, refine in (("fast", False), ("standard", True)):
            begun = time.process_time()
            there = align_rigidly(visits, refine=refine)
            spent = time.process_time() - begun
            back = align_rigidly(visits[::-1], refine=refine)
            errors = surface_errors_mm(visits[0], there[1] @ np.linalg.inv(there[0]), truth)
            swapped = there[0].tobytes() != back[1].tobytes() or there[1].tobytes() != back[0].tobytes()
            print(
                f"{seed:4}  {lesion_ml:9.0f}  {level:8}  {before:8.2f}  {errors.mean():7.3f}  "
                f"{errors.max():6.3f}  {spent:5.1f}  {'yes' if swapped else 'no'}",
                flush=True,
            )


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [901, 902, 903, 904])

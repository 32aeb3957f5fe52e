"""Diffusion on phantoms with known truth: rFA over visits, head motion, flipped b-vectors.

Usage: python scripts/benchmarks/diffusion_phantoms.py [--visits 12] [--seed 1] [--side left] [--motion 1.5]

A 150 mL infarct, noise, and a head that moves between volumes. The way to MNI, the brain, the infarct and the
lacune are the true ones; the series is prepared, registered to the T1w and measured as in a run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mripipe.atlases.template import load_template
from mripipe.bids.files import write_atomic
from mripipe.core.diffusion_mask import diffusion_mask
from mripipe.core.diffusion_motion import estimate_motion
from mripipe.core.gradient_axes import check_axes
from mripipe.core.gradients import GradientTable
from mripipe.core.grid import Volume, voxel_sizes_mm
from mripipe.core.itk import displacement_transform
from mripipe.core.phantom import (
    PhantomGrid,
    PhantomPatient,
    PhantomTemplate,
    draw_patient,
    lesion_in_mni,
    mni_to_native,
    native_to_mni,
    prepare_atlas,
    render_visit,
    true_masks,
    visit_grid,
)
from mripipe.core.phantom_diffusion import Gradients, even_gradients, fsl_vectors, render_diffusion
from mripipe.core.phantom_patient import SEQUENCES
from mripipe.core.phantom_scan import draw_pose
from mripipe.core.tensor import fit_tensor
from mripipe.core.tensor_maps import main_directions, tensor_maps
from mripipe.model.settings import DiffusionSettings
from mripipe.model.stages import NormalisedVisit, PreparedVisit, SegmentedVisit
from mripipe.model.study import Scan, Session
from mripipe.steps.diffusion import fit_diffusion
from mripipe.steps.load import save_image
from mripipe.steps.tracts import measure_tracts
from mripipe.steps.transforms import write_transform

DIRECTIONS = 30
DWI_MM = 2.5
T1W_MM = 1.5
SNR = 20.0
FIELD_MM = 4.0
T = TypeVar("T")


def phantom(seed: int, side: Any, visits: int) -> PhantomPatient:
    """Draw a patient with a 150 mL infarct."""
    template = load_template()
    atlas = prepare_atlas(PhantomTemplate(template.gm, template.wm, template.mask, template.affine))
    days = tuple(np.linspace(30.0, 365.0, visits))
    return draw_patient(atlas, seed=seed, side=side, lesion_ml=150.0, days=days)


def field(source: PhantomGrid | Volume, moved: Any, folder: Path, name: str) -> Path:
    """Write a map of points as a displacement over a grid that covers the image."""
    corners = np.array(np.meshgrid(*[(-8, n + 8) for n in source.shape], indexing="ij")).reshape(3, -1)
    world = source.affine[:3, :3] @ corners + source.affine[:3, 3:]
    affine = np.diag([FIELD_MM] * 3 + [1.0])
    affine[:3, 3] = world.min(axis=1)
    shape = np.ceil((world.max(axis=1) - world.min(axis=1)) / FIELD_MM).astype(int) + 1
    points = np.argwhere(np.ones(shape, bool)) * FIELD_MM + affine[:3, 3]
    shift = (moved(points) - points).reshape(*shape, 3)
    return write_transform(displacement_transform(shift, affine), folder / f"{name}.h5")


def normalised(patient: PhantomPatient, visit: int, folder: Path) -> NormalisedVisit:
    """Write a visit's anatomy as it truly is."""
    grid = visit_grid(patient, visit, "T1w", zooms_mm=(T1W_MM,) * 3)
    masks = true_masks(patient, visit, grid)
    image = save_image(folder / "t1.nii.gz", render_visit(patient, visit, "T1w", grid), grid.affine)
    brain, lesion, lacune = (
        save_image(folder / f"{name}.nii.gz", masks[name], grid.affine, dtype=np.uint8)
        for name in ("brain", "lesion", "lacune")
    )
    template = patient.atlas.template
    in_mni = lesion_in_mni(patient, visit) >= 0.5
    mni = save_image(folder / "mni.nii.gz", in_mni, template.affine, dtype=np.uint8)
    whole = Volume(in_mni.astype(np.float32), template.affine)
    prepared = only(PreparedVisit, preproc=image, brain_mask=brain, reference_suffix="T1w")
    segmented = only(
        SegmentedVisit, prepared=prepared, final_mask=lesion, side=patient.side, contralateral_mask=lacune
    )
    return only(
        NormalisedVisit,
        segmented=segmented,
        to_mni=field(whole, lambda p: mni_to_native(patient, visit, p), folder, "to_mni"),
        from_mni=field(grid, lambda p: native_to_mni(patient, visit, p), folder, "from_mni"),
        mni_lesion_mask=mni,
    )


def only(kind: type[T], **fields: Any) -> T:
    """Return a result of a stage with no more in it than what is looked at here."""
    made = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def write_series(
    data: NDArray[np.float32], gradients: Gradients, affine: NDArray[np.float64], folder: Path
) -> Session:
    """Write a series with its companions."""
    path = save_image(folder / "dwi.nii.gz", data, affine)
    rows = "\n".join(" ".join(f"{v:.6f}" for v in row) for row in fsl_vectors(gradients, affine))
    bvec = write_atomic(folder / "dwi.bvec", rows + "\n")
    bval = write_atomic(folder / "dwi.bval", " ".join(f"{b:g}" for b in gradients.b_values) + "\n")
    return Session("sub-1", "ses-1", (Scan(path, "dwi", None, bval, bvec),))


def motion_errors(
    patient: PhantomPatient,
    visit: int,
    data: NDArray[np.float32],
    affine: NDArray[np.float64],
    gradients: Gradients,
    motion: float,
) -> tuple[float, float, float, float]:
    """Return errors of the motion found: mm at the head's middle and degrees, worst and mean."""
    rng = np.random.default_rng([patient.seed, 3, visit, SEQUENCES.index("dwi")])
    steps = [draw_pose(rng, degrees=motion, millimetres=motion) for _ in gradients.b_values]
    table = GradientTable(gradients.b_values, gradients.directions)
    mask = diffusion_mask(data[..., ~table.is_b0].mean(axis=3), voxel_sizes_mm(affine))
    middle = np.append(np.argwhere(mask).mean(axis=0), 1.0)
    centre = affine @ middle
    found = estimate_motion(data, affine, table, mask)
    shifts, turns = [], []
    for step, matrix in zip(steps[1:], found.matrices[1:], strict=True):
        shifts.append(float(np.linalg.norm((matrix @ centre - step @ centre)[:3])))
        turn = matrix[:3, :3] @ step[:3, :3].T
        turns.append(float(np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))))
    return max(shifts), float(np.mean(shifts)), max(turns), float(np.mean(turns))


def flips(data: NDArray[np.float32], affine: NDArray[np.float64], gradients: Gradients) -> list[str]:
    """Say what is named for the right table and for a flip along each axis."""
    table = GradientTable(gradients.b_values, gradients.directions)
    mask = diffusion_mask(data[..., ~table.is_b0].mean(axis=3), voxel_sizes_mm(affine))
    told = []
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    for axis in (None, 0, 1, 2):
        turn = np.eye(3)
        if axis is not None:
            turn[axis, axis] = -1.0
        frame = affine[:3, :3] / sizes
        wrong = GradientTable(table.b_values, table.directions @ (frame @ turn @ np.linalg.inv(frame)).T)
        fit = fit_tensor(data[mask], wrong)
        fa, ways = np.zeros(mask.shape), np.zeros((*mask.shape, 3))
        fa[mask], ways[mask] = np.nan_to_num(tensor_maps(fit.elements).fa), main_directions(fit.elements)
        found = check_axes(ways, fa, affine)
        told.append(
            f"{'right' if axis is None else 'xyz'[axis]}: {found.name} "
            f"({found.as_given:.3f}, best {found.best:.3f})"
        )
    return told


def measure(patient: PhantomPatient, visit: int, motion: float) -> float | None:
    """Measure one visit; print what was found and return rFA."""
    gradients = even_gradients(DIRECTIONS)
    grid = visit_grid(patient, visit, "dwi", zooms_mm=(DWI_MM,) * 3)
    data = render_diffusion(patient, visit, grid, gradients, snr=SNR, motion_mm=motion)
    worst, mean, turned, turned_mean = motion_errors(patient, visit, data, grid.affine, gradients, motion)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        session = replace(write_series(data, gradients, grid.affine, folder), session_id=f"ses-{visit}")
        start = time.perf_counter()
        fitted = fit_diffusion(session, settings=DiffusionSettings(), folder=folder)
        seconds = time.perf_counter() - start
        result = measure_tracts(fitted, normalised(patient, visit, folder), folder=folder)
    row = next(r for r in result.asymmetry if (r.tract, r.segment) == ("CST", "whole"))
    truth = patient.visits[visit].tract_fa_ratio
    error = "n/a" if row.rfa is None else f"{row.rfa - truth:+.3f}"
    print(
        f"visit {visit}: rFA {row.rfa or float('nan'):.3f}, truth {truth:.3f}, error {error} ({row.status}); "
        f"motion error at most {worst:.2f} mm, mean {mean:.2f}, {turned:.2f} degrees, mean {turned_mean:.2f};"
        f" slices out {len(fitted.dropped_slices)}; {seconds:.0f} s",
        flush=True,
    )
    for warning in fitted.warnings:
        print("  ", warning)
    return row.rfa


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--visits", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", choices=["left", "right"], default="left")
    parser.add_argument("--motion", type=float, default=1.5, help="mm and degrees at most")
    given = parser.parse_args()
    patient = phantom(given.seed, given.side, given.visits)
    gradients = even_gradients(DIRECTIONS)
    grid = visit_grid(patient, 0, "dwi", zooms_mm=(DWI_MM,) * 3)
    still = render_diffusion(patient, 0, grid, gradients, snr=SNR)
    print("b-vectors:", "; ".join(flips(still, grid.affine, gradients)), flush=True)
    found = [measure(patient, visit, given.motion) for visit in range(given.visits)]
    truth = [scan.tract_fa_ratio for scan in patient.visits]
    pairs = [(a, b) for a, b in zip(found, truth, strict=True) if a is not None]
    if len(pairs) > 2:
        ours, true = np.array(pairs).T
        print(f"rFA: largest error {np.abs(ours - true).max():.3f}, r {np.corrcoef(ours, true)[0, 1]:.4f}")


if __name__ == "__main__":
    main()

"""Distort a real diffusion series by a known field and known eddy currents, and see how both are undone.

Usage: python scripts/benchmarks/diffusion_distortion.py DWI.nii.gz [--tract MASK.nii.gz ...] [--mm 8]

The series is taken as undistorted. A smooth field displaces it along its second axis, towards the front and
towards the back, with the signal pressed together where it is; noise is added. With ``--eddy`` every weighted
volume is scaled and sheared along that axis as well. Prints errors in mm over the brain, and FA in tracts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter, map_coordinates

from mripipe.core.diffusion_distortion import ReversedPair, estimate_field
from mripipe.core.diffusion_mask import diffusion_mask
from mripipe.core.diffusion_motion import estimate_motion
from mripipe.core.gradients import directions_to_fsl
from mripipe.core.grid import Volume, reorient, voxel_sizes_mm
from mripipe.model.settings import DiffusionSettings
from mripipe.model.study import Scan, Session
from mripipe.steps.diffusion import fit_diffusion
from mripipe.steps.diffusion_series import Series, load_series
from mripipe.steps.load import load_image, save_image

Floats = NDArray[np.floating]
AXIS = 1
SMOOTH_MM = 16.0
NOISE = 0.03
"""Of the brain's signal at b = 0."""
EDDY = np.array([[0.012, -0.006, 0.008], [0.005, 0.015, -0.006], [-0.006, 0.004, 0.012]])
"""mm of displacement a mm, for a gradient along each axis."""
ERODED_MM = 8.0
"""The rough mask is wider than the brain."""


def smooth_field(brain: NDArray[np.bool_], zooms: Floats, largest_mm: float, seed: int) -> Floats:
    """Draw a smooth displacement, so many mm at most in the brain."""
    rough = gaussian_filter(np.random.default_rng(seed).normal(size=brain.shape), SMOOTH_MM / zooms)
    rough -= rough.mean()
    return np.asarray(rough / np.abs(rough[brain]).max() * largest_mm)


def displaced(volumes: Floats, field: Floats, zoom: float, share: float, bends: Floats) -> Floats:
    """Displace each volume (X, Y, Z, N) by its share of the field, then by its eddy currents (N, 3) a mm."""
    shape = volumes.shape[:3]
    index = np.indices(shape).astype(np.float64)
    middle = (np.array(shape) - 1) / 2
    slope = np.gradient(field, zoom, axis=AXIS)
    out = np.empty_like(volumes)
    for k in range(volumes.shape[3]):
        bend = bends[k]
        own = index.copy()
        away = [(index[a] - middle[a]) for a in range(3)]
        others = sum(bend[a] * away[a] for a in range(3) if a != AXIS)
        own[AXIS] = middle[AXIS] + (away[AXIS] - others) / (1 + bend[AXIS])
        where = own.copy()
        for _ in range(40):
            where[AXIS] = own[AXIS] - share * map_coordinates(field, where, order=1, mode="nearest") / zoom
        thinner = (1 + share * map_coordinates(slope, where, order=1, mode="nearest")) * (1 + bend[AXIS])
        out[..., k] = np.maximum(map_coordinates(volumes[..., k], where, order=3), 0) / thinner
    return out


def write(folder: Path, name: str, data: Floats, series: Series, volumes: Floats, way: str) -> Scan:
    """Write a run with its companions."""
    table = series.table.take(np.asarray(volumes))
    path = save_image(folder / f"{name}.nii.gz", data, series.affine)
    files = {kind: folder / f"{name}.{kind}" for kind in ("json", "bval", "bvec")}
    files["json"].write_text(json.dumps({"PhaseEncodingDirection": way, "TotalReadoutTime": 0.04}))
    files["bval"].write_text(" ".join(f"{b:g}" for b in table.b_values))
    rows = directions_to_fsl(table.directions, series.affine)
    files["bvec"].write_text("\n".join(" ".join(f"{v:.6f}" for v in row) for row in rows))
    return Scan(path, "dwi", files["json"], files["bval"], files["bvec"])


def told(name: str, apart_mm: Floats) -> None:
    """Print a distribution of errors."""
    median, most = np.percentile(apart_mm, [50, 95])
    print(f"{name:34} median {median:.2f}, 95th percentile {most:.2f} mm", flush=True)


def main() -> None:
    """Distort, correct, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dwi", type=Path)
    parser.add_argument("--tract", type=Path, nargs="*", default=[])
    parser.add_argument("--mm", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--eddy", action="store_true")
    chosen = parser.parse_args()
    stem = str(chosen.dwi).removesuffix(".nii.gz")
    scan = Scan(chosen.dwi, "dwi", None, Path(f"{stem}.bval"), Path(f"{stem}.bvec"))
    series = load_series(Session("sub-1", "ses-a", (scan,)))
    zooms = voxel_sizes_mm(series.affine)
    plain = series.table.is_b0
    mask = diffusion_mask(series.data[..., ~plain].mean(axis=3), zooms)
    brain = binary_erosion(mask, iterations=int(ERODED_MM / zooms.min()))
    field = smooth_field(brain, zooms, chosen.mm, chosen.seed)
    bends = np.zeros((plain.size, 3))
    if chosen.eddy:
        bends = series.table.directions @ EDDY
        eddy_error(series, mask, displaced(series.data, 0 * field, zooms[AXIS], 0.0, bends), bends)
    rng = np.random.default_rng(chosen.seed)
    sigma = NOISE * float(np.median(series.data[..., plain][mask]))
    one = displaced(series.data, field, zooms[AXIS], 1.0, bends)
    two = displaced(series.data[..., plain][..., :1], field, zooms[AXIS], -1.0, np.zeros((1, 3)))
    one, two = (d + rng.normal(0, sigma, d.shape).astype(np.float32) for d in (one, two))
    start = time.process_time()
    first = Volume(np.ascontiguousarray(one[..., plain].mean(axis=3)), series.affine)
    pair = ReversedPair(first, Volume(np.ascontiguousarray(two[..., 0]), series.affine), AXIS, AXIS)
    found = estimate_field(pair)
    seconds = time.process_time() - start
    told("displacement by the field", np.abs(field)[brain])
    told("  left after correction", np.abs(found.displacement_mm - field)[brain])
    same = ReversedPair(
        Volume(np.ascontiguousarray(series.data[..., plain].mean(axis=3)), series.affine),
        Volume(
            series.data[..., plain][..., 0] + rng.normal(0, sigma, mask.shape).astype(np.float32),
            series.affine,
        ),
        AXIS,
        AXIS,
    )
    told("  made where there is none", np.abs(estimate_field(same).displacement_mm)[brain])
    steepest = np.abs(np.gradient(field, zooms[AXIS], axis=AXIS))[brain].max()
    print(f"estimated in {seconds:.1f} s of CPU; steepest slope {steepest:.2f}")
    noisy = series.data + rng.normal(0, sigma, one.shape).astype(np.float32)
    whole_chain(series, noisy, one, two, brain, chosen.tract)


def eddy_error(series: Series, mask: NDArray[np.bool_], data: Floats, bends: Floats) -> None:
    """Print how far eddy currents displaced the head, and what of them is not found."""
    index = np.argwhere(mask)
    away = (index - (np.array(mask.shape) - 1) / 2) * voxel_sizes_mm(series.affine)
    before, after = (
        estimate_motion(d, series.affine, series.table, mask, eddy_axis=AXIS) for d in (series.data, data)
    )
    if before.eddy is None or after.eddy is None:
        return
    weighted = ~series.table.is_b0
    # What the series had by itself is not what was added.
    linear = (after.eddy - before.eddy)[:, AXIS, :3]
    told("displacement by eddy currents", np.abs(away @ bends[weighted].T))
    told("  left after correction", np.abs(away @ (linear - bends)[weighted].T))
    told("  of the series by itself", np.abs(away @ (before.eddy[:, AXIS, :3] - np.eye(3)[AXIS])[weighted].T))


def whole_chain(
    series: Series, noisy: Floats, one: Floats, two: Floats, brain: NDArray[np.bool_], tracts: list[Path]
) -> None:
    """Run the step on the undistorted and the distorted series, corrected and not, and compare FA."""
    settings = DiffusionSettings(denoise=False, outliers=False, free_water=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        everything = np.arange(one.shape[3])
        runs = {
            "undistorted": (write(folder, "plain", series.data, series, everything, "j"),),
            "with noise": (write(folder, "noisy", noisy, series, everything, "j"),),
            "distorted": (write(folder, "one", one, series, everything, "j"),),
        }
        opposite = write(folder, "two", two, series, np.flatnonzero(series.table.is_b0)[:1], "j-")
        runs["corrected"] = (*runs["distorted"], opposite)
        maps = {}
        for kind, scans in runs.items():
            own = folder / kind
            own.mkdir()
            start = time.process_time()
            chosen = settings if kind == "corrected" else replace(settings, distortion="none")
            fitted = fit_diffusion(Session("sub-1", "ses-a", scans), settings=chosen, folder=own)
            maps[kind] = load_image(fitted.fa).data
            apart = np.abs(maps[kind] - maps["undistorted"])[brain]
            print(f"{kind:12} FA in the brain off by {apart.mean():.4f} on average"
                  f" ({time.process_time() - start:.0f} s of CPU)")  # fmt: skip
            for path in tracts:
                image = load_image(path)
                inside = reorient(image.data, image.affine)[0] > 0
                print(f"  {path.name}: FA {maps[kind][inside].mean():.4f}")


if __name__ == "__main__":
    main()

"""Distort a finished run's diffusion maps by known fields, and see how they are found in the anatomy.

Usage: python scripts/benchmarks/distortion_by_anatomy.py OUT sub-01 ses-baseline [--mm 8] [--seed 3]

OUT is the output folder of ``mripipe run``. What is found in the maps as they are counts as the series' own
distortion and is taken off what is found afterwards, for nobody knows it. Two fields are added along the
second axis: a random one that changes over 16 mm, and that of pockets of air where sinuses and ear canals
are. Prints mm over the brain, the infarct left out: median and 95th percentile.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from mripipe.core.grid import Volume, voxel_to_world
from mripipe.steps.diffusion_bend import find_bend, parts_of
from mripipe.steps.diffusion_place import map_points
from mripipe.steps.load import load_image, load_own_mask, save_image
from mripipe.steps.transforms import resample

Floats = NDArray[np.floating]
AXIS = 1
SMOOTH_MM = 16.0
POCKETS = (
    ((0.50, 0.97, 0.18), 14.0),
    ((0.50, 0.80, 0.12), 13.0),
    ((0.07, 0.45, 0.08), 10.0),
    ((0.93, 0.45, 0.08), 10.0),
)
"""Frontal and sphenoid sinus, ear canals: place in the brain's box (left to right, back to front, up), mm."""
PADDED = 64
"""Voxels around the image, for the field of a pocket of air reaches far."""


def random_field(brain: NDArray[np.bool_], zooms: Floats, mm: float, seed: int) -> Floats:
    """Draw a displacement that changes over `SMOOTH_MM`, so many mm at most in the brain."""
    rough = gaussian_filter(np.random.default_rng(seed).normal(size=brain.shape), SMOOTH_MM / zooms)
    rough -= rough.mean()
    return np.asarray(rough / np.abs(rough[brain]).max() * mm)


def field_of_air(brain: NDArray[np.bool_], zooms: Floats, mm: float) -> Floats:
    """Return the displacement by pockets of air below the brain: each a dipole along the main field."""
    index = np.argwhere(brain)
    low, extent = index.min(axis=0), np.ptp(index, axis=0)
    places, air = np.indices(brain.shape), np.zeros(brain.shape)
    for part, radius in POCKETS:
        centre = low + np.array(part) * extent
        away = sum(((places[a] - centre[a]) * zooms[a]) ** 2 for a in range(3))
        air[away < radius**2] = 1.0
    half = PADDED // 2
    wide = np.pad(air, half)
    waves = np.meshgrid(
        *[np.fft.fftfreq(n, z) for n, z in zip(wide.shape, zooms, strict=True)], indexing="ij"
    )
    square = sum(wave**2 for wave in waves)
    square[0, 0, 0] = 1.0
    whole = np.real(np.fft.ifftn(np.fft.fftn(wide) * (1 / 3 - waves[2] ** 2 / square)))
    field = gaussian_filter(whole[half:-half, half:-half, half:-half], 3.0 / zooms)
    field -= np.median(field[brain])
    return np.asarray(field / np.percentile(np.abs(field[brain]), 99.5) * mm)


def displaced(image: Floats, field: Floats, zoom: float, *, pressed: bool) -> NDArray[np.float32]:
    """Displace an image along `AXIS`; a signal is brighter where it is pressed together."""
    own = np.indices(image.shape).astype(np.float64)
    where = own.copy()
    for _ in range(40):
        where[AXIS] = own[AXIS] - map_coordinates(field, where, order=1, mode="nearest") / zoom
    out = np.maximum(map_coordinates(image, where, order=3), 0.0)
    if pressed:
        out /= 1 + map_coordinates(np.gradient(field, zoom, axis=AXIS), where, order=1, mode="nearest")
    return np.asarray(out, np.float32)


class Visit:
    """A visit of an output folder, and what is found of the field when its maps are distorted."""

    def __init__(self, out: Path, subject: str, session: str) -> None:
        stem = f"{subject}_{session}_"
        anat, dwi = (out / subject / session / kind / stem for kind in ("anat", "dwi"))
        names = {
            "b0": "desc-b0_dwiref",
            "fa": "model-tensor_param-fa_dwimap",
            "md": "model-tensor_param-md_dwimap",
        }
        self.maps = {key: load_image(Path(f"{dwi}{name}.nii.gz")) for key, name in names.items()}
        way = sitk.ReadTransform(f"{dwi}from-dwi_to-T1w_mode-image_xfm.h5")
        self.rigid, _ = parts_of(way)
        mask, lesion = (Path(f"{anat}{n}.nii.gz") for n in ("desc-brain_mask", "label-L_desc-final_mask"))
        prepared = SimpleNamespace(
            preproc=Path(f"{anat}desc-preproc_T1w.nii.gz"), brain_mask=mask, reference_suffix="T1w"
        )
        self.normalised: Any = SimpleNamespace(
            segmented=SimpleNamespace(prepared=prepared, final_mask=lesion, contralateral_mask=None),
            from_mni=next((out / subject / session / "anat").glob("*_from-MNI*_to-T1w_mode-image_xfm.h5")),
        )
        self.grid, there = self.maps["b0"], self.rigid.GetInverse()
        image = load_image(prepared.preproc)
        head, infarct = (
            resample(Volume(load_own_mask(path).astype(np.float32), image.affine), self.grid, there)
            for path in (mask, lesion)
        )
        self.brain: NDArray[np.bool_] = (head > 0.9) & (infarct < 0.1)

    def found(self, field: Floats) -> tuple[Floats, str, float]:
        """Return what is found of the field (mm in the brain), what is told, and seconds of CPU."""
        zoom = float(self.grid.voxel_sizes_mm[AXIS])
        with tempfile.TemporaryDirectory() as name:
            paths = {
                key: save_image(
                    Path(name) / f"{key}.nii.gz",
                    displaced(m.data, field, zoom, pressed=key == "b0"),
                    m.affine,
                )
                for key, m in self.maps.items()
            }
            series: Any = SimpleNamespace(**paths)
            start = time.process_time()
            bend = find_bend(series, AXIS, self.normalised, self.rigid)
            seconds = time.process_time() - start
        at = voxel_to_world(np.argwhere(self.brain), self.grid.affine)
        if bend.transform is None:
            return np.zeros(len(at)), bend.told, seconds
        along = self.grid.affine[:3, AXIS] / zoom
        return (map_points(bend.transform, at) - at) @ along, bend.told, seconds


def told(name: str, apart_mm: Floats) -> None:
    """Print a distribution."""
    median, most = np.percentile(np.abs(apart_mm), [50, 95])
    print(f"{name:44} median {median:.2f}, 95th percentile {most:.2f} mm", flush=True)


def main() -> None:
    """Distort and find."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("subject")
    parser.add_argument("session")
    parser.add_argument("--mm", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=3)
    given = parser.parse_args()
    visit = Visit(given.out, given.subject, given.session)
    zooms = visit.grid.voxel_sizes_mm
    own, line, seconds = visit.found(np.zeros(visit.brain.shape))
    print(f"as it is ({seconds:.0f} s of CPU): {line}")
    told("found in it", own)
    fields = {
        "random field": random_field(visit.brain, zooms, given.mm, given.seed),
        "field of air": field_of_air(visit.brain, zooms, given.mm),
    }
    for name, field in fields.items():
        found, line, _ = visit.found(field)
        print(f"{name}: {line}")
        told("added", field[visit.brain])
        told("  left of it, the series' own taken off", found - own - field[visit.brain])


if __name__ == "__main__":
    main()

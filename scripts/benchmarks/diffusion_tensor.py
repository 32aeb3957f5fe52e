"""Compare the tensor fit with dipy's and, where it is installed, MRtrix3's: maps and time.

Usage: python scripts/benchmarks/diffusion_tensor.py DWI.nii.gz [MORE.nii.gz ...]    (bval and bvec beside)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from dipy.core.gradients import gradient_table
from dipy.reconst.dti import TensorModel
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from mripipe.core.diffusion_mask import diffusion_mask
from mripipe.core.gradients import GradientTable, directions_from_fsl
from mripipe.core.tensor import fit_tensor
from mripipe.core.tensor_maps import tensor_maps

REPEATS = 3


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the shortest of some runs in seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return result, min(times)


def mrtrix(path: Path, mask: Path, folder: Path) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Return MRtrix3's FA and MD, and the time of dwi2tensor."""
    stem = str(path).removesuffix(".nii.gz")
    start = time.perf_counter()
    grad = ["-fslgrad", f"{stem}.bvec", f"{stem}.bval"]
    tensor, quiet = folder / "dt.nii", ["-force", "-quiet", "-nthreads", "2"]
    subprocess.run(["dwi2tensor", path, tensor, "-mask", mask, *grad, *quiet], check=True)
    seconds = time.perf_counter() - start
    out = ["-fa", folder / "fa.nii", "-adc", folder / "md.nii"]
    subprocess.run(["tensor2metric", tensor, *out, *quiet], check=True)
    return {name: nib.load(folder / f"{name}.nii").get_fdata() for name in ("fa", "md")}, seconds


def compare(name: str, ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> None:
    """Print correlation, slope and the largest difference."""
    slope = np.polyfit(theirs, ours, 1)[0]
    r = np.corrcoef(theirs, ours)[0, 1]
    print(f"  {name}: r {r:.6f}, slope {slope:.4f}, largest difference {np.abs(ours - theirs).max():.2e}")


def run(path: Path) -> None:
    """Compare on one series, inside a rough mask, voxels with a signal of 0 left out."""
    stem = str(path).removesuffix(".nii.gz")
    image = nib.load(path)
    data = np.asarray(image.dataobj, np.float32)
    b, vectors = np.loadtxt(f"{stem}.bval"), np.loadtxt(f"{stem}.bvec")
    mask = diffusion_mask(data[..., b > 50].mean(axis=3), np.array(image.header.get_zooms()[:3]))
    # The mask's rim is background, where the programs cut what is no tensor in ways of their own.
    mask = binary_erosion(mask, iterations=3) & (data.min(axis=3) > 0)
    signal = data[mask]
    table = GradientTable(b, directions_from_fsl(vectors, image.affine))
    ours, own_time = timed(lambda: tensor_maps(fit_tensor(signal, table).elements))
    model = TensorModel(gradient_table(b, bvecs=vectors.T))
    start = time.perf_counter()
    theirs = model.fit(signal)
    dipy_time = time.perf_counter() - start
    print(
        f"{path.name}: {len(signal)} voxels, {len(b)} volumes; ours {own_time:.2f} s, dipy {dipy_time:.2f} s"
    )
    compare("FA, dipy", ours.fa, theirs.fa)
    compare("MD, dipy", ours.md * 1e3, theirs.md * 1e3)
    if shutil.which("dwi2tensor"):
        with tempfile.TemporaryDirectory() as folder:
            mask_file = Path(folder) / "mask.nii"
            nib.save(nib.Nifti1Image(mask.astype(np.uint8), image.affine), mask_file)
            maps, seconds = mrtrix(path, mask_file, Path(folder))
        print(f"  MRtrix3: {seconds:.2f} s, its reading and writing included")
        compare("FA, MRtrix3", ours.fa, maps["fa"][mask])
        compare("MD, MRtrix3", ours.md * 1e3, maps["md"][mask] * 1e3)
        # It leaves eigenvalues below 0, which give FA above 1 and which ours and dipy's cut.
        sound = maps["fa"][mask] < 1.0
        print(f"  of them with FA below 1 in MRtrix3: {sound.mean():.4f}")
        compare("FA, MRtrix3", ours.fa[sound], maps["fa"][mask][sound])
        compare("MD, MRtrix3", ours.md[sound] * 1e3, maps["md"][mask][sound] * 1e3)


if __name__ == "__main__":
    for given in sys.argv[1:]:
        run(Path(given))

"""Compare tensor fit and denoising with dipy's and, where it is installed, MRtrix3's: maps and time.

Usage: python scripts/benchmarks/diffusion_tensor.py DWI.nii.gz [MORE.nii.gz ...]    (bval and bvec beside)
"""

from __future__ import annotations

import resource
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

from mripipe.core.diffusion_denoise import denoise
from mripipe.core.diffusion_mask import diffusion_mask
from mripipe.core.gradients import GradientTable, directions_from_fsl
from mripipe.core.tensor import fit_tensor
from mripipe.core.tensor_maps import eigenvalues, tensor_maps

REPEATS = 3


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the shortest of some runs in seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return result, min(times)


def mrtrix(
    path: Path, mask: Path, folder: Path, *options: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return MRtrix3's tensors (X, Y, Z, 6) as xx, xy, yy, xz, yz, zz, its FA, and the time of dwi2tensor."""
    stem = str(path).removesuffix(".nii.gz")
    grad = ["-fslgrad", f"{stem}.bvec", f"{stem}.bval"]
    tensor, quiet = folder / "dt.nii", ["-force", "-quiet", "-nthreads", "2"]
    start = time.perf_counter()
    subprocess.run(["dwi2tensor", path, tensor, "-mask", mask, *grad, *options, *quiet], check=True)
    seconds = time.perf_counter() - start
    subprocess.run(["tensor2metric", tensor, "-fa", folder / "fa.nii", *quiet], check=True)
    elements = nib.load(tensor).get_fdata()[..., [0, 3, 1, 4, 5, 2]]
    return elements, nib.load(folder / "fa.nii").get_fdata(), seconds


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
            compare_mrtrix(path, mask_file, mask, signal, table)
            compare_denoising(path, mask_file, data, mask)


def compare_denoising(
    path: Path, mask_file: Path, data: NDArray[np.float32], mask: NDArray[np.bool_]
) -> None:
    """Denoise the same voxels with MRtrix3's ``dwidenoise``, in CPU seconds."""
    start = time.process_time()
    ours = denoise(data, mask)
    own = time.process_time() - start
    target, noise = mask_file.parent / "denoised.nii", mask_file.parent / "noise.nii"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["dwidenoise", path, target, "-mask", mask_file, "-noise", noise, "-force", "-quiet"]
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    theirs = nib.load(target).get_fdata(dtype=np.float32)[mask]
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sigma = float(np.median(nib.load(noise).get_fdata()[mask]))
    print(f"  denoising: ours {own:.1f} CPU s, dwidenoise {spent:.1f}; noise {ours.sigma:.2f}, {sigma:.2f}")
    removed, other = (data[mask] - part for part in (ours.data[mask], theirs))
    print(f"  what was removed: deviation {removed.std():.2f}, {other.std():.2f}; ", end="")
    print(f"correlation {np.corrcoef(removed.ravel(), other.ravel())[0, 1]:.3f}")


def compare_mrtrix(
    path: Path,
    mask_file: Path,
    mask: NDArray[np.bool_],
    signal: NDArray[np.float32],
    table: GradientTable,
) -> None:
    """Compare with MRtrix3's fit as it is, with eigenvalues below 0 cut, and with the same weights."""
    once = fit_tensor(signal, table)
    ours, again = tensor_maps(once.elements), tensor_maps(fit_tensor(signal, table, start=once).elements)
    elements, fa, seconds = mrtrix(path, mask_file, mask_file.parent)
    cut = tensor_maps(elements[mask])
    print(f"  MRtrix3: {seconds:.2f} s, its reading and writing included")
    print(f"  a negative eigenvalue in MRtrix3, FA up to {fa[mask].max():.2f}: ", end="")
    print(f"{np.mean(eigenvalues(elements[mask])[2] <= 0):.4f} of the voxels")
    compare("FA, MRtrix3 as it is", ours.fa, fa[mask])
    compare("FA, MRtrix3, eigenvalues cut at 0", ours.fa, cut.fa)
    compare("MD, MRtrix3, eigenvalues cut at 0", ours.md * 1e3, cut.md * 1e3)
    compare("FA, ours weighted twice, MRtrix3 cut", again.fa, cut.fa)
    # Its first weights are otherwise the measured signal's; one of its rounds is our start.
    elements, _, _ = mrtrix(path, mask_file, mask_file.parent, "-ols", "-iter", "2")
    same = tensor_maps(elements[mask])
    compare("FA, ours weighted twice, MRtrix3 -ols -iter 2, cut", again.fa, same.fa)
    compare("MD, ours weighted twice, MRtrix3 -ols -iter 2, cut", again.md * 1e3, same.md * 1e3)


if __name__ == "__main__":
    for given in sys.argv[1:]:
        run(Path(given))

"""Rigid, affine and deformable registration with greedy, images in memory.

Matrices map fixed RAS mm to moving RAS mm, so they resample the moving image onto the fixed grid; a
displacement field on the fixed grid adds to the fixed point before the matrix is applied.

Engine: greedy (Yushkevich et al. 2016, doi:10.1016/j.jalz.2016.06.205), local cross-correlation in windows
of 5 voxels. Left to itself it draws jitter and noise by the clock, and with two threads the affine's sums
differ in their last bits: both are switched off here, what is still drawn has a fixed seed, and the affine
has one thread. The deformation's result depends on the number of threads but not on their timing, so that
number is fixed: the same input gives the same bytes however many processes run beside it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from picsl_greedy import Greedy3D

from mripipe.core.grid import Volume
from mripipe.core.itk import to_itk

Floats = NDArray[np.floating]

THREADS = 2
"""Of the deformation; fixed, see the module's docstring; two suit a two-core task."""
METRIC = "-m NCC 2x2x2"


@dataclass(frozen=True)
class Deformation:
    """A displacement field with the affine that follows it."""

    displacement: NDArray[np.float32]
    """RAS mm, shape (X, Y, Z, 3): fixed point x goes to matrix(x + displacement(x))."""
    matrix: Floats
    """Affine from fixed to moving RAS mm, shape (4, 4)."""


def register_affine(
    fixed: Volume,
    moving: Volume,
    start: Floats,
    *,
    fixed_mask: NDArray[np.bool_],
    model: Literal["rigid", "affine"],
    iterations: str,
) -> Floats:
    """Refine a matrix so that a moving image fits a fixed one.

    Parameters
    ----------
    fixed, moving : Volume
    start : array (4, 4)
        First guess, fixed RAS mm to moving RAS mm.
    fixed_mask : array of bool, shape of ``fixed.data``
        Where the images are compared: leave lesions out, keep a rim of background in.
    model : ``rigid`` (6 parameters) or ``affine`` (12)
    iterations : str
        Per level from coarse to fine, halving the voxel size each: ``"60x40x0"`` stops at twice the
        voxel size.

    Returns
    -------
    array (4, 4)
        Fixed RAS mm to moving RAS mm.

    """
    degrees = {"rigid": 6, "affine": 12}[model]
    with tempfile.TemporaryDirectory() as folder:
        guess = Path(folder) / "start.mat"
        np.savetxt(guess, start, fmt="%.17g")
        found = _greedy(
            f"-i fixed moving -a -dof {degrees} -ia {guess} {METRIC} -n {iterations} -gm region -jitter 0"
            " -o found",
            {"fixed": fixed, "moving": moving, "region": Volume(fixed_mask.astype(np.float32), fixed.affine)},
            threads=1,
        )
    return np.asarray(found, float)


def register_deformable(
    fixed: Volume,
    moving: Volume,
    matrix: Floats,
    *,
    fixed_mask: NDArray[np.bool_],
    iterations: str,
    smoothing: str = "3vox 0.5vox",
) -> Deformation:
    """Deform on top of an affine; the field is the exponential of a stationary velocity, so it does not fold.

    Parameters
    ----------
    fixed, moving : Volume
    matrix : array (4, 4)
        Affine that comes first, fixed RAS mm to moving RAS mm.
    fixed_mask : array of bool, shape of ``fixed.data``
        Where the images are compared.  A narrow rim of background belongs in it, a wide one rules the step
        size.
    iterations : str
        Per level from coarse to fine.
    smoothing : str
        Gaussian smoothing of the update and of the whole field.

    Returns
    -------
    Deformation
        On the fixed grid.

    """
    with tempfile.TemporaryDirectory() as folder:
        affine = Path(folder) / "affine.mat"
        np.savetxt(affine, matrix, fmt="%.17g")
        found = _greedy(
            f"-i fixed moving -it {affine} {METRIC} -n {iterations} -s {smoothing} -sv -wp 0 -gm region"
            " -o found",
            {"fixed": fixed, "moving": moving, "region": Volume(fixed_mask.astype(np.float32), fixed.affine)},
            threads=THREADS,
        )
    field = sitk.GetArrayFromImage(found).transpose(2, 1, 0, 3)
    # greedy writes displacements in ITK's LPS axes.
    return Deformation((field * np.array([-1.0, -1.0, 1.0])).astype(np.float32), np.asarray(matrix, float))


def _greedy(command: str, images: dict[str, Volume], *, threads: int) -> Any:
    """Run one greedy command; return its ``found``, an image or a matrix. Its chatter goes nowhere."""
    engine = Greedy3D()
    inputs = {name: to_itk(volume) for name, volume in images.items()}
    with _silent_stdout():
        engine.execute(f"{command} -threads {threads} -noise 0 -seed 1 -float -V 0", found=None, **inputs)
    return engine["found"]


@contextmanager
def _silent_stdout() -> Iterator[None]:
    """Send the process's standard output nowhere: greedy's optimiser writes to it from C."""
    sys.stdout.flush()
    saved = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)

"""Directions of fibres in a voxel by constrained spherical deconvolution, at the order that the data carry.

Tournier et al. 2007, doi:10.1016/j.neuroimage.2007.02.016, by dipy. Directions are kept along the axes of the
grid, where dipy follows streamlines: an image stored from left to right gives the same tract as one stored
from right to left.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from dipy.core.gradients import gradient_table
from dipy.core.sphere import Sphere
from dipy.data import get_sphere
from dipy.reconst.csdeconv import ConstrainedSphericalDeconvModel, response_from_mask_ssst
from numpy.typing import NDArray

from mripipe.core.gradients import B0_MAX, GradientTable
from mripipe.core.grid import voxel_sizes_mm

Floats = NDArray[np.floating]

ORDERS = ((45, 8), (28, 6), (15, 4))
"""Directions, and the order of spherical harmonics with no more coefficients than that."""
LEAST_DIRECTIONS = ORDERS[-1][0]
LEAST_B = 600.0
"""s/mm^2; below, fibres that cross are not told apart."""
RESPONSE_VOXELS = 300
"""How many stand for one bundle of fibres."""
RESPONSE_MD = (0.4e-3, 1.1e-3)
"""mm^2/s of white matter; high anisotropy outside is noise at the edge of fluid and skull."""


@dataclass(frozen=True, eq=False)
class Fibres:
    """How much of the fibres runs in each direction."""

    amplitudes: NDArray[np.float64]
    """(X, Y, Z, V), 0 where it was not looked for and never below."""
    sphere: Sphere
    """V directions along the grid's axes."""


@dataclass(frozen=True)
class Response:
    """What one bundle of fibres does to the signal."""

    along: float
    """Diffusivity along it in mm^2/s."""
    across: float
    unweighted: float
    """Signal without weighting."""


def harmonic_order(n_directions: int) -> int | None:
    """Return the order of spherical harmonics that so many directions fix; None where they fix none.

    Examples
    --------
    >>> [harmonic_order(n) for n in (12, 16, 30, 64)]
    [None, 4, 6, 8]

    """
    return next((order for least, order in ORDERS if n_directions >= least), None)


def tracking_volumes(table: GradientTable) -> NDArray[np.bool_] | None:
    """Choose b = 0 and the shell with most directions, the higher of two; None where they are too few."""
    shells = [
        (table.take(table.shell_index == number).n_directions, b, number)
        for number, b in enumerate(table.shells)
        if b >= LEAST_B
    ]
    if not shells or not table.is_b0.any():
        return None
    most, _, number = max(shells)
    chosen = table.is_b0 | (table.shell_index == number)
    return np.asarray(chosen) if most >= LEAST_DIRECTIONS else None


def find_fibres(
    signal: Floats,
    table: GradientTable,
    affine: NDArray[np.float64],
    *,
    where: NDArray[np.bool_],
    response: Response,
) -> Fibres:
    """Deconvolve the signal of one shell.

    Parameters
    ----------
    signal : array (X, Y, Z, N)
        b = 0 and one shell, `tracking_volumes`.
    table : GradientTable
        Of these volumes, `LEAST_DIRECTIONS` or more.
    affine : array (4, 4)
        Voxel index to RAS+ mm.
    where : array of bool (X, Y, Z)
        Voxels that are looked at.
    response : Response
        Of the same series.

    """
    order = harmonic_order(table.n_directions)
    if order is None:
        raise ValueError(f"{table.n_directions} directions, {LEAST_DIRECTIONS} needed; see tracking_volumes")
    kernel = (np.array([response.along, response.across, response.across]), response.unweighted)
    sphere = get_sphere(name="symmetric362")
    with warnings.catch_warnings():
        # dipy speaks of its own choice of harmonics, which only this module sees.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        model = ConstrainedSphericalDeconvModel(_gradients(table, affine), kernel, sh_order_max=order)
        found = model.fit(signal, mask=where).odf(sphere)
    return Fibres(np.maximum(np.nan_to_num(found), 0.0), sphere)


def find_response(
    signal: Floats,
    table: GradientTable,
    affine: NDArray[np.float64],
    *,
    fa: Floats,
    md: Floats,
    allowed: NDArray[np.bool_],
) -> Response | None:
    """Measure one bundle of fibres where FA is highest in white matter; None where no voxel is white matter.

    Parameters
    ----------
    signal, table, affine
        As for `find_fibres`.
    fa, md : arrays (X, Y, Z)
        md in mm^2/s.
    allowed : array of bool (X, Y, Z)
        Brain without lesion.

    """
    ranked = np.where(allowed & (md > RESPONSE_MD[0]) & (md < RESPONSE_MD[1]), fa, 0.0).ravel()
    best = np.argsort(-ranked, kind="stable")[:RESPONSE_VOXELS]
    best = best[ranked[best] > 0]
    if not best.size:
        return None
    chosen = signal.reshape(-1, signal.shape[3])[best]
    (values, unweighted), _ = response_from_mask_ssst(
        _gradients(table, affine), chosen, np.ones(best.size, bool)
    )
    return Response(float(values[0]), float(values[1]), float(unweighted))


def grid_axes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit directions of a grid's axes in RAS+ as columns, shape (3, 3); shear is taken out.

    Examples
    --------
    >>> grid_axes(np.diag([-2.0, 2.0, 3.0, 1.0])).round(6).tolist()
    [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    """
    u, _, vt = np.linalg.svd(affine[:3, :3] / voxel_sizes_mm(affine))
    return np.asarray(u @ vt + 0.0)


def _gradients(table: GradientTable, affine: NDArray[np.float64]) -> Any:
    """Return dipy's table, along the axes of the grid."""
    return gradient_table(table.b_values, bvecs=table.directions @ grid_axes(affine), b0_threshold=B0_MAX)

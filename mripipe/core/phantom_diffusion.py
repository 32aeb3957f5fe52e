"""Diffusion-weighted images of a phantom patient: a tensor in each tissue, in white matter along its fibres.

``S = sum_t f_t S0_t exp(-b (r_t + (a_t - r_t)(g . v)^2))`` over tissues t with fraction f, axial and radial
diffusivity a and r, fibre direction v and gradient direction g (Basser et al. 1994,
doi:10.1016/S0006-3495(94)80775-1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mripipe.core.phantom_fibres import BRAIN_STEM_MM, corticospinal, white_matter
from mripipe.core.phantom_fields import AffineArray, FloatArray, sample, soft_step
from mripipe.core.phantom_patient import SEQUENCES, PhantomPatient, PhantomVisit
from mripipe.core.phantom_scan import PhantomGrid, add_rician_noise, bias_field, draw_pose, voxel_slabs
from mripipe.core.phantom_signal import tissue_fractions

DIFFUSIVITY = {"gm": 0.85e-3, "csf": 3.0e-3, "gliosis": 1.35e-3, "rim": 1.2e-3, "hyperintensity": 1.1e-3}
"""Isotropic mean diffusivity in mm^2/s."""
S0 = {"gm": 0.66, "csf": 1.0, "gliosis": 0.85, "rim": 0.8, "hyperintensity": 0.7}
WHITE_S0 = 0.50


@dataclass(frozen=True)
class Gradients:
    """One diffusion acquisition."""

    b_values: NDArray[np.float64]
    """s/mm^2 (N,)."""
    directions: NDArray[np.float64]
    """Unit vectors in native RAS+ axes (N, 3); zero where b is 0."""


def even_gradients(n_directions: int = 30, *, b_value: float = 1000.0, n_b0: int = 1) -> Gradients:
    """Spread directions evenly over the sphere, opposite ends counting as one; b = 0 comes first."""
    rank = np.arange(n_directions)
    z = 1.0 - (rank + 0.5) / n_directions
    turn = rank * np.pi * (3.0 - np.sqrt(5.0))
    rows = np.column_stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z])
    for _ in range(300):
        both = np.vstack([rows, -rows])
        away = rows[:, None] - both[None]
        squared = (away**2).sum(-1)
        force = (away / np.where(squared < 1e-9, np.inf, squared**1.5)[..., None]).sum(1)
        rows = rows + 0.5 / n_directions * force / np.linalg.norm(force, axis=1, keepdims=True).max()
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Gradients(
        np.array([0.0] * n_b0 + [b_value] * n_directions), np.vstack([np.zeros((n_b0, 3)), rows])
    )


def fsl_vectors(gradients: Gradients, affine: AffineArray) -> NDArray[np.float64]:
    """Return directions as a bvec file wants them, (3, N), for an image with that affine.

    FSL's axes are the voxel axes, the first reversed where the affine's determinant is positive.

    Examples
    --------
    >>> along_x = Gradients(np.array([1000.0]), np.array([[1.0, 0.0, 0.0]]))
    >>> fsl_vectors(along_x, np.eye(4)).ravel().tolist()
    [-1.0, 0.0, 0.0]

    """
    linear = affine[:3, :3]
    vectors = (linear / np.sqrt((linear**2).sum(0))).T @ gradients.directions.T
    if np.linalg.det(linear) > 0:
        vectors[0] *= -1.0
    return np.asarray(vectors + 0.0)


def axial_radial(
    md: NDArray[np.floating], fa: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the axial and radial diffusivity of a cylindrical tensor with that mean and anisotropy."""
    spread = fa * md * np.sqrt(3.0 / (1.0 - 2.0 * fa**2 / 3.0))
    return md + 2.0 * spread / 3.0, md - spread / 3.0


def render_diffusion(
    patient: PhantomPatient,
    visit: int,
    grid: PhantomGrid,
    gradients: Gradients,
    *,
    snr: float | None = 25.0,
    bias: float = 0.2,
    motion_mm: float = 0.0,
) -> FloatArray:
    """Render a diffusion series.

    Parameters
    ----------
    patient, visit
        ``visit`` counts from 0.
    grid : PhantomGrid
        Native voxels, from ``visit_grid(patient, visit, "dwi", ...)``.
    gradients : Gradients
        In native axes.
    snr : float or None
        Signal of white matter at b = 0 over the noise's deviation; None for no noise.
    bias : float
        Strength of the receive field.
    motion_mm : float
        The head moves up to this much, and as many degrees, between volumes; the first is at rest.

    Returns
    -------
    array (X, Y, Z, N)
        float32, scaled to about 1000 in fluid at b = 0.

    """
    rng = np.random.default_rng([patient.seed, 3, visit, SEQUENCES.index("dwi")])
    n = len(gradients.b_values)
    steps = [draw_pose(rng, degrees=motion_mm, millimetres=motion_mm) for _ in range(n)]
    groups = (
        [([0], np.eye(4))] + [([k], steps[k]) for k in range(1, n)] if motion_mm else [(range(n), np.eye(4))]
    )
    series = np.zeros((*grid.shape, n), np.float32)
    for volumes, step in groups:
        pose = step @ patient.visits[visit].native_from_patient("dwi")
        for part, points in voxel_slabs(grid, pose, np.zeros(3)):
            chosen = Gradients(gradients.b_values[volumes], gradients.directions[volumes])
            values = _signal(patient, patient.visits[visit], points, pose, chosen)
            series[part][..., volumes] = values.T.reshape(*series[part].shape[:3], len(volumes))
    if bias:
        series *= bias_field(rng, grid.shape, strength=bias)[..., None]
    if snr is not None:
        for k in range(n):
            series[..., k] = add_rician_noise(rng, series[..., k], sigma=WHITE_S0 / snr)
    return series * np.float32(1000.0)


def _signal(
    patient: PhantomPatient, scan: PhantomVisit, points: FloatArray, pose: AffineArray, gradients: Gradients
) -> FloatArray:
    """Noiseless signal (volumes, N) at patient points (3, N)."""
    atlas = patient.atlas
    mni = scan.anatomy.to_mni(points)
    hull = sample(atlas.hull_mm, atlas.head_affine, mni, outside=None)
    inside = np.flatnonzero(hull < 3.0)
    mni, within = mni[:, inside], soft_step(2.5 - hull[inside])
    fractions = tissue_fractions(atlas, patient.levels, scan.thresholds, mni)
    # The template calls half of the brain stem grey; the tract through it is white all the same.
    tract = np.maximum(corticospinal(mni, "left"), corticospinal(mni, "right"))
    tract *= soft_step(BRAIN_STEM_MM - mni[2], 4.0)
    white = (fractions.pop("wm") + tract * fractions["gm"]) * within
    fractions["gm"] *= 1.0 - tract
    md, fa, fibres = white_matter(mni, patient.side, scan.tract_fa_ratio)
    axial, radial = axial_radial(md, fa)
    # A fibre drawn in MNI points the way the inverse map carries it; the affine part says nearly all of it.
    turn = pose[:3, :3] @ np.linalg.inv(scan.anatomy.affine[:3, :3])
    native = turn.astype(np.float32) @ fibres
    native /= np.linalg.norm(native, axis=0)
    out = np.zeros((len(gradients.b_values), points.shape[1]), np.float32)
    for k, (b, direction) in enumerate(zip(gradients.b_values, gradients.directions, strict=True)):
        along = (direction.astype(np.float32) @ native) ** 2
        value = WHITE_S0 * white * np.exp(-b * (radial + (axial - radial) * along))
        for name, fraction in fractions.items():
            value += S0[name] * np.exp(-b * DIFFUSIVITY[name]) * fraction * within
        out[k, inside] = value
    return out

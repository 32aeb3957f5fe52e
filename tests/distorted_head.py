"""A head drawn from the template's tissues, whose diffusion is displaced by a field made outside it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from mripipe.atlases.template import load_template
from mripipe.core.diffusion_anatomy import TissueShown

MM = 3.0
SHAPE = (52, 62, 52)
AFFINE = np.array([[MM, 0, 0, -76.5], [0, MM, 0, -108.0], [0, 0, MM, -70.0], [0, 0, 0, 1.0]])
ZOOMS = np.full(3, MM)
FA = np.array([0.12, 0.5, 0.05])
MD = np.array([0.85e-3, 0.72e-3, 2.8e-3])
PLAIN = np.array([650.0, 500.0, 1600.0])
"""Grey matter, white matter, CSF."""
SOURCES = (((4.0, 62.0, -50.0), 320.0), ((-62.0, -18.0, -62.0), -240.0))
"""Outside the head, RAS mm, and their strength in mm^2: above the sinuses and one ear."""


def points(shape=SHAPE, affine=AFFINE):
    return np.argwhere(np.ones(shape, bool)) @ affine[:3, :3].T + affine[:3, 3]


def field(at, strength=1.0):
    """Displacement in mm (M,) at RAS mm; harmonic wherever there is no source."""
    away = [q / np.maximum(np.linalg.norm(at - s, axis=1), 12.0) for s, q in SOURCES]
    return strength * np.sum(away, axis=0)


@lru_cache(maxsize=2)
def tissues(blur_mm):
    """Grey matter, white matter and CSF (3, X, Y, Z) on the template's grid: the likeliest, blurred."""
    template = load_template()
    maps = np.stack([template.gm, template.wm, template.csf])
    likeliest = np.eye(3)[maps.argmax(axis=0)] * template.mask[..., None]
    return np.stack([gaussian_filter(likeliest[..., k], blur_mm / 2.355) for k in range(3)])


def shares(at, blur_mm=MM):
    """Share of each tissue (3, M) at RAS mm."""
    inverse = np.linalg.inv(load_template().affine)
    index = (at @ inverse[:3, :3].T + inverse[:3, 3]).T
    return np.stack([map_coordinates(part, index, order=1) for part in tissues(blur_mm)])


def belongs(strength, shape=SHAPE, affine=AFFINE):
    """Where what is seen at each voxel belongs, RAS mm (M, 3), and how much it was pressed together."""
    seen = points(shape, affine)
    place = seen
    for _ in range(60):
        place = seen - [0, 1, 0] * field(place, strength)[:, None]
    step = np.array([0, 0.05, 0])
    return place, 1 + (field(place + step, strength) - field(place - step, strength)) / 0.1


def diffusion(strength=1.0, noise=0.05, gain=0.0, hole=None):
    """FA, MD and b = 0 (X, Y, Z) as the field displaces them; both are wrong within 25 mm of a hole."""
    rng = np.random.default_rng(5)
    place, pressed = belongs(strength)
    mixed = shares(place)
    whole = np.maximum(mixed.sum(axis=0), 1e-6)
    fa, md = FA @ mixed, MD @ mixed / whole
    plain = PLAIN @ mixed / pressed * np.exp(gain * points()[:, 0] / 60.0)
    if hole is not None:
        lost = np.linalg.norm(place - hole, axis=1) < 25.0
        fa, plain = np.where(lost, 0.02, fa), np.where(lost, 1.6 * plain, plain)
    fa = np.clip(fa + rng.normal(0, noise, fa.shape), 0, 1)
    plain = np.maximum(plain + rng.normal(0, noise * PLAIN[1], fa.shape), 0)
    return tuple(
        part.reshape(SHAPE).astype(np.float32) for part in (fa, np.where(mixed.sum(0) > 0.1, md, 0), plain)
    )


def shown(hole=None):
    """Return what an undistorted image shows, an infarct of 30 mm left out."""
    at = points()
    mixed = shares(at)
    region = mixed.sum(axis=0) >= 0.5
    if hole is not None:
        region &= np.linalg.norm(at - hole, axis=1) > 30.0
    return TissueShown(mixed.reshape(3, *SHAPE).astype(np.float32), region.reshape(SHAPE))

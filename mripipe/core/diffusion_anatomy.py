"""Distortion by the field, from the tissue that an undistorted anatomical image shows.

Where nothing shows the field itself, diffusion is laid over the anatomy along the phase encoding: FA, which
tells white matter from the rest, and the weighted signal, which tells tissue from fluid. With u(x) the
displacement in mm and u' its slope, what belongs at x is F(x + u e) in FA and W(x + u e)(1 + u') in the
signal. Both should be a mixture of grey matter, white matter and CSF, each of one value, times a gain that
changes slowly from place to place: the coils', which must not pass for signal that was pressed together.
u minimises the squares of what is left.

A field made outside the head, by the air of sinuses and ear canals, is harmonic inside it: its Laplacian
is 0. That, and not the field's size or slope, is what u is held to, so that a shift or a scale costs nothing.
b = 0 has no part in it, and tells afterwards where the field found is true: beside the sinuses, where signal
is lost and skull is near, it may not be.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from mripipe.core.field_algebra import part_along, slope_along, slope_turned, solve_symmetric, stretched

Floats = NDArray[np.floating]

LEVELS_MM = ((6.0, 4.0), (4.0, 2.5), (4.0, 1.5))
"""Grid of each round, and the deviation of the Gaussian that images are smoothed with before."""
STEPS = 8
STILL_MM = 0.05
"""A round ends with a step that moves no point further."""
BEND = 0.03
"""A Laplacian of so much (mm/mm^2) costs as much as a misfit of one deviation."""
GAIN_ORDER = 3
"""Of the polynomial, over the whole image, that the gain is."""
ASKED_MM = 10.0
"""b = 0 is asked over a neighbourhood of this deviation whether a field is true."""
UNLIKE = 3.0
"""Deviations from the mixture, from which a place is left out: no tissue is like that."""
STEEPEST = 0.9
"""Largest slope of u: at 1 the head would be folded upon itself."""


@dataclass(frozen=True, eq=False)
class TissueShown:
    """What the anatomy shows, carried rigidly to the diffusion grid."""

    tissues: NDArray[np.float32]
    """Share of grey matter, white matter and CSF in each voxel, (3, X, Y, Z)."""
    region: NDArray[np.bool_]
    """Brain that is not infarct (X, Y, Z)."""


@dataclass(frozen=True, eq=False)
class _Channel:
    """An image, and its slope along the phase encoding, smoothed for a round."""

    image: Floats
    slope: Floats
    pressed: bool
    """Whether it is brighter where it was pressed together, as a signal is and FA is not."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """A channel where the field puts it, and how it changes with the field and with the field's slope."""

    value: Floats
    by_shift: Floats
    by_slope: Floats


@dataclass(frozen=True, eq=False)
class _Round:
    index: Floats
    """Fractional voxel index of the round's grid, (3, x, y, z)."""
    step_mm: Floats
    region: NDArray[np.bool_]
    shares: Floats
    """Of each tissue in the region's points, (M, 3)."""
    slow: Floats
    """What a gain may be made of there, (M, terms)."""
    channels: tuple[_Channel, ...]
    zoom_mm: float
    """Voxel size along the phase encoding."""


def field_from_anatomy(
    fa: Floats, signal: Floats, shown: TissueShown, zooms_mm: Floats, axis: int
) -> NDArray[np.float32]:
    """Find the displacement that makes diffusion agree with the tissue of the anatomy.

    Parameters
    ----------
    fa, signal : array (X, Y, Z)
        FA, and the signal with diffusion weighting of about b = 1000, on one grid.
    shown : TissueShown
        Laid over them rigidly.
    zooms_mm : array (3,)
        Voxel size along each array axis.
    axis : int
        Array axis of the phase encoding.

    Returns
    -------
    array (X, Y, Z)
        mm along that axis in array order: what belongs at x is found at x + u.

    """
    u: Floats = np.zeros((2, 2, 2), np.float32)
    for grid_mm, smooth_mm in LEVELS_MM:
        level = _round(fa, signal, shown, np.asarray(zooms_mm), axis, grid_mm, smooth_mm)
        u = stretched(u, level.region.shape)
        deviations = [_deviation(rest) for rest in _rests(level, u, axis, _mixtures(level, u, axis))]
        for _ in range(STEPS):
            before = u
            u = _improved(level, u, axis, deviations)
            if float(np.abs(u - before).max()) < STILL_MM:
                break
    return stretched(u, fa.shape)


def where_borne_out(
    displacement_mm: Floats, image: Floats, shown: TissueShown, zooms_mm: Floats, axis: int
) -> NDArray[np.float32]:
    """Return a displacement (X, Y, Z) where an image without part in it agrees better by it, and 0 elsewhere.

    Parameters
    ----------
    displacement_mm, image : array (X, Y, Z)
        From `field_from_anatomy`, and b = 0.
    shown : TissueShown
    zooms_mm : array (3,)
    axis : int

    """
    straight = unbent(image, displacement_mm, float(zooms_mm[axis]), axis, pressed=True)
    gained = _misfit(image, shown) - _misfit(straight, shown)
    better = gaussian_filter(gained, ASKED_MM / np.asarray(zooms_mm)) > 0.0
    # Tapered: a field that ends at once would fold the head.
    share = gaussian_filter(better.astype(np.float32), 0.5 * ASKED_MM / np.asarray(zooms_mm))
    return np.asarray(displacement_mm * share, np.float32)


def agreement(image: Floats, shown: TissueShown) -> float:
    """Return the share of an image's variance (X, Y, Z) that the mixture of tissues explains, at most 1."""
    own, shares = image[shown.region].astype(float), shown.tissues[:, shown.region].T.astype(float)
    rest = own - _mixture(own, shares, _polynomials(shown.region))
    return 1.0 - float(np.var(rest)) / max(float(np.var(own)), 1e-12)


def _misfit(image: Floats, shown: TissueShown) -> NDArray[np.float32]:
    """Return squares of what the mixture leaves (X, Y, Z), in robust deviations, cut at `UNLIKE`."""
    own, shares = image[shown.region].astype(float), shown.tissues[:, shown.region].T.astype(float)
    rest = own - _mixture(own, shares, _polynomials(shown.region))
    out = np.zeros(image.shape, np.float32)
    out[shown.region] = np.clip(rest / _deviation(rest), -UNLIKE, UNLIKE) ** 2
    return out


def unbent(image: Floats, displacement_mm: Floats, zoom_mm: float, axis: int, *, pressed: bool) -> Floats:
    """Look an image (X, Y, Z) up where the field puts it, linearly; a signal is thinned where pressed."""
    where = np.indices(image.shape).astype(np.float32)
    where[axis] += displacement_mm / zoom_mm
    found = map_coordinates(image, where, order=1, mode="nearest")
    return np.asarray(found * (1.0 + slope_along(displacement_mm, zoom_mm, axis)) if pressed else found)


def _round(
    fa: Floats,
    signal: Floats,
    shown: TissueShown,
    zooms: Floats,
    axis: int,
    grid_mm: float,
    smooth_mm: float,
) -> _Round:
    shape = [
        max(int(np.ceil((n - 1) * z / max(grid_mm, z))) + 1, 3) for n, z in zip(fa.shape, zooms, strict=True)
    ]
    steps = [np.linspace(0.0, n - 1, c, dtype=np.float32) for n, c in zip(fa.shape, shape, strict=True)]
    index = np.stack(np.meshgrid(*steps, indexing="ij"))

    def smooth(image: Floats) -> Floats:
        return np.asarray(gaussian_filter(image.astype(np.float32), smooth_mm / zooms))

    channels = []
    for image, pressed in ((fa, False), (signal, True)):
        # Of size 1, whatever the scanner's unit.
        own = smooth(image / max(float(np.abs(image[shown.region]).mean()), 1e-12))
        channels.append(_Channel(own, np.gradient(own, float(zooms[axis]), axis=axis), pressed))
    region = map_coordinates(shown.region.astype(np.float32), index, order=1) >= 0.5
    return _Round(
        index,
        np.array([(n - 1) * z / (c - 1) for n, z, c in zip(fa.shape, zooms, shape, strict=True)]),
        region,
        np.stack([map_coordinates(smooth(part), index, order=1)[region] for part in shown.tissues], axis=1),
        _polynomials(region),
        tuple(channels),
        float(zooms[axis]),
    )


def _seen(level: _Round, u: Floats, axis: int) -> list[_Seen]:
    """Look each channel up where the field puts it."""
    where = level.index.copy()
    where[axis] += u / level.zoom_mm
    thinner = 1.0 + slope_along(u, float(level.step_mm[axis]), axis)
    out = []
    for channel in level.channels:
        image, slope = (
            map_coordinates(part, where, order=1, mode="nearest") for part in (channel.image, channel.slope)
        )
        if channel.pressed:
            out.append(_Seen(image * thinner, slope * thinner, image))
        else:
            out.append(_Seen(image, slope, np.zeros_like(image)))
    return out


def _mixture(values: Floats, shares: Floats, slow: Floats) -> Floats:
    """Return the mixture of tissues (M, 3), times a slow gain, that is nearest to values (M,)."""
    gain: Floats = np.ones(len(values))
    for _ in range(2):
        each = _nearest(shares * gain[:, None], values)
        gain = slow @ _nearest((shares @ each)[:, None] * slow, values)
    return np.asarray((shares @ each) * gain)


def _nearest(columns: Floats, values: Floats) -> Floats:
    """Return the least-squares weights of a few columns; one that is 0 throughout gets none."""
    return np.asarray(np.linalg.pinv(columns.T @ columns, hermitian=True) @ (columns.T @ values))


def _polynomials(inside: NDArray[np.bool_]) -> Floats:
    """Return all products of powers of the places inside, up to `GAIN_ORDER` together, (M, terms)."""
    ends = np.array(inside.shape) - 1.0
    x, y, z = (2.0 * np.argwhere(inside) / np.maximum(ends, 1.0) - 1.0).T
    powers = [p for p in product(range(GAIN_ORDER + 1), repeat=3) if sum(p) <= GAIN_ORDER]
    return np.stack([x**a * y**b * z**c for a, b, c in powers], axis=1)


def _mixtures(level: _Round, u: Floats, axis: int) -> list[Floats]:
    """Return the mixture nearest to each channel in the region's points, (M,)."""
    values = (seen.value[level.region].astype(float) for seen in _seen(level, u, axis))
    return [_mixture(part, level.shares, level.slow) for part in values]


def _rests(level: _Round, u: Floats, axis: int, mixtures: list[Floats]) -> list[Floats]:
    """Return what the mixtures leave of each channel in the region's points, (M,)."""
    pairs = zip(_seen(level, u, axis), mixtures, strict=True)
    return [seen.value[level.region] - mixed for seen, mixed in pairs]


def _deviation(rest: Floats) -> float:
    return 1.4826 * float(np.median(np.abs(rest))) + 1e-9


def _improved(level: _Round, u: Floats, axis: int, deviations: list[float]) -> Floats:
    """Improve the field by a Gauss-Newton step, shortened until it helps."""
    step_mm = float(level.step_mm[axis])
    mixtures = _mixtures(level, u, axis)
    right, diagonal = -_stiff(u, level.step_mm), np.full(u.shape, _stiffest(level.step_mm), np.float32)
    terms: list[tuple[Floats, Floats]] = []
    for seen, mixed, deviation in zip(_seen(level, u, axis), mixtures, deviations, strict=True):
        rest, scale = np.zeros((2, *u.shape), np.float32)
        rest[level.region] = (seen.value[level.region] - mixed) / deviation
        scale[level.region] = 1.0 / deviation
        scale[np.abs(rest) >= UNLIKE] = 0.0
        change, spread = scale * seen.by_shift, scale * seen.by_slope
        right -= change * rest + slope_turned(spread * rest, step_mm, axis)
        diagonal += change**2 + spread**2 / (2.0 * step_mm**2)
        terms.append((change, spread))

    def system(x: Floats) -> Floats:
        out = _stiff(x, level.step_mm)
        tilt = slope_along(x, step_mm, axis)
        for change, spread in terms:
            inner = change * x + spread * tilt
            out += change * inner + slope_turned(spread * inner, step_mm, axis)
        return out

    step = solve_symmetric(system, right.astype(np.float32), diagonal)
    now = _cost(level, u, axis, mixtures, deviations)
    for part in (1.0, 0.5, 0.25, 0.125):
        tried = np.asarray(u + np.float32(part) * step)
        if float(np.abs(slope_along(tried, step_mm, axis)).max()) > STEEPEST:
            continue
        if _cost(level, tried, axis, mixtures, deviations) < now:
            return tried
    return u


def _cost(level: _Round, u: Floats, axis: int, mixtures: list[Floats], deviations: list[float]) -> float:
    total = float((u * _stiff(u, level.step_mm)).astype(np.float64).sum())
    for rest, deviation in zip(_rests(level, u, axis, mixtures), deviations, strict=True):
        total += float((np.clip(rest / deviation, -UNLIKE, UNLIKE) ** 2).sum())
    return total


def _stiff(u: Floats, step_mm: Floats) -> Floats:
    """Return half the gradient of what the field's Laplacian costs."""
    bent = np.zeros_like(u)
    for axis in range(3):
        ahead, here, behind = (part_along(axis, *cut) for cut in ((2, None), (1, -1), (None, -2)))
        bent[here] += (u[ahead] - 2.0 * u[here] + u[behind]) / np.float32(step_mm[axis] ** 2)
    out = np.zeros_like(u)
    for axis in range(3):
        ahead, here, behind = (part_along(axis, *cut) for cut in ((2, None), (1, -1), (None, -2)))
        apart = bent[here] / np.float32(step_mm[axis] ** 2 * BEND**2)
        out[ahead] += apart
        out[here] -= 2.0 * apart
        out[behind] += apart
    return out


def _stiffest(step_mm: Floats) -> float:
    """Return the diagonal of `_stiff` inside the grid."""
    per_axis = 1.0 / np.asarray(step_mm) ** 2
    return float((4.0 * per_axis.sum() ** 2 + 2.0 * (per_axis**2).sum()) / BEND**2)

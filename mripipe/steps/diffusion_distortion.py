"""Find what the field does to a diffusion series, by what the visit has: a reversed image or a field map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from mripipe.bids.fieldmaps import belongs_to, phase_encoding, read_sidecar, readout_s
from mripipe.core.diffusion_distortion import ReversedPair, estimate_field
from mripipe.core.diffusion_resample import FieldWarp
from mripipe.core.grid import Volume, reorient, voxel_sizes_mm, voxel_to_world, world_to_voxel
from mripipe.errors import InputError
from mripipe.model.study import Scan, Session
from mripipe.steps.diffusion_series import Series, are_opposite, encoding_in_ras, read_volumes, readout_ratio

SMOOTH_MM = 2.0
"""A field map's noise would crumple the image along its phase encoding."""
HZ = {"Hz": 1.0, "rad/s": 0.5 / np.pi}
"""Hertz in the units of a field map."""


@dataclass(frozen=True, eq=False)
class Distortion:
    """What was found of the field."""

    warp: FieldWarp | None
    """None where the series is left as it is."""
    told: str
    """What was done, one line."""
    notes: tuple[str, ...] = ()
    """What was assumed; where no image could be used, each with the reason."""


def find_distortion(series: Series, session: Session, plain: Volume, opposite: Volume | None) -> Distortion:
    """Find the displacement by the field from the best that there is.

    First a run of opposite phase encoding, then such an image of the ``fmap`` folder, then a field map in Hz.

    Parameters
    ----------
    series : Series
    session : Session
        Whose ``epi`` and ``fieldmap`` scans are looked at.
    plain : Volume
        Mean of the series' volumes without weighting, those of opposite phase encoding left out.
    opposite : Volume, optional
        Mean of those.

    Returns
    -------
    Distortion

    """
    if series.phase_encoding is None:
        reason = "no sidecar tells the series' phase encoding"
        return Distortion(None, f"distortion by the field: not corrected, {reason}")
    axis = "ijk".index(series.phase_encoding[0])
    if opposite is not None:
        found = estimate_field(ReversedPair(plain, opposite, axis, axis, series.opposite_ratio))
        warp = _warp(series, found.displacement_mm, axis, found.pose)
        return Distortion(warp, "distortion by the field undone with runs of opposite phase encoding")
    # A folder holds images for other series too: what is not used matters where nothing is.
    rejected: list[str] = []
    for scan in _candidates(session, series, rejected):
        notes: list[str] = []
        try:
            field = _from_reversed if scan.suffix == "epi" else _from_map
            warp = _warp(series, field(scan, series, plain, axis, notes), axis, np.eye(4))
        except InputError as error:
            rejected.append(f"{error}; not used to undo distortion")
            continue
        kind = "opposite phase encoding" if scan.suffix == "epi" else "field map"
        told = f"distortion by the field undone with {scan.path.name} ({kind})"
        return Distortion(warp, told, tuple(notes))
    return Distortion(
        None, "distortion by the field: not corrected, no reversed image or field map", tuple(rejected)
    )


def _candidates(session: Session, series: Series, rejected: list[str]) -> Iterator[Scan]:
    """Yield what may show the field: what is meant for the series first, then what names nothing."""
    wanted = {"epi": 0, "fieldmap": 1}
    ranked = []
    for scan in session.scans:
        if scan.suffix == "phasediff":
            rejected.append(f"{scan.path.name}: a phase difference is not used; give a field map in Hz")
        if scan.suffix not in wanted:
            continue
        meant = belongs_to(scan, series.scans)
        if meant is False:
            rejected.append(f"{scan.path.name}: intended for other images; not used to undo distortion")
        else:
            ranked.append((not meant, wanted[scan.suffix], str(scan.path), scan))
    yield from (scan for *_, scan in sorted(ranked, key=lambda entry: entry[:3]))


def _from_reversed(
    scan: Scan, series: Series, plain: Volume, axis: int, notes: list[str]
) -> NDArray[np.float32]:
    """Return the displacement (X, Y, Z) that an image of opposite phase encoding tells."""
    told, name = read_sidecar(scan.sidecar), scan.path.name
    data, affine = read_volumes(scan.path)
    ways = io_orientation(affine)
    data, affine = reorient(data, affine)
    stored, way_told = phase_encoding(told)
    encoding = encoding_in_ras(stored, ways)
    if encoding is None:
        raise InputError(f"{name}: no PhaseEncodingDirection in its sidecar; add it")
    mine = (series.phase_encoding, series.way_told, series.scans[0].path.name)
    if not are_opposite((encoding, way_told, name), mine):
        raise InputError(f"{name}: phase encoding {encoding}, expected the opposite of {mine[0]}")
    other_s = readout_s(told)
    if other_s is None or series.readout_s is None:
        missing = name if other_s is None else mine[2]
        notes.append(f"{missing}: no TotalReadoutTime in its sidecar; taken to be that of the other image")
    sizes = voxel_sizes_mm(affine)[axis], voxel_sizes_mm(series.affine)[axis]
    ratio = float(readout_ratio(other_s, series.readout_s) * sizes[0] / sizes[1])
    other = Volume(np.ascontiguousarray(data.mean(axis=3)), affine)
    return estimate_field(ReversedPair(plain, other, axis, axis, ratio)).displacement_mm


def _from_map(scan: Scan, series: Series, plain: Volume, axis: int, notes: list[str]) -> NDArray[np.float32]:
    """Return the displacement (X, Y, Z) that a field map tells: Hz times readout time, in voxels."""
    told, name = read_sidecar(scan.sidecar), scan.path.name
    unit = told.get("Units", "Hz")
    if not isinstance(unit, str) or unit not in HZ:
        raise InputError(f"{name}: expected Units of {' or '.join(HZ)}, found {unit!r}; give it in Hz")
    if series.readout_s is None:
        raise InputError(f"{name}: needs the series' TotalReadoutTime, missing in its sidecar; add it")
    if not series.way_told or series.phase_encoding is None:
        raise InputError(f"{name}: needs the series' PhaseEncodingDirection, not its axis alone; add it")
    data, affine = read_volumes(scan.path)
    smooth = gaussian_filter(data[..., 0] * np.float32(HZ[unit]), SMOOTH_MM / voxel_sizes_mm(affine))
    points = voxel_to_world(np.moveaxis(np.indices(plain.shape), 0, -1), plain.affine)
    where = np.moveaxis(world_to_voxel(points, affine), -1, 0)
    hertz = map_coordinates(smooth, where, order=1, mode="nearest")
    sign = -1.0 if series.phase_encoding.endswith("-") else 1.0
    return np.asarray(sign * hertz * series.readout_s * voxel_sizes_mm(plain.affine)[axis], np.float32)


def _warp(
    series: Series, displacement: NDArray[np.float32], axis: int, pose: NDArray[np.float64]
) -> FieldWarp:
    n_volumes = series.data.shape[3]
    opposite = series.opposite if series.opposite.size else np.zeros(n_volumes, bool)
    poses = np.where(opposite[:, None, None], pose, np.eye(4))
    return FieldWarp(displacement, axis, np.where(opposite, -series.opposite_ratio, 1.0), poses)

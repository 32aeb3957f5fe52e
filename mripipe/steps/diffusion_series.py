"""Read a visit's diffusion series: runs joined, derived volumes dropped and named, gradients in RAS+ axes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from mripipe.bids.nifti import check_length, parse_header, read_bytes
from mripipe.core.gradients import GradientTable, directions_from_fsl, odd_lengths, without_direction
from mripipe.core.grid import reorient, same_grid
from mripipe.errors import InputError
from mripipe.model.study import Scan, Session

HEADER_BYTES = 544


@dataclass(frozen=True, eq=False)
class Series:
    """A diffusion series in memory."""

    data: NDArray[np.float32]
    """Signal (X, Y, Z, N), axes as near to RAS+ as their order allows."""
    affine: NDArray[np.float64]
    """Voxel index to RAS+ mm."""
    table: GradientTable
    run: NDArray[np.int64]
    """Number of the run that each volume comes from, shape (N,)."""
    phase_encoding: str | None
    """Phase encoding of the runs, in the axes of `data`: ``j-`` as in BIDS, ``j`` too where the way along the
    axis is not told; None where no sidecar tells the axis."""
    slice_axis: int
    """Array axis across the slices."""
    notes: tuple[str, ...]
    """What was dropped, joined or found odd, one line each."""


@dataclass(frozen=True, eq=False)
class _Run:
    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    table: GradientTable
    phase_encoding: str | None
    slice_axis: int
    name: str
    notes: tuple[str, ...]


def load_series(session: Session) -> Series:
    """Read all diffusion runs of a visit that lie on one grid.

    Parameters
    ----------
    session : Session
        With one ``dwi`` scan or more.

    Returns
    -------
    Series
        Runs one after the other. A run on another grid than that with the most directions is left out, one
        whose phase was encoded another way is not joined, and a note says so.

    Raises
    ------
    InputError
        No run, or a run that cannot be used: no gradients, wrong number of them, unreadable, not 4D.

    """
    scans = [scan for scan in session.scans if scan.suffix == "dwi"]
    if not scans:
        raise InputError(f"{session.session_id}: no diffusion series; add one or leave diffusion out")
    runs, notes = _read_runs(scans)
    first = max(runs, key=lambda run: run.table.n_directions)
    on_grid = [run for run in runs if _same_place(run, first)]
    notes += [
        f"{run.name}: lies on another grid than {first.name}; left out" for run in runs if run not in on_grid
    ]
    scaled = _on_one_scale(on_grid, first)
    joined = [run for run in scaled if _one_way(run.phase_encoding, first.phase_encoding)]
    if len(joined) > 1:
        notes.append(f"{len(joined)} runs joined: {', '.join(run.name for run in joined)}")
    # Their voxels lie elsewhere: mixed, edges of two places would pass for one.
    notes += [
        f"{run.name}: phase encoding {run.phase_encoding}, {first.name} {first.phase_encoding}: distorted "
        "another way; left out"
        for run in scaled
        if run not in joined
    ]
    return Series(
        data=np.concatenate([run.data for run in joined], axis=3) if len(joined) > 1 else joined[0].data,
        affine=first.affine,
        table=GradientTable(
            np.concatenate([run.table.b_values for run in joined]),
            np.concatenate([run.table.directions for run in joined]),
        ),
        run=np.repeat(np.arange(len(joined)), [run.data.shape[3] for run in joined]),
        phase_encoding=first.phase_encoding,
        slice_axis=first.slice_axis,
        notes=tuple(notes),
    )


def _read_runs(scans: Sequence[Scan]) -> tuple[list[_Run], list[str]]:
    """Read the runs that can be used, with what is to be told; where there is none, raise what is wrong."""
    runs: list[_Run] = []
    notes: list[str] = []
    errors: list[InputError] = []
    for scan in scans:
        try:
            runs.append(_read_run(scan))
        except InputError as error:
            errors.append(error)
            notes.append(f"{error}; this run is left out")
    if not runs:
        raise errors[0]
    return runs, [*notes, *(note for run in runs for note in run.notes)]


def _same_place(run: _Run, first: _Run) -> bool:
    return same_grid(run.data.shape[:3], run.affine, first.data.shape[:3], first.affine)


def _one_way(one: str | None, other: str | None) -> bool:
    """Say whether two runs are distorted alike, as far as is known."""
    return one is None or other is None or one == other


def _read_run(scan: Scan) -> _Run:
    name = scan.path.name
    if scan.bval is None or scan.bvec is None:
        missing = " and ".join(n for n, p in (("bval", scan.bval), ("bvec", scan.bvec)) if p is None)
        raise InputError(f"{name}: no {missing} file; add it or leave diffusion out")
    data, affine = _read_4d(scan.path)
    n = data.shape[3]
    b_values = _numbers(scan.bval, 1, n)[0]
    vectors = _numbers(scan.bvec, 3, n)
    derived = without_direction(b_values, vectors)
    notes = []
    if derived.any():
        volumes = ", ".join(str(v) for v in np.flatnonzero(derived))
        notes.append(f"{name}: b > 0 without direction, made by the scanner (trace, ADC); dropped: {volumes}")
        data, b_values, vectors = data[..., ~derived], b_values[~derived], vectors[:, ~derived]
    odd = odd_lengths(b_values, vectors)
    if odd.any():
        notes.append(f"{name}: {int(odd.sum())} directions are not of length 1; scaled, b-values kept")
    try:
        table = GradientTable(b_values, directions_from_fsl(vectors, affine))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if not table.is_b0.any():
        notes.append(f"{name}: no volume at b = 0")
    # In one order of the axes, so that no neighbourhood depends on how the voxels are stored.
    ways = io_orientation(affine)
    data, affine = reorient(data, affine)
    return _Run(data, affine, table, _phase_encoding(scan.sidecar, ways), int(ways[2, 0]), name, tuple(notes))


def _read_4d(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    raw = read_bytes(path)
    header = parse_header(raw[:HEADER_BYTES], path.name)
    if len(header.shape) != 4:
        raise InputError(f"{path.name}: expected several volumes (4D), found shape {header.shape}; add them")
    check_length(header, len(raw), path.name)
    with np.errstate(all="ignore"):
        data = np.asarray(header.raw.data_from_fileobj(BytesIO(raw)), np.float32).reshape(header.shape)
    bad = int(data.size - np.count_nonzero(np.isfinite(data)))
    if bad:
        raise InputError(f"{path.name}: {bad} values are not finite; export it again")
    if float(data.min()) == float(data.max()):
        raise InputError(f"{path.name}: every voxel is {data.flat[0]:g}: an empty image; export it again")
    return data, header.affine


def _numbers(path: Path, n_rows: int, n_volumes: int) -> NDArray[np.float64]:
    """Read a gradient file as (rows, volumes); a direction a line is turned."""
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        table = np.array(rows, np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name}: cannot be read as numbers ({error}); write it again") from error
    if table.shape == (n_volumes, n_rows) and n_volumes != n_rows:
        table = table.T
    if table.shape != (n_rows, n_volumes):
        raise InputError(
            f"{path.name}: {n_volumes} volumes need {n_rows} x {n_volumes} numbers, found "
            f"{' x '.join(str(size) for size in table.shape)}; give the file that belongs to the image"
        )
    return table


def _phase_encoding(sidecar: Path | None, ways: NDArray[np.float64]) -> str | None:
    """Return the phase encoding in RAS order of the axes; ``ways`` is nibabel's orientation of the file's."""
    if sidecar is None:
        return None
    try:
        told = json.loads(sidecar.read_text(encoding="utf-8-sig"))
        value = told.get("PhaseEncodingDirection", told.get("PhaseEncodingAxis"))
    except (OSError, ValueError, AttributeError):
        return None
    if value not in ("i", "i-", "j", "j-", "k", "k-"):
        return None
    axis, turned = ways["ijk".index(value[0])]
    backwards = value.endswith("-") != (turned < 0)
    return "ijk"[int(axis)] + ("-" if backwards else "")


def _on_one_scale(runs: Sequence[_Run], first: _Run) -> list[_Run]:
    """Bring runs to the scale of the one with the most directions: scanners set the gain anew for each."""
    means = [run.data[..., run.table.is_b0].mean(axis=3) if run.table.is_b0.any() else None for run in runs]
    mine = means[runs.index(first)]
    if mine is None:
        return list(runs)
    head = mine >= np.percentile(mine, 80.0)
    level = float(np.median(mine[head]))
    return [
        run
        if mean is None or run is first
        else replace(run, data=run.data * np.float32(level / max(float(np.median(mean[head])), 1e-6)))
        for run, mean in zip(runs, means, strict=True)
    ]

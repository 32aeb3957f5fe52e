"""Read a visit's diffusion series: runs joined, derived volumes dropped and named, gradients in RAS+ axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from mripipe.bids.fieldmaps import phase_encoding, read_sidecar, readout_s
from mripipe.bids.nifti import check_length, parse_header, read_bytes
from mripipe.core.gradients import B0_MAX, GradientTable, directions_from_fsl, odd_lengths, without_direction
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
    opposite: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    """Volumes whose phase was encoded the opposite way, shape (N,); none where it is empty."""
    opposite_ratio: float = 1.0
    """How far the field displaces those where it displaces the others by 1: the ratio of readout times."""
    way_told: bool = False
    """Whether the way along the axis of phase encoding is known."""
    readout_s: float | None = None
    """Total readout time of the volumes encoded as `phase_encoding` says."""
    scans: tuple[Scan, ...] = ()
    """Those volumes' runs."""
    preprocessed: bool = False
    """Another program has corrected it."""


@dataclass(frozen=True, eq=False)
class _Run:
    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    table: GradientTable
    phase_encoding: str | None
    way_told: bool
    readout_s: float | None
    slice_axis: int
    scan: Scan
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.scan.path.name


def load_series(session: Session, *, with_opposite: bool = False) -> Series:
    """Read all diffusion runs of a visit that lie on one grid.

    Parameters
    ----------
    session : Session
        With one ``dwi`` scan or more. Where some are preprocessed, only those are read.
    with_opposite : bool
        Take runs of opposite phase encoding too, for their distortion will be undone.

    Returns
    -------
    Series
        Runs one after the other, those of opposite phase encoding last. A run on another grid than that with
        the most directions is left out, one whose phase was encoded another way is not joined, and a note
        says so.

    Raises
    ------
    InputError
        No run, or a run that cannot be used: no gradients, wrong number of them, unreadable, not 4D.

    """
    scans = [scan for scan in session.scans if scan.suffix == "dwi"]
    if not scans:
        raise InputError(f"{session.session_id}: no diffusion series; add one or leave diffusion out")
    runs, notes = _read_runs([scan for scan in scans if scan.preprocessed] or scans)
    first = max(runs, key=lambda run: run.table.n_directions)
    on_grid = [run for run in runs if _same_place(run, first)]
    notes += [
        f"{run.name}: lies on another grid than {first.name}; left out" for run in runs if run not in on_grid
    ]
    scaled = _on_one_scale(on_grid, first)
    first = next(run for run in scaled if run.scan is first.scan)
    others = [run for run in scaled if with_opposite and _can_be_matched(run, first)]
    alike = [
        run for run in scaled if run not in others and _one_way(run.phase_encoding, first.phase_encoding)
    ]
    joined = [*alike, *others]
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
        notes=tuple([*notes, *_readout_notes(first, others)]),
        opposite=np.repeat([run in others for run in joined], [run.data.shape[3] for run in joined]),
        opposite_ratio=readout_ratio(others[0].readout_s, first.readout_s) if others else 1.0,
        way_told=first.way_told,
        readout_s=first.readout_s,
        scans=tuple(run.scan for run in alike),
        preprocessed=first.scan.preprocessed,
    )


def readout_ratio(other_s: float | None, first_s: float | None) -> float:
    """Return the ratio of two readout times; 1 where one is not told."""
    return 1.0 if other_s is None or first_s is None else other_s / first_s


def are_opposite(one: tuple[str | None, bool, str], other: tuple[str | None, bool, str]) -> bool:
    """Say whether two images are encoded in opposite directions along one axis.

    Each is its phase encoding along RAS axes, whether the way along the axis is told, and its file's name:
    where the way is not told, different ``dir-`` labels tell it.
    """
    if one[0] is None or other[0] is None or one[0][0] != other[0][0]:
        return False
    if one[1] and other[1]:
        return one[0] != other[0]
    labels = [re.search(r"_dir-([A-Za-z0-9+]+)_", name) for name in (one[2], other[2])]
    return labels[0] is not None and labels[1] is not None and labels[0][1] != labels[1][1]


def _can_be_matched(run: _Run, first: _Run) -> bool:
    """Say whether a run is encoded the opposite way, and both have a volume that shows the field."""
    return _is_opposite(run, first) and bool(run.table.is_b0.any() and first.table.is_b0.any())


def _is_opposite(run: _Run, first: _Run) -> bool:
    one, other = ((each.phase_encoding, each.way_told, each.name) for each in (run, first))
    return are_opposite(one, other)


def _readout_notes(first: _Run, others: Sequence[_Run]) -> list[str]:
    missing = [run.name for run in (first, *others) if run.readout_s is None]
    if not others or not missing:
        return []
    return [f"{missing[0]}: no TotalReadoutTime in its sidecar; taken to be that of the opposite run"]


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
    data, affine, b_values, vectors = _read_weighted(scan)
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
    told = read_sidecar(scan.sidecar)
    encoding, way_told = phase_encoding(told)
    return _Run(
        data,
        affine,
        table,
        encoding_in_ras(encoding, ways),
        way_told,
        readout_s(told),
        int(ways[2, 0]),
        scan,
        tuple(notes),
    )


def _read_weighted(
    scan: Scan,
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Read a run with its affine, b-values (N,) and directions (3, N)."""
    name = scan.path.name
    missing = [kind for kind, path in (("bval", scan.bval), ("bvec", scan.bvec)) if path is None]
    if scan.bval is None:
        raise InputError(f"{name}: no {' and '.join(missing)} file; add it or leave diffusion out")
    data, affine = read_volumes(scan.path)
    b_values = _numbers(scan.bval, 1, data.shape[3])[0]
    # Converters write no directions beside volumes that have none.
    if scan.bvec is None and (b_values > B0_MAX).any():
        raise InputError(f"{name}: no bvec file; add it or leave diffusion out")
    if data.shape[3] == 1 and b_values[0] > B0_MAX:
        raise InputError(f"{name}: expected several volumes (4D), found one; add them")
    vectors = np.zeros((3, b_values.size)) if scan.bvec is None else _numbers(scan.bvec, 3, b_values.size)
    return data, affine, b_values, vectors


def read_volumes(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read an image of one volume or several as (X, Y, Z, N), with its affine, axes as stored.

    Raises
    ------
    InputError
        It is missing or damaged, has values that are not finite, or one value everywhere.

    """
    raw = read_bytes(path)
    header = parse_header(raw[:HEADER_BYTES], path.name)
    if len(header.shape) > 4:
        raise InputError(f"{path.name}: expected volumes (4D), found shape {header.shape}; export it again")
    check_length(header, len(raw), path.name)
    with np.errstate(all="ignore"):
        data = np.asarray(header.raw.data_from_fileobj(BytesIO(raw)), np.float32)
    data = data.reshape((*header.shape, 1)[:4])
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


def encoding_in_ras(value: str | None, ways: NDArray[np.float64]) -> str | None:
    """Return a phase encoding in RAS order of the axes; ``ways`` is nibabel's orientation of the file's."""
    if value is None:
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

    scaled = []
    for run, mean in zip(runs, means, strict=True):
        if mean is None or run is first:
            scaled.append(run)
            continue
        # The same voxels show another place where the head is displaced; the sum of its signal stays.
        alike = not _is_opposite(run, first)
        levels = [float(np.median(part[head]) if alike else part.mean()) for part in (mine, mean)]
        scaled.append(replace(run, data=run.data * np.float32(levels[0] / max(levels[1], 1e-6))))
    return scaled

"""The images of one visit, with the files that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from mripipe.bids.names import Entities, parse
from mripipe.bids.nifti import read_header
from mripipe.errors import InputError
from mripipe.model.study import DIFFUSION_MAPS, FIELD_MAPS, REFERENCE_SUFFIXES, Problem, Scan

_SUFFIXES: Final = {"anat": REFERENCE_SUFFIXES, "dwi": ("dwi", *DIFFUSION_MAPS), "fmap": FIELD_MAPS}
_IMAGE_EXTENSIONS: Final = (".nii.gz", ".nii")
_NOT_MAGNITUDE: Final = ("phase", "real", "imag")
_PREPROCESSED: Final = "preproc"
"""How BIDS derivatives call a series that was corrected (QSIPrep's ``desc-preproc_dwi``)."""


@dataclass(frozen=True)
class _Visit:
    """The visit that is being read; makes its problems."""

    root: Path
    folder: Path
    participant_id: str
    session_id: str

    def problem(self, level: Literal["error", "warning", "note"], message: str, path: Path) -> Problem:
        return Problem(level, message, self.participant_id, self.session_id, path)


def find_scans(root: Path, participant_id: str, session_id: str) -> tuple[tuple[Scan, ...], list[Problem]]:
    """Find a visit's images, and what is missing or inconsistent as far as headers tell.

    Of several images of one kind the first by path is used, and a note says so. A sidecar, bval or bvec file
    may also lie further up (the BIDS inheritance principle).

    Parameters
    ----------
    root : Path
        The dataset.
    participant_id, session_id : str
        ``sub-001``, ``ses-month6``.

    Returns
    -------
    tuple
        Scans sorted by path, and problems: an error where the visit cannot run.

    """
    visit = _Visit(root, root / participant_id / session_id, participant_id, session_id)
    scans: list[Scan] = []
    problems: list[Problem] = []
    for datatype, suffixes in _SUFFIXES.items():
        for path in _listing(visit.folder / datatype):
            entities = _image_entities(path, suffixes, visit, problems)
            if entities is not None:
                scans.append(_with_companions(path, entities, visit))
    scans.sort(key=lambda scan: scan.path)
    problems += _set_problems(scans, visit)
    for scan in scans:
        problems += _header_problems(scan, scans, visit)
    return tuple(scans), problems


def find_preprocessed(
    folder: Path, participant_id: str, session_id: str
) -> tuple[tuple[Scan, ...], list[Problem]]:
    """Find a visit's diffusion series that another program has corrected, in a folder of derivatives.

    Parameters
    ----------
    folder : Path
        With ``sub-*/ses-*/dwi/*_desc-preproc_dwi.nii[.gz]``, bval and bvec beside it.
    participant_id, session_id : str

    Returns
    -------
    tuple
        Scans sorted by path, and what is wrong with them.

    """
    visit = _Visit(folder, folder / participant_id / session_id, participant_id, session_id)
    scans: list[Scan] = []
    problems: list[Problem] = []
    for path in _listing(visit.folder / "dwi"):
        entities = _image_entities(path, ("dwi",), visit, problems)
        if entities is not None and entities.desc == _PREPROCESSED:
            scans.append(_with_companions(path, entities, visit))
    for scan in scans:
        problems += _header_problems(scan, scans, visit)
    return tuple(scans), problems


def reference_of(scans: list[Scan] | tuple[Scan, ...]) -> Scan | None:
    """Return the image that the visit's results are made on, as `Session.reference` does."""
    return next((s for suffix in REFERENCE_SUFFIXES for s in scans if s.suffix == suffix), None)


def is_essential(scan: Scan, scans: list[Scan] | tuple[Scan, ...]) -> bool:
    """Say whether a visit cannot be run when this image is unfit: one in which the infarct is looked for.

    A FLAIR that is there but broken is not the same as none: leaving it out would mix volumes measured with
    and without a FLAIR in one series.
    """
    return any(scan == next((s for s in scans if s.suffix == suffix), None) for suffix in REFERENCE_SUFFIXES)


def _listing(folder: Path) -> list[Path]:
    """Return a folder's visible entries, sorted; nothing where there is no folder."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []


def _image_entities(
    path: Path, suffixes: tuple[str, ...], visit: _Visit, problems: list[Problem]
) -> Entities | None:
    """Return the parts of an image's name, or None for a file that is no image of this visit."""
    endings = tuple(f"_{suffix}{extension}" for suffix in suffixes for extension in _IMAGE_EXTENSIONS)
    if not path.name.endswith(endings):
        return None
    try:
        entities = parse(path.name)
    except InputError as error:
        problems.append(visit.problem("warning", f"{error}; the image is left out", path))
        return None
    if (f"sub-{entities.sub}", f"ses-{entities.ses}") != (visit.participant_id, visit.session_id):
        where = f"{visit.participant_id}/{visit.session_id}"
        problems.append(
            visit.problem("warning", f"{path.name}: lies in {where} but names another visit; left out", path)
        )
        return None
    return None if entities.part in _NOT_MAGNITUDE else entities


def _with_companions(path: Path, entities: Entities, visit: _Visit) -> Scan:
    """Make a scan with the files that belong to it."""
    sidecar = _inherited(path, entities, ".json", visit)
    if entities.suffix != "dwi":
        return Scan(path, entities.suffix, sidecar)
    bval, bvec = (_inherited(path, entities, extension, visit) for extension in (".bval", ".bvec"))
    return Scan(path, entities.suffix, sidecar, bval, bvec, preprocessed=entities.desc == _PREPROCESSED)


def _inherited(path: Path, entities: Entities, extension: str, visit: _Visit) -> Path | None:
    """Find the nearest file, from the image's folder up to the dataset's, whose name applies to the image."""
    wanted = set(entities.labels)
    for folder in (path.parent, visit.folder, visit.folder.parent, visit.root):
        fits: list[tuple[int, Path]] = []
        for candidate in _listing(folder):
            if not candidate.name.endswith(f"{entities.suffix}{extension}"):
                continue
            try:
                found = parse(candidate.name)
            except InputError:
                continue
            if found.suffix == entities.suffix and set(found.labels) <= wanted and candidate.is_file():
                fits.append((len(found.labels), candidate))
        if fits:
            return max(fits)[1]
    return None


def _set_problems(scans: list[Scan], visit: _Visit) -> list[Problem]:
    """Say what a visit lacks, and which of several images is used."""
    problems = []
    name = f"{visit.participant_id} {visit.session_id}"
    if reference_of(scans) is None:
        problems.append(
            visit.problem(
                "error", f"{name}: no T1w, T2w or FLAIR image in anat; one of them is required", visit.folder
            )
        )
    for suffix in (*REFERENCE_SUFFIXES, "dwi"):
        found = [scan.path.name for scan in scans if scan.suffix == suffix]
        if len(found) > 1:
            joined = "those on one grid are joined"
            used = joined if suffix == "dwi" else f"{found[0]} is used, the first by name"
            text = f"{name}: {len(found)} {suffix} images; {used}"
            problems.append(visit.problem("note", text, visit.folder))
        elif not found and suffix in ("T1w", "FLAIR", "dwi"):
            problems.append(visit.problem("note", f"{name}: no {suffix} image", visit.folder))
    return problems


def _header_problems(scan: Scan, scans: list[Scan], visit: _Visit) -> list[Problem]:
    """Check one image's header and companions."""
    level: Literal["warning", "note"] = "warning" if scan.suffix == "dwi" else "note"
    problems = []
    if scan.sidecar is None:
        problems.append(visit.problem(level, f"{scan.path.name}: no JSON sidecar", scan.path))
    try:
        shape = read_header(scan.path).shape
    except InputError as error:
        essential = is_essential(scan, scans)
        return [*problems, visit.problem("error" if essential else "warning", str(error), scan.path)]
    if scan.suffix == "dwi":
        texts = _gradient_messages(scan, shape)
        problems += [visit.problem("warning", f"{scan.path.name}: {text}", scan.path) for text in texts]
    return problems


def _gradient_messages(scan: Scan, shape: tuple[int, ...]) -> list[str]:
    """Compare b-values and directions with the number of volumes."""
    if len(shape) != 4 and not _is_one_plain_volume(scan, shape):
        return ["expected several volumes (4D), found one; diffusion is left out"]
    n_volumes = shape[3] if len(shape) == 4 else 1
    messages = []
    if scan.bval is None:
        messages.append("no bval file; diffusion is left out")
    if scan.bvec is None:
        messages.append("no bvec file; diffusion is left out")
    for path, n_rows in ((scan.bval, 1), (scan.bvec, 3)):
        if path is None:
            continue
        try:
            table = _read_matrix(path)
        except (OSError, ValueError):
            messages.append(f"{path.name} cannot be read as numbers; diffusion is left out")
            continue
        if table.shape == (n_volumes, n_rows) and n_rows > 1:
            messages.append(f"{path.name} has a direction a line; BIDS has an axis a line")
        elif table.shape != (n_rows, n_volumes):
            found = " x ".join(str(size) for size in table.shape)
            messages.append(
                f"{n_volumes} volumes, so {path.name} must have {n_rows} x {n_volumes} numbers, "
                f"found {found}; diffusion is left out"
            )
    return messages


def _is_one_plain_volume(scan: Scan, shape: tuple[int, ...]) -> bool:
    """Say whether a series is one volume at b = 0, as is taken to see the field."""
    if len(shape) != 3 or scan.bval is None:
        return False
    try:
        return _read_matrix(scan.bval).size == 1
    except (OSError, ValueError):
        return False


def _read_matrix(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Read lines of numbers; ValueError where they are not all finite numbers or lines differ in length."""
    rows = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if len({len(row) for row in rows}) != 1:
        raise ValueError("lines of different length")
    matrix = np.array(rows, dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise ValueError("a value that is not finite")
    return matrix

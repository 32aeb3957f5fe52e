"""Search what is about to be published for identities, then move it into the dataset, whole or not at all."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from mripipe.core.identity import Kind, Secrets, find_in_bytes, find_in_texts, texts_in_json, texts_in_table
from mripipe.errors import InputError
from mripipe.model.compliance import COLUMNS
from mripipe.model.dicom import MANUFACTURERS

FIXED_WORDS: Final = frozenset(
    {name for _, name in MANUFACTURERS}
    | {"MR", "dcm2niix", "n/a", "2D", "3D", "ROW", "COL", "T1w", "T2w", "FLAIR", "dwi"}
    | set(COLUMNS)
    | {"series_number", "outcome", "reason", "used", "left_out", "ambiguous", "interrupted", "unfit"}
    | {"ok", "deviates", "not_recorded", "not_laid_down", "first", "same", "changed"}
    | {
        "age",
        "sex",
        "days_from_onset",
        "days_from_infusion",
        "coil",
        "model",
        "software",
        "slices",
        "volumes",
    }
)
"""Cells and values that come from the program: a patient may be called Philips, or Model."""
_HEADER_BYTES: Final = 352


@dataclass
class SearchReport:
    """What was searched."""

    n_files: int = 0
    n_bytes: int = 0
    n_values: int = 0
    hits: dict[str, dict[Kind, int]] = field(default_factory=dict)
    """File to what was found in it."""


def search_files(root: Path, files: Sequence[Path], secrets: Secrets, report: SearchReport) -> bool:
    """Search files, their names and what is packed in them; return whether nothing was found.

    Parameters
    ----------
    root : Path
        Names are searched from here on.
    files : sequence of Path
        Files below `root`.
    secrets : Secrets
        What must not be found.
    report : SearchReport
        Is added to.

    Returns
    -------
    bool

    """
    clean = True
    for path in files:
        content = path.read_bytes()
        name = path.relative_to(root).as_posix()
        hits = search_content(name, content, secrets)
        report.n_files += 1
        report.n_bytes += len(content)
        if hits:
            report.hits[path.name] = hits
            clean = False
    return clean


def search_content(name: str, content: bytes, secrets: Secrets) -> dict[Kind, int]:
    """Search one file's name and content; return how many values of each kind were found."""
    found = [find_in_texts([name], secrets)]
    if name.endswith(".nii.gz"):
        plain = gzip.decompress(content)
        header = plain[:_HEADER_BYTES]
        texts = [piece.decode("latin-1") for piece in header.split(b"\0") if len(piece) > 2]
        found += [find_in_bytes(header, secrets), find_in_texts(texts, secrets)]
        # Private values are words of the maker's, far too many and too plain for voxels.
        known = secrets.without("private")
        found += [find_in_bytes(plain, known), find_in_bytes(content, known)]
    elif name.endswith(".json"):
        found.append(find_in_texts(texts_in_json(content, fixed=FIXED_WORDS), secrets))
    elif name.endswith(".tsv"):
        found.append(find_in_texts(texts_in_table(content, fixed=FIXED_WORDS), secrets))
    else:
        found.append(find_in_texts(content.decode("utf-8", errors="replace").split(), secrets))
    return {kind: max(hits.get(kind, 0) for hits in found) for hits in found for kind in hits}


def publish_visit(staged: Path, target: Path) -> Literal["added", "completed", "unchanged"]:
    """Move a visit's folder into the dataset.

    A visit that is there already keeps every file; files that it lacks are added.

    Parameters
    ----------
    staged : Path
        The visit's folder, on the same file system as the dataset.
    target : Path
        Its place.

    Returns
    -------
    str
        ``unchanged`` where all of it was there already.

    Raises
    ------
    InputError
        A file is there with other bytes; nothing is changed.

    """
    if not target.exists():
        _move(staged, target)
        return "added"
    files = {path: target / path.relative_to(staged) for path in sorted(staged.rglob("*")) if path.is_file()}
    differing = [
        to.name for path, to in files.items() if to.is_file() and to.read_bytes() != path.read_bytes()
    ]
    if differing:
        visit, names = f"{target.parent.name} {target.name}", ", ".join(differing)
        raise InputError(
            f"{visit} is there already with other bytes in {names}, and stays as it is; "
            "to take it in again, remove the visit"
        )
    added = {path: to for path, to in files.items() if not to.is_file()}
    for path, to in added.items():
        _move(path, to)
    return "completed" if added else "unchanged"


def _move(source: Path, target: Path) -> None:
    """Move a file or folder, so that it is there whole or not at all.

    A dataset that is mounted by itself, as into a container, lies on another file system than the folder
    beside it: what is moved is then first copied under a hidden name.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        partial = target.with_name(f".{target.name}.part")
        if partial.is_dir():
            shutil.rmtree(partial)
        if source.is_dir():
            shutil.copytree(source, partial)
        else:
            shutil.copyfile(source, partial)
        os.rename(partial, target)


def stage(folder: Path, files: Mapping[Path, bytes]) -> list[Path]:
    """Write files below a folder; return where they are."""
    written = []
    for place, content in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written.append(path)
    return written

"""Which mask of one folder belongs to which of another: by participant and session, not by path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mripipe.errors import RequestError

from .masks import MASK_ENDINGS, is_native, walk_files

_LABEL = r"[A-Za-z0-9+]+"
_ENDING = "|".join(ending.replace("_", f"(_desc-{_LABEL})?_") for ending in MASK_ENDINGS)
"""As `MASK_ENDINGS`, with the ``desc`` that tells the masks of a run apart."""
_MASK = re.compile(rf"(?P<key>sub-{_LABEL}(_ses-{_LABEL})?)(_.*)?_({_ENDING})\.nii(\.gz)?")
_IMAGE: Final = (".nii", ".nii.gz")
_DEPTH: Final = 4
"""The folder itself, participant, session, ``anat``."""
_USED: Final = "_desc-final_"
"""Of several masks of a visit in a folder of results, the one that was used."""


@dataclass(frozen=True)
class MaskPair:
    """Two masks of one visit; None where a folder has none."""

    name: str
    """``sub-001_ses-a``, or the files' name where it is none of BIDS."""
    reference: Path | None
    test: Path | None


def match_masks(reference: Path, test: Path) -> tuple[MaskPair, ...]:
    """Pair the masks of two folders.

    Lesion masks with names as for expert masks are paired by participant and session, whatever else their
    names say. A folder without any is taken as a flat list of images, paired by their whole names.

    Parameters
    ----------
    reference, test : Path
        Folders; a BIDS derivative, the output of a run, or a flat list.

    Returns
    -------
    tuple of MaskPair
        Sorted by name; a visit with a mask in one folder alone is there too.

    Raises
    ------
    RequestError
        A folder has no masks, or several of one visit of which none is the one that was used.

    """
    first, second = _masks(reference), _masks(test)
    pairs = []
    for name in sorted(first.keys() | second.keys()):
        one, other = first.get(name, []), second.get(name, [])
        pairs.append(MaskPair(name, _only(name, one), _only(name, other)))
    return tuple(pairs)


def _masks(folder: Path) -> dict[str, list[Path]]:
    """Return the masks of a folder by the visit that they belong to."""
    if not folder.is_dir():
        raise RequestError(f"{folder}: expected a folder of masks; give two files or two folders")
    found: dict[str, list[Path]] = {}
    for path in walk_files(folder, _DEPTH):
        if match := _MASK.fullmatch(path.name):
            found.setdefault(match["key"], []).append(path)
    if not found:
        found = {path.name: [path] for path in walk_files(folder, 1) if path.name.endswith(_IMAGE)}
    if not found:
        raise RequestError(
            f"{folder}: no masks; expected names that end in {' or '.join(MASK_ENDINGS)}, or a flat folder"
        )
    return found


def _only(name: str, paths: list[Path]) -> Path | None:
    """Choose the mask of a visit: a native one rather than one in a template's space, the one used."""
    chosen = [path for path in paths if is_native(path)] or paths
    chosen = [path for path in chosen if _USED in path.name] or chosen
    if len(chosen) > 1:
        names = " and ".join(path.name for path in chosen)
        raise RequestError(f"{name}: {len(chosen)} masks in one folder, {names}; leave one")
    return chosen[0] if chosen else None

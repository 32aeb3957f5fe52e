"""Expert lesion masks in BIDS derivative folders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from mripipe.errors import RequestError
from mripipe.model.study import Problem

MASK_ENDINGS: Final = ("label-L_mask", "label-L_desc-manual_mask", "label-lesion_mask", "label-lesion_roi")
"""How an expert lesion mask's name ends, before the extension."""
PROBABILITY_ENDINGS: Final = ("label-L_probseg", "label-lesion_probseg")
"""How the name of another program's lesion probability ends."""

_START: Final = r"(?P<sub>sub-[A-Za-z0-9+]+)_(?P<ses>ses-[A-Za-z0-9+]+)(_.*)?_"
_SPACE = re.compile(r"_space-([A-Za-z0-9+]+)_")
_NATIVE_SPACES: Final = frozenset({"T1w", "T2w", "FLAIR", "orig", "native", "individual"})
_DEPTH: Final = 3
"""Masks lie at most in ``sub-*/ses-*/anat``; a fixed depth also ends at links that go in circles."""


def check_derivatives(folders: Sequence[Path]) -> None:
    """Raise RequestError for a folder that is not there."""
    for folder in folders:
        if not folder.is_dir():
            raise RequestError(f"{folder}: no such folder of derivatives; check -d/--derivatives")


def find_masks(
    folders: Sequence[Path],
    participant_id: str,
    session_ids: Sequence[str],
    *,
    endings: Sequence[str] = MASK_ENDINGS,
    required: bool = True,
) -> tuple[dict[str, Path], tuple[Problem, ...]]:
    """Find one participant's expert lesion masks, or other programs' lesion probabilities.

    A mask whose name gives a space other than that visit's T1w, T2w or FLAIR is passed over where the visit
    has another one; alone it is taken, so that reading it can refuse its grid by name.

    Parameters
    ----------
    folders : sequence of Path
        Derivative folders with ``sub-*`` folders in them.
    participant_id : str
        ``sub-001``.
    session_ids : sequence of str
        The visits there are.
    endings : sequence of str
        `MASK_ENDINGS` or `PROBABILITY_ENDINGS`.
    required : bool
        Whether a visit cannot run without one of two.

    Returns
    -------
    tuple
        ``ses-...`` to mask, and problems: of a visit with two, which then has none, an error or a warning.

    """
    pattern = re.compile(rf"{_START}({'|'.join(endings)})\.nii(\.gz)?")
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in walk_files(folder / participant_id, _DEPTH):
            match = pattern.fullmatch(path.name)
            if match is not None and match["sub"] == participant_id:
                found.setdefault(match["ses"], []).append(path)
    masks: dict[str, Path] = {}
    problems: list[Problem] = []
    for session_id, paths in sorted(found.items()):
        native = [path for path in paths if is_native(path)]
        chosen = native or paths
        if session_id not in session_ids:
            text = f"{paths[0].name}: a lesion mask of a visit that is not in the study"
            problems.append(Problem("warning", text, participant_id, session_id, paths[0]))
        elif len(chosen) > 1:
            names = " and ".join(f"{path.parent.name}/{path.name}" for path in chosen)
            text = f"{participant_id} {session_id}: {len(chosen)} lesion masks or maps, {names}; leave one"
            level: Literal["error", "warning"] = "error" if required else "warning"
            problems.append(Problem(level, text, participant_id, session_id, chosen[0]))
        else:
            masks[session_id] = chosen[0]
            problems += [
                Problem(
                    "note", f"{path.name}: not used, it is in another space", participant_id, session_id, path
                )
                for path in paths
                if path not in chosen
            ]
    return masks, tuple(problems)


def is_native(path: Path) -> bool:
    """Say whether a mask's name places it in one of the visit's own spaces."""
    space = _SPACE.search(path.name)
    return space is None or space[1] in _NATIVE_SPACES


def walk_files(folder: Path, depth: int) -> Iterator[Path]:
    """Go through the files in a folder and `depth` - 1 levels of folders below it, sorted."""
    if depth == 0 or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from walk_files(path, depth - 1)
        elif not path.name.startswith("."):
            yield path

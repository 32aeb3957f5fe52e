"""The rooms of the house: what may import what, and what is shipped."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "mripipe": ROOT / "mripipe",
    "mripipe.workflows": ROOT / "workflows",
    "mripipe.atlases": ROOT / "atlases",
}

FLOORS = (
    ("errors",),
    ("core",),
    ("figures",),
    ("model",),
    ("bids", "atlases"),
    ("steps",),
    ("reports", "stats"),
    ("interfaces",),
    ("workflows",),
    ("cli",),
    ("__main__",),
)
"""Rooms from the ground up; those on one floor do not import each other."""

FLOOR_OF = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
OUTSIDE_THE_ROOMS = {"mripipe/__init__.py", "mripipe/api.py"}
"""The public door looks into every room."""


def modules() -> Iterator[tuple[str, Path]]:
    """Yield each module's dotted name and file."""
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *(p for p in parts if p != "__init__"))), path


def imported(name: str, path: Path) -> Iterator[str]:
    """Yield the full name of everything that a module imports, inside functions too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "mripipe" and len(parts) > 1 and parts[1] in FLOOR_OF else None


INSIDE = [(name, path) for name, path in modules() if str(path.relative_to(ROOT)) not in OUTSIDE_THE_ROOMS]


@pytest.mark.parametrize(("name", "path"), INSIDE, ids=[name for name, _ in INSIDE])
def test_imports_go_down_only(name, path):
    room = room_of(name)
    assert room is not None, f"{name} lies in no room of {FLOORS}"
    for target in imported(name, path):
        other = room_of(target)
        if other is None:
            # The package itself gives the version and nothing else.
            assert not target.startswith("mripipe") or target == "mripipe.__version__", (
                f"{name} imports {target}"
            )
        elif other != room:
            assert FLOOR_OF[other] < FLOOR_OF[room], f"{name} imports {target}"


@pytest.mark.parametrize(("name", "path"), INSIDE, ids=[name for name, _ in INSIDE])
def test_nipype_stays_at_the_edge(name, path):
    uses = {target.partition(".")[0] for target in imported(name, path)} & {"nipype", "traits"}
    assert not uses or room_of(name) in ("interfaces", "workflows"), f"{name} imports {uses}"


@pytest.mark.parametrize("package", ["workflows", "atlases"])
def test_mapped_packages_import_their_siblings_relatively(package):
    # Under its full name a sibling would be loaded a second time where the folder itself is on the path.
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert not (node.module or "").startswith((f"mripipe.{package}", package)), path.name


def test_every_package_is_listed():
    # One that is not listed works in an editable install and is missing from the wheel.
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    there = set()
    for package, folder in FOLDERS.items():
        for path in folder.rglob("__init__.py"):
            there.add(".".join((package, *path.parent.relative_to(folder).parts)))
    assert listed == there


def test_the_check_sees_a_wrong_import(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from mripipe.steps import x\ndef f():\n    from ..bids.names import y\n")
    assert list(imported("mripipe.core.wrong", wrong)) == ["mripipe.steps.x", "mripipe.bids.names.y"]
    assert FLOOR_OF["steps"] > FLOOR_OF["core"]

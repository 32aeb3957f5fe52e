"""SHA-256 digests of files and of the package's own code: what a cached result depends on."""

from __future__ import annotations

import hashlib
import os
from functools import cache, lru_cache
from importlib import metadata, resources
from pathlib import Path

COMPUTING_PACKAGES = (
    "mripipe.core",
    "mripipe.model",
    "mripipe.bids",
    "mripipe.steps",
    "mripipe.atlases",
    "mripipe.interfaces",
)
"""A change in one of these may change a step's result."""

REPORTING_PACKAGES = ("mripipe.figures", "mripipe.reports", "mripipe.workflows")
"""A change in one of these may change a published file, never a step's result."""

LIBRARIES = ("numpy", "scipy", "nibabel", "SimpleITK", "scikit-image", "dipy", "nilearn", "picsl-greedy")
"""Libraries whose version may change a number."""


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file's content, or None where there is no such file."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return _digest(str(path), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4096)
def _digest(path: str, _mtime_ns: int, _size: int) -> str | None:
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


@cache
def code_digest(packages: tuple[str, ...] = COMPUTING_PACKAGES) -> str:
    """Return one digest for the files of some packages and the versions of the libraries under them.

    Tables and images that lie in a package count as code: an edited atlas makes results stale.
    """
    total = hashlib.sha256()
    for package in packages:
        root = Path(str(resources.files(package)))
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                total.update(f"{package}/{path.relative_to(root)}:{file_digest(path)}\n".encode())
    for name, version in library_versions().items():
        total.update(f"{name}=={version}\n".encode())
    return total.hexdigest()


def library_versions() -> dict[str, str]:
    """Return the installed version of each library that computes."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found

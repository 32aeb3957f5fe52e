"""SHA-256 digests of files and of the code that a step runs: what a result depends on."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGE = "mripipe"

LIBRARIES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "nibabel": "nibabel",
    "SimpleITK": "SimpleITK",
    "skimage": "scikit-image",
    "dipy": "dipy",
    "nilearn": "nilearn",
    "picsl_greedy": "picsl-greedy",
    "h5py": "h5py",
}
"""Libraries whose version may change a number: name in an import, name of the distribution."""

SETTLED_NS = 2_000_000_000
"""A file written less than two seconds ago may be written again without its dates showing it."""

Signature = tuple[int, int, int, int]
"""Size, dates of content and of inode, inode: while none of them changes, the content is not read again."""

_known: dict[str, tuple[Signature, str]] = {}


def file_digest(path: str | Path) -> str | None:
    """Return the SHA-256 of a file's content, or None where there is no such file."""
    name = str(path)
    try:
        before = _signature(name)
        known = _known.get(name)
        if known is not None and known[0] == before:
            return known[1]
        with open(name, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None
    _known[name] = (before, digest)
    return digest


def recall_digests(stored: Mapping[str, Iterable[object]]) -> None:
    """Take over what `known_digests` gave in an earlier process."""
    for name, (*signature, digest) in stored.items():
        if name not in _known and len(signature) == 4:
            _known[name] = (tuple(signature), str(digest))  # type: ignore[assignment]


def known_digests(names: Iterable[str]) -> dict[str, list[object]]:
    """Return what is known of some files, to be stored; without those that may still be being written."""
    now = time.time_ns()
    found = {name: _known[name] for name in names if name in _known}
    return {
        name: [*signature, digest]
        for name, (signature, digest) in found.items()
        if abs(now - max(signature[1:3])) > SETTLED_NS
    }


def _signature(name: str) -> Signature:
    state = os.stat(name)
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


@cache
def code_parts(*references: str) -> Mapping[str, str]:
    """Return what some functions run, part by part, each with a digest or version.

    The parts are the modules of this package that the functions' modules import, directly or not, by what
    their text says; the tables and images that lie beside these modules, without those that only other
    modules name; and the libraries that compute. The package's own ``__init__`` is left out: it holds the
    version and loads the rest when asked.

    Parameters
    ----------
    *references : str
        Each ``module:function``.

    """
    modules = _closure({reference.partition(":")[0] for reference in references})
    parts = {name: str(file_digest(_file_of(name))) for name in modules}
    for package in sorted({name.rpartition(".")[0] for name in modules} - {"", PACKAGE}):
        for path in _data_of(package):
            readers = _readers_of(package, path.name)
            if not readers or readers & set(modules):
                parts[f"{package}/{path.name}"] = str(file_digest(path))
    used = {library for name in modules for library in _imported(name) if library in LIBRARIES}
    for library in sorted(used):
        parts[LIBRARIES[library]] = library_versions()[LIBRARIES[library]]
    return parts


def module_digests(module: str, *, within: tuple[str, ...]) -> dict[str, str]:
    """Return the digest of a module and of each that it imports whose name starts in one of some ways."""
    return {name: str(file_digest(_file_of(name))) for name in _closure([module], within)}


@cache
def code_digest(*references: str) -> str:
    """Return one digest for all `code_parts`."""
    text = json.dumps(code_parts(*references), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def library_versions() -> Mapping[str, str]:
    """Return the installed version of each library that computes."""
    found = {}
    for name in LIBRARIES.values():
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _closure(start: Iterable[str], within: tuple[str, ...] = (f"{PACKAGE}.",)) -> list[str]:
    """Return the modules and all that they import whose names start in one of some ways, sorted."""
    found: set[str] = set()
    ahead = list(start)
    while ahead:
        name = ahead.pop()
        if name in found:
            continue
        found.add(name)
        ahead += [other for other in _imported(name) if other.startswith(within)]
        if name.startswith(within) and name.count(".") > 1:
            ahead.append(name.rpartition(".")[0])
    return sorted(found)


@cache
def _imported(name: str) -> tuple[str, ...]:
    """Return the modules of this package and the outermost names of others that a module's text imports."""
    path = _file_of(name)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in _import_statements(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            bases = [(alias.name, "") for alias in node.names]
        else:
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            bases = [(base, alias.name) for alias in node.names]
        for base, item in bases:
            if base.partition(".")[0] != PACKAGE:
                found.add(base.partition(".")[0])
            elif item and _is_module(f"{base}.{item}"):
                found.add(f"{base}.{item}")
            elif base != PACKAGE:
                found.add(base)
    return tuple(sorted(found))


def _import_statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run, wherever they stand; not those for the type checker alone."""
    if isinstance(tree, ast.Import | ast.ImportFrom):
        yield tree
    checked = isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING")
    inside = tree.orelse if checked and isinstance(tree, ast.If) else ast.iter_child_nodes(tree)
    for node in inside:
        if not isinstance(node, ast.expr):
            yield from _import_statements(node)


@cache
def _is_module(name: str) -> bool:
    package, _, last = name.rpartition(".")
    return any(
        os.path.isfile(os.path.join(folder, *end))
        for folder in _folders_of(package)
        for end in ((f"{last}.py",), (last, "__init__.py"))
    )


@cache
def _folders_of(package: str) -> tuple[str, ...]:
    spec = importlib.util.find_spec(package)
    return tuple(spec.submodule_search_locations or ()) if spec is not None else ()


@cache
def _file_of(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name}: no such module")
    return Path(spec.origin)


def _data_of(package: str) -> list[Path]:
    """Return the tables and images of a package: an edited atlas makes results stale."""
    entries = (Path(entry.path) for folder in _folders_of(package) for entry in os.scandir(folder))
    return sorted(path for path in entries if path.is_file() and path.suffix not in (".py", ".pyc", ".typed"))


@cache
def _readers_of(package: str, data: str) -> frozenset[str]:
    """Return the modules of a package that name a file beside them; none where the name is put together."""
    paths = (path for folder in _folders_of(package) for path in Path(folder).glob("*.py"))
    return frozenset(f"{package}.{path.stem}" for path in paths if data.encode() in path.read_bytes())

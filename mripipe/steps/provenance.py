"""How every published file came about, as W3C PROV in JSON; nothing in it changes where no file does.

What is said is what the files' sidecars say, so that the two cannot differ. Names of files are those of BIDS
URIs: ``raw:`` the dataset that was read, ``out:`` the output folder.

References
----------
.. [1] The PROV-JSON serialisation, https://www.w3.org/submissions/prov-json/

"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mripipe import __version__
from mripipe.bids.files import write_atomic
from mripipe.bids.names import OutputPaths, parse
from mripipe.errors import ProcessingError

RAW_URI = "bids:raw:"
PROGRAM = f"mripipe:mripipe-{__version__}"
PREFIXES = {"raw": RAW_URI, "given": "urn:mripipe:given:", "out": "bids::", "mripipe": "urn:mripipe:"}
"""A file outside the dataset, such as an expert's mask in a folder of its own, is ``given:`` by its name."""
RELATIONS = ("used", "wasGeneratedBy", "wasDerivedFrom", "wasAssociatedWith")
KINDS = ("entity", "activity", "agent", *RELATIONS)


def write_participant_provenance(out_dir: Path, participant: str, files: Iterable[Path]) -> Path:
    """Write ``sub-001/sub-001_prov.json`` from the sidecars of a participant's published files.

    Parameters
    ----------
    out_dir : Path
        The output folder.
    participant : str
        ``sub-001``.
    files : iterable of Path
        The files and their sidecars.

    Raises
    ------
    ProcessingError
        A sidecar cannot be read, or the file cannot be written.

    """
    document: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for path in sorted(path for path in files if path.suffix != ".json"):
        _add_file(document, path, _sidecar(path), out_dir)
    return _write(OutputPaths(out_dir).provenance(participant), document)


def write_provenance(out_dir: Path) -> Path:
    """Write ``provenance.json``: all participants' together.

    Raises
    ------
    ProcessingError
        A participant's cannot be read, or the file cannot be written.

    """
    document: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for path in sorted(out_dir.glob("sub-*/sub-*_prov.json")):
        part = _read(path)
        for kind in KINDS:
            document[kind] |= part.get(kind, {})
    return _write(out_dir / "provenance.json", document)


def _add_file(
    document: dict[str, dict[str, Any]], path: Path, about: Mapping[str, Any], out_dir: Path
) -> None:
    """Say what a file is, which step made it, and what that step and those before it read."""
    name = f"out:{path.relative_to(out_dir).as_posix()}"
    # Gradients share the sidecar of their image, which tells the image's digest.
    shares = path.suffix in (".bval", ".bvec")
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if shares else about["SHA256"]
    document["entity"][name] = {"mripipe:sha256": digest}
    sources = []
    for uri in about["Sources"]:
        source = f"raw:{uri.removeprefix(RAW_URI)}" if uri.startswith(RAW_URI) else f"given:{uri}"
        known = about.get("SourcesSHA256", {}).get(uri)
        document["entity"][source] = {"mripipe:sha256": known} if known else {}
        sources.append(source)
        _relate(document, "wasDerivedFrom", generatedEntity=name, usedEntity=source)
    if "Step" not in about:
        return
    activity = _add_activity(document, path, about)
    _relate(document, "wasGeneratedBy", entity=name, activity=activity)
    for source in sources:
        _relate(document, "used", activity=activity, entity=source)


def _add_activity(document: dict[str, dict[str, Any]], path: Path, about: Mapping[str, Any]) -> str:
    parts = parse(path.name)
    visit = f"/ses-{parts.ses}" if parts.ses else ""
    name = f"mripipe:sub-{parts.sub}{visit}/{about['Step']}"
    document["activity"][name] = {
        "mripipe:code_sha256": about["CodeSHA256"],
        "mripipe:parameters": json.dumps(about["Parameters"], sort_keys=True),
    }
    document["agent"][PROGRAM] = {
        "prov:type": {"$": "prov:SoftwareAgent", "type": "prov:QUALIFIED_NAME"},
        **{f"mripipe:version_of_{name}": version for name, version in about["Software"].items()},
    }
    _relate(document, "wasAssociatedWith", activity=name, agent=PROGRAM)
    return name


def _relate(document: dict[str, dict[str, Any]], kind: str, **ends: str) -> None:
    """Add a relation under a name that follows from what it relates."""
    related = {f"prov:{role}": name for role, name in ends.items()}
    digest = hashlib.sha256(json.dumps([kind, related], sort_keys=True).encode()).hexdigest()
    document[kind][f"_:{digest[:24]}"] = related


def _sidecar(path: Path) -> dict[str, Any]:
    return _read(path.with_name(path.name.split(".")[0] + ".json"))


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProcessingError(
            f"{path.name}: cannot be read ({error}); remove it and run this participant again"
        ) from error
    return document


def _write(path: Path, document: Mapping[str, Mapping[str, Any]]) -> Path:
    kept = {kind: dict(sorted(items.items())) for kind, items in document.items() if items}
    text = json.dumps({"prefix": PREFIXES, **kept}, indent=1, ensure_ascii=False) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return path
    return write_atomic(path, text)

"""What an installation needs and gets, read from ``setup.cfg`` and held against the source tree."""

from __future__ import annotations

import ast
import configparser
import fnmatch
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

import mripipe

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "mripipe": ROOT / "mripipe",
    "mripipe.workflows": ROOT / "workflows",
    "mripipe.atlases": ROOT / "atlases",
}


@pytest.fixture(scope="module")
def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def package_of(path: Path) -> str:
    """Name of the package whose folder a file lies in."""
    name, folder = next((name, folder) for name, folder in FOLDERS.items() if path.is_relative_to(folder))
    return ".".join((name, *path.parent.relative_to(folder).parts))


def requirements(config: configparser.ConfigParser) -> dict[str, str]:
    """Distribution, its name in one spelling, to its version condition."""
    lines = config["options"]["install_requires"].split()
    return {one_spelling(re.split(r"[<>=!~]", line)[0]): line for line in lines}


def one_spelling(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_from_outside() -> set[str]:
    """Top-level modules that the packages import, inside functions too, without Python's own."""
    found = set()
    for folder in FOLDERS.values():
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"mripipe"}


def test_installed_version_is_the_code_s():
    assert importlib.metadata.version("mripipe") == mripipe.__version__


def test_every_data_file_is_in_the_wheel(config):
    # One that no pattern names is there in an editable install and missing from the wheel.
    patterns = {name: re.split(r"[,\s]+", text) for name, text in config["options.package_data"].items()}
    files = [path for folder in FOLDERS.values() for path in folder.rglob("*") if path.is_file()]
    data = [path for path in files if path.suffix not in (".py", ".pyc")]
    assert len(data) > 5
    for path in data:
        matching = patterns.get(package_of(path), [])
        assert any(fnmatch.fnmatch(path.name, pattern) for pattern in matching), path.relative_to(ROOT)


def test_every_import_is_required_by_name(config):
    # What comes with another requirement today may not tomorrow.
    distributions = importlib.metadata.packages_distributions()
    required = set(requirements(config))
    for module in sorted(imported_from_outside()):
        # Python 3.11 leaves distributions of one compiled file out; picsl_greedy goes by its own name.
        names = {one_spelling(name) for name in distributions.get(module, [module])}
        assert names & required, f"{module} comes from {sorted(names)}, which setup.cfg does not require"


def test_requirements_have_a_lower_bound_and_no_pin(config):
    for line in requirements(config).values():
        assert re.fullmatch(r"[A-Za-z0-9-]+>=[0-9.]+", line), line


def test_greedy_is_one_of_the_freely_licensed_versions(config):
    # Earlier ones are under the GPL, which the Apache licence of this package does not go with.
    bound = requirements(config)["picsl-greedy"].partition(">=")[2]
    assert tuple(int(part) for part in bound.split(".")) >= (1, 4, 0, 3)


def test_the_readme_starts_with_the_two_commands():
    blocks = re.findall(r"^ {4}(.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert blocks[0].endswith("mripipe demo demo-out")
    assert blocks[1].endswith("/pytest")


def test_every_local_link_of_the_docs_leads_somewhere():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"

"""What the pages share: templates that escape, and a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

import jinja2
from markupsafe import Markup


def page_environment() -> jinja2.Environment:
    """Make the template engine; every value from a file or table is escaped unless marked as our own SVG."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(package_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup
    return environment


def package_text(name: str) -> str:
    """Return a template, style or script of this package."""
    return resources.files("mripipe.reports").joinpath(name).read_text(encoding="utf-8")


def csp_hash(text: str) -> str:
    """Hash an inline style or script as a browser does: nothing else in the file may then run."""
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")

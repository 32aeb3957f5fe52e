"""The group's page: one HTML file that needs nothing beside it; tables and figures are also files."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from mripipe.model.page import GroupPage
from mripipe.reports.html import csp_hash, package_text, page_environment


def render_group(page: GroupPage) -> str:
    """Write the page.

    Parameters
    ----------
    page : GroupPage
        Everything it shows; all text is escaped.

    Returns
    -------
    str
        HTML with every figure, style and script inside; links lead to files of the same folder.

    """
    style = package_text("subject.css") + package_text("group.css")
    script = package_text("group.js")
    environment = page_environment()
    environment.filters["cited"] = lambda text: _cited(text, page)
    return environment.get_template("group.html").render(
        page=page,
        versions=dict(page.versions),
        style=Markup(style),
        script=Markup(script),
        style_hash=csp_hash(style),
        script_hash=csp_hash(script),
    )


def _cited(text: str, page: GroupPage) -> Markup:
    """Put numbers in place of keys such as ``[fdr]``, and links in place of DOIs."""
    keys = [reference.partition(":")[0] for reference in page.references]
    numbered = re.sub(
        r"\[(\w+)\]", lambda found: f"[{keys.index(found[1]) + 1}]" if found[1] in keys else found[0], text
    )
    linked = re.sub(
        r"doi:(10\.[^\s&<>\"]+)", r'<a href="https://doi.org/\1">doi:\1</a>', str(escape(numbered))
    )
    return Markup(linked)

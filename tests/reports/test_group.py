"""The group's page: escaped, sorted by value, cited by number."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from mripipe.model.page import Cell, GroupPage, PageTable, Picture
from mripipe.reports.group import render_group
from mripipe.stats.page import citation, number, p_text

BAD = '<img src=x onerror="alert(1)">'


def page(**more):
    table = PageTable("Visits", ("Participant", "Volume, mL"), ((Cell(BAD), number(-3.25, 1)),), note=BAD)
    values = {
        "title": BAD,
        "facts": (BAD,),
        "people": table,
        "visits": table,
        "warnings": (BAD,),
        "pictures": (Picture("mrs", BAD, "<svg></svg>", ("a",), ((1,),), BAD),),
        "tables": (table,),
        "methods": (f"As in [second], [first] and [none]. {BAD}",),
        "references": ("first: One. doi:10.1000/xyz1", "second: Two."),
        "versions": (("mripipe", "9.9"),),
    }
    return GroupPage(**{**values, **more})


def test_all_text_is_escaped():
    html = render_group(page())
    assert BAD not in html
    assert html.count("&lt;img") >= 8
    assert "<svg></svg>" in html


def test_references_are_numbered_and_linked():
    html = render_group(page())
    assert "As in [2], [1] and [none]." in html
    assert '<a href="https://doi.org/10.1000/xyz1">doi:10.1000/xyz1</a>' in html
    text = citation(page())
    assert "As in [2], [1] and [none]." in text
    assert "1. One. doi:10.1000/xyz1\n2. Two." in text


def test_numbers_are_sorted_by_value_and_not_by_their_text():
    html = render_group(page())
    assert re.search(r'data-sort="-3.25"[^>]*>\u22123.2', html)
    assert number(None, 1) == Cell("n/a", kind="num na")
    assert number(float("nan"), 1).text == "n/a"


def test_an_unblinded_page_says_so():
    assert "<b>Unblinded.</b>" not in render_group(page())
    assert "<b>Unblinded.</b>" in render_group(page(unblinded=True))


def test_the_policy_lets_no_other_script_run():
    html = render_group(page())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    names: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: names.extend(name for name, _ in attributes)
    parser.feed(html)
    assert "href" in names
    assert not [name for name in names if name.startswith("on") or name == "style"]


@pytest.mark.parametrize(
    ("p", "text"), [(0.0009, "< 0.001"), (0.001, "0.001"), (0.0949, "0.095"), (1.0, "1.00")]
)
def test_p_values_are_never_zero(p, text):
    assert p_text(p) == text

"""White-matter tracts in MNI152NLin2009aSym: centre lines and cross-sections, the same on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from mripipe.core.tract_course import Course, parse_courses

COURSES_FILE = "white_matter_tracts_courses.tsv"

CROSSING = ("CC",)
"""Tracts that cross the midline; their segments are measured one by one, both halves together."""

TRACT_NAMES = {
    "CST": "corticospinal tract",
    "CC": "corpus callosum",
    "SLF": "superior longitudinal fasciculus",
    "AF": "arcuate fasciculus",
    "CG": "cingulum",
    "IFOF": "inferior fronto-occipital fasciculus",
    "OR": "optic radiation",
}
"""Abbreviation and name, in the order of the tables."""

WHOLE = "whole"
"""Segment name of a tract that is measured in one piece."""


@dataclass(frozen=True)
class TractAtlas:
    """Courses of all tracts."""

    paired: tuple[Course, ...]
    """One of each hemisphere, drawn once."""
    crossing: tuple[Course, ...]
    """One for each segment of a tract that crosses the midline."""

    def course(self, name: str) -> Course:
        """Return a paired tract by its abbreviation; KeyError where there is none."""
        return {course.name: course for course in self.paired}[name]


@lru_cache(maxsize=1)
def load_tracts() -> TractAtlas:
    """Load the tracts from their table."""
    text = resources.files(__package__).joinpath(COURSES_FILE).read_text(encoding="utf-8")
    courses = parse_courses(text, crossing=CROSSING)
    return TractAtlas(
        paired=tuple(course for course in courses if not course.crosses),
        crossing=tuple(course for course in courses if course.crosses),
    )

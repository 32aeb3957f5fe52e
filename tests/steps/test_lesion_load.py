"""Lesion load of a tract whose sections are known, on a small grid in place of the template's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mripipe.atlases.tracts import TractAtlas
from mripipe.core.tract_course import Course, Node
from mripipe.steps import tracts
from mripipe.steps.load import save_image

VOXEL_MM = (1.0, 1.0, 2.0)
AFFINE = np.array([[1.0, 0, 0, -40.0], [0, 1.0, 0, -40.0], [0, 0, 2.0, -20.0], [0, 0, 0, 1.0]])
SHAPE = (81, 81, 21)
UP = ("low", "low", "high", "high")


@pytest.fixture
def straight(monkeypatch):
    """Give a tract that goes straight up at 20 mm from the midline: wide below 0, narrow above."""
    radii = (10.0, 10.0, 5.0, 5.0)
    heights = (-16.0, -2.0, 2.0, 16.0)
    nodes = tuple(
        Node(segment, (20.0, 0.0, z), radius, radius, 0.0)
        for segment, z, radius in zip(UP, heights, radii, strict=True)
    )
    template = SimpleNamespace(affine=AFFINE, mask=np.ones(SHAPE, bool))
    monkeypatch.setattr(tracts, "load_template", lambda: template)
    monkeypatch.setattr(tracts, "load_tracts", lambda: TractAtlas((Course("T", False, nodes),), ()))
    tracts._on_template.cache_clear()
    yield
    tracts._on_template.cache_clear()


def loads(tmp_path, slices, side="left", lesion_x=None):
    lesion = np.zeros(SHAPE, np.uint8)
    x = np.arange(SHAPE[0]) + AFFINE[0, 3]
    for index in slices:
        lesion[(x < 0) if lesion_x is None else lesion_x(x), :, index] = 1
    path = save_image(tmp_path / "lesion.nii.gz", lesion, AFFINE, dtype=np.uint8)
    return tracts._lesion_loads(SimpleNamespace(mni_lesion_mask=path), side)


@pytest.mark.parametrize(("z_mm", "radius", "segment"), [(-10, 10.0, "low"), (10, 5.0, "high")])
def test_one_slice_lost_is_its_section_and_weighs_the_widest(straight, tmp_path, z_mm, radius, segment):
    index = round((z_mm - AFFINE[2, 3]) / VOXEL_MM[2])
    found = loads(tmp_path, [index])
    raw, weighted = found["T", "whole"]
    # One slice of 2 mm of a round section; mm^3 to mL.
    assert raw == pytest.approx(np.pi * radius**2 * 2.0 / 1000, rel=0.06)
    assert weighted == pytest.approx(np.pi * 10.0**2 * 2.0 / 1000, rel=0.06)
    assert found["T", segment] == (pytest.approx(raw), pytest.approx(weighted))
    other = "high" if segment == "low" else "low"
    assert found["T", other] == (0.0, 0.0)


def test_two_lost_slices_add_and_the_other_side_does_not_count(straight, tmp_path):
    one, both = loads(tmp_path, [5])["T", "whole"], loads(tmp_path, [5, 15])["T", "whole"]
    assert both[1] == pytest.approx(2 * one[1], rel=0.01)
    assert both[0] == pytest.approx(1.25 * one[0], rel=0.05)
    assert loads(tmp_path, [5], side="right")["T", "whole"] == (0.0, 0.0)
    assert loads(tmp_path, [5], side="right", lesion_x=lambda x: x > 0)["T", "whole"] == pytest.approx(one)


def test_half_a_section_is_half_the_load(straight, tmp_path):
    whole = loads(tmp_path, [5])["T", "whole"]
    half = loads(tmp_path, [5], lesion_x=lambda x: x < -20)["T", "whole"]
    assert half[0] == pytest.approx(whole[0] / 2, rel=0.08)
    assert half[1] / half[0] == pytest.approx(whole[1] / whole[0])


def test_without_one_lesioned_side_there_is_no_load(straight, tmp_path):
    assert loads(tmp_path, [5], side="bilateral") == {}
    assert loads(tmp_path, [5], side="none") == {}

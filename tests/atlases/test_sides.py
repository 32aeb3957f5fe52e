import numpy as np
import pytest

from mripipe.atlases.sides import check_sides, named_sides, side_in_name
from mripipe.atlases.tables import AtlasLabel
from mripipe.errors import InputError


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("Left-Thalamus-Proper", "left"),
        ("R_Corticospinal_Tract", "right"),
        ("cst_l", "left"),
        ("ctx-rh-insula", "right"),
        ("ThalamusRight", "right"),
        ("insula (L)", "left"),
        ("middle cerebral artery rigth", "right"),
        ("letf putamen", "left"),
        ("Area 5L", None),
        ("pole", None),
        ("lateral ventricle", None),
        ("brightness", None),
        ("from left to right", None),
    ],
)
def test_side_in_name(name, side):
    assert side_in_name(name) == side


def labels(*names, abbreviations=None):
    shorts = abbreviations or ("n/a",) * len(names)
    return [
        AtlasLabel(number, name, short)
        for number, (name, short) in enumerate(zip(names, shorts, strict=True), 1)
    ]


def test_glued_letters_count_only_as_a_pair():
    sides, _ = named_sides(labels("ACAL", "ACAR", "TEMPORAL", "CL", "CR"))
    assert sides == {1: "left", 2: "right"}


def test_full_name_outranks_the_abbreviation():
    sides, notes = named_sides(
        labels("insula left", "insula right", "pons left", abbreviations=("INSL", "INSL", "PONS_R"))
    )
    assert sides == {1: "left", 2: "right", 3: "left"}
    assert notes == ("labels 1, 2 share the name 'INSL'",)


def test_shared_name_is_no_evidence():
    sides, notes = named_sides(labels("insula left", "Insula Left", "pons right"))
    assert sides == {3: "right"}
    assert notes == ("labels 1, 2 share the name 'insula left'",)


# A 3 mm grid in the order and directions of each orientation; label 1 is at x < 0, label 2 at x > 0.
AFFINES = {
    "RAS": [[3, 0, 0, -30], [0, 3, 0, -30], [0, 0, 3, -30]],
    "LAS": [[-3, 0, 0, 30], [0, 3, 0, -30], [0, 0, 3, -30]],
    "PSR": [[0, 0, 3, -30], [-3, 0, 0, 30], [0, 3, 0, -30]],
    "oblique": [[2.6, -1.5, 0, -12], [1.5, 2.6, 0, -42], [0, 0, 3, -30]],
}


def halves(affine):
    """Volume with label 1 at x < -3 and label 2 at x > 3 mm, a midline label 3 and an unnamed left one, 4."""
    index = np.indices((21, 21, 21)).reshape(3, -1)
    x_mm, _, z_mm = (np.asarray(affine, float) @ np.vstack([index, np.ones(index.shape[1])])).reshape(
        3, 21, 21, 21
    )
    volume = np.where(x_mm < -3, 1, np.where(x_mm > 3, 2, 3)).astype(np.uint8)
    volume[(x_mm < -3) & (z_mm > 10)] = 4
    return volume, np.vstack([np.asarray(affine, float), [0, 0, 0, 1]])


TABLE = labels("arm L", "arm R", "pons", "shoulder")


@pytest.mark.parametrize("orientation", AFFINES)
def test_right_atlas_passes_in_every_orientation(orientation):
    check = check_sides(TABLE, *halves(AFFINES[orientation]), name="atlas")
    assert check.sides == {1: "left", 2: "right", 3: "midline", 4: "left"}
    assert check.verified


@pytest.mark.parametrize("orientation", AFFINES)
def test_mirrored_header_is_refused_in_every_orientation(orientation):
    volume, affine = halves(AFFINES[orientation])
    affine[0] *= -1
    with pytest.raises(InputError, match=r"atlas: .*2 of 2 .*1 'arm L' \(x \+\d+ mm\), 2 'arm R'.*mirrors"):
        check_sides(TABLE, volume, affine, name="atlas")


def test_single_label_on_the_wrong_side_is_named():
    volume, affine = halves(AFFINES["LAS"])
    table = [*TABLE[:3], AtlasLabel(4, "shoulder right")]
    with pytest.raises(
        InputError, match=r"1 of 3 on the other side: 4 'shoulder right' \(x -\d+ mm\); correct"
    ):
        check_sides(table, volume, affine, name="atlas")


def test_long_list_of_wrong_labels_is_cut():
    volume = np.zeros((20, 1, 1), np.uint8)
    volume[1:10, 0, 0] = np.arange(1, 10)
    affine = np.diag([1.0, 1, 1, 1])
    with pytest.raises(InputError, match=r"9 of 9 .* and 3 more;"):
        check_sides(labels(*(f"part {n} left" for n in range(1, 10))), volume, affine, name="atlas")


def test_names_without_sides_leave_the_sides_unverified():
    check = check_sides(labels("a", "b", "c", "d"), *halves(AFFINES["LAS"]), name="atlas")
    assert not check.verified
    assert check.sides[1] == "left"

import gzip
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mripipe.atlases.template import TEMPLATE_SPACE, load_template
from mripipe.atlases.territories import MCA_LABELS, load_territories, mca_mask
from mripipe.errors import RequestError

REPOSITORY = Path(__file__).resolve().parents[2]
COMMITTED = REPOSITORY / "atlases"
REFERENCE_MCA = {"left": range(5, 17, 2), "right": range(6, 17, 2)}


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location(
        "build_atlases", REPOSITORY / "scripts" / "build_atlases.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def at(x_mm, y_mm, z_mm):
    """Abbreviation of the territory at a point in RAS+ mm."""
    atlas = load_territories()
    voxel = np.rint(np.linalg.inv(atlas.affine) @ [x_mm, y_mm, z_mm, 1])[:3].astype(int)
    value = atlas.labels[tuple(voxel)]
    return next((row.abbreviation for row in atlas.table if row.index == value), None)


def test_committed_atlas_is_what_the_table_gives(builder, tmp_path):
    builder.build_territories(tmp_path)
    for name in ("arterial_territories.tsv", "arterial_territories.json"):
        assert (tmp_path / name).read_bytes() == (COMMITTED / name).read_bytes()
    built, committed = (
        # Uncompressed: another build of zlib may compress differently.
        gzip.decompress((folder / "arterial_territories.nii.gz").read_bytes())
        for folder in (tmp_path, COMMITTED)
    )
    assert built == committed
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"arterial_territories.{ending}" for ending in ("json", "nii.gz", "tsv")
    ]


def test_builder_refuses_a_grid_that_is_not_centred(builder):
    template = load_template()
    shifted = template.affine.copy()
    shifted[0, 3] += 1
    with pytest.raises(ValueError, match="x = 0"):
        builder.territory_volume([], replace(template, affine=shifted))


def test_grid_is_the_templates():
    atlas, template = load_territories(), load_template()
    assert atlas.labels.shape == template.mask.shape
    assert np.array_equal(atlas.affine, template.affine)
    assert atlas.space == TEMPLATE_SPACE
    assert not atlas.labels.flags.writeable


def test_mirror_image_swaps_the_sides_and_nothing_else():
    atlas = load_territories()
    mirrored_value = {0: 0}
    for row in atlas.table:
        partner = row.name.replace("left", "@").replace("right", "left").replace("@", "right")
        mirrored_value[row.index] = next(other.index for other in atlas.table if other.name == partner)
    lookup = np.array([mirrored_value[value] for value in range(len(mirrored_value))])
    assert np.array_equal(lookup[atlas.labels[::-1]], atlas.labels)


@pytest.mark.parametrize(("sign", "side"), [(-1, "L"), (1, "R")])
@pytest.mark.parametrize(
    ("x_mm", "y_mm", "z_mm", "territory"),
    [
        (5, 40, 0, "ACA"),  # anterior cingulate gyrus
        (8, -25, 65, "ACA"),  # paracentral lobule
        (5, -50, 45, "ACA"),  # precuneus
        (45, 20, 15, "MCAs"),  # inferior frontal gyrus
        (45, -15, 45, "MCAs"),  # precentral gyrus, hand
        (37, 5, 0, "MCAs"),  # anterior insula
        (58, -25, -5, "MCAi"),  # middle temporal gyrus
        (50, -60, 30, "MCAi"),  # angular gyrus
        (40, 10, -35, "MCAi"),  # temporal pole
        (27, 2, 2, "MCAl"),  # putamen
        (13, 12, 8, "MCAl"),  # caudate nucleus
        (10, -85, 3, "PCA"),  # calcarine cortex
        (11, -20, 6, "PCA"),  # thalamus
        (32, -45, -17, "PCA"),  # fusiform gyrus
        (27, -20, -15, "PCA"),  # hippocampus
        (30, -65, -40, "VB"),  # cerebellar hemisphere
        (5, -25, -30, "VB"),  # pons
    ],
)
def test_landmarks_are_in_the_territory_that_the_textbooks_name(x_mm, y_mm, z_mm, territory, sign, side):
    assert at(sign * x_mm, y_mm, z_mm) == f"{territory}_{side}"


def test_ventricle_midline_and_outside_have_no_territory():
    assert at(8, 0, 20) is None
    assert at(0, 30, 10) is None
    assert at(90, 0, 0) is None


@pytest.mark.parametrize(("side", "sign"), [("left", -1), ("right", 1)])
def test_mca_mask_lies_on_its_side(side, sign):
    mask, affine = mca_mask(side), load_territories().affine
    x_mm = np.nonzero(mask)[0] * affine[0, 0] + affine[0, 3]
    assert (x_mm * sign > 0).all()
    assert {row.side for row in load_territories().table if row.index in MCA_LABELS[side]} == {side}


def test_mca_mask_of_no_side_is_refused():
    with pytest.raises(RequestError, match="left or right"):
        mca_mask("both")


def test_every_territory_is_labelled_and_most_of_the_brain_is_covered():
    atlas, template = load_territories(), load_template()
    tissue = template.gm + template.wm > 0.5
    assert (atlas.labels[tissue] > 0).mean() > 0.98
    assert {int(value) for value in np.unique(atlas.labels)} == {0, *(row.index for row in atlas.table)}


def test_size_of_the_file_and_its_provenance():
    assert (COMMITTED / "arterial_territories.nii.gz").stat().st_size < 300_000
    about = json.loads((COMMITTED / "arterial_territories.json").read_text())
    assert all(reference["doi"].startswith("10.") for reference in about["references"])


@pytest.mark.parametrize("side", ["left", "right"])
def test_mca_agrees_with_the_published_atlas(shared_data, side):
    import nibabel as nib
    from nibabel.processing import resample_from_to

    atlas = load_territories()
    reference = nib.load(shared_data / "atlases-reference" / "ArterialAtlas136.nii.gz")
    labels = np.asarray(resample_from_to(reference, (atlas.labels.shape, atlas.affine), order=0).dataobj)
    theirs, ours = np.isin(labels, REFERENCE_MCA[side]), mca_mask(side)
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) >= 0.85

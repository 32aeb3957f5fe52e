"""File names: parse and format are inverses, and no label gets out of its folder."""

from pathlib import Path

import pytest

from mripipe.bids.names import Entities, OutputPaths, check_label, format_name, parse
from mripipe.errors import InputError, RequestError

OUT = Path("/data/out")

# From the public names that other programs read.
CONTRACT = {
    "sub-001_desc-unbiased_T1w.nii.gz": ("anat", lambda o: o.template("001")),
    "sub-001_ses-X_desc-preproc_T1w.nii.gz": ("ses-X/anat", lambda o: o.preproc("sub-001", "X")),
    "sub-001_ses-X_desc-preproc_FLAIR.nii.gz": (
        "ses-X/anat",
        lambda o: o.preproc("001", "X", suffix="FLAIR"),
    ),
    "sub-001_ses-X_desc-brain_mask.nii.gz": ("ses-X/anat", lambda o: o.brain_mask("001", "ses-X")),
    "sub-001_ses-X_label-L_probseg.nii.gz": ("ses-X/anat", lambda o: o.lesion_probability("001", "X")),
    "sub-001_ses-X_label-L_desc-auto_mask.nii.gz": (
        "ses-X/anat",
        lambda o: o.lesion_mask("001", "X", desc="auto"),
    ),
    "sub-001_ses-X_space-MNI152NLin2009aSym_desc-preproc_T1w.nii.gz": (
        "ses-X/anat",
        lambda o: o.mni_image("001", "X"),
    ),
    "sub-001_ses-X_space-MNI152NLin2009aSym_label-L_mask.nii.gz": (
        "ses-X/anat",
        lambda o: o.mni_lesion_mask("001", "X"),
    ),
    "sub-001_ses-X_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.h5": (
        "ses-X/anat",
        lambda o: o.to_mni("001", "X"),
    ),
    "sub-001_ses-X_from-MNI152NLin2009aSym_to-T2w_mode-image_xfm.h5": (
        "ses-X/anat",
        lambda o: o.from_mni("001", "X", suffix="T2w"),
    ),
    "sub-001_ses-X_from-dwi_to-T1w_mode-image_xfm.h5": (
        "ses-X/dwi",
        lambda o: o.transform("001", "X", source="dwi", target="T1w", datatype="dwi"),
    ),
    "sub-001_ses-X_hemi-L_model-csd_label-CST_tractogram.tck": (
        "ses-X/dwi",
        lambda o: o.streamlines("001", "X", tract="CST", side="left"),
    ),
    "sub-001_ses-X_hemi-R_model-csd_param-density_label-CST_dwimap.nii.gz": (
        "ses-X/dwi",
        lambda o: o.streamline_density("001", "X", tract="CST", side="right"),
    ),
    "sub-001_ses-X_model-tensor_param-fa_dwimap.nii.gz": (
        "ses-X/dwi",
        lambda o: o.derivative(
            "001",
            "X",
            Entities(model="tensor", param="fa", suffix="dwimap", extension=".nii.gz"),
            datatype="dwi",
        ),
    ),
}


@pytest.mark.parametrize("name", CONTRACT)
def test_outputs_have_the_public_names(name):
    folder, build = CONTRACT[name]
    assert build(OutputPaths(OUT)) == OUT / "sub-001" / folder / name


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda o: o.report("001"), "sub-001.html"),
        (lambda o: o.figures("sub-001"), "sub-001/figures"),
        (lambda o: o.results("001"), "sub-001/sub-001_results.json"),
        (lambda o: o.lesion_volumes, "lesion_volumes.tsv"),
        (lambda o: o.measurements, "measurements.tsv"),
        (lambda o: o.dataset_description, "dataset_description.json"),
        (lambda o: o.citation, "CITATION.md"),
        (lambda o: o.readme, "README"),
        (lambda o: o.logs, "logs"),
    ],
)
def test_outputs_beside_the_visits(build, expected):
    assert build(OutputPaths(OUT)) == OUT / expected


@pytest.mark.parametrize(
    "name", [*CONTRACT, "sub-a+1_ses-2_acq-x_ce-gd_run-02_T1w.nii", "T1w.json", "sub-1_ses-2_dir-AP_dwi.bvec"]
)
def test_parse_and_format_are_inverse(name):
    assert format_name(parse(name)) == name


def test_parse_finds_the_parts():
    found = parse("sub-001_ses-X_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.h5")
    assert (found.sub, found.ses, found.source, found.target) == ("001", "X", "T1w", "MNI152NLin2009aSym")
    assert (found.mode, found.suffix, found.extension, found.run) == ("image", "xfm", ".h5", None)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("ses-2_sub-1_T1w.nii.gz", "BIDS writes sub-1_ses-2"),
        ("sub-1_sub-2_T1w.nii.gz", "BIDS writes"),
        ("sub-1_colour-red_T1w.nii.gz", "'colour-red' is not an entity"),
        ("sub-1_T1w_copy.nii.gz", "'T1w' is not an entity"),
        ("sub-1_T1w.docx", "unknown extension"),
        ("sub-_T1w.nii.gz", "not a BIDS label"),
        ("sub-1_T1w (1).nii.gz", "not a BIDS suffix"),
        ("sub-1_.nii.gz", "not a BIDS suffix"),
    ],
)
def test_a_name_that_is_not_bids_is_refused(name, what):
    with pytest.raises(InputError, match=what):
        parse(name)


BAD_LABELS = ["", "../x", "a/b", "..", "a b", "<b>x</b>", "a-b", "a_b", "é", "٣", "x\n", "\x1b[31m", "a\x00"]


@pytest.mark.parametrize("label", BAD_LABELS)
def test_an_unsafe_label_is_refused_in_one_printable_line(label):
    with pytest.raises(InputError, match="is not a BIDS label") as caught:
        check_label(label, "sub")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("label", [label for label in BAD_LABELS if label])
def test_no_path_is_built_from_an_unsafe_label(label):
    paths = OutputPaths(OUT)
    for build in (paths.report, paths.figures, paths.results, lambda x: paths.brain_mask("1", x)):
        with pytest.raises(InputError):
            build(label)
    with pytest.raises(InputError):
        Entities(sub=label, suffix="T1w", extension=".nii")


def test_an_unknown_extension_is_refused():
    with pytest.raises(InputError, match="not a known extension"):
        Entities(sub="1", suffix="T1w", extension="/../../x")


def test_a_very_long_label_makes_a_short_message():
    with pytest.raises(InputError) as caught:
        check_label("<" * 5000, "sub")
    assert len(str(caught.value)) < 250


def test_relative_paths_stay_inside():
    paths = OutputPaths(OUT)
    assert paths.relative(paths.brain_mask("1", "2")) == "sub-1/ses-2/anat/sub-1_ses-2_desc-brain_mask.nii.gz"
    for outside in (OUT.parent / "x", OUT / ".." / "x", Path("/data/out2/x")):
        with pytest.raises(RequestError, match="outside the output folder"):
            paths.relative(outside)

"""``mripipe agree`` and `mripipe.agreement` over files, sets and folders."""

from __future__ import annotations

import csv
import io

import nibabel as nib
import numpy as np
import pytest

import mripipe
from mripipe.cli import main
from mripipe.core.agreement import agreement, agreement_over
from mripipe.errors import InputError, RequestError

OBLIQUE = np.array([[-1.0, 0, 0, 7], [0, 0.9, -1.2, 3], [0, 0.5, 3.7, -20], [0, 0, 0, 1]])
VOXEL_ML = abs(np.linalg.det(OBLIQUE[:3, :3])) / 1000


def mask(n_voxels, *, shift=0):
    """Return a bar of voxels along the first axis."""
    data = np.zeros((40, 10, 10), np.uint8)
    data[shift : shift + n_voxels, 4, 4] = 1
    return data


def write(path, data, affine=OBLIQUE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data, affine).to_filename(path)
    return path


def drawn(root, name, data, affine=OBLIQUE):
    return write(
        root / f"sub-{name}" / "ses-a" / "anat" / f"sub-{name}_ses-a_label-L_mask.nii.gz", data, affine
    )


def tables(text):
    """Read the tables that were printed, a blank line between them."""
    return [list(csv.DictReader(io.StringIO(part), delimiter="\t")) for part in text.split("\n\n")]


def test_one_pair(tmp_path, capsys):
    one, two = write(tmp_path / "one.nii.gz", mask(10)), write(tmp_path / "two.nii.gz", mask(10, shift=5))
    assert main(["agree", str(one), str(two)]) == 0
    ((row,),) = tables(capsys.readouterr().out)
    assert (row["reference"], row["test"], row["status"]) == (str(one), str(two), "ok")
    assert (row["dice"], row["lesion_f1"], row["count_difference"]) == ("0.5000", "1.0000", "0")
    assert float(row["reference_ml"]) == pytest.approx(10 * VOXEL_ML, abs=5e-4)
    # The bars are shifted by 5 voxels of 1 mm; 5 of 10 ends stick out by up to 5 mm, the 95th percentile
    # lies between the two furthest.
    assert float(row["hd95_mm"]) == pytest.approx(4.55)
    assert row["volume_difference_ml"] == "0.000"


def test_empty_masks_have_a_row_and_no_distance(tmp_path, capsys):
    empty, full = write(tmp_path / "e.nii.gz", mask(0)), write(tmp_path / "f.nii.gz", mask(4))
    assert main(["agree", str(empty), str(empty), str(full)]) == 0
    both, one = tables(capsys.readouterr().out)[0]
    assert (both["dice"], both["lesion_f1"], both["hd95_mm"]) == ("1.0000", "1.0000", "n/a")
    assert (one["dice"], one["lesion_f1"], one["hd95_mm"]) == ("0.0000", "0.0000", "n/a")
    assert (one["count_difference"], one["absolute_count_difference"]) == ("1", "1")


def test_two_folders_are_summed_up(tmp_path, capsys):
    sizes = {"1": (10, 12), "2": (20, 19), "3": (30, 32)}
    for name, (one, two) in sizes.items():
        drawn(tmp_path / "a", name, mask(one))
        drawn(tmp_path / "b", name, mask(two))
    drawn(tmp_path / "a", "4", mask(5))
    out = tmp_path / "table.tsv"
    command = ["agree", str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(out)]
    assert main(command) == 1
    said = capsys.readouterr()
    rows, summary = tables(said.out)
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "missing_input"]
    assert (rows[3]["test"], rows[3]["dice"]) == ("n/a", "n/a")
    assert said.err.splitlines() == ["missing: sub-4_ses-a: no test mask"]
    values = {row["measure"]: row for row in summary}
    assert {row["n_pairs"] for row in summary} == {"3"}
    # Differences of 2, -1 and 2 voxels, test minus reference: mean 1, standard deviation root of 3.
    spread = 1.96 * np.sqrt(3)
    for name, voxels in (("bias", 1), ("lower", 1 - spread), ("upper", 1 + spread)):
        value = float(values[f"volume_bland_altman_{name}"]["value"])
        assert value == pytest.approx(voxels * VOXEL_ML, abs=6e-4)
    # Squares of half the differences, doubled: (2 + 0.5 + 2) / 3 voxels squared.
    within = float(values["volume_within_subject_sd"]["value"])
    assert within == pytest.approx(np.sqrt(1.5) * VOXEL_ML, abs=6e-4)
    assert 0.98 < float(values["volume_icc_2_1"]["value"]) < 1
    assert tables(out.read_text(encoding="utf-8")) == [rows]
    assert tables((tmp_path / "table_summary.tsv").read_text(encoding="utf-8")) == [summary]


def test_a_pair_that_does_not_fit_is_named_and_stops_no_other(tmp_path, capsys):
    one = write(tmp_path / "one.nii.gz", mask(10))
    moved = write(tmp_path / "moved.nii.gz", mask(10), OBLIQUE + np.pad([[2.0]], ((0, 3), (3, 0))))
    assert main(["agree", str(one), str(moved), str(one)]) == 1
    said = capsys.readouterr()
    (rows,) = tables(said.out)
    assert [row["status"] for row in rows] == ["failed", "ok"]
    assert rows[0]["dice"] == "n/a"
    assert f"failed: {moved}: moved.nii.gz: lies on another grid" in said.err


def test_several_readers_of_one_brain_are_said_to_be_no_set_of_brains(tmp_path, capsys):
    paths = [str(write(tmp_path / f"{n}.nii.gz", mask(n))) for n in (10, 11, 12)]
    assert main(["agree", *paths]) == 0
    said = capsys.readouterr()
    assert len(tables(said.out)) == 2
    assert "share one reference" in said.err


def test_a_file_is_not_compared_with_a_folder(tmp_path, capsys):
    one = write(tmp_path / "one" / "one.nii.gz", mask(10))
    assert main(["agree", str(one), str(tmp_path / "one")]) == 2
    assert "a folder is compared with one other folder" in capsys.readouterr().err


def test_sets_from_python():
    small, large = (nib.Nifti1Image(mask(n), OBLIQUE) for n in (10, 30))
    found = mripipe.agreement([small, large], (small, small))
    assert [pair.dice for pair in found.pairs] == [1.0, 0.5]
    assert found.mean_dice == 0.75
    assert found.volume_bland_altman.bias == pytest.approx(-10 * VOXEL_ML)
    same = mripipe.agreement([small, small], [small, small])
    assert (same.icc_2_1, same.minimal_detectable_change_ml) == (None, 0.0)
    for wrong in (([small], small), ([], []), ([small], [small, large])):
        with pytest.raises(RequestError, match="cannot be paired"):
            mripipe.agreement(*wrong)


def test_a_set_of_one_has_no_limits_and_one_of_none_is_refused():
    one = agreement_over([agreement(mask(10), mask(12), OBLIQUE)])
    assert (one.icc_2_1, one.volume_bland_altman) == (None, None)
    assert one.within_subject_sd_ml == pytest.approx(np.sqrt(2) * VOXEL_ML)
    with pytest.raises(InputError, match="no pair of masks"):
        agreement_over([])

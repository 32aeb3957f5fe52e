"""Measurements as the participant stage leaves them: ipsi and contra, nothing lost or counted twice."""

from __future__ import annotations

import pytest

from mripipe.errors import RequestError
from mripipe.steps.group_measurements import read_measurements

HEADER = (
    "participant_id session_id days_from_onset days_from_infusion "
    "measure region side value unit status qc software"
)
START = "sub-1 ses-a 45 -5"
LESION = f"{START} lesion_volume brain right 50 mL ok pass m\n"


def read(tmp_path, text):
    (tmp_path / "measurements.tsv").write_text((HEADER + "\n" + text).replace(" ", "\t"), encoding="utf-8")
    rows, oddities = read_measurements(tmp_path)
    return {row.name: row for row in rows}, oddities


def test_a_side_of_the_brain_becomes_ipsi_or_contra(tmp_path):
    text = LESION + "".join(
        f"{START} ventricle_volume lateral_ventricle {side} {value} mL ok pass m\n"
        for side, value in (("left", 9), ("right", 14))
    )
    found, _ = read(tmp_path, text)
    assert found["ventricle_ipsi_ml"].value == 14
    assert found["ventricle_contra_ml"].value == 9
    assert (found["lesion_ml"].value, found["lesion_ml"].days_from_infusion) == (50, -5)


def test_without_a_side_of_the_lesion_there_is_no_ipsi(tmp_path):
    text = f"{START} lesion_volume brain bilateral 50 mL ok pass m\n"
    text += f"{START} ventricle_volume lateral_ventricle left 9 mL ok pass m\n"
    found, _ = read(tmp_path, text)
    assert set(found) == {"lesion_ml", "ventricle_left_ml"}


def test_a_missing_value_keeps_its_reason(tmp_path):
    text = f"{START} lesion_volume brain n/a n/a mL failed n/a m\n"
    text += f"{START} brain_volume brain bilateral n/a mL ok pass m\n"
    found, _ = read(tmp_path, text)
    assert (found["lesion_ml"].value, found["lesion_ml"].status) == (None, "failed")
    assert found["brain_ml"].status == "missing_input"


def test_a_new_measure_gets_a_name_of_its_own(tmp_path):
    found, _ = read(tmp_path, LESION + f"{START} rfa CST-pons bilateral 0.8 1 ok pass m\n")
    assert found["rfa_CST_pons"].value == 0.8


def test_a_contradiction_is_named_and_the_first_used(tmp_path):
    found, oddities = read(tmp_path, LESION + LESION.replace(" 50 ", " 60 ") + LESION)
    assert found["lesion_ml"].value == 50
    (oddity,) = oddities
    assert oddity.line == 3


def test_low_quality_is_kept_in_mind(tmp_path):
    found, _ = read(tmp_path, LESION.replace(" ok ", " low_quality "))
    assert found["lesion_ml"].low_quality
    assert found["lesion_ml"].value == 50


def test_rows_of_nobody_are_named(tmp_path):
    found, oddities = read(tmp_path, LESION + LESION.replace("sub-1", "../x"))
    assert len(found) == 1
    assert "no valid participant_id" in oddities[0].message
    assert "../x" not in oddities[0].message


def test_tract_tables_are_read_where_there_are_any(tmp_path):
    (tmp_path / "tract_asymmetry.tsv").write_text(
        "participant_id\tsession_id\tdays_from_onset\ttract\tsegment\trfa\tfa_asymmetry\trmd\tlesion_load_ml\t"
        "lesion_load_weighted_ml\tstatus\n"
        "sub-1\tses-a\t45\tCST\tpons\t0.81\tn/a\t1.1\t2.5\t3.5\tok\n",
        encoding="utf-8",
    )
    (tmp_path / "tract_metrics.tsv").write_text(
        "participant_id\tsession_id\tdays_from_onset\ttract\tsegment\themisphere\tside\tfa\tmd\tad\trd\tn_voxels\t"
        "lesion_fraction\tstatus\n"
        "sub-1\tses-a\t45\tCST\tpons\tipsilesional\tright\t0.4\t0.8\t1.2\t0.6\t90\t0\tok\n"
        "sub-1\tses-a\t45\tCST\tpons\tcontralesional\tleft\t0.5\t0.7\t1.1\t0.5\t90\t0\tok\n",
        encoding="utf-8",
    )
    found, _ = read(tmp_path, LESION)
    assert found["rfa_CST_pons"].value == 0.81
    assert (found["fa_asymmetry_CST_pons"].value, found["fa_asymmetry_CST_pons"].status) == (
        None,
        "missing_input",
    )
    assert found["fa_CST_pons_ipsi"].value == 0.4
    assert found["fa_CST_pons_contra"].value == 0.5


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(RequestError, match="participant level first"):
        read_measurements(tmp_path)
    with pytest.raises(RequestError, match="no usable row"):
        read(tmp_path, "")
    (tmp_path / "measurements.tsv").write_text("")
    with pytest.raises(RequestError, match="empty table"):
        read_measurements(tmp_path)

"""Tables as people save them, and the firewall that keeps the treatment arm out."""

import pytest

from mripipe.bids.tables import is_allocation_column, parse_number, read_table
from mripipe.errors import InputError


@pytest.fixture
def table(tmp_path):
    def read(raw):
        path = tmp_path / "t.tsv"
        path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        return read_table(path)

    return read


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_byte_order_mark_line_endings_quotes_and_case(table, ending):
    text = ending.join(['Session_ID\t"Days_from_Onset" ', "ses-1\t 45 ", "", "ses-2\tn/a"])
    found = table(b"\xef\xbb\xbf" + text.encode())
    assert found.columns == ("session_id", "days_from_onset")
    assert [row.values for row in found.rows] == [
        {"session_id": "ses-1", "days_from_onset": "45"},
        {"session_id": "ses-2"},
    ]
    assert [row.line for row in found.rows] == [2, 4]


@pytest.mark.parametrize("missing", ["n/a", "N/A", "", "NaN", "NA", "None"])
def test_missing_values_have_no_entry(table, missing):
    assert table(f"a\tb\n{missing}\t1\n").rows[0].values == {"b": "1"}


def test_short_and_long_rows(table):
    found = table("a\tb\n1\n1\t2\t3\n1\t2\t\n")
    assert [row.values for row in found.rows] == [{"a": "1"}, {"a": "1", "b": "2"}, {"a": "1", "b": "2"}]
    assert found.remarks == ("t.tsv line 3: more cells than columns; the last are left out",)


def test_of_a_column_that_stands_twice_the_first_counts(table):
    found = table("a\tA\n1\t2\n")
    assert found.rows[0].values == {"a": "1"}
    assert "'a' stands twice" in found.remarks[0]


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"a,b\n1,2\n", "tabs"),
        (b"a;b\n1;2\n", "tabs"),
        (b"a\tb\n\xff\xfe\t1\n", "UTF-8"),
    ],
)
def test_what_is_no_table_is_refused_by_name(table, raw, what):
    with pytest.raises(InputError, match=rf"t\.tsv.*{what}"):
        table(raw)


def test_a_table_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path)


ALLOCATION = [
    "group", "Group", "GROUP", "arm", "arm_2", "study-arm", "StudyArm", "studyarm", "treatment", "rand_2",
    "TREATED", "allocation", "allocated_to", "randomisation", "randomization", "randomised_arm", "rand_no",
    "RandomizationNumber", "rx", "trt", "placebo", "intervention", "unblinded", "assignment", "kit_number",
    "cohort", "dose", "product", "n_cells",
]  # fmt: skip
KEPT = [
    "participant_id", "session_id", "age", "sex", "days_from_onset", "days_from_infusion", "acq_time",
    "onset_date", "first_infusion_date", "mrs", "nihss", "nihss_baseline", "barthel", "fma_ue", "handedness",
]  # fmt: skip


@pytest.mark.parametrize("name", ALLOCATION)
def test_a_column_that_could_tell_the_arm_never_gets_in(table, name):
    assert is_allocation_column(name)
    found = table(f"participant_id\t{name}\t{name}\tage\nsub-1\tcells\tcells\t60\n")
    assert found.rows[0].values == {"participant_id": "sub-1", "age": "60"}
    assert found.columns == ("participant_id", "age")
    assert "cells" not in repr(found)


@pytest.mark.parametrize("name", KEPT)
def test_columns_that_the_program_needs_get_in(name):
    assert not is_allocation_column(name)


@pytest.mark.parametrize(
    ("text", "number"),
    [("45", 45), ("-2", -2), ("45.5", 45.5), ("45,5", 45.5), ("\N{MINUS SIGN}3", -3), ("1e2", 100)],
)
def test_numbers(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize("text", ["", "45 d", "1.234,5", "inf", "nan", "2024-03-01", "89+", "٤٥", "1_000"])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match="not a number"):
        parse_number(text)

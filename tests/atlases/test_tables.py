import pytest

from mripipe.atlases.tables import AtlasLabel, format_label_table, read_label_table
from mripipe.errors import InputError

EXPECTED = (AtlasLabel(3, "insula left", "INS_L"), AtlasLabel(7, "insula right", "INS_R"))


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "index\tname\tabbreviation\n7\tinsula right\tINS_R\n3\tinsula left\tINS_L\n"),
        (
            "b.tsv",
            "abbreviation\tcolor\tIndex\tName\nINS_R\t#000\t7\tinsula right\nINS_L\t#111\t3\tinsula left\n",
        ),
        ("c.csv", '\ufeffindex,name,abbreviation\r\n3,"insula left",INS_L\r\n\r\n7,insula  right,INS_R\r\n'),
        ("d.txt", "3|INS_L|insula left|1\n7|INS_R|insula right|2\n"),
        ("e.TXT", "0|BG|background|0\n3|INS_L|insula left|1\n7|INS_R|insula right|2\n"),
    ],
)
def test_formats_give_the_same_labels(tmp_path, name, text):
    assert read_label_table(write(tmp_path, name, text)) == EXPECTED


def test_csv_without_header_has_no_abbreviations(tmp_path):
    labels = read_label_table(write(tmp_path, "a.csv", "7,R_insula\n3,L_insula\n"))
    assert labels == (AtlasLabel(3, "L_insula", "n/a"), AtlasLabel(7, "R_insula", "n/a"))


def test_written_table_reads_back(tmp_path):
    labels = (AtlasLabel(1, "pons", "n/a", "midline"), AtlasLabel(20, "insula, left", "INS", "left"))
    assert read_label_table(write(tmp_path, "a.tsv", format_label_table(labels))) == labels


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xml", "<atlas/>", r"ending in \.tsv, \.csv, \.txt, found '\.xml'"),
        ("a.txt", "Arcuate_L\n", "found 'Arcuate_L'"),
        ("a.csv", "Arcuate_L\nArcuate_R\n", "found 'Arcuate_L'"),
        ("a.tsv", "number\tname\n1\tpons\n", "header with index and name"),
        ("a.csv", "1,insula,left\n", "line 1: expected index and name, found 3 columns"),
        ("a.txt", "1|pons\n", r"expected index\|abbreviation\|name, found 2 columns"),
        ("a.tsv", "index\tname\n1\tpons\n1\tmedulla\n", "line 3: label 1 is listed twice .'pons', 'medulla'"),
        ("a.tsv", "index\tname\n1.5\tpons\n", "line 2: expected a label's number"),
        ("a.tsv", "index\tname\n-1\tpons\n", "line 2: expected a label's number"),
        ("a.tsv", "index\tname\n1\tpo\x07ns\n", "line 2: expected a label's number"),
        ("a.tsv", "index\tname\n1\t \n", "label 1 has no name"),
        ("a.tsv", "index\tname\n2\n", "label 2 has no name"),
        ("a.tsv", "index\tname\n0\tbackground\n", "found none"),
        ("a.csv", "", "found none"),
    ],
)
def test_table_that_cannot_be_used_is_refused_by_name(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_label_table(write(tmp_path, name, text))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"1,\xff\xfe\n")])
def test_file_that_is_no_text_is_refused(tmp_path, make):
    path = tmp_path / "a.csv"
    make(path)
    with pytest.raises(InputError, match=r"a\.csv: the label table cannot be read"):
        read_label_table(path)

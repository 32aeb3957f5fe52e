"""The group stage from tables to page: what it finds, and that nobody can learn the arm from it."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mripipe.cli import main
from mripipe.interfaces import locks
from mripipe.model.group import Rating
from mripipe.stats.reliability import reliabilities
from mripipe.stats.simulated import Truth, write_trial

ARM_VALUES = ("VERUMQX", "SHAMQX")
ARM_NAMES = ("TreatmentGroup", "armcodeqx")


def run(bids, out, *more):
    return main(["run", str(bids), str(out), "group", *map(str, more)])


def rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def plant(path, name, values):
    """Add a column to a table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    cells = [name] + [values[k % len(values)] for k in range(len(lines) - 1)]
    path.write_text(
        "".join(f"{line}\t{cell}\n" for line, cell in zip(lines, cells, strict=True)), encoding="utf-8"
    )


PLAN = """
exploratory = false
bootstrap = 50
assumption_resamples = 5
[[associations]]
x = "lesion_ml_baseline"
y = "mrs_day90"
family = "primary"
[[models]]
name = "shift"
kind = "ordinal"
formula = "mrs_day90 ~ nihss_baseline + lesion_ml_baseline"
test = ["lesion_ml_baseline"]
family = "primary"
[[models]]
name = "course"
kind = "mixed"
formula = "lesion_ml ~ months"
family = "primary"
[[unblinded]]
name = "arm_shift"
kind = "ordinal"
formula = "mrs_day90 ~ arm + nihss_baseline"
"""


TRUTH = Truth(lesion_ml=0.03)


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """Write a trial with an arm planted in every table, and run it once."""
    folder = tmp_path_factory.mktemp("trial")
    bids, out = write_trial(folder, 2, patients=60, truth=TRUTH, drop_out=0.1)
    for path in [*bids.rglob("*.tsv"), out / "measurements.tsv"]:
        for name in ARM_NAMES[:1]:
            plant(path, name, ARM_VALUES)
        plant(path, "note", [f"was given {ARM_VALUES[0]}", f"was given {ARM_VALUES[1]}"])
    allocation = "participant_id\tarmcodeqx\n" + "".join(f"sub-{k:03d}\t{k % 2}\n" for k in range(1, 61))
    (bids / "phenotype" / "randomisation_list.tsv").write_text(allocation)
    (folder / "plan.toml").write_text(PLAN)
    assert run(bids, out, "--plan", folder / "plan.toml") == 0
    return folder


def test_nothing_tells_the_arm(trial, capsys):
    assert run(trial / "bids", trial / "out", "--plan", trial / "plan.toml") == 0
    spoken = capsys.readouterr()
    hidden = [text.lower() for text in (*ARM_VALUES, *ARM_NAMES, "randomisation_list", "was given")]
    written = {
        path: path.read_bytes().decode("utf-8", "replace").lower()
        for path in (trial / "out").rglob("*")
        if path.is_file() and path.name != "measurements.tsv"
    }
    assert len(written) > 25
    for path, text in {**written, "terminal": (spoken.out + spoken.err).lower()}.items():
        for word in hidden:
            assert word not in text, f"{word} in {path}"


def test_planted_effects_are_found_and_marked_as_planned(trial):
    models = {(r["analysis"], r["term"]): r for r in rows(trial / "out" / "outcomes" / "models.tsv")}
    shift, course = models["shift", "lesion_ml_baseline"], models["course", "months"]
    for row, truth in ((shift, TRUTH.lesion_ml), (course, TRUTH.course_ml)):
        assert float(row["lower"]) < truth < float(row["upper"])
        assert float(row["p"]) < 0.05
        assert float(row["q"]) >= float(row["p"])
        assert (row["planned"], row["n"]) == ("planned", "60")
    assert models["shift", "nihss_baseline"]["q"] == "n/a"
    assert all(row["planned"] == "planned" for row in models.values())


def test_same_input_same_bytes(trial, tmp_path):
    shutil.copytree(trial / "bids", tmp_path / "bids")
    (tmp_path / "out").mkdir()
    shutil.copy(trial / "out" / "measurements.tsv", tmp_path / "out")
    assert run(tmp_path / "bids", tmp_path / "out", "--plan", trial / "plan.toml") == 0
    for path in (trial / "out").rglob("*"):
        inside = path.relative_to(trial / "out")
        if path.is_file() and inside.parts[0] not in ("logs", "unblinded"):
            assert path.read_bytes() == (tmp_path / "out" / inside).read_bytes(), inside


def test_every_table_has_its_dictionary_and_every_figure_its_numbers(trial):
    outcomes = trial / "out" / "outcomes"
    for path in outcomes.glob("*.tsv"):
        header = path.read_text(encoding="utf-8").splitlines()[0].split("\t")
        assert list(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))) == header
    figures = sorted(outcomes.glob("figures/*.svg"))
    assert {"course_lesion_ml", "forest_models", "mrs", "visits", "volume_mrs_day90"} <= {
        f.stem for f in figures
    }
    for path in figures:
        assert path.with_suffix(".tsv").is_file()


def test_the_page_needs_nothing_beside_it(trial):
    page = (trial / "out" / "group.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#|outcomes/|https://doi\.org/|sub-\d+\.html)[^"]*"', page)
    script = re.search(r"<script>(.*)</script>", page, re.DOTALL)[1]
    digest = hashlib.sha256(script.encode()).digest()
    assert base64.b64encode(digest).decode() in page
    for link in re.findall(r'href="(outcomes/[^"]+)"', page):
        assert (trial / "out" / link).is_file(), link


def test_the_notebook_reads_what_is_written(trial, monkeypatch):
    monkeypatch.setenv("OUT_DIR", str(trial / "out"))
    notebook = json.loads(
        (Path(__file__).parents[2] / "docs" / "group_export.ipynb").read_text(encoding="utf-8")
    )
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec("".join(cell["source"]), names)
    assert len(names["wide"]) == 60


def test_unblinding_is_recorded_and_stays_in_its_folder(trial, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(trial / "out" / "measurements.tsv", out)
    key = tmp_path / "key.tsv"
    key.write_text(
        "participant_id\tcode\n" + "".join(f"sub-{k:03d}\t{ARM_VALUES[k % 2]}\n" for k in range(1, 61))
    )
    assert run(trial / "bids", out, "--plan", trial / "plan.toml", "--unblind", key) == 0
    entries = [json.loads(line) for line in (out / "logs" / "unblinding.jsonl").read_text().splitlines()]
    assert [entry["key_sha256"] for entry in entries] == [hashlib.sha256(key.read_bytes()).hexdigest()]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entries[0]["time_utc"])
    assert entries[0]["user"]
    telling = [
        path for path in out.rglob("*") if path.is_file() and ARM_VALUES[0].encode() in path.read_bytes()
    ]
    inside = {path.relative_to(out).parts[0] for path in telling}
    assert inside == {"unblinded", "measurements.tsv"}
    told = {r["term"] for r in rows(out / "unblinded" / "outcomes" / "models.tsv")}
    assert f"arm[T.{ARM_VALUES[0]}]" in told
    assert run(trial / "bids", out, "--plan", trial / "plan.toml", "--unblind", key) == 0
    assert len((out / "logs" / "unblinding.jsonl").read_text().splitlines()) == 2
    blinded = (out / "group.html").read_bytes()
    assert blinded == (trial / "out" / "group.html").read_bytes()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("participant_id\tcode\tmore\nsub-001\tA\tB\n", "two columns"),
        ("participant_id\tcode\nsub-001\tA\nsub-001\tB\n", "another arm"),
        ("participant_id\tcode\nsub-001\t\n", "complete the key"),
    ],
)
def test_a_key_that_is_unfit_is_refused(trial, tmp_path, capsys, text, word):
    (tmp_path / "out").mkdir()
    shutil.copy(trial / "out" / "measurements.tsv", tmp_path / "out")
    (tmp_path / "key.tsv").write_text(text)
    assert run(trial / "bids", tmp_path / "out", "--unblind", tmp_path / "key.tsv") == 1
    assert word in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--plan", "none.toml"], "TOML"),
        (["--unblind", "none.tsv"], "none.tsv: no such file"),
        (["--masks", "none"], "none: no such folder"),
        (["--participant-label", "001"], "takes everyone"),
        (["--dry-run"], "no --dry-run"),
    ],
)
def test_a_wrong_request_is_one_line(trial, tmp_path, capsys, more, word):
    (tmp_path / "out").mkdir()
    shutil.copy(trial / "out" / "measurements.tsv", tmp_path / "out")
    assert run(trial / "bids", tmp_path / "out", *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line


def test_a_second_run_into_the_same_folder_is_refused(trial, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_WAIT_SECONDS", 0.2)
    (tmp_path / "out").mkdir()
    shutil.copy(trial / "out" / "measurements.tsv", tmp_path / "out")
    with locks.locked([tmp_path / "out" / "logs" / "locks" / "group.lock"]):
        assert run(trial / "bids", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "group.lock" in line
    assert not (tmp_path / "out" / "group.html").exists()


@pytest.mark.parametrize("option", ["--plan", "--masks", "--unblind"])
def test_options_of_the_group_level_are_refused_elsewhere(trial, tmp_path, capsys, option):
    assert main(["run", str(trial / "bids"), str(tmp_path / "out"), "participant", option, "x"]) == 2
    assert f"{option} belongs to the group level" in capsys.readouterr().err


def test_a_dataset_that_is_not_there_is_refused(trial, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    shutil.copy(trial / "out" / "measurements.tsv", tmp_path / "out")
    assert run(tmp_path / "none", tmp_path / "out") == 2
    assert "expected a BIDS dataset" in capsys.readouterr().err


def test_text_from_tables_is_escaped(trial, tmp_path):
    bids, out = tmp_path / "bids", tmp_path / "out"
    shutil.copytree(trial / "bids", bids)
    out.mkdir()
    shutil.copy(trial / "out" / "measurements.tsv", out)
    raters = "participant_id\tsession_id\trater\tlesion_ml\n" + "".join(
        f"sub-{k:03d}\tses-baseline\t{who}\t{50 + 3 * k + shift}\n"
        for k in range(1, 11)
        for who, shift in (("<script>alert(1)</script>", 0), ("B", 2))
    )
    (bids / "phenotype" / "segmenters.tsv").write_text(raters)
    assert run(bids, out, "--plan", trial / "plan.toml") == 0
    page = (out / "group.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    (row,) = rows(out / "outcomes" / "reliability.tsv")
    assert (row["n"], float(row["bias"])) == ("10", -2.0)


MASK_AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])


def test_masks_in_mni_are_measured_wherever_their_axes_point(tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    table = ["participant_id\tage\tnihss"]
    for k in range(1, 13):
        data = np.zeros((91, 109, 91), np.uint8)
        # Millimetres x -60 to -60 + 2k, in the territory of the left middle cerebral artery.
        x, y, z = ((np.array([-60, 0, 20]) - MASK_AFFINE[:3, 3]) / np.diag(MASK_AFFINE)[:3]).astype(int)
        data[x - k + 1 : x + 1, y : y + 4, z : z + 4] = 1
        nib.Nifti1Image(data, MASK_AFFINE).to_filename(masks / f"sub-{k}_space-MNI_label-L_mask.nii.gz")
        table.append(f"sub-{k}\t60\t{k}")
    (masks / "participants.tsv").write_text("\n".join(table) + "\n")
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'exploratory = false\nbootstrap = 20\n[[associations]]\nx = "lesion_mni_ml"\ny = "nihss"\n'
    )
    assert run(masks, tmp_path / "out", "--masks", masks, "--plan", plan) == 0
    wide = {r["participant_id"]: r for r in rows(tmp_path / "out" / "outcomes" / "wide.tsv")}
    for k in (1, 12):
        assert float(wide[f"sub-{k}"]["lesion_mni_ml"]) == pytest.approx(k * 16 * 0.008)
        assert float(wide[f"sub-{k}"]["damage_MCA_R"]) == 0
    assert float(wide["sub-12"]["damage_MCA_L"]) > 0
    counts = nib.load(tmp_path / "out" / "outcomes" / "figures" / "incidence.nii.gz")
    data = np.asarray(counts.dataobj)
    assert data.max() == 12
    assert counts.affine[0, 0] * np.argwhere(data == 12)[:, 0].max() + counts.affine[0, 3] < 0
    # A map at 1 mm of masks at 2 mm holds the same volume.
    assert data.sum() / 1000 == pytest.approx(sum(k * 16 * 0.008 for k in range(1, 13)), rel=0.05)
    found = {(r["analysis"], r["kind"]): r for r in rows(tmp_path / "out" / "outcomes" / "associations.tsv")}
    assert float(found["nihss with lesion_mni_ml", "spearman"]["estimate"]) == pytest.approx(1)


def test_raters_of_a_study_are_compared():
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    ratings = [
        Rating(f"sub-{s}", "ses-a", "score", f"judge{j}", float(value), "f.tsv", 2)
        for s, row in enumerate(table)
        for j, value in enumerate(row)
    ]
    found = reliabilities([*ratings, Rating("sub-9", "ses-a", "score", "judge0", 3.0, "f.tsv", 99)])
    assert len(found) == 1 + 6
    # Shrout & Fleiss 1979; the interval as McGraw & Wong's formulas give it in R's psych and irr.
    assert found[0].icc == pytest.approx(0.29, abs=0.005)
    assert (found[0].icc_lower, found[0].icc_upper) == pytest.approx((0.019, 0.761), abs=0.0015)
    assert (found[0].n, found[0].n_left_out) == (6, 1)
    assert found[1].raters == ("judge0", "judge1")
    assert found[1].limits.bias == pytest.approx(31 / 6)

"""A study full of faults, through the command line: each costs its own visit and nothing else."""

from __future__ import annotations

import csv
import gzip
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mripipe.cli import main
from tests.phantoms import image, patient

ZOOMS_MM = (3.0, 3.0, 3.0)
UNSAFE = ("sub-<b>x", "sub-..")
TELLING = ("treatment_arm", "quagga", "zebra")
"""Name and values of the column that tells the arm."""


def header(**fields):
    """Return a way to write noise with some header fields overwritten."""

    def write(path, whole):
        raw = bytearray(whole.to_bytes())
        stored = nib.Nifti1Header(bytes(raw[:348]), check=False)
        for name, value in fields.items():
            stored[name] = value
        raw[:348] = stored.binaryblock
        path.write_bytes(gzip.compress(bytes(raw)))

    return write


def voxels(change):
    """Return a way to write noise with its voxels changed."""

    def write(path, whole):
        data = change(whole.get_fdata(dtype=np.float32))
        nib.Nifti1Image(data, whole.affine).to_filename(path)

    return write


def with_nan(data):
    data[3, 3, 3] = np.nan
    return data


def truncated(path, whole):
    whole.to_filename(path)
    path.write_bytes(path.read_bytes()[:-500])


FAULTS = {
    "cut": (truncated, "truncated or damaged gzip file"),
    "nan": (voxels(with_nan), "not finite (NaN or infinite)"),
    "zeros": (voxels(np.zeros_like), "every voxel is 0"),
    "series": (voxels(lambda data: np.stack([data, data], axis=3)), "2 volumes of a 4D image"),
    "slices": (voxels(lambda data: data[:, :, :2]), "20 x 20 x 2 voxels, expected 8 or more"),
    "zoom": (header(pixdim=[1, 3, 0, 3, 0, 0, 0, 0]), "voxel size 3 x 0 x 3"),
    "forms": (header(qform_code=1, sform_code=1, qoffset_x=40.0), "sform and qform disagree"),
    "lost": (header(qform_code=0, sform_code=0), "no orientation"),
}
"""Visit to how its T1w is written, and a part of the line that must name it."""

MASK_FAULTS = {"othergrid": "mask on another grid", "nothing": "the mask is empty"}


@dataclass(frozen=True)
class Ended:
    """What a run left."""

    code: int
    lines: tuple[str, ...]
    """Of standard error."""
    out: Path

    def rows(self):
        with (self.out / "lesion_volumes.tsv").open(encoding="utf-8") as stream:
            return {row["session_id"]: row for row in csv.DictReader(stream, delimiter="\t")}

    def failed(self, session):
        """Return the closing line of a visit, of which there must be one."""
        (line,) = (line for line in self.lines if line.startswith(f"failed: sub-1 ses-{session}: "))
        return line


def t1w(root, session):
    path = root / "sub-1" / f"ses-{session}" / "anat" / f"sub-1_ses-{session}_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    return path


def t1w_of_sound(root):
    return next((root / "sub-1" / "ses-sound" / "anat").glob("*_T1w.nii.gz"))


def mask(root, session):
    path = root / "sub-1" / f"ses-{session}" / "anat" / f"sub-1_ses-{session}_label-L_mask.nii.gz"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Write one sound visit, a visit for each fault, and folders that are no participants."""
    root = tmp_path_factory.mktemp("study")
    bids, masks = root / "bids", root / "masks"
    rng = np.random.default_rng(5)
    noise = nib.Nifti1Image(rng.random((20, 20, 20), np.float32) + 1, np.diag([-3.0, 3, 3, 1]))
    for session, (write, _) in FAULTS.items():
        write(t1w(bids, session), noise)
    head = image(patient(), zooms_mm=ZOOMS_MM)
    for session in ("sound", "twice", *MASK_FAULTS):
        head.to_filename(t1w(bids, session))
    drawn = np.zeros(head.shape, np.uint8)
    nib.Nifti1Image(drawn, head.affine).to_filename(mask(masks, "nothing"))
    drawn[25:35, 25:35, 30:40] = 1
    nib.Nifti1Image(drawn, head.affine).to_filename(mask(masks, "sound"))
    moved = head.affine + np.pad([[3.0]], ((0, 3), (3, 0)))
    nib.Nifti1Image(drawn, moved).to_filename(mask(masks, "othergrid"))
    for name in UNSAFE:
        (bids / name / "ses-a").mkdir(parents=True)
    listed = ["sound", *FAULTS, *MASK_FAULTS, "twice", "twice"]
    table = "".join(f"ses-{name}\t{10 + day}\tzebra\n" for day, name in enumerate(listed))
    (bids / "sub-1" / "sub-1_sessions.tsv").write_text(f"session_id\tdays_from_onset\ttreatment_arm\n{table}")
    (bids / "participants.tsv").write_text("participant_id\tage\ttreatment_arm\nsub-1\t63\tquagga\n")
    (bids / "phenotype").mkdir()
    scores = "participant_id\tsession_id\tmrs\ttreatment_arm\nsub-1\tses-sound\t4\tquagga\n"
    (bids / "phenotype" / "scores.tsv").write_text(scores)
    sidecar = t1w_of_sound(bids).with_name("sub-1_ses-sound_T1w.json")
    sidecar.write_text('{"MagneticFieldStrength": 3, "treatment_arm": "zebra"}')
    return root


@pytest.fixture(scope="module")
def ended(study):
    """Run the study."""
    out = study / "out"
    command = [sys.executable, "-m", "mripipe", "run", str(study / "bids"), str(out), "participant"]
    command += ["-d", str(study / "masks"), "--level", "fast", "--nprocs", "2"]
    # From elsewhere: the repository's folder would come before the installed package.
    done = subprocess.run(command, capture_output=True, text=True, cwd=study)
    return Ended(done.returncode, tuple(done.stderr.splitlines()), out)


def test_something_failed_and_says_so(ended):
    assert ended.code == 1
    assert ended.lines[-1] == f"1 of {len(FAULTS) + len(MASK_FAULTS) + 2} visits done"
    assert not any("Traceback" in line for line in ended.lines)


@pytest.mark.parametrize("session", FAULTS)
def test_an_unfit_image_is_named(ended, session):
    assert f"sub-1_ses-{session}_T1w.nii.gz: " in ended.failed(session)
    assert FAULTS[session][1] in ended.failed(session)


@pytest.mark.parametrize("session", MASK_FAULTS)
def test_an_unfit_mask_is_named(ended, session):
    assert f"sub-1_ses-{session}_label-L_mask.nii.gz: {MASK_FAULTS[session]}" in ended.failed(session)


def test_a_visit_that_is_listed_twice_is_named(ended):
    assert "sub-1_sessions.tsv" in ended.failed("twice")
    assert "ses-twice is listed twice" in ended.failed("twice")


def test_the_table_has_a_row_for_every_visit(ended):
    rows = ended.rows()
    failed = {f"ses-{session}" for session in (*FAULTS, *MASK_FAULTS, "twice")}
    assert set(rows) == failed | {"ses-sound"}
    for session in failed:
        assert rows[session]["status"] == "failed"
        assert rows[session]["lesion_ml"] == rows[session]["brain_ml"] == "n/a"
        assert not any((ended.out / "sub-1" / session).rglob("*.nii.gz"))


def test_the_sound_visit_is_finished(ended):
    row = ended.rows()["ses-sound"]
    assert (row["status"], row["source"]) == ("ok", "manual")
    assert float(row["lesion_ml"]) == pytest.approx(27.0)
    names = {path.name for path in (ended.out / "sub-1" / "ses-sound" / "anat").iterdir()}
    assert "sub-1_ses-sound_space-MNI152NLin2009aSym_label-L_mask.nii.gz" in names
    assert "sub-1_ses-sound_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.h5" in names


def test_the_report_says_what_failed(ended):
    page = (ended.out / "sub-1.html").read_text(encoding="utf-8")
    for session, (_, text) in FAULTS.items():
        assert f"sub-1_ses-{session}_T1w.nii.gz" in page
        assert text in page


def test_the_arm_is_in_no_byte_that_either_level_writes(study, ended, capfd):
    assert main(["run", str(study / "bids"), str(ended.out), "group"]) in (0, 1)
    said = " ".join([*ended.lines, *capfd.readouterr()])
    files = [path for path in ended.out.rglob("*") if path.is_file()]
    assert {"sub-1.html", "group.html", "measurements.tsv"} <= {path.name for path in files}
    for word in TELLING:
        assert word not in said
        for path in files:
            content = path.read_bytes()
            plain = gzip.decompress(content) if path.suffix == ".gz" else content
            assert word.encode() not in plain, path


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_label_is_named_and_goes_nowhere(ended, name):
    (line,) = (line for line in ended.lines if line.startswith("error: ") and repr(name[4:])[1:-1] in line)
    assert "left out" in line
    left = {path.name for path in ended.out.iterdir()}
    assert {"sub-1", "sub-1.html"} == {entry for entry in left if entry.startswith("sub-")}
    for path in ended.out.rglob("*"):
        if path.is_file() and path.suffix in (".html", ".tsv", ".json", ".md"):
            assert "<b>x" not in path.read_text(encoding="utf-8")


def one_bad_visit(folder):
    """Write a study whose only visit ends at once."""
    noise = nib.Nifti1Image(np.zeros((9, 9, 9), np.float32), np.diag([-3.0, 3, 3, 1]))
    header(qform_code=0, sform_code=0)(t1w(folder / "bids", "a"), noise)
    return folder / "bids"


def test_an_output_folder_that_is_a_file(tmp_path, capsys):
    bids = one_bad_visit(tmp_path)
    (tmp_path / "out").write_text("in the way")
    assert main(["run", str(bids), str(tmp_path / "out"), "participant"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'out'}: cannot make this folder" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
def test_an_output_folder_that_is_read_only(tmp_path, capsys):
    bids = one_bad_visit(tmp_path)
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    assert main(["run", str(bids), str(out), "participant"]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert str(out) in line
    assert "Permission denied" in line


def test_a_full_output_folder(tmp_path, capsys, monkeypatch):
    bids = one_bad_visit(tmp_path)
    out = tmp_path / "out"
    replace = os.replace

    def full(source, target):
        if Path(target).name == "lesion_volumes.tsv":
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", full)
    assert main(["run", str(bids), str(out), "participant"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1
    assert f"{out / 'lesion_volumes.tsv'}: No space left on device" in lines[0]
    monkeypatch.undo()
    assert main(["run", str(bids), str(out), "participant"]) == 1
    assert "failed" in (out / "lesion_volumes.tsv").read_text(encoding="utf-8")
    assert not [path for path in out.rglob("*") if path.suffix == ".part"]

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mripipe.errors import ProcessingError
from mripipe.model.failure import Failure
from mripipe.model.results import LesionVolumes, VisitResult
from mripipe.model.stages import CoregisteredImage
from mripipe.model.study import Problem, Scan, Session, Subject
from mripipe.steps.publish import Origin, failed_visit, publish_subject, write_changed, write_dataset_files

WHO = ("sub-1", "ses-a")
BESIDE = {"FLAIR": ("flair", "flair_to_reference"), "ADC": ("adc", "adc_to_reference")}
FIELDS = (
    "preproc",
    "brain_mask",
    "lesion_probability",
    "lesion_mask",
    "auto_mask",
    "contralateral_mask",
    "mni_image",
    "mni_lesion_mask",
    "mni_affine_image",
    "to_mni",
    "from_mni",
)
PUBLIC = (
    "desc-preproc_T2w.nii.gz",
    "desc-brain_mask.nii.gz",
    "label-L_probseg.nii.gz",
    "label-L_desc-auto_mask.nii.gz",
    "label-L_desc-contralateral_mask.nii.gz",
    "label-L_desc-manual_mask.nii.gz",
    "label-L_desc-final_mask.nii.gz",
    "desc-preproc_FLAIR.nii.gz",
    "from-FLAIR_to-T2w_mode-image_xfm.h5",
    "space-MNI152NLin2009aSym_desc-preproc_T2w.nii.gz",
    "space-MNI152NLin2009aSym_label-L_mask.nii.gz",
    "space-MNI152NLin2009aSym_desc-affine_T2w.nii.gz",
    "from-T2w_to-MNI152NLin2009aSym_mode-image_xfm.h5",
    "from-MNI152NLin2009aSym_to-T2w_mode-image_xfm.h5",
)


@pytest.fixture
def folder(tmp_path):
    """Work folder with one file a field, each with its own content."""
    for name in (*FIELDS, *(name for names in BESIDE.values() for name in names)):
        ending = ".h5" if name.endswith("_to_reference") or name in ("to_mni", "from_mni") else ".nii.gz"
        (tmp_path / f"{name}{ending}").write_text(name)
    return tmp_path


def visit(folder, **changes):
    files = {path.name.split(".")[0]: path for path in folder.iterdir() if path.name.split(".")[0] in FIELDS}
    volumes = LesionVolumes(*WHO, "ok", source="manual", lesion_ml=3.0)
    beside = tuple(
        CoregisteredImage(suffix, folder / f"{image}.nii.gz", folder / f"{way}.h5")
        for suffix, (image, way) in BESIDE.items()
    )
    result = VisitResult(*WHO, volumes, reference_suffix="T2w", coregistered=beside, **files)
    return replace(result, **changes)


def subject(root, mask=None):
    scans = tuple(Scan(root / "sub-1" / f"x_{suffix}.nii", suffix) for suffix in ("T2w", "FLAIR", "dwi"))
    return Subject("sub-1", (Session(*WHO, scans, days_from_onset=45.0, lesion_mask=mask),))


def publish(folder, *results, mask=None):
    origin = Origin(folder / "bids", {"lesion": {"segmenter": "asymmetry"}})
    return publish_subject(
        subject(folder / "bids", mask), results or (visit(folder),), out_dir=folder / "out", origin=origin
    )


def published(folder):
    anat = folder / "out" / "sub-1" / "ses-a" / "anat"
    return {p.name.removeprefix("sub-1_ses-a_"): p for p in anat.iterdir()} if anat.exists() else {}


def test_every_file_gets_its_public_name_and_its_content(folder):
    result = publish(folder).visits[0]
    files = published(folder)
    assert sorted(n for n in files if not n.endswith(".json")) == sorted(PUBLIC)
    for name in FIELDS:
        path = getattr(result, name)
        assert path.read_text() == name
        assert path.is_relative_to(folder / "out")
    for image in result.coregistered:
        name, way = BESIDE[image.suffix]
        assert (image.image.read_text(), image.to_reference.read_text()) == (name, way)
    adc = result.coregistered[1]
    assert (
        adc.image.relative_to(folder / "out").as_posix().endswith("dwi/sub-1_ses-a_desc-preproc_ADC.nii.gz")
    )
    assert adc.to_reference.parent.name == "dwi"
    assert result.lesion_mask.name.endswith("desc-final_mask.nii.gz")
    assert files["label-L_desc-manual_mask.nii.gz"].read_text() == "lesion_mask"
    assert files["label-L_desc-auto_mask.nii.gz"].read_text() == "auto_mask"


def test_a_sidecar_names_sources_and_digest_and_no_path_outside(folder):
    publish(folder, mask=folder / "masks" / "secret" / "m.nii.gz")
    sidecar = json.loads(published(folder)["desc-preproc_T2w.json"].read_text())
    scans = [f"bids:raw:sub-1/x_{suffix}.nii" for suffix in ("FLAIR", "T2w", "dwi")]
    assert sidecar["Sources"] == [*scans, "m.nii.gz"]
    assert sidecar["SHA256"] == hashlib.sha256(b"preproc").hexdigest()
    assert sidecar["GeneratedBy"][0]["Name"] == "mripipe"


def test_what_has_not_changed_is_not_written_again(folder):
    publish(folder)
    before = {name: path.stat().st_mtime_ns for name, path in published(folder).items()}
    (folder / "preproc.nii.gz").write_text("PREPROC")
    publish(folder)
    changed = {name for name, path in published(folder).items() if path.stat().st_mtime_ns != before[name]}
    assert changed == {"desc-preproc_T2w.nii.gz", "desc-preproc_T2w.json"}


def test_what_is_no_longer_made_is_removed_and_nothing_else(folder):
    publish(folder)
    own = folder / "out" / "sub-1" / "ses-a" / "anat" / "notes.txt"
    own.write_text("a reader's own")
    publish(folder, visit(folder, coregistered=()))
    assert "desc-preproc_FLAIR.nii.gz" not in published(folder)
    assert "desc-preproc_FLAIR.json" not in published(folder)
    assert "desc-preproc_T2w.nii.gz" in published(folder)
    publish(folder, Failure(*WHO, "prepare_visit", "gone"))
    assert list(published(folder)) == ["notes.txt"]


def test_a_tampered_list_cannot_reach_outside_the_participant(folder):
    publish(folder)
    outside = folder / "precious"
    outside.write_text("x")
    (folder / "out" / "logs" / "sub-1_files.json").write_text('["sub-1/../../precious", "README"]')
    publish(folder)
    assert outside.exists()


def test_a_file_that_is_gone_is_named(folder):
    result = visit(folder)
    (folder / "preproc.nii.gz").unlink()
    with pytest.raises(ProcessingError, match=r"preproc\.nii\.gz: cannot be read"):
        publish(folder, result)


def test_a_failed_visit_keeps_its_days_and_says_why():
    session = Session(*WHO, (Scan(Path("x"), "T1w"),), days_from_onset=45.0, days_from_infusion=-5.0)
    result = failed_visit(session, Failure(*WHO, "prepare_visit", "broken"))
    assert result.volumes == LesionVolumes(*WHO, "failed", days_from_onset=45.0, days_from_infusion=-5.0)
    assert result.error == "broken"
    without = Session(*WHO, problems=(Problem("error", "no image"),))
    assert failed_visit(without, Failure(*WHO, "check", "no image")).volumes.status == "missing_input"


def test_the_folder_is_a_bids_derivative(tmp_path):
    write_dataset_files(tmp_path / "out", Origin(tmp_path / "bids", {}), "text")
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["DatasetLinks"] == {"raw": "../bids"}
    assert "work" in (tmp_path / "out" / ".bidsignore").read_text().split()


def test_content_of_the_same_length_is_still_compared(tmp_path):
    write_changed(tmp_path / "a", b"one")
    write_changed(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"


def test_sidecars_say_what_the_bids_validator_asks_for(folder):
    publish(folder)
    about = {
        name: json.loads(path.read_text()) for name, path in published(folder).items() if ".json" in name
    }
    assert about["desc-preproc_T2w.json"]["SkullStripped"] is False
    assert about["desc-brain_mask.json"]["Type"] == "Brain"
    assert about["label-L_desc-final_mask.json"]["Type"] == "Lesion"
    assert not {"SkullStripped", "Type"} & set(about["label-L_probseg.json"])

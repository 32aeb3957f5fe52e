"""What the provenance says must be what the sidecars and the files say."""

from __future__ import annotations

import hashlib
import json

import pytest

from mripipe.errors import ProcessingError
from mripipe.steps.provenance import write_participant_provenance, write_provenance

ABOUT = {
    "Sources": ["bids:raw:sub-1/ses-a/anat/sub-1_ses-a_T1w.nii", "mask.nii"],
    "SourcesSHA256": {"bids:raw:sub-1/ses-a/anat/sub-1_ses-a_T1w.nii": "aa", "mask.nii": "bb"},
    "Step": "segment_visit",
    "CodeSHA256": "cc",
    "Software": {"numpy": "2.0"},
    "Parameters": {"lesion": {"segmenter": "asymmetry"}},
}


def publish(out, name, **changes):
    path = out / "sub-1" / "ses-a" / "dwi" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
    about = {**ABOUT, "SHA256": hashlib.sha256(path.read_bytes()).hexdigest(), **changes}
    sidecar = path.with_name(name.split(".")[0] + ".json")
    sidecar.write_text(json.dumps(about))
    return [path, sidecar]


def related(document, kind):
    return {tuple(sorted(item.values())) for item in document[kind].values()}


def test_a_file_its_step_and_what_the_step_read(tmp_path):
    files = publish(tmp_path, "sub-1_ses-a_label-L_probseg.nii.gz")
    document = json.loads(write_participant_provenance(tmp_path, "sub-1", files).read_text())
    name = "out:sub-1/ses-a/dwi/sub-1_ses-a_label-L_probseg.nii.gz"
    image = "raw:sub-1/ses-a/anat/sub-1_ses-a_T1w.nii"
    step = "mripipe:sub-1/ses-a/segment_visit"
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert {key: item["mripipe:sha256"] for key, item in document["entity"].items()} == {
        name: digest,
        image: "aa",
        "given:mask.nii": "bb",
    }
    assert related(document, "wasGeneratedBy") == {(step, name)}
    assert related(document, "used") == {(step, image), ("given:mask.nii", step)}
    assert related(document, "wasDerivedFrom") == {(name, image), ("given:mask.nii", name)}
    assert document["activity"][step]["mripipe:code_sha256"] == "cc"
    (agent,) = document["agent"].values()
    assert agent["mripipe:version_of_numpy"] == "2.0"
    used = {name.partition(":")[0] for kind in ("entity", "activity", "agent") for name in document[kind]}
    assert used <= set(document["prefix"])


def test_gradients_have_digests_of_their_own(tmp_path):
    files = publish(tmp_path, "sub-1_ses-a_desc-preproc_dwi.bval")
    files += publish(tmp_path, "sub-1_ses-a_desc-preproc_dwi.nii.gz")
    document = json.loads(write_participant_provenance(tmp_path, "sub-1", files).read_text())
    for path in tmp_path.rglob("*_dwi.[bn]*"):
        name = f"out:{path.relative_to(tmp_path).as_posix()}"
        expected = hashlib.sha256(path.read_bytes()).hexdigest()
        assert document["entity"][name]["mripipe:sha256"] == expected


def test_where_the_step_is_not_known_the_sources_are_said_alone(tmp_path):
    files = publish(tmp_path, "sub-1_ses-a_label-L_probseg.nii.gz", Sources=["a.nii"])
    about = json.loads(files[1].read_text())
    files[1].write_text(json.dumps({key: about[key] for key in ("Sources", "SHA256")}))
    document = json.loads(write_participant_provenance(tmp_path, "sub-1", files).read_text())
    assert set(document) == {"prefix", "entity", "wasDerivedFrom"}


def test_all_participants_together_and_nothing_written_twice(tmp_path):
    write_participant_provenance(tmp_path, "sub-1", publish(tmp_path, "sub-1_ses-a_desc-brain_mask.nii.gz"))
    other = tmp_path / "sub-2"
    other.mkdir()
    (other / "sub-2_prov.json").write_text(json.dumps({"entity": {"out:x": {}}}))
    whole = write_provenance(tmp_path)
    assert {"out:x", "given:mask.nii"} <= set(json.loads(whole.read_text())["entity"])
    before = whole.stat().st_mtime_ns
    assert write_provenance(tmp_path).stat().st_mtime_ns == before


def test_a_sidecar_that_cannot_be_read_is_named(tmp_path):
    files = publish(tmp_path, "sub-1_ses-a_desc-brain_mask.nii.gz")
    files[1].write_text("{")
    with pytest.raises(ProcessingError, match=r"sub-1_ses-a_desc-brain_mask\.json: cannot be read"):
        write_participant_provenance(tmp_path, "sub-1", files)

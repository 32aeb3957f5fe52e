"""Small datasets on disk."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])


class Dataset:
    """A BIDS dataset that grows a file at a time."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir()

    def text(self, path, *lines):
        """Write a text file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines))
        return file

    def image(self, path, *, shape=(10, 11, 12), affine=AFFINE):
        """Write an image."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        data = np.random.default_rng(0).random(shape, np.float32)
        nib.save(nib.Nifti1Image(data, affine), file)
        return file

    def visit(self, sub, ses, *suffixes):
        """Write a visit's images with their sidecars."""
        for suffix in suffixes:
            folder = "dwi" if suffix == "dwi" else "anat"
            stem = f"{sub}/{ses}/{folder}/{sub}_{ses}_{suffix}"
            self.image(f"{stem}.nii.gz", shape=(10, 11, 12, 4) if suffix == "dwi" else (10, 11, 12))
            self.text(f"{stem}.json", "{}")
            if suffix == "dwi":
                self.text(f"{stem}.bval", "0 1000 1000 1000")
                self.text(f"{stem}.bvec", "0 1 0 0", "0 0 1 0", "0 0 0 1")


@pytest.fixture
def dataset(tmp_path):
    """Give an empty dataset."""
    return Dataset(tmp_path / "bids")


@pytest.fixture
def trial(dataset):
    """Give two participants with two complete visits each."""
    dataset.text("participants.tsv", "participant_id\tage", "sub-001\t60", "sub-002\t70")
    for sub in ("sub-001", "sub-002"):
        rows = ("ses-a\t225\t178", "ses-b\t45\t-2")
        dataset.text(f"{sub}/{sub}_sessions.tsv", "session_id\tdays_from_onset\tdays_from_infusion", *rows)
        for ses in ("ses-a", "ses-b"):
            dataset.visit(sub, ses, "T1w", "FLAIR", "dwi")
    return dataset

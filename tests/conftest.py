"""Fixtures that every room uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TEST_DATA_VARIABLE = "MRIPIPE_TEST_DATA"
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images: ``$MRIPIPE_TEST_DATA``, else ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get(TEST_DATA_VARIABLE) or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set {TEST_DATA_VARIABLE} to their folder")
    return folder

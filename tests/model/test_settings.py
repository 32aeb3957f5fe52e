from __future__ import annotations

from dataclasses import asdict

import pytest

from mripipe.errors import RequestError
from mripipe.model.settings import (
    LesionSettings,
    RegistrationSettings,
    Settings,
    read_settings,
    settings_from_tables,
)


def test_a_file_changes_what_it_names(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('[registration]\nlevel = "fast"\n')
    assert read_settings(path) == Settings(registration=RegistrationSettings(level="fast"))


def test_an_empty_file_is_the_default(tmp_path):
    path = tmp_path / "s.toml"
    path.touch()
    assert read_settings(path) == Settings()


def test_tables_are_the_inverse_of_asdict():
    fast = Settings(registration=RegistrationSettings(level="fast"))
    assert settings_from_tables(asdict(fast)) == fast


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[nosuch]\n", "unknown table: 'nosuch'; known: diffusion, lesion, registration"),
        ("[lesion]\nspeed = 1\n", r"unknown key in \[lesion\]: 'speed'; known: segmenter"),
        ('[lesion]\nsegmenter = "magic"\n', "segmenter must be one of asymmetry, external; got 'magic'"),
        ("[lesion]\nsegmenter = [1]\n", r"got \[1\]"),
        ('[diffusion]\ndistortion = "topup"\n', "distortion must be one of auto, none; got 'topup'"),
        ("[diffusion]\ndistortion = []\n", r"distortion must be one of auto, none; got \[\]"),
        ("[diffusion]\neddy = 1\n", "eddy must be true or false; got 1"),
        ("registration = 3\n", r"'registration' must be a table such as \[registration\], got 3"),
        ("[lesion\n", "not a readable TOML file"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, text, message):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(RequestError, match=message) as error:
        read_settings(path)
    assert "s.toml" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RequestError, match=r"none\.toml"):
        read_settings(tmp_path / "none.toml")


def test_settings_are_valid_once_they_exist():
    with pytest.raises(RequestError, match="fast, standard; got 'slow'"):
        RegistrationSettings(level="slow")
    with pytest.raises(RequestError, match="segmenter"):
        LesionSettings(segmenter="")

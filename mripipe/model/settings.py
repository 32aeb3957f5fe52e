"""Settings of the stages, read from TOML; an unknown key is refused by name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from mripipe.errors import RequestError
from mripipe.model.toml import read_toml

Segmenter = Literal["asymmetry", "external"]
Level = Literal["fast", "standard"]
Distortion = Literal["auto", "none"]


@dataclass(frozen=True)
class LesionSettings:
    """How the infarct is found where no expert mask is given."""

    segmenter: Segmenter = "asymmetry"
    """``asymmetry``: both hemispheres compared through the mirrored brain; ``external``: another program's
    maps."""

    def __post_init__(self) -> None:
        _check_choices(self)


@dataclass(frozen=True)
class RegistrationSettings:
    """How closely images are matched."""

    level: Level = "standard"
    """``standard``, or ``fast`` for a first look: quicker and less exact."""

    def __post_init__(self) -> None:
        _check_choices(self)


@dataclass(frozen=True)
class DiffusionSettings:
    """What is done with the diffusion series."""

    skip: bool = False
    """Leave diffusion out."""
    denoise: bool = True
    """Remove what is noise by the spectrum of the signal around each voxel."""
    gibbs: bool = False
    """Remove ringing beside sharp edges. Takes about 5 s a volume, and is wrong for images that the scanner
    has interpolated, which no header tells."""
    outliers: bool = True
    """Find slices that fell out, and put in their place what the other volumes say."""
    motion: bool = True
    """Register every volume to what the signal model says of it."""
    eddy: bool = True
    """Find what eddy currents do to a volume along with its motion, where the phase encoding is known."""
    distortion: Distortion = "auto"
    """``auto``: undo distortion by the field with an image of opposite phase encoding, failing that with a
    field map, where a visit has one; ``none``: leave it."""
    robust: bool = False
    """Let volumes that no tensor explains count little in a voxel's fit."""
    free_water: bool = True
    """Estimate free water where the shells allow it."""
    tracking: bool = True
    """Follow the corticospinal tract in the person's own diffusion; not at the level ``fast``."""
    atlases: tuple[str, ...] = ()
    """Installed atlases whose tracts are measured beside our own, and in whose regions the infarct is."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.name == "distortion":
                choices = get_args(Distortion)
                if value not in choices:
                    raise RequestError(f"distortion must be one of {', '.join(choices)}; got {value!r}")
            elif item.name == "atlases":
                if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
                    raise RequestError(f"atlases must be a list of names; got {value!r}")
                # TOML gives a list; each name counts once.
                object.__setattr__(self, "atlases", tuple(dict.fromkeys(value)))
            elif not isinstance(value, bool):
                raise RequestError(f"{item.name} must be true or false; got {value!r}")


@dataclass(frozen=True)
class Settings:
    """All stages' settings.

    Examples
    --------
    >>> Settings(registration=RegistrationSettings(level="fast")).registration.level
    'fast'

    """

    lesion: LesionSettings = field(default_factory=LesionSettings)
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)
    diffusion: DiffusionSettings = field(default_factory=DiffusionSettings)

    @property
    def tracks(self) -> bool:
        """Whether tracts are followed in the person's own diffusion."""
        wanted = self.diffusion.tracking and not self.diffusion.skip
        return wanted and self.registration.level != "fast"


def read_settings(path: Path) -> Settings:
    """Read a TOML file with one table a stage; what it does not name keeps its default.

    Parameters
    ----------
    path : Path
        For example ``[registration]`` followed by ``level = "fast"``.

    Raises
    ------
    RequestError
        The file cannot be read, is not TOML, or has an unknown table, key or value.

    """
    tables = read_toml(path)
    try:
        return settings_from_tables(tables)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error


def settings_from_tables(tables: dict[str, Any]) -> Settings:
    """Build settings from nested tables, as TOML or JSON gives them.

    Raises
    ------
    RequestError
        An unknown table, key or value, by name.

    """
    stages = get_type_hints(Settings)
    _refuse_unknown(tables, stages, "table")
    built = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise RequestError(f"{name!r} must be a table such as [{name}], got {table!r}")
        _refuse_unknown(table, get_type_hints(stages[name]), f"key in [{name}]")
        built[name] = stages[name](**table)
    return Settings(**built)


def _refuse_unknown(given: dict[str, Any], known: dict[str, Any], what: str) -> None:
    for name in given:
        if name not in known:
            raise RequestError(f"unknown {what}: {name!r}; known: {', '.join(sorted(known))}")


def _check_choices(settings: LesionSettings | RegistrationSettings) -> None:
    hints = get_type_hints(type(settings))
    for item in dataclasses.fields(settings):
        value, choices = getattr(settings, item.name), get_args(hints[item.name])
        if value not in choices:
            raise RequestError(f"{item.name} must be one of {', '.join(choices)}; got {value!r}")

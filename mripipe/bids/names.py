"""File names: the only place that knows how BIDS spells them.

`parse` and `format_name` are exact inverses: a name that does not come back letter by letter is refused.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mripipe.errors import InputError, RequestError

MNI_SPACE: Final = "MNI152NLin2009aSym"
"""Template space of every output."""

ENTITIES: Final = (
    ("sub", "sub"),
    ("ses", "ses"),
    ("task", "task"),
    ("acq", "acq"),
    ("ce", "ce"),
    ("trc", "trc"),
    ("rec", "rec"),
    ("dir", "dir"),
    ("run", "run"),
    ("mod", "mod"),
    ("echo", "echo"),
    ("flip", "flip"),
    ("inv", "inv"),
    ("mt", "mt"),
    ("part", "part"),
    ("proc", "proc"),
    ("hemi", "hemi"),
    ("from", "source"),
    ("to", "target"),
    ("mode", "mode"),
    ("space", "space"),
    ("model", "model"),
    ("param", "param"),
    ("res", "res"),
    ("den", "den"),
    ("label", "label"),
    ("desc", "desc"),
)
"""Key in a file name and field of `Entities`, in the order in which BIDS writes them."""

EXTENSIONS: Final = (
    ".nii.gz",
    ".nii",
    ".json",
    ".bval",
    ".bvec",
    ".tck",
    ".tsv",
    ".h5",
    ".svg",
    ".png",
    ".html",
)
"""Extensions that a name may end in; the longest that fits counts."""

_LABEL = re.compile(r"[A-Za-z0-9+]+")
_SUFFIX = re.compile(r"[A-Za-z0-9]+")
_KEYS: Final = dict(ENTITIES)


def check_label(text: str, key: str) -> str:
    """Return a label that is safe in a file name and a page: letters, digits and ``+``.

    Raises
    ------
    InputError
        If it is empty or holds anything else, such as ``../`` or HTML.

    """
    if _LABEL.fullmatch(text) is None:
        # As printable ASCII and not too long: it goes into one-line messages.
        shown = ascii(text)[1:-1][:80]
        raise InputError(
            f"{key}-{shown} is not a BIDS label: expected letters, digits and '+' only; rename it"
        )
    return text


@dataclass(frozen=True, kw_only=True)
class Entities:
    """The parts of a BIDS file name, labels without their key.

    Raises
    ------
    InputError
        If a label, the suffix or the extension is not one that BIDS allows.

    """

    sub: str | None = None
    ses: str | None = None
    task: str | None = None
    acq: str | None = None
    ce: str | None = None
    trc: str | None = None
    rec: str | None = None
    dir: str | None = None
    run: str | None = None
    mod: str | None = None
    echo: str | None = None
    flip: str | None = None
    inv: str | None = None
    mt: str | None = None
    part: str | None = None
    proc: str | None = None
    hemi: str | None = None
    source: str | None = None
    """``from``: the space that a transform resamples images from."""
    target: str | None = None
    """``to``: the space that a transform resamples images onto."""
    mode: str | None = None
    space: str | None = None
    model: str | None = None
    param: str | None = None
    res: str | None = None
    den: str | None = None
    label: str | None = None
    desc: str | None = None
    suffix: str
    extension: str
    """With its dot; see `EXTENSIONS`."""

    def __post_init__(self) -> None:
        for key, label in self.labels:
            check_label(label, key)
        if _SUFFIX.fullmatch(self.suffix) is None:
            raise InputError(f"{self.suffix!a} is not a BIDS suffix: expected letters and digits only")
        if self.extension not in EXTENSIONS:
            raise InputError(
                f"{self.extension!a} is not a known extension; expected one of {' '.join(EXTENSIONS)}"
            )

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """Key and label of every entity that is set, in BIDS order."""
        given = self.__dict__
        return tuple((key, given[field]) for key, field in ENTITIES if given[field] is not None)


def format_name(entities: Entities) -> str:
    """Write a file name.

    Examples
    --------
    >>> format_name(Entities(sub="001", ses="month6", desc="brain", suffix="mask", extension=".nii.gz"))
    'sub-001_ses-month6_desc-brain_mask.nii.gz'

    """
    parts = [f"{key}-{label}" for key, label in entities.labels]
    return "_".join([*parts, entities.suffix]) + entities.extension


def parse(name: str) -> Entities:
    """Read a file name (no folder).

    Raises
    ------
    InputError
        If it is not a BIDS name: unknown or repeated entity, wrong order, label or extension.

    Examples
    --------
    >>> parse("sub-001_ses-month6_run-2_T1w.nii.gz").run
    '2'

    """
    extension = next((known for known in EXTENSIONS if name.endswith(known)), None)
    if extension is None:
        raise InputError(f"{name!a} is not a BIDS name: unknown extension")
    *pairs, suffix = name.removesuffix(extension).split("_")
    fields: dict[str, str] = {}
    for pair in pairs:
        key, dash, label = pair.partition("-")
        if not dash or key not in _KEYS:
            raise InputError(f"{name!a} is not a BIDS name: {pair!a} is not an entity")
        fields[_KEYS[key]] = label
    try:
        entities = Entities(**fields, suffix=suffix, extension=extension)
    except InputError as error:
        raise InputError(f"{name!a} is not a BIDS name: {error}") from error
    if format_name(entities) != name:
        raise InputError(f"{name!a} is not a BIDS name: BIDS writes {format_name(entities)}")
    return entities


def participant_label(text: str) -> str:
    """Return a participant's label from ``001`` or ``sub-001``; InputError where it is not a label."""
    return check_label(text.removeprefix("sub-"), "sub")


def session_label(text: str) -> str:
    """Return a session's label from ``month6`` or ``ses-month6``; InputError where it is not a label."""
    return check_label(text.removeprefix("ses-"), "ses")


@dataclass(frozen=True)
class OutputPaths:
    """Where every output lies. Identifiers may be given with or without ``sub-`` and ``ses-``.

    Nothing is created. Each method raises InputError for an identifier that is not a BIDS label, so no path
    can leave `root`.
    """

    root: Path
    """The output folder."""

    @property
    def dataset_description(self) -> Path:
        """``dataset_description.json``."""
        return self.root / "dataset_description.json"

    @property
    def citation(self) -> Path:
        """``CITATION.md``: methods text."""
        return self.root / "CITATION.md"

    @property
    def readme(self) -> Path:
        """``README``."""
        return self.root / "README"

    @property
    def logs(self) -> Path:
        """Folder for logs."""
        return self.root / "logs"

    @property
    def measurements(self) -> Path:
        """``measurements.tsv``: the one long table."""
        return self.root / "measurements.tsv"

    @property
    def lesion_volumes(self) -> Path:
        """``lesion_volumes.tsv``: one row a visit."""
        return self.root / "lesion_volumes.tsv"

    @property
    def tract_metrics(self) -> Path:
        """``tract_metrics.tsv``: one row a visit, tract, segment and hemisphere."""
        return self.root / "tract_metrics.tsv"

    @property
    def tract_asymmetry(self) -> Path:
        """``tract_asymmetry.tsv``: one row a visit, tract and segment."""
        return self.root / "tract_asymmetry.tsv"

    def subject_folder(self, participant: str) -> Path:
        """``sub-001``."""
        return self.root / f"sub-{participant_label(participant)}"

    def report(self, participant: str) -> Path:
        """``sub-001.html``."""
        return self.root / f"sub-{participant_label(participant)}.html"

    def figures(self, participant: str) -> Path:
        """Folder of a participant's figures."""
        return self.subject_folder(participant) / "figures"

    def results(self, participant: str) -> Path:
        """``sub-001/sub-001_results.json``: the participant's results, as data."""
        return self.subject_folder(participant) / f"sub-{participant_label(participant)}_results.json"

    def provenance(self, participant: str) -> Path:
        """``sub-001/sub-001_prov.json``: how the participant's files came about."""
        return self.subject_folder(participant) / f"sub-{participant_label(participant)}_prov.json"

    def visit_folder(self, participant: str, session: str, *, datatype: str = "anat") -> Path:
        """``sub-001/ses-month6/anat``."""
        return self.subject_folder(participant) / f"ses-{session_label(session)}" / datatype

    def template(self, participant: str, *, suffix: str = "T1w") -> Path:
        """Within-subject template."""
        label = participant_label(participant)
        name = format_name(Entities(sub=label, desc="unbiased", suffix=suffix, extension=".nii.gz"))
        return self.subject_folder(participant) / "anat" / name

    def derivative(self, participant: str, session: str, parts: Entities, *, datatype: str = "anat") -> Path:
        """Any file of a visit: `parts` completed with the participant and the session."""
        whole = replace(parts, sub=participant_label(participant), ses=session_label(session))
        return self.visit_folder(participant, session, datatype=datatype) / format_name(whole)

    def preproc(self, participant: str, session: str, *, suffix: str = "T1w") -> Path:
        """Bias-corrected image on its native grid."""
        parts = Entities(desc="preproc", suffix=suffix, extension=".nii.gz")
        return self.derivative(participant, session, parts)

    def brain_mask(self, participant: str, session: str) -> Path:
        """Brain mask on the reference image's native grid."""
        parts = Entities(desc="brain", suffix="mask", extension=".nii.gz")
        return self.derivative(participant, session, parts)

    def lesion_probability(self, participant: str, session: str) -> Path:
        """Lesion probability on the reference image's native grid."""
        parts = Entities(label="L", suffix="probseg", extension=".nii.gz")
        return self.derivative(participant, session, parts)

    def lesion_mask(self, participant: str, session: str, *, desc: str) -> Path:
        """Lesion mask on the reference image's native grid; `desc` says which of them."""
        parts = Entities(label="L", desc=desc, suffix="mask", extension=".nii.gz")
        return self.derivative(participant, session, parts)

    def mni_image(
        self, participant: str, session: str, *, suffix: str = "T1w", desc: str = "preproc"
    ) -> Path:
        """Return the reference image in template space."""
        parts = Entities(space=MNI_SPACE, desc=desc, suffix=suffix, extension=".nii.gz")
        return self.derivative(participant, session, parts)

    def mni_lesion_mask(self, participant: str, session: str) -> Path:
        """Lesion mask in template space."""
        parts = Entities(space=MNI_SPACE, label="L", suffix="mask", extension=".nii.gz")
        return self.derivative(participant, session, parts)

    def diffusion_series(self, participant: str, session: str, *, extension: str = ".nii.gz") -> Path:
        """Return the prepared diffusion series, or its ``.bval`` or ``.bvec``."""
        parts = Entities(desc="preproc", suffix="dwi", extension=extension)
        return self.derivative(participant, session, parts, datatype="dwi")

    def diffusion_map(self, participant: str, session: str, *, param: str, model: str = "tensor") -> Path:
        """Map of a model: ``tensor`` with its ``fa``, ``md``, ``ad``, ``rd``, ``direction``, or ``fwdti``."""
        parts = Entities(model=model, param=param, suffix="dwimap", extension=".nii.gz")
        return self.derivative(participant, session, parts, datatype="dwi")

    def streamlines(self, participant: str, session: str, *, tract: str, side: str) -> Path:
        """Return the streamlines of a tract that was followed in the person."""
        parts = Entities(
            hemi=side[0].upper(), model="csd", label=tract, suffix="tractogram", extension=".tck"
        )
        return self.derivative(participant, session, parts, datatype="dwi")

    def streamline_density(self, participant: str, session: str, *, tract: str, side: str) -> Path:
        """Return the share of these streamlines that passes each voxel."""
        parts = Entities(
            hemi=side[0].upper(),
            model="csd",
            param="density",
            label=tract,
            suffix="dwimap",
            extension=".nii.gz",
        )
        return self.derivative(participant, session, parts, datatype="dwi")

    def transform(
        self, participant: str, session: str, *, source: str, target: str, datatype: str = "anat"
    ) -> Path:
        """Return the ITK transform that resamples a `source` image onto `target`: target points to source."""
        parts = Entities(source=source, target=target, mode="image", suffix="xfm", extension=".h5")
        return self.derivative(participant, session, parts, datatype=datatype)

    def to_mni(self, participant: str, session: str, *, suffix: str = "T1w") -> Path:
        """Transform that resamples the reference image onto the template (maps MNI points to native)."""
        return self.transform(participant, session, source=suffix, target=MNI_SPACE)

    def from_mni(self, participant: str, session: str, *, suffix: str = "T1w") -> Path:
        """Transform that resamples template images onto the reference (maps native points to MNI)."""
        return self.transform(participant, session, source=MNI_SPACE, target=suffix)

    def relative(self, path: Path) -> str:
        """Return a path below `root` with forward slashes, as files and reports quote it.

        Raises
        ------
        RequestError
            If it lies outside `root`.

        """
        inside = os.path.relpath(os.path.abspath(path), os.path.abspath(self.root))
        if inside.split(os.sep)[0] == os.pardir:
            raise RequestError(f"{path} lies outside the output folder {self.root}")
        return Path(inside).as_posix()

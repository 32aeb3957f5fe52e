"""The Python door: one visit from images, one participant from a study, and measures of masks.

Images are paths or nibabel images, and come back as nibabel images in memory. Errors are those of
`mripipe.errors`, in one line that names the image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast, overload

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.streamlines.tractogram import Tractogram
from numpy.typing import NDArray

from mripipe.atlases.atlas import atlas_files
from mripipe.bids.reader import read_study
from mripipe.core.agreement import Agreement, SetAgreement, agreement_over
from mripipe.core.free_water import fit_free_water
from mripipe.core.gradients import GradientTable, directions_from_fsl
from mripipe.core.grid import axis_codes, reorient, same_grid
from mripipe.core.tensor import fit_tensor as fit_tensor_elements
from mripipe.core.tensor import tensor_volumes
from mripipe.core.tensor_maps import main_directions, tensor_maps
from mripipe.core.tracking import SEEDS, TrackedStreamlines, track_way
from mripipe.core.tracking_fibres import find_response, tracking_volumes
from mripipe.core.tracking_way import Way
from mripipe.core.tract_measures import weighted_mean
from mripipe.core.volumetry import lesion_volume_ml
from mripipe.errors import InputError, RequestError
from mripipe.model.diffusion import PerilesionalRing, TractAsymmetry, TractMetrics, TractProfile, TractStatus
from mripipe.model.results import (
    LesionVolumes,
    NormalisationQuality,
    RegionLoad,
    Side,
    Source,
    SubjectResult,
    TerritoryLoad,
)
from mripipe.model.settings import LesionSettings, Settings
from mripipe.model.study import REFERENCE_SUFFIXES, Scan, Session, Study, Subject
from mripipe.steps.agree import compare_files, read_mask
from mripipe.steps.anatomical import prepare_visit
from mripipe.steps.diffusion import fit_diffusion
from mripipe.steps.lesion import segment_visit
from mripipe.steps.longitudinal import align_visits
from mripipe.steps.measure import measure_visit
from mripipe.steps.normalisation import normalise_visit
from mripipe.steps.tracked import with_tracked
from mripipe.steps.tracking import LEAST_STREAMLINES, track_visit
from mripipe.steps.tracts import measure_tracts

if TYPE_CHECKING:
    from mripipe.model.diffusion import DiffusionResult, TrackedTract
    from mripipe.model.results import VisitResult
    from mripipe.model.stages import SegmentedVisit

__all__ = [
    "LesionResult",
    "SessionDiffusion",
    "SessionResult",
    "TensorResult",
    "TrackedResult",
    "TractValue",
    "VolumeInterval",
    "agreement",
    "fit_tensor",
    "lesion_volume",
    "process_session",
    "process_subject",
    "read_study",
    "segment_lesion",
    "track_tract",
    "tract_metrics",
]

Image: TypeAlias = str | os.PathLike[str] | nib.Nifti1Image
"""A path (NIfTI-1, NIfTI-2 or MGH, packed or not) or a nibabel NIfTI image."""

PARTICIPANT, SESSION = "sub-1", "ses-1"
"""Names in the results of images that belong to no study."""


class VolumeInterval(NamedTuple):
    """How far a volume may be off because the infarct's border is uncertain."""

    lower_ml: float
    upper_ml: float


@dataclass(frozen=True, eq=False)
class LesionResult:
    """The infarct of one visit, on the grid of its reference image."""

    status: Literal["ok", "no_lesion_found"]
    mask: nib.Nifti1Image
    """1 in the infarct (X, Y, Z)."""
    probability: nib.Nifti1Image
    """0 to 1 (X, Y, Z)."""
    volume_ml: float | None
    """None where no infarct was found."""
    interval: VolumeInterval | None
    """Of the volume, in mL."""
    side: Side
    """Of the person's brain; ``none`` where no infarct was found."""
    source: Source
    """``manual`` where an expert mask was given, else ``auto``."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TrackedResult:
    """A tract that was followed through a person's own diffusion."""

    status: TractStatus
    """``ok``, or why there are too few streamlines."""
    n_streamlines: int
    streamlines: Tractogram
    """In RAS+ mm, each from the first way-point to the last."""
    density: nib.Nifti1Image | None
    """Share of the streamlines that pass each voxel, 0 to 1, on the series' grid; None without one."""


@dataclass(frozen=True, eq=False)
class SessionDiffusion:
    """Diffusion of one visit: maps on the series' grid in RAS order, and its tracts."""

    status: TractStatus
    """``ok``, or ``low_quality`` where the directions are too few for tracts."""
    metrics: tuple[TractMetrics, ...]
    """A row a tract, segment and hemisphere."""
    asymmetry: tuple[TractAsymmetry, ...]
    """A row a tract and segment: rFA and lesion loads among them."""
    profiles: tuple[TractProfile, ...]
    """FA and MD along each tract."""
    rings: tuple[PerilesionalRing, ...]
    """Tissue around the infarct, and its mirror."""
    b0: nib.Nifti1Image
    """Mean of the volumes without weighting."""
    fa: nib.Nifti1Image
    """Fractional anisotropy, 0 to 1."""
    md: nib.Nifti1Image
    """Mean diffusivity in mm^2/s, as are ad and rd."""
    ad: nib.Nifti1Image
    rd: nib.Nifti1Image
    direction: nib.Nifti1Image
    """Main direction along RAS+ axes (X, Y, Z, 3)."""
    to_reference: sitk.Transform
    """Resamples diffusion images onto the reference image: maps its points to theirs, LPS mm."""
    steps: tuple[str, ...] = ()
    """What was done to the series, one line each."""
    motion: tuple[tuple[float, ...], ...] = ()
    """Shift in mm and turn in degrees (x, y, z each) of every volume against the first; may be empty."""
    fwf: nib.Nifti1Image | None = None
    """Fraction of free water; None where the shells do not allow it, as fa_tissue."""
    fa_tissue: nib.Nifti1Image | None = None
    """FA of the tissue beside the free water; 0 where there is none."""
    tracked: Mapping[tuple[str, Literal["left", "right"]], TrackedResult] = field(default_factory=dict)
    """By tract and side, those that were followed in the person; their means are among `metrics`."""


@dataclass(frozen=True, eq=False)
class SessionResult:
    """Everything made of one visit's images."""

    volumes: LesionVolumes
    """Status, side, and all volumes in mL; its participant and session are placeholders."""
    reference_suffix: str
    """``T1w``, ``T2w`` or ``FLAIR``: the image whose grid is the native one."""
    mask: nib.Nifti1Image
    """Infarct that was used, native grid."""
    probability: nib.Nifti1Image
    """Of infarct, 0 to 1, native grid."""
    preproc: nib.Nifti1Image
    """Bias-corrected reference image, native grid."""
    brain_mask: nib.Nifti1Image
    """Brain with infarct, ventricles and sulci, native grid."""
    mni_image: nib.Nifti1Image
    """Reference image in MNI152NLin2009aSym, 1 mm."""
    mni_mask: nib.Nifti1Image
    """Infarct in MNI152NLin2009aSym, 1 mm."""
    to_mni: sitk.Transform
    """Resamples native images onto MNI: maps MNI points to native points, LPS mm as always in ITK."""
    from_mni: sitk.Transform
    """Resamples MNI images onto the native grid: maps native points to MNI points, LPS mm."""
    quality: NormalisationQuality
    """How well the visit fits the template."""
    coregistered: Mapping[str, nib.Nifti1Image] = field(default_factory=dict)
    """What was given beside the reference image, on its own grid: ``FLAIR``, ``T2w``, ``trace``, ``ADC``."""
    to_reference: Mapping[str, sitk.Transform] = field(default_factory=dict)
    """Resamples each of these onto the reference image: maps reference points to its points, LPS mm."""
    territories: tuple[TerritoryLoad, ...] = ()
    """The infarct's part in every arterial territory; empty where there is none."""
    regions: tuple[RegionLoad, ...] = ()
    """The same in regions of the installed atlases that the settings name."""
    diffusion: SessionDiffusion | None = None
    """None without a series, or where the settings leave diffusion out."""
    warnings: tuple[str, ...] = ()


def process_session(
    t1w: Image | None = None,
    flair: Image | None = None,
    dwi: str | os.PathLike[str] | None = None,
    *,
    t2w: Image | None = None,
    trace: Image | None = None,
    adc: Image | None = None,
    fmap: Sequence[str | os.PathLike[str]] = (),
    days_from_onset: float | None = None,
    lesion_mask: Image | None = None,
    settings: Settings | None = None,
) -> SessionResult:
    """Process the images of one visit: brain, infarct, way to MNI and back, volumes, tracts.

    Takes some minutes at 1 mm. For visits of one person use `process_subject`, which aligns them.

    Parameters
    ----------
    t1w, flair, t2w : path or nibabel image, optional
        The T1w, failing that the T2w, failing that the FLAIR, is the reference image; one is needed. The
        others help to find the infarct.
    dwi : path, optional
        Diffusion series, with its ``.bval`` and ``.bvec`` of the same name beside it. Its ADC helps to find
        the infarct.
    trace, adc : path or nibabel image, optional
        Trace image and ADC map that the scanner made; in place of those of the series where both are given.
    fmap : sequence of path, optional
        Images by which distortion of the series is undone, with their JSON sidecars of the same name beside
        them: names end in ``_epi`` (opposite phase encoding) or ``_fieldmap`` (in Hz) as in BIDS.
    days_from_onset : float, optional
        Before day 14 the infarct is looked for in diffusion: bright on the trace image, low in ADC.
    lesion_mask : path or nibabel image, optional
        Expert mask on the reference image's grid or the FLAIR's; without one the infarct is searched for.
    settings : Settings, optional
        From `mripipe.model.settings`.

    Raises
    ------
    RequestError
        No image is given, or something that is neither a path nor a NIfTI image.
    InputError
        An image, mask or diffusion series is unfit for use.

    Examples
    --------
    A visit takes more than a minute at any resolution, since the template's is always 1 mm.

    >>> import mripipe
    >>> visit = mripipe.process_session("T1w.nii.gz", "FLAIR.nii.gz")  # doctest: +SKIP
    >>> visit.volumes.side, round(visit.volumes.lesion_ml)  # doctest: +SKIP
    ('left', 71)

    """
    chosen = settings or Settings()
    with TemporaryDirectory(prefix="mripipe-") as name:
        folder = Path(name)
        images = {"T1w": t1w, "T2w": t2w, "FLAIR": flair, "trace": trace, "ADC": adc}
        series = None if dwi is None else _series(dwi)
        field_maps = tuple(_field_map(path) for path in fmap)
        used = None if chosen.diffusion.skip else series
        session = _session(folder, images, lesion_mask, used, days_from_onset)
        segmented = segment_visit(
            prepare_visit(session, lesion_mask=session.lesion_mask, folder=folder),
            settings=chosen.lesion,
            folder=folder,
        )
        aligned = align_visits((segmented,), settings=chosen.registration, folder=folder)
        normalised = normalise_visit(segmented, aligned, settings=chosen.registration, folder=folder)
        files = tuple(atlas_files(name) for name in chosen.diffusion.atlases)
        diffusion = None
        if series is not None and not chosen.diffusion.skip:
            # Apart, for the maps' files have short names.
            apart = folder / "dwi"
            apart.mkdir()
            whole = replace(series, scans=(*series.scans, *field_maps))
            fitted = fit_diffusion(whole, settings=chosen.diffusion, folder=apart)
            diffusion = measure_tracts(fitted, normalised, atlases=files, folder=apart)
            if chosen.tracks:
                diffusion = with_tracked(diffusion, track_visit(fitted, diffusion, normalised, folder=apart))
        return _in_memory(measure_visit(normalised, atlases=files, folder=folder), diffusion)


def process_subject(
    subject: Subject,
    out_dir: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    nprocs: int | None = None,
) -> SubjectResult:
    """Process all visits of one participant as ``mripipe run`` does, and publish files, report and tables.

    What is done and unchanged is not done again, and participants that are in the folder already stay.

    Parameters
    ----------
    subject : Subject
        From `read_study`.
    out_dir : path
        Made if need be.
    settings : Settings, optional
        From `mripipe.model.settings`.
    work_dir : path, optional
        For intermediate files; ``work`` in `out_dir` where not given.
    nprocs : int, optional
        Steps at the same time; as many as there are processors where not given.

    Returns
    -------
    SubjectResult
        Visits in time order, with paths in `out_dir`. A visit that failed has ``error``, one line, and stops
        no other.

    Raises
    ------
    RequestError
        No visit has an image; a folder cannot be made, or another run is at work in it.
    ProcessingError
        A file cannot be written.

    Examples
    --------
    Processes whole visits, which takes minutes.

    >>> import mripipe
    >>> study = mripipe.read_study("bids/")  # doctest: +SKIP
    >>> result = mripipe.process_subject(study.subject("001"), "out/")  # doctest: +SKIP
    >>> [visit.volumes.lesion_ml for visit in result.visits]  # doctest: +SKIP
    [84.2, 79.9, 75.1]

    """
    # nipype takes a second to load, which the other functions do without.
    from mripipe.interfaces.execution import Execution
    from mripipe.workflows.run import run_participants

    target = Path(out_dir)
    outcome = run_participants(
        Study(_root_of(subject), (subject,)),
        target,
        work_dir=Path(work_dir) if work_dir is not None else target / "work",
        settings=settings or Settings(),
        execution=Execution() if nprocs is None else Execution(nprocs=nprocs),
    )
    return outcome.subjects[0]


def segment_lesion(
    t1w: Image | None = None,
    flair: Image | None = None,
    *,
    t2w: Image | None = None,
    dwi: str | os.PathLike[str] | None = None,
    trace: Image | None = None,
    adc: Image | None = None,
    days_from_onset: float | None = None,
    settings: LesionSettings | None = None,
) -> LesionResult:
    """Find the infarct of one visit; images as for `process_session`, whose way to MNI this does without.

    Raises
    ------
    RequestError
        No image is given, or something that is neither a path nor a NIfTI image.
    InputError
        An image is unfit for use.

    Examples
    --------
    Takes about a minute.

    >>> import mripipe
    >>> found = mripipe.segment_lesion("T1w.nii.gz", "FLAIR.nii.gz")  # doctest: +SKIP
    >>> found.side, round(found.volume_ml), round(found.interval.upper_ml)  # doctest: +SKIP
    ('left', 71, 78)

    """
    with TemporaryDirectory(prefix="mripipe-") as name:
        folder = Path(name)
        images = {"T1w": t1w, "T2w": t2w, "FLAIR": flair, "trace": trace, "ADC": adc}
        series = None if dwi is None else _series(dwi)
        session = _session(folder, images, None, series, days_from_onset)
        prepared = prepare_visit(session, folder=folder)
        return _lesion(segment_visit(prepared, settings=settings or LesionSettings(), folder=folder))


def lesion_volume(mask: Image) -> float:
    """Return the volume of a mask in mL, on its own grid; 0.0 for an empty one.

    Parameters
    ----------
    mask : path or nibabel image
        Whole numbers (all but 0 is lesion) or fractions (lesion from 0.5 on).

    Raises
    ------
    RequestError
        It is neither a path nor a NIfTI image.
    InputError
        It cannot be read, is not 3D, or has no voxel size or orientation.

    Examples
    --------
    >>> import mripipe, nibabel as nib, numpy as np
    >>> thick_slices = np.diag([1.0, 1.0, 4.0, 1.0])
    >>> mripipe.lesion_volume(nib.Nifti1Image(np.ones((10, 10, 10), np.uint8), thick_slices))
    4.0

    """
    with TemporaryDirectory(prefix="mripipe-") as folder:
        data, affine = read_mask(_as_path(mask, Path(folder), "mask"))
    return lesion_volume_ml(data, affine)


# A path given as text is a sequence of paths to the type checker; it is never taken as one.
@overload
def agreement(reference: Image, test: Image) -> Agreement: ...  # type: ignore[overload-overlap]
@overload
def agreement(reference: Sequence[Image], test: Sequence[Image]) -> SetAgreement: ...
def agreement(reference: Image | Sequence[Image], test: Image | Sequence[Image]) -> Agreement | SetAgreement:
    """Compare masks with references: Dice, volumes in mL, HD95 in mm, lesion-wise F1; over a set ICC too.

    Parameters
    ----------
    reference, test : path or nibabel image, or a list of them
        The two of a pair on one grid; the axes may be stored in different orders. Values as for
        `lesion_volume`. Lists have the same length and the same order of visits.

    Returns
    -------
    mripipe.core.agreement.Agreement
        Of lists, `mripipe.core.agreement.SetAgreement`: each pair, ICC(2,1) and limits of agreement.

    Raises
    ------
    RequestError
        One is neither a path nor a NIfTI image, or lists are empty or differ in length.
    InputError
        One cannot be read, or the grids of a pair differ.

    Examples
    --------
    >>> import mripipe, nibabel as nib, numpy as np
    >>> drawn = np.zeros((9, 9, 9), np.uint8)
    >>> drawn[2:4, 2:4, 2:4] = 1
    >>> grid = np.diag([1.0, 1.0, 3.0, 1.0])
    >>> one, shifted = (nib.Nifti1Image(np.roll(drawn, step, axis=2), grid) for step in (0, 1))
    >>> found = mripipe.agreement(one, shifted)
    >>> found.dice, found.hd95_mm, found.volume_difference_ml
    (0.5, 3.0, 0.0)
    >>> mripipe.agreement([one, shifted], [one, one]).mean_dice
    0.75

    """
    first, second = _as_list(reference), _as_list(test)
    if first is None and second is None:
        return _compare(cast(Image, reference), cast(Image, test))
    if not first or not second or len(first) != len(second):
        shown = " and ".join("one image" if part is None else str(len(part)) for part in (first, second))
        raise RequestError(f"{shown} masks cannot be paired: give as many tests as references, one at least")
    return agreement_over([_compare(one, other) for one, other in zip(first, second, strict=True)])


def _as_list(given: Image | Sequence[Image]) -> list[Image] | None:
    return list(given) if isinstance(given, (list, tuple)) else None


def _compare(reference: Image, test: Image) -> Agreement:
    with TemporaryDirectory(prefix="mripipe-") as folder:
        return compare_files(
            _as_path(reference, Path(folder), "reference"), _as_path(test, Path(folder), "test")
        )


def _as_path(image: Image, folder: Path, name: str) -> Path:
    """Return an image's path; one in memory is written, so that all pass the same checks."""
    if isinstance(image, nib.Nifti1Image):
        path = folder / f"{name}.nii"
        # Not to_filename, which would make the caller's image point to this file.
        path.write_bytes(image.to_bytes())
        return path
    if isinstance(image, (str, os.PathLike)):
        return Path(image).expanduser().absolute()
    raise RequestError(f"{name}: expected a path or a nibabel NIfTI image, got {type(image).__name__}")


@dataclass(frozen=True, eq=False)
class TensorResult:
    """Maps of the diffusion tensor, on the series' grid; 0 outside the mask."""

    fa: nib.Nifti1Image
    """Fractional anisotropy, 0 to 1 (X, Y, Z)."""
    md: nib.Nifti1Image
    """Mean diffusivity in mm^2/s (X, Y, Z), as are ad and rd."""
    ad: nib.Nifti1Image
    rd: nib.Nifti1Image
    direction: nib.Nifti1Image
    """Main direction along RAS+ axes (X, Y, Z, 3)."""
    fwf: nib.Nifti1Image | None = None
    """Fraction of free water, 0 to 1 (X, Y, Z); None unless it was asked for, as fa_tissue."""
    fa_tissue: nib.Nifti1Image | None = None
    """Fractional anisotropy of the tissue beside the free water; 0 where there is none."""


@dataclass(frozen=True)
class TractValue:
    """One tract in one map."""

    status: Literal["ok", "truncated_by_lesion", "not_covered"]
    mean: float | None
    """Weighted by the tract's probability, lesion left out; None unless the status is ok."""
    mean_with_lesion: float | None
    n_voxels: int
    """Voxels with a probability of 1/2 or more that are not lesion."""
    lesion_fraction: float | None
    """Share of the tract that is lesion."""


def fit_tensor(
    dwi: Image,
    b_values: Sequence[float] | NDArray[np.floating],
    vectors: Sequence[Sequence[float]] | NDArray[np.floating],
    *,
    mask: Image | None = None,
    free_water: bool = False,
) -> TensorResult:
    """Fit a diffusion tensor by weighted least squares to the volumes with b up to 1500 s/mm^2.

    Parameters
    ----------
    dwi : path or nibabel image
        Series (X, Y, Z, N), taken as it is: nothing is corrected.
    b_values : array (N,)
        s/mm^2.
    vectors : array (3, N)
        As in a bvec file.
    mask : path or nibabel image, optional
        On the series' grid; everywhere where not given.
    free_water : bool
        Fit free water beside the tensor too.

    Raises
    ------
    RequestError
        It is neither a path nor a NIfTI image.
    InputError
        Shapes do not fit, the directions fix no tensor, or free water is asked for and the shells up to
        b = 1500 do not allow it.

    Examples
    --------
    >>> import mripipe, nibabel as nib, numpy as np
    >>> vectors = np.array([[0, 1, 0, 0, .7071, .7071, 0], [0, 0, 1, 0, .7071, 0, .7071],
    ...                     [0, 0, 0, 1, 0, .7071, .7071]])
    >>> b = np.array([0] + [1000] * 6)
    >>> signal = 900 * np.exp(-b * (0.0003 + 0.0012 * vectors[2] ** 2))
    >>> series = nib.Nifti1Image(np.tile(signal, (2, 2, 2, 1)).astype(np.float32), np.diag([2, 2, 2, 1]))
    >>> maps = mripipe.fit_tensor(series, b, vectors)
    >>> round(float(maps.fa.get_fdata()[0, 0, 0]), 2), round(float(maps.md.get_fdata()[0, 0, 0]) * 1e3, 2)
    (0.77, 0.7)

    """
    image = _loaded(dwi, "dwi")
    data, table = _series_of(dwi, image, b_values, vectors)
    inside = np.ones(data.shape[:3], bool) if mask is None else _same_grid_data(mask, "mask", image) > 0
    chosen = tensor_volumes(table)
    elements = fit_tensor_elements(data[inside][:, chosen], table.take(chosen)).elements
    maps = tensor_maps(elements)

    def spread(values: NDArray[np.floating]) -> nib.Nifti1Image:
        whole = np.zeros((*inside.shape, *values.shape[1:]), np.float32)
        whole[inside] = np.nan_to_num(values)
        return nib.Nifti1Image(whole, image.affine)

    water: dict[str, nib.Nifti1Image] = {}
    if free_water:
        fit = fit_free_water(data[inside], table)
        water = {"fwf": spread(fit.fraction), "fa_tissue": spread(tensor_maps(fit.elements).fa)}
    return TensorResult(
        spread(maps.fa),
        spread(maps.md),
        spread(maps.ad),
        spread(maps.rd),
        spread(main_directions(elements)),
        **water,
    )


def track_tract(
    dwi: Image,
    b_values: Sequence[float] | NDArray[np.floating],
    vectors: Sequence[Sequence[float]] | NDArray[np.floating],
    way_points: Sequence[Image],
    *,
    corridor: Image | None = None,
    lesion_mask: Image | None = None,
    mask: Image | None = None,
    n_seeds: int = SEEDS,
) -> TrackedResult:
    """Follow a tract through the way-points that it has to pass, by chance, and clean it.

    Parameters
    ----------
    dwi : path or nibabel image
        Series (X, Y, Z, N), taken as it is: nothing is corrected. b = 0 and 15 directions or more at one
        b-value are needed.
    b_values : array (N,)
        s/mm^2.
    vectors : array (3, N)
        As in a bvec file.
    way_points : sequence of paths or nibabel images
        Masks on the series' grid, two or more, from one end of the tract to the other. Streamlines are begun
        in all of them.
    corridor : path or nibabel image, optional
        Mask that streamlines do not leave: for example one hemisphere.
    lesion_mask : path or nibabel image, optional
        Streamlines end there.
    mask : path or nibabel image, optional
        Brain; everywhere where not given.
    n_seeds : int
        Streamlines to begin. The same number gives the same streamlines.

    Returns
    -------
    TrackedResult
        Fewer than 50 streamlines are ``truncated_by_lesion`` with a lesion and ``low_quality`` without.

    Raises
    ------
    RequestError
        Something is neither a path nor a NIfTI image, or there are fewer than two way-points.
    InputError
        Shapes or grids do not fit, or the series does not allow it.

    Examples
    --------
    Takes about 10 s for a tract in a series of 2 mm.

    >>> import mripipe
    >>> found = mripipe.track_tract("dwi.nii.gz", b, vectors, ["pons.nii", "cortex.nii"])  # doctest: +SKIP
    >>> found.n_streamlines  # doctest: +SKIP
    412

    """
    if len(way_points) < 2:
        raise RequestError(f"way_points: {len(way_points)} given; a tract needs two or more")
    image = _loaded(dwi, "dwi")
    data, table = _series_of(dwi, image, b_values, vectors)
    masks = [_mask_of(part, f"way_points[{k}]", image) for k, part in enumerate(way_points)]
    everywhere = np.ones(image.shape[:3], bool)
    brain, inside = (
        everywhere if part is None else _mask_of(part, name, image)
        for part, name in ((mask, "mask"), (corridor, "corridor"))
    )
    lesion = ~everywhere if lesion_mask is None else _mask_of(lesion_mask, "lesion_mask", image)
    # As steps do: the order in which voxels are stored changes no streamline.
    stored = (data, brain, inside & brain, lesion, *masks)
    data, brain, inside, lesion, *gates = (reorient(part, image.affine)[0] for part in stored)
    _, affine = reorient(everywhere, image.affine)
    way = Way(inside, tuple(gates), np.any(gates, axis=0) & inside)
    found = _track(data, table, affine, way, brain=brain, lesion=lesion, n_seeds=n_seeds)
    enough = len(found.streamlines) >= LEAST_STREAMLINES
    few: TractStatus = "truncated_by_lesion" if (lesion & inside).any() else "low_quality"
    density, place = reorient(found.density, affine, codes=axis_codes(image.affine))
    return TrackedResult(
        "ok" if enough else few,
        len(found.streamlines),
        Tractogram(found.streamlines, affine_to_rasmm=np.eye(4)),
        nib.Nifti1Image(density, place),
    )


def _track(
    data: NDArray[np.float32],
    table: GradientTable,
    affine: NDArray[np.float64],
    way: Way,
    *,
    brain: NDArray[np.bool_],
    lesion: NDArray[np.bool_],
    n_seeds: int,
) -> TrackedStreamlines:
    """Fit what tracking goes by, and track."""
    chosen = tracking_volumes(table)
    if chosen is None:
        raise InputError(
            "dwi: b = 0 and 15 directions at one b-value from 600 s/mm^2 on are needed to follow a tract;"
            f" found {table.n_directions} directions in all"
        )
    fitted = tensor_volumes(table)
    elements = fit_tensor_elements(data[brain][:, fitted], table.take(fitted)).elements
    maps = tensor_maps(elements)
    fa, md, directions = (
        np.zeros((*brain.shape, *values.shape[1:]))
        for values in (maps.fa, maps.md, main_directions(elements))
    )
    fa[brain], md[brain] = np.nan_to_num(maps.fa), np.nan_to_num(maps.md)
    directions[brain] = np.nan_to_num(main_directions(elements))
    signal, table = data[..., chosen], table.take(chosen)
    response = find_response(signal, table, affine, fa=fa, md=md, allowed=brain & ~lesion)
    if response is None:
        raise InputError("dwi: no voxel has the diffusivity of white matter; check b-values and mask")
    return track_way(
        signal,
        table,
        affine,
        way,
        fa=fa,
        directions=directions,
        lesion=lesion,
        response=response,
        n_seeds=n_seeds,
    )


def _mask_of(image: Image, name: str, reference: nib.Nifti1Image) -> NDArray[np.bool_]:
    return np.asarray(_same_grid_data(image, name, reference) >= 0.5)


def _series_of(
    dwi: Image,
    image: nib.Nifti1Image,
    b_values: Sequence[float] | NDArray[np.floating],
    vectors: Sequence[Sequence[float]] | NDArray[np.floating],
) -> tuple[NDArray[np.float32], GradientTable]:
    """Read a series with its gradients."""
    data = np.asarray(image.dataobj, np.float32)
    if data.ndim != 4:
        raise InputError(f"{_shown(dwi, 'dwi')}: expected several volumes (4D), found shape {data.shape}")
    table = GradientTable(np.asarray(b_values, float), directions_from_fsl(vectors, image.affine))
    if table.b_values.size != data.shape[3]:
        raise InputError(
            f"{_shown(dwi, 'dwi')}: {data.shape[3]} volumes, {table.b_values.size} b-values; give one each"
        )
    return data, table


def tract_metrics(
    image: Image, tracts: Mapping[str, Image], *, lesion_mask: Image | None = None
) -> dict[str, TractValue]:
    """Measure tracts in a map, such as FA, on one grid; nothing is resampled.

    Parameters
    ----------
    image : path or nibabel image
        Map (X, Y, Z); values that are not finite are left out.
    tracts : mapping of name to path or nibabel image
        Probability of each tract, 0 to 1, or its mask.
    lesion_mask : path or nibabel image, optional

    Returns
    -------
    dict
        By name. A tract without voxels is ``not_covered``, one of which less than a tenth lies outside the
        lesion ``truncated_by_lesion``; both have no mean.

    Raises
    ------
    RequestError
        Something is neither a path nor a NIfTI image.
    InputError
        A grid differs from the map's.

    Examples
    --------
    >>> import mripipe, nibabel as nib, numpy as np
    >>> fa = nib.Nifti1Image(np.array([[[0.6, 0.4, 0.1]]], np.float32), np.eye(4))
    >>> cst = nib.Nifti1Image(np.array([[[1.0, 1.0, 1.0]]], np.float32), np.eye(4))
    >>> lesion = nib.Nifti1Image(np.array([[[0, 0, 1]]], np.uint8), np.eye(4))
    >>> found = mripipe.tract_metrics(fa, {"CST": cst}, lesion_mask=lesion)["CST"]
    >>> round(found.mean, 3), round(found.mean_with_lesion, 3), found.n_voxels
    (0.5, 0.367, 2)

    """
    reference = _loaded(image, "image")
    values = np.asarray(reference.dataobj, float)
    lesion = np.zeros(values.shape, bool)
    if lesion_mask is not None:
        lesion = _same_grid_data(lesion_mask, "lesion_mask", reference) >= 0.5
    return {
        name: _tract_value(values, np.clip(_same_grid_data(tract, name, reference), 0.0, 1.0), lesion)
        for name, tract in tracts.items()
    }


def _tract_value(
    values: NDArray[np.floating], weights: NDArray[np.floating], lesion: NDArray[np.bool_]
) -> TractValue:
    everything, kept = weights.ravel(), np.where(lesion, 0.0, weights).ravel()
    total = float(everything.sum())
    if total <= 0:
        return TractValue("not_covered", None, None, 0, None)
    share = 1.0 - float(kept.sum()) / total
    n_voxels = int(np.count_nonzero(kept >= 0.5))
    inside, whole = (weighted_mean(values.ravel(), w).value for w in (kept, everything))
    if share > 0.9 or inside is None:
        return TractValue("truncated_by_lesion", None, whole, n_voxels, share)
    return TractValue("ok", inside, whole, n_voxels, share)


def _shown(image: Image, name: str) -> str:
    return name if isinstance(image, nib.Nifti1Image) else Path(image).name


def _loaded(image: Image, name: str) -> nib.Nifti1Image:
    """Return an image with its values not read yet."""
    if isinstance(image, nib.Nifti1Image):
        return image
    if not isinstance(image, (str, os.PathLike)):
        raise RequestError(f"{name}: expected a path or a nibabel NIfTI image, got {type(image).__name__}")
    try:
        return cast(nib.Nifti1Image, nib.load(Path(image)))
    except (OSError, nib.filebasedimages.ImageFileError) as error:
        raise InputError(f"{Path(image).name}: cannot be read ({error}); give a NIfTI image") from error


def _same_grid_data(image: Image, name: str, reference: nib.Nifti1Image) -> NDArray[np.floating]:
    """Return the values of an image in the axis order of another's grid."""
    found = _loaded(image, name)
    shape = reference.shape[:3]
    data, affine = reorient(
        np.asarray(found.dataobj, float), found.affine, codes=axis_codes(reference.affine)
    )
    if not same_grid(data.shape, affine, shape, reference.affine):
        raise InputError(f"{_shown(image, name)}: lies on another grid than the map; resample it onto that")
    return data


def _session(
    folder: Path,
    images: Mapping[str, Image | None],
    lesion_mask: Image | None,
    series: Session | None,
    days_from_onset: float | None,
) -> Session:
    """Make a visit of images, in a folder of their own for those in memory."""
    given = folder / "given"
    given.mkdir()
    scans = tuple(
        Scan(_as_path(image, given, suffix), suffix) for suffix, image in images.items() if image is not None
    )
    if not {scan.suffix for scan in scans} & set(REFERENCE_SUFFIXES):
        raise RequestError("no image given: a T1w, T2w or FLAIR is needed")
    scans += () if series is None else series.scans
    mask = _as_path(lesion_mask, given, "lesion_mask") if lesion_mask is not None else None
    return Session(PARTICIPANT, SESSION, scans, days_from_onset, lesion_mask=mask)


def _field_map(image: str | os.PathLike[str]) -> Scan:
    """Make a scan of an image that shows the field and the sidecar beside it."""
    if not isinstance(image, (str, os.PathLike)):
        raise RequestError(f"fmap: expected paths with .json beside them, got {type(image).__name__}")
    path = _as_path(image, Path(), "fmap")
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    suffix = stem.rpartition("_")[2]
    if suffix not in ("epi", "fieldmap"):
        raise RequestError(f"{path.name}: expected a name that ends in _epi or _fieldmap; rename it")
    sidecar = path.with_name(f"{stem}.json")
    if not path.is_file() or not sidecar.is_file():
        missing = sidecar if path.is_file() else path
        raise InputError(f"{missing.name}: no such file; a field map needs its .json beside it")
    return Scan(path, suffix, sidecar)


def _series(dwi: str | os.PathLike[str]) -> Session:
    """Make a visit of a diffusion series and the gradients beside it."""
    if not isinstance(dwi, (str, os.PathLike)):
        raise RequestError(f"dwi: expected a path with .bval and .bvec beside it, got {type(dwi).__name__}")
    path = _as_path(dwi, Path(), "dwi")
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    beside = {kind: path.with_name(f"{stem}.{kind}") for kind in ("bval", "bvec")}
    for needed in (path, *beside.values()):
        if not needed.is_file():
            raise InputError(f"{needed.name}: no such file; a series needs its .bval and .bvec beside it")
    sidecar = path.with_name(f"{stem}.json")
    scan = Scan(path, "dwi", sidecar if sidecar.is_file() else None, beside["bval"], beside["bvec"])
    return Session(PARTICIPANT, SESSION, scans=(scan,))


def _root_of(subject: Subject) -> Path:
    """Return the dataset that a participant was read from."""
    scans = [scan.path for session in subject.sessions for scan in session.scans]
    for folder in scans[0].parents if scans else ():
        if folder.name == subject.participant_id:
            return folder.parent
    raise RequestError(f"{subject.participant_id}: no visit has an image in a BIDS dataset; nothing to do")


def _read_image(path: Path) -> nib.Nifti1Image:
    """Read an image whole, for its file will be gone."""
    stored: Any = nib.load(path)
    return nib.Nifti1Image(np.asarray(stored.dataobj), stored.affine, stored.header)


def _lesion(segmented: SegmentedVisit) -> LesionResult:
    found = segmented.lesion_ml > 0
    return LesionResult(
        status="ok" if found else "no_lesion_found",
        mask=_read_image(segmented.final_mask),
        probability=_read_image(segmented.probability),
        volume_ml=segmented.lesion_ml if found else None,
        interval=VolumeInterval(segmented.lesion_ml_lower, segmented.lesion_ml_upper) if found else None,
        side=cast(Side, segmented.side),
        source=cast(Source, segmented.source),
        warnings=(*segmented.prepared.warnings, *segmented.warnings),
    )


def _image(path: Path | None) -> nib.Nifti1Image:
    return _read_image(cast(Path, path))


def _transform(path: Path | None) -> sitk.Transform:
    return cast(sitk.Transform, sitk.ReadTransform(str(path)))


def _diffusion_in_memory(found: DiffusionResult) -> SessionDiffusion:
    """Read the maps of a visit's diffusion."""
    return SessionDiffusion(
        status=found.status,
        metrics=found.metrics,
        asymmetry=found.asymmetry,
        profiles=found.profiles,
        rings=found.rings,
        b0=_image(found.b0),
        fa=_image(found.fa),
        md=_image(found.md),
        ad=_image(found.ad),
        rd=_image(found.rd),
        direction=_image(found.direction),
        to_reference=_transform(found.to_reference),
        steps=found.steps,
        motion=found.motion,
        fwf=None if found.fwf is None else _image(found.fwf),
        fa_tissue=None if found.fa_tissue is None else _image(found.fa_tissue),
        tracked={(tract.tract, tract.side): _tracked_in_memory(tract) for tract in found.tracked},
    )


def _tracked_in_memory(found: TrackedTract) -> TrackedResult:
    """Read a tract's streamlines and density."""
    lines = Tractogram(affine_to_rasmm=np.eye(4))
    if found.streamlines is not None:
        lines = nib.streamlines.load(found.streamlines).tractogram
    density = None if found.density is None else _read_image(found.density)
    return TrackedResult(found.status, found.n_streamlines or 0, lines, density)


def _in_memory(visit: VisitResult, diffusion: DiffusionResult | None) -> SessionResult:
    """Read all files of a visit."""
    return SessionResult(
        volumes=visit.volumes,
        reference_suffix=cast(str, visit.reference_suffix),
        mask=_image(visit.lesion_mask),
        probability=_image(visit.lesion_probability),
        preproc=_image(visit.preproc),
        brain_mask=_image(visit.brain_mask),
        mni_image=_image(visit.mni_image),
        mni_mask=_image(visit.mni_lesion_mask),
        to_mni=_transform(visit.to_mni),
        from_mni=_transform(visit.from_mni),
        quality=cast(NormalisationQuality, visit.quality),
        coregistered={image.suffix: _image(image.image) for image in visit.coregistered},
        to_reference={image.suffix: _transform(image.to_reference) for image in visit.coregistered},
        territories=visit.territories,
        regions=visit.regions,
        diffusion=None if diffusion is None else _diffusion_in_memory(diffusion),
        warnings=visit.warnings if diffusion is None else (*visit.warnings, *diffusion.warnings),
    )

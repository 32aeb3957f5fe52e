"""Fixtures that every room uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mripipe.atlases import territories
from mripipe.atlases.template import Template, load_template
from mripipe.atlases.territories import load_territories
from mripipe.core.grid import reorient
from mripipe.core.phantom import (
    PhantomPatient,
    PhantomTemplate,
    draw_patient,
    prepare_atlas,
    render_visit,
    true_masks,
    true_points,
    visit_grid,
)
from mripipe.model.results import VisitResult
from mripipe.model.settings import LesionSettings, RegistrationSettings
from mripipe.model.stages import AlignedVisits, NormalisedVisit, PreparedVisit, SegmentedVisit
from mripipe.model.study import Scan, Session
from mripipe.steps import anatomical, lesion, measure, normalisation
from mripipe.steps.anatomical import prepare_visit
from mripipe.steps.lesion import segment_visit
from mripipe.steps.load import save_image
from mripipe.steps.longitudinal import align_visits
from mripipe.steps.measure import measure_visit
from mripipe.steps.normalisation import normalise_visit

TEST_DATA_VARIABLE = "MRIPIPE_TEST_DATA"
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images: ``$MRIPIPE_TEST_DATA``, else ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get(TEST_DATA_VARIABLE) or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set {TEST_DATA_VARIABLE} to their folder")
    return folder


@dataclass(frozen=True)
class CarriedVisit:
    """A phantom's visit after all stages, with what is true of it."""

    session: Session
    true: dict[str, NDArray[np.bool_]]
    """Regions on the T1w's grid: lesion, brain, ventricle_left, ventricle_right."""
    mni_mm: NDArray[np.floating]
    """True MNI places of ``native_mm``, shape (N, 3)."""
    native_mm: NDArray[np.floating]
    to_flair: NDArray[np.floating]
    """True matrix, T1w mm to FLAIR mm."""
    prepared: PreparedVisit
    segmented: SegmentedVisit
    aligned: AlignedVisits
    normalised: NormalisedVisit
    result: VisitResult


@contextmanager
def two_millimetre_template() -> Iterator[Template]:
    """Give all steps every other voxel of the template and its territories: an eighth of the work."""
    whole, map_ = load_template(), load_territories()
    part, affine = (slice(None, None, 2),) * 3, whole.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    arrays = (np.ascontiguousarray(a[part]) for a in (whole.t1, whole.gm, whole.wm, whole.mask))
    template = Template(*arrays, affine=affine)
    labels = replace(map_, labels=np.ascontiguousarray(map_.labels[part]), affine=affine)
    with pytest.MonkeyPatch.context() as patch:
        for module in (anatomical, lesion, normalisation, measure):
            patch.setattr(module, "load_template", lambda: template)
        for module in (territories, measure):
            patch.setattr(module, "load_territories", lambda: labels)
        yield template


@pytest.fixture
def coarse_template() -> Iterator[Template]:
    """Set the steps' template to 2 mm, for one test."""
    with two_millimetre_template() as template:
        yield template


@pytest.fixture(scope="session")
def phantom_head() -> PhantomPatient:
    """Draw a head with an infarct of 90 mL on the left."""
    template = load_template()
    atlas = prepare_atlas(PhantomTemplate(template.gm, template.wm, template.mask, template.affine))
    return draw_patient(atlas, seed=1, side="left", lesion_ml=90.0, days=(45,))


@pytest.fixture(scope="session")
def left_visit(phantom_head: PhantomPatient, tmp_path_factory: pytest.TempPathFactory) -> CarriedVisit:
    """Carry the head as scanned: a T1w of 3 mm, axes RAS."""
    return _carry(phantom_head, tmp_path_factory.mktemp("left"), "RAS", np.eye(4), with_flair=False)


@pytest.fixture(scope="session")
def right_visit(phantom_head: PhantomPatient, tmp_path_factory: pytest.TempPathFactory) -> CarriedVisit:
    """Carry the head's mirror image, infarct on the right: a T1w with axes PSR, a FLAIR of thick slices."""
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    return _carry(phantom_head, tmp_path_factory.mktemp("right"), "PSR", mirror, with_flair=True)


def _carry(
    head: PhantomPatient, folder: Path, codes: str, mirror: NDArray[np.floating], *, with_flair: bool
) -> CarriedVisit:
    """Write a visit, its world mirrored or not, and take it through all steps."""
    scans = []
    for suffix, zooms in (("T1w", (3.0, 3.0, 3.0)), ("FLAIR", (3.0, 3.0, 6.0)))[: 1 + with_flair]:
        grid = visit_grid(head, 0, suffix, zooms_mm=zooms)
        data, affine = reorient(render_visit(head, 0, suffix, grid), mirror @ grid.affine, codes=codes)
        scans.append(Scan(save_image(folder / f"{suffix}.nii.gz", data, affine), suffix))
        if suffix == "T1w":
            names = ("lesion", "brain", "ventricle_left", "ventricle_right")
            masks = true_masks(head, 0, grid, labels=names)
            true = {n: reorient(m, mirror @ grid.affine, codes=codes)[0] for n, m in masks.items()}
    if mirror[0, 0] < 0:
        true["ventricle_left"], true["ventricle_right"] = true["ventricle_right"], true["ventricle_left"]
    points = true_points(head, 0, n=300)
    session = Session("sub-001", "ses-a", tuple(scans), days_from_onset=45.0)
    with two_millimetre_template():
        prepared = prepare_visit(session, folder=folder)
        segmented = segment_visit(prepared, settings=LesionSettings(), folder=folder)
        fast = RegistrationSettings(level="fast")
        aligned = align_visits((segmented,), settings=fast, folder=folder)
        normalised = normalise_visit(segmented, aligned, settings=fast, folder=folder)
        result = measure_visit(normalised, folder=folder)
    return CarriedVisit(
        session,
        true,
        points.mni_mm @ mirror[:3, :3],
        points.native_mm @ mirror[:3, :3],
        mirror @ head.visits[0].scan_motion["FLAIR"] @ mirror,
        prepared,
        segmented,
        aligned,
        normalised,
        result,
    )

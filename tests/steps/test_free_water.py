"""Free water from a series on disk to the tables: by tract, and missing where shells do not allow it."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from mripipe.core.gradients import GradientTable, directions_to_fsl
from mripipe.core.phantom_diffusion import Gradients, even_gradients
from mripipe.model.results import LesionVolumes, SubjectResult, VisitResult
from mripipe.model.settings import DiffusionSettings
from mripipe.steps.diffusion import fit_diffusion
from mripipe.steps.free_water import save_free_water
from mripipe.steps.tables import write_subject_results, write_tables
from mripipe.steps.tracts import measure_tracts
from tests.steps.test_diffusion import (  # noqa: F401 - a fixture that each test here uses
    RAS,
    SHAPE,
    anatomy,
    box,
    in_place,
    normalised,
    row,
    series,
    write,
)

BARE = DiffusionSettings(motion=False, denoise=False, outliers=False)
WATER = {"left": 0.4, "right": 0.1}
LESION = box((-38, -30, 18), (-22, 10, 30))


def two_shells():
    low, high = (even_gradients(n, b_value=b, n_b0=n_b0) for n, b, n_b0 in ((8, 400, 2), (16, 1000, 0)))
    return Gradients(
        np.concatenate([low.b_values, high.b_values]), np.vstack([low.directions, high.directions])
    )


def wet_series(gradients):
    """Add water to a series of one anisotropy, more of it on the left; in the lesion is fluid alone."""
    share = np.where(anatomy()[0][:, 0] < 0, WATER["left"], WATER["right"]).reshape(*SHAPE, 1)
    dry = series(gradients, ratio=False)
    fluid = dry[..., :1] * np.exp(-3e-3 * gradients.b_values)
    return np.where(LESION[..., None], fluid, (1 - share) * dry + share * fluid)


def measured(folder, codes="RAS"):
    gradients = two_shells()
    session = write(folder, codes, data=wet_series(gradients), b=gradients.b_values)
    # The shells' own directions, in the axes of that storage.
    affine = nib.load(folder / "dwi.nii.gz").affine
    rows = directions_to_fsl(gradients.directions, affine)
    (folder / "dwi.bvec").write_text("\n".join(" ".join(f"{v:.7f}" for v in line) for line in rows) + "\n")
    fitted = fit_diffusion(session, settings=BARE, folder=folder)
    return fitted, measure_tracts(fitted, normalised(folder, LESION), folder=folder)


def tables(folder, result):
    volumes = LesionVolumes("sub-1", "ses-a", "ok", source="auto", side="left", lesion_ml=9.0)
    write_subject_results(
        folder, SubjectResult("sub-1", (VisitResult("sub-1", "ses-a", volumes, diffusion=result),))
    )
    write_tables(folder)
    found = {}
    for name in ("tract_metrics", "measurements"):
        lines = [line.split("\t") for line in (folder / f"{name}.tsv").read_text().splitlines()]
        found[name] = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    return found


def test_each_sides_water_is_found_and_the_tissues_anisotropy_is_the_same(tmp_path):
    fitted, result = measured(tmp_path / "series", "LAS")
    assert fitted.steps[-1] == "free water: estimated beside the tensor"
    left, right = row(result, side="left"), row(result, side="right")
    for found in (left, right):
        assert found.fwf == pytest.approx(WATER[found.side], abs=0.01)
        # Fluid in the lesion is left out; what the plain tensor says falls with the water.
        assert found.fa_tissue == pytest.approx(right.fa_tissue, abs=0.01)
        assert found.fa < found.fa_tissue - 0.2 * found.fwf
    # Maps are kept in RAS order.
    stored = np.asarray(nib.load(result.fwf).dataobj)
    assert stored[LESION].min() > 0.95
    assert np.asarray(nib.load(result.fa_tissue).dataobj)[LESION].max() == 0.0
    # Written beside the other maps, and under names of their own.
    found = tables(tmp_path, result)
    metric = next(r for r in found["tract_metrics"] if (r["tract"], r["side"]) == ("CST", "left"))
    assert float(metric["fwf"]) == pytest.approx(WATER["left"], abs=0.01)
    long = [r for r in found["measurements"] if r["measure"] == "fwf" and r["region"] == "CST_whole"]
    assert {r["side"]: float(r["value"]) for r in long} == pytest.approx(WATER, abs=0.01)


def test_one_shell_has_no_value_and_says_why(tmp_path):
    fitted = fit_diffusion(write(tmp_path / "one"), settings=BARE, folder=tmp_path / "one")
    assert fitted.steps[-1] == "free water: not estimated: one shell (b = 1000)"
    assert (fitted.fwf, fitted.fa_tissue) == (None, None)
    result = measure_tracts(fitted, normalised(tmp_path / "one"), folder=tmp_path / "one")
    found = tables(tmp_path, result)
    assert {r["fwf"] for r in found["tract_metrics"]} == {"n/a"}
    assert {r["fa_tissue"] for r in found["tract_metrics"]} == {"n/a"}
    assert "fwf" not in {r["measure"] for r in found["measurements"]}


def test_not_asked_for(tmp_path):
    settings = replace(BARE, free_water=False)
    fitted = fit_diffusion(write(tmp_path / "one"), settings=settings, folder=tmp_path / "one")
    assert fitted.steps[-1] == "free water: not asked for"


def test_voxels_without_a_value_are_left_out(tmp_path):
    gradients = two_shells()
    data = wet_series(gradients).astype(np.float32)
    brain = anatomy()[1].reshape(SHAPE)
    data[20:24] = 0.0
    table = GradientTable(gradients.b_values, gradients.directions)
    found = save_free_water(data, table, brain, RAS, folder=tmp_path)
    fraction, tissue = (np.asarray(nib.load(found.paths[name]).dataobj) for name in ("fwf", "fa_tissue"))
    assert (fraction[20:24] == 0).all()
    assert (tissue[20:24] == 0).all()

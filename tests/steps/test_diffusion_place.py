"""A diffusion series is laid over the anatomy to a small part of a voxel."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from mripipe.core.itk import affine_transform
from mripipe.core.phantom import mni_to_native, native_to_mni, render_visit, true_masks, visit_grid
from mripipe.core.phantom_diffusion import Gradients, render_diffusion
from mripipe.core.phantom_patient import PhantomPatient
from mripipe.steps.diffusion_place import map_points, place_diffusion
from mripipe.steps.load import save_image
from mripipe.steps.transforms import write_transform


@pytest.fixture(scope="module")
def laid(phantom_head: PhantomPatient, tmp_path_factory):
    """Lay b = 0 (2.5 x 2.5 x 3 mm, noise, shading) over the T1w; return mm off at the brain's points."""
    folder = tmp_path_factory.mktemp("laid")
    fine = visit_grid(phantom_head, 0, "T1w", zooms_mm=(1.5, 1.5, 1.5))
    coarse = visit_grid(phantom_head, 0, "dwi", zooms_mm=(2.5, 2.5, 3.0))
    plain = Gradients(np.zeros(1), np.zeros((1, 3)))
    b0 = render_diffusion(phantom_head, 0, coarse, plain, snr=20.0)[..., 0]
    masks = true_masks(phantom_head, 0, fine, labels=("brain", "lesion"))
    mni = write_transform(affine_transform(np.eye(4)), folder / "mni.h5")
    prepared = SimpleNamespace(
        preproc=save_image(folder / "t1.nii.gz", render_visit(phantom_head, 0, "T1w", fine), fine.affine),
        brain_mask=save_image(folder / "brain.nii.gz", masks["brain"], fine.affine, dtype=np.uint8),
        reference_suffix="T1w",
    )
    lesion = save_image(folder / "lesion.nii.gz", masks["lesion"], fine.affine, dtype=np.uint8)
    segmented = SimpleNamespace(prepared=prepared, final_mask=lesion, contralateral_mask=None)
    visit = SimpleNamespace(segmented=segmented, from_mni=mni, to_mni=mni)
    series = SimpleNamespace(
        b0=save_image(folder / "b0.nii.gz", b0, coarse.affine),
        mask=save_image(folder / "mask.nii.gz", b0 > 100, coarse.affine, dtype=np.uint8),
        distorted_along=None,
    )
    placed, told, doubts = place_diffusion(series, visit, folder)
    assert (told, doubts) == ((), ())
    inside = np.argwhere(masks["brain"])[::397] @ fine.affine[:3, :3].T + fine.affine[:3, 3]
    truth = mni_to_native(phantom_head, 0, native_to_mni(phantom_head, 0, inside), sequence="dwi")
    return map_points(sitk.ReadTransform(str(placed.to_reference)), inside) - truth


def test_the_place_is_right_to_a_twentieth_of_a_voxel(laid):
    apart = np.linalg.norm(laid, axis=1)
    assert apart.mean() < 0.08
    assert apart.max() < 0.15

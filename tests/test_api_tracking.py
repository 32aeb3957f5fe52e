"""track_tract on images: storage, way-points, lesions, what it refuses."""

import nibabel as nib
import numpy as np
import pytest

import mripipe
from mripipe.core.gradients import directions_to_fsl
from mripipe.core.grid import reorient
from mripipe.core.phantom_diffusion import even_gradients
from mripipe.errors import InputError, RequestError

RAS = np.array([[2.5, 0, 0, -40.0], [0, 2.5, 0, -22.0], [0, 0, 3.0, -30.0], [0, 0, 0, 1.0]])
SHAPE = (20, 18, 21)
POINTS = np.moveaxis(np.indices(SHAPE), 0, -1) @ RAS[:3, :3].T + RAS[:3, 3]
FIBRE = np.array([-0.4, 0.2, 0.89]) / np.linalg.norm([-0.4, 0.2, 0.89])
OFFSET = POINTS - [-15.0, 0.0, 0.0]
ALONG = OFFSET @ FIBRE
AWAY = np.linalg.norm(OFFSET - ALONG[..., None] * FIBRE, axis=-1)
"""Of a bundle on the left, which runs upwards and to the side of the head."""


def stored(values, codes="RAS"):
    data, affine = reorient(values, RAS, codes=codes)
    return nib.Nifti1Image(data, affine)


def series(codes="RAS", count=30):
    table = even_gradients(count)
    cosine = table.directions @ FIBRE
    inside = AWAY[..., None] < 6.0
    d = np.where(inside, 0.3e-3 + 1.4e-3 * cosine**2, 0.8e-3)
    image = stored((1000.0 * np.exp(-table.b_values * d)).astype(np.float32), codes)
    return image, table.b_values, directions_to_fsl(table.directions, image.affine)


def gates(codes="RAS"):
    return [
        stored(((abs(ALONG - place) < 3.0) & (AWAY < 8.0)).astype(np.uint8), codes) for place in (-15.0, 15.0)
    ]


def test_the_same_streamlines_whatever_the_storage():
    one = mripipe.track_tract(*series(), gates(), n_seeds=400)
    assert one.status == "ok"
    assert one.n_streamlines == len(one.streamlines.streamlines) >= 50
    for codes in ("LAS", "PSR"):
        other = mripipe.track_tract(*series(codes), gates(), n_seeds=400)
        assert other.n_streamlines == one.n_streamlines
        assert nib.aff2axcodes(other.density.affine) == tuple(codes)
        np.testing.assert_array_equal(stored(one.density.get_fdata(), codes).dataobj, other.density.dataobj)
    for line in one.streamlines.streamlines:
        place = (line - [-15.0, 0.0, 0.0]) @ FIBRE
        assert np.linalg.norm(line - [-15.0, 0.0, 0.0] - place[:, None] * FIBRE, axis=1).max() < 8.0
        assert place[0] < -11.0
        assert place[-1] > 11.0


def test_a_lesion_and_a_corridor_end_streamlines(tmp_path):
    across = stored(((abs(ALONG) < 4.0) & (AWAY < 12.0)).astype(np.uint8), "LPS")
    nib.save(across, tmp_path / "lesion.nii.gz")
    cut = mripipe.track_tract(*series(), gates(), lesion_mask=tmp_path / "lesion.nii.gz", n_seeds=100)
    assert (cut.status, cut.n_streamlines) == ("truncated_by_lesion", 0)
    assert cut.density.get_fdata().max() == 0.0
    lower = stored((ALONG < 5.0).astype(np.uint8))
    short = mripipe.track_tract(*series(), gates(), corridor=lower, n_seeds=100)
    assert (short.status, short.n_streamlines) == ("low_quality", 0)
    half = stored((POINTS[..., 1] - 0.2 * ALONG > 0).astype(np.uint8))
    brain = mripipe.track_tract(*series(), gates(), mask=half, n_seeds=400)
    assert brain.n_streamlines > 0
    assert not brain.density.get_fdata()[half.get_fdata() == 0].any()


def test_what_cannot_be_tracked_is_refused():
    image, b, vectors = series()
    with pytest.raises(RequestError, match="way_points: 1 given; a tract needs two or more"):
        mripipe.track_tract(image, b, vectors, gates()[:1])
    with pytest.raises(InputError, match=r"15 directions .* are needed to follow a tract; found 12"):
        mripipe.track_tract(*series(count=12), gates())
    with pytest.raises(InputError, match=r"way_points\[0\]: lies on another grid"):
        mripipe.track_tract(image, b, vectors, [nib.Nifti1Image(np.ones(SHAPE), np.eye(4))] * 2)
    fluid = nib.Nifti1Image((image.get_fdata() ** 4 / 1e9).astype(np.float32), image.affine)
    with pytest.raises(InputError, match="no voxel has the diffusivity of white matter"):
        mripipe.track_tract(fluid, b, vectors, gates())
    with pytest.raises(InputError, match="31 volumes, 30 b-values"):
        mripipe.track_tract(image, b[:-1], vectors[:, :-1], gates())

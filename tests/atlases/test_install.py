import json
import os

import nibabel as nib
import numpy as np
import pytest

from mripipe.atlases.atlas import atlas_names, describe_atlas, list_atlases, load_atlas, user_atlas_folder
from mripipe.atlases.install import install_atlas
from mripipe.errors import InputError, RequestError

SPACE = "MNI152NLin6Asym"
AFFINE = np.array([[-8.0, 0, 0, 72], [0, 8, 0, -100], [0, 0, 8, -60], [0, 0, 0, 1]])
TABLE = "index\tname\tabbreviation\n4\tinsula left\tINSL\n300\tinsula right\tINSR\n"


@pytest.fixture(autouse=True)
def user_folder(tmp_path, monkeypatch):
    folder = tmp_path / "atlases"
    monkeypatch.setenv("MRIPIPE_ATLASES", str(folder))
    return folder


@pytest.fixture
def volume():
    values = np.zeros((19, 20, 15), np.int16)
    values[12:15, 10:13, 7:9] = 4  # index 12 is x -24 mm: left
    values[4:6, 10:13, 7:9] = 300  # index 4 is x 40 mm: right
    return values


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text(TABLE)
    return path


def saved(tmp_path, values, affine=AFFINE, *, sform=4, qform=4, name="map.nii.gz"):
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, code=sform)
    image.set_qform(affine, code=qform)
    nib.save(image, tmp_path / name)
    return tmp_path / name


def test_installed_atlas_loads_as_it_was_given(tmp_path, volume, table, user_folder):
    done = install_atlas(saved(tmp_path, volume), table, name="mine-1.2", space=SPACE, licence="CC0")
    atlas = load_atlas("mine-1.2")
    assert np.array_equal(atlas.labels, volume)
    assert np.array_equal(atlas.affine, AFFINE)
    assert [(row.index, row.name, row.side) for row in atlas.table] == [
        (4, "insula left", "left"),
        (300, "insula right", "right"),
    ]
    assert (atlas.space, atlas.licence) == (SPACE, "CC0")
    assert atlas.volume_ml(4) == pytest.approx(3 * 3 * 2 * 0.512)
    assert done.folder == user_folder / "mine-1.2"
    assert (done.n_labels, done.sides_verified) == (2, True)
    assert [path.name for path in user_folder.iterdir()] == ["mine-1.2"]


def test_whole_numbers_stored_as_float_are_labels(tmp_path, volume, table):
    install_atlas(saved(tmp_path, volume.astype(np.float32)), table, name="mine", space=SPACE)
    assert np.array_equal(load_atlas("mine").labels, volume)


def test_same_files_give_the_same_bytes(tmp_path, volume, table, user_folder, monkeypatch):
    file = saved(tmp_path, volume)
    install_atlas(file, table, name="mine", space=SPACE)
    monkeypatch.setenv("MRIPIPE_ATLASES", str(tmp_path / "second"))
    install_atlas(file, table, name="mine", space=SPACE)
    for path in (user_folder / "mine").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / "mine" / path.name).read_bytes()


def test_mirrored_header_is_refused_and_nothing_is_left(tmp_path, volume, table, user_folder):
    mirrored = AFFINE.copy()
    mirrored[0] *= -1
    with pytest.raises(InputError, match="4 'insula left'"):
        install_atlas(saved(tmp_path, volume, mirrored), table, name="mine", space=SPACE)
    assert not user_folder.exists()


def test_label_that_the_table_lacks_is_refused(tmp_path, volume, table):
    volume[0, 10, 7] = 5
    with pytest.raises(
        InputError, match=r"labels\.tsv: expected every label of map\.nii\.gz, found no line for 5;"
    ):
        install_atlas(saved(tmp_path, volume), table, name="mine", space=SPACE)


def test_label_that_the_image_lacks_is_reported(tmp_path, volume, table):
    table.write_text(TABLE + "".join(f"{n}\tpart {n}\tP{n}\n" for n in range(11, 23)))
    done = install_atlas(saved(tmp_path, volume), table, name="mine", space=SPACE)
    assert (
        done.notes[0] == "in the table, not in the image: 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 and 2 more"
    )
    assert [row.index for row in load_atlas("mine").table] == [4, 300]


def test_names_without_sides_are_accepted_with_a_note(tmp_path, volume, table):
    table.write_text("index\tname\n4\tfirst\n300\tsecond\n")
    done = install_atlas(saved(tmp_path, volume), table, name="mine", space=SPACE)
    assert not done.sides_verified
    assert any("sides unverified" in note for note in done.notes)
    assert "unverified" in list_atlases().splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[..., None, None].repeat(2, 4), r"3 axes .* found shape \(19, 20, 15, 1, 2\)"),
        (
            lambda v: np.stack([v, v], axis=-1),
            "probabilities from 0 to 1, 100 or 255, found values from 0 to 300",
        ),
        (lambda v: np.stack([v, v], axis=-1) * 0, "probabilities from 0 to 1, .* found values from 0 to 0"),
        (lambda v: -np.stack([v, v], axis=-1), "probabilities from 0 to 1, .* found values from -300"),
        (lambda v: v + np.float32(0.25), "whole numbers"),
        (lambda v: np.where(v == 4, np.nan, v).astype(np.float32), "whole numbers"),
        (lambda v: -v, "found values from -300 to 0"),
        (lambda v: v * 0, "found values from 0 to 0"),
        (lambda v: v.astype(np.int32) * 1000, "found values from 0 to 300000"),
    ],
)
def test_image_that_is_no_label_map_is_refused(tmp_path, volume, table, change, message):
    with pytest.raises(InputError, match=message) as caught:
        install_atlas(saved(tmp_path, change(volume)), table, name="mine", space=SPACE)
    assert "map.nii.gz" in str(caught.value)


def test_file_that_is_no_image_is_refused(tmp_path, volume, table):
    file = saved(tmp_path, volume)
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError, match=r"map\.nii\.gz: expected a NIfTI label map"):
        install_atlas(file, table, name="mine", space=SPACE)


def test_header_without_orientation_is_refused(tmp_path, volume, table):
    with pytest.raises(InputError, match="sform and qform code are 0"):
        install_atlas(saved(tmp_path, volume, sform=0, qform=0), table, name="mine", space=SPACE)


def test_orientation_in_the_qform_alone_is_enough(tmp_path, volume, table):
    install_atlas(saved(tmp_path, volume, sform=0), table, name="mine", space=SPACE)
    assert np.allclose(load_atlas("mine").affine, AFFINE)


def test_sform_and_qform_that_disagree_are_refused(tmp_path, volume, table):
    image = nib.Nifti1Image(volume, AFFINE)
    other = AFFINE.copy()
    other[0] *= -1
    image.set_sform(AFFINE, code=4)
    image.set_qform(other, code=1)
    nib.save(image, tmp_path / "map.nii.gz")
    # x runs from 72 to -72 in one and back in the other: 144 mm apart at either end.
    with pytest.raises(InputError, match=r"disagree by up to 144\.0 mm"):
        install_atlas(tmp_path / "map.nii.gz", table, name="mine", space=SPACE)


def test_affine_without_volume_is_refused(tmp_path, volume, table):
    file = saved(tmp_path, volume, qform=0, name="map.nii")
    content = bytearray(file.read_bytes())
    content[312:328] = bytes(16)  # srow_z of NIfTI-1
    file.write_bytes(content)
    with pytest.raises(InputError, match="affine has no volume"):
        install_atlas(file, table, name="mine", space=SPACE)


def test_labels_outside_an_mni_brain_are_refused(tmp_path, volume, table):
    corner = np.diag([8.0, 8, 8, 1])
    with pytest.raises(InputError, match="found x 32 to 112, y 80 to 96, z 56 to 64 mm"):
        install_atlas(saved(tmp_path, volume, corner), table, name="mine", space=SPACE)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "x" * 65])
def test_name_that_could_leave_the_folder_is_refused(tmp_path, volume, table, name):
    with pytest.raises(RequestError, match="atlas name"):
        install_atlas(saved(tmp_path, volume), table, name=name, space=SPACE)


def test_space_must_be_a_name(tmp_path, volume, table):
    with pytest.raises(RequestError, match="space 'MNI space'"):
        install_atlas(saved(tmp_path, volume), table, name="mine", space="MNI space")


def test_name_that_is_taken_is_refused(tmp_path, volume, table):
    file = saved(tmp_path, volume)
    install_atlas(file, table, name="mine", space=SPACE)
    for name in ("mine", "arterial_territories"):
        with pytest.raises(RequestError, match=f"'{name}' is there already"):
            install_atlas(file, table, name=name, space=SPACE)


def test_folder_that_cannot_be_written_is_named(tmp_path, volume, table, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MRIPIPE_ATLASES", str(tmp_path / "file" / "atlases"))
    with pytest.raises(RequestError, match="cannot be written"):
        install_atlas(saved(tmp_path, volume), table, name="mine", space=SPACE)


def test_changed_image_is_not_loaded(tmp_path, volume, table):
    done = install_atlas(saved(tmp_path, volume), table, name="mine", space=SPACE)
    saved(done.folder, volume * 0, name="mine.nii.gz")
    with pytest.raises(InputError, match="SHA-256"):
        load_atlas("mine")


def test_missing_or_cut_image_is_not_loaded(tmp_path, volume, table):
    image = install_atlas(saved(tmp_path, volume), table, name="mine", space=SPACE).folder / "mine.nii.gz"
    image.write_bytes(image.read_bytes()[:80])
    with pytest.raises(InputError, match="cannot be read"):
        load_atlas("mine")
    image.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_atlas("mine")


@pytest.mark.parametrize("text", ["{", "[]", '{"space": "x"}'])
def test_broken_provenance_is_refused_and_still_listed(tmp_path, volume, table, text):
    done = install_atlas(saved(tmp_path, volume), table, name="mine", space=SPACE)
    (done.folder / "mine.json").write_text(text)
    with pytest.raises(InputError, match=r"mine\.json"):
        load_atlas("mine")
    assert "unusable" in list_atlases().splitlines()[-1]


def test_unknown_atlas_is_refused_with_the_known_ones():
    with pytest.raises(RequestError, match="no atlas 'other'; there are arterial_territories"):
        load_atlas("other")


def test_installed_atlas_cannot_take_the_place_of_the_packages_own(user_folder):
    (user_folder / "arterial_territories").mkdir(parents=True)
    (user_folder / "arterial_territories" / "arterial_territories.json").write_text("{")
    assert atlas_names() == ("arterial_territories",)
    assert len(load_atlas("arterial_territories").table) == 12


def test_description_tells_source_and_volumes(tmp_path, volume, table):
    install_atlas(saved(tmp_path, volume), table, name="mine", space=SPACE, licence="CC BY\n4.0")
    text = describe_atlas("mine")
    assert "licence: CC BY 4.0" in text
    assert "map.nii.gz" in text
    assert str(tmp_path) not in text
    assert text.splitlines()[-2].split() == ["4", "insula", "left", "INSL", "left", "9.2"]


def test_list_has_one_line_an_atlas(tmp_path, volume, table):
    install_atlas(saved(tmp_path, volume), table, name="mine", space=SPACE)
    lines = list_atlases().splitlines()
    assert [line.split()[0] for line in lines] == ["name", "arterial_territories", "mine"]
    assert lines[2].split()[1:4] == [SPACE, "2", "verified"]


def test_user_folder_without_variable_is_in_the_home(monkeypatch, tmp_path):
    monkeypatch.delenv("MRIPIPE_ATLASES")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_atlas_folder() == tmp_path / ".local" / "share" / "mripipe" / "atlases"


def test_provenance_names_the_sources_by_checksum(tmp_path, volume, table):
    done = install_atlas(saved(tmp_path, volume), table, name="mine", space=SPACE)
    about = json.loads((done.folder / "mine.json").read_text())
    assert [source["file"] for source in about["built_from"]] == ["map.nii.gz", "labels.tsv"]
    assert all(len(source["sha256"]) == 64 for source in about["built_from"])
    assert os.listdir(done.folder.parent) == ["mine"]


def reference(shared_data, name):
    return shared_data / "atlases-reference" / name


def test_published_white_matter_atlas_is_accepted(shared_data):
    done = install_atlas(
        reference(shared_data, "JHU_space-MNI152NLin6_res-1.nii.gz"),
        reference(shared_data, "JHU.csv"),
        name="jhu",
        space=SPACE,
    )
    assert (done.n_labels, done.sides_verified) == (48, True)
    sides = [row.side for row in load_atlas("jhu").table]
    assert (sides[:6], sides.count("left"), sides.count("right")) == (["midline"] * 6, 21, 21)


def test_published_white_matter_atlas_with_a_mirrored_header_is_refused(shared_data, tmp_path):
    image = nib.load(reference(shared_data, "JHU_space-MNI152NLin6_res-1.nii.gz"))
    mirrored = np.diag([-1.0, 1, 1, 1]) @ image.affine
    file = saved(tmp_path, np.asarray(image.dataobj), mirrored)
    with pytest.raises(InputError, match=r"42 of 42 .*'R_Corticospinal_Tract'.*mirrors"):
        install_atlas(file, reference(shared_data, "JHU.csv"), name="jhu", space=SPACE)


def test_published_arterial_atlas_with_misspelt_abbreviations_is_accepted(shared_data):
    done = install_atlas(
        reference(shared_data, "ArterialAtlas136.nii.gz"),
        reference(shared_data, "ArterialAtlas136.txt"),
        name="liu2023",
        space=SPACE,
    )
    assert (done.n_labels, done.sides_verified) == (32, True)
    assert "labels 9, 10 share the name 'MCAPL'" in done.notes
    assert all(row.side == ("left" if row.index % 2 else "right") for row in load_atlas("liu2023").table)


@pytest.mark.parametrize("certain", [1.0, 100.0, 255.0])
def test_maps_of_probability_keep_shares_places_and_sides(tmp_path, volume, certain):
    shares = np.stack([(volume == 4) * 0.5, (volume == 300) * 1.0, volume * 0.0], axis=-1) * certain
    names = tmp_path / "names.txt"
    names.write_text("Tract_L\nTract_R\nAbsent\n")
    file = saved(tmp_path, shares.astype(np.float32))
    done = install_atlas(file, names, name="tracts", space=SPACE)
    assert (done.n_labels, done.sides_verified) == (2, True)
    assert "in the table, not in the image: 3" in done.notes
    atlas = load_atlas("tracts")
    assert [(row.index, row.name, row.side) for row in atlas.table] == [
        (1, "Tract_L", "left"),
        (2, "Tract_R", "right"),
    ]
    assert atlas.volume_ml(1) == pytest.approx(0.5 * 18 * 0.512, rel=0.01)
    for index, x_mm in ((1, 72 - 8 * 13.0), (2, 72 - 8 * 4.5)):
        place = np.argwhere(atlas.share(index) > 0.4).mean(axis=0)
        assert (atlas.affine @ [*place, 1.0])[0] == pytest.approx(x_mm)
    assert atlas.mask([2]).sum() == 12
    assert atlas.mask([1, 2]).sum() == 30


def test_maps_of_probability_with_a_mirrored_header_are_refused(tmp_path, volume):
    shares = np.stack([volume == 4, volume == 300], axis=-1).astype(np.uint8)
    names = tmp_path / "names.txt"
    names.write_text("Tract_L\nTract_R\n")
    mirrored = np.diag([-1.0, 1, 1, 1]) @ AFFINE
    with pytest.raises(InputError, match="found 2 of 2 on the other side: 1 'Tract_L'"):
        install_atlas(saved(tmp_path, shares, mirrored), names, name="tracts", space=SPACE)

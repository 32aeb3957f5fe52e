"""The report is one file that holds everything, in order, escaped, the same every time."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from mripipe.core.grid import voxel_to_world
from mripipe.model.results import (
    LesionVolumes,
    NormalisationQuality,
    RegionLoad,
    SubjectResult,
    TerritoryLoad,
    VisitResult,
)
from mripipe.model.stages import CoregisteredImage
from mripipe.reports.subject import format_number, render_report

LAS = np.array([[-3.0, 0, 0, 78], [0, 3, 0, -78], [0, 0, 4, -60], [0, 0, 0, 1]])
PSR = np.array([[0, 0, 3.0, -78], [-3, 0, 0, 78], [0, 3, 0, -60], [0, 0, 0, 1]])
MNI = np.array([[4.0, 0, 0, -98], [0, 4, 0, -134], [0, 0, 4, -72], [0, 0, 0, 1]])
SHAPES = {"LAS": (53, 53, 30), "PSR": (53, 40, 53), "MNI": (50, 59, 48)}
AFFINES = {"LAS": LAS, "PSR": PSR, "MNI": MNI}
SETTINGS = {"segmenter": "asymmetry", "seed": "42"}
VERSIONS = {"mripipe": "9.8.7", "numpy": "2.0"}
ODD = 'ses-<img src=x onerror="alert(1)">'


class Page(HTMLParser):
    """Collect what a browser would load, run or show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._silent = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._silent += tag in ("style", "script")

    def handle_endtag(self, tag):
        self._silent -= tag in ("style", "script")

    def handle_data(self, data):
        if not self._silent:
            self.text.append(data)

    @property
    def shown(self) -> str:
        return " ".join(" ".join(self.text).split())


def save_ball(path: Path, grid: str, centre_mm, radius_mm: float, value: float = 1.0) -> Path:
    index = np.moveaxis(np.indices(SHAPES[grid]), 0, -1)
    distance = np.linalg.norm(voxel_to_world(index, AFFINES[grid]) - centre_mm, axis=-1)
    data = np.where(distance < radius_mm, value, 0).astype(np.float32)
    nib.save(nib.Nifti1Image(data, AFFINES[grid]), path)
    return path


def make_visit(folder: Path, session: str, grid: str, days: float | None) -> VisitResult:
    folder.mkdir()
    rigid = SimpleITK.Euler3DTransform()
    rigid.SetTranslation((2.0, 0.0, 1.0))
    SimpleITK.WriteTransform(rigid, str(folder / "xfm.txt"))
    row = LesionVolumes(
        "sub-007", session, "ok", days, -14.0, "auto", "left", 33.25, 30.5, 36.75, 35.5, 31.0, 0.932, 17.9,
        2, 1234.5, 22.25, 13.5,
    )  # fmt: skip
    return VisitResult(
        "sub-007",
        session,
        row,
        reference_suffix="T1w",
        preproc=save_ball(folder / "t1.nii.gz", grid, (0, 0, 0), 60, 100),
        brain_mask=save_ball(folder / "brain.nii.gz", grid, (0, 0, 0), 55),
        lesion_mask=save_ball(folder / "lesion.nii.gz", grid, (-30, 5, 10), 14),
        coregistered=(
            CoregisteredImage(
                "FLAIR",
                save_ball(folder / "flair.nii.gz", "LAS", (2, 0, 1), 60, 70),
                folder / "xfm.txt",
            ),
        ),
        mni_image=save_ball(folder / "mni.nii.gz", "MNI", (0, -18, 18), 70, 90),
        mni_affine_image=save_ball(folder / "affine.nii.gz", "MNI", (3, -18, 18), 72, 90),
        mni_lesion_mask=save_ball(folder / "mnilesion.nii.gz", "MNI", (-34, -10, 20), 14),
        quality=NormalisationQuality(0.871, 0.212, 3.41, 0.937, 0.765, 0.0),
        territories=(TerritoryLoad("MCAi", "left", 12.34, 17.8), TerritoryLoad("PCA", "right", 0.0, 0.0)),
        regions=(
            RegionLoad("lobes:Temporal", "left", 2.5, 1.5),
            RegionLoad("lobes:Frontal<b>_pole", "left", 4.25, 31.0),
            RegionLoad("lobes:Occipital", "left", 0.1, 0.4),
        ),
    )


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> SubjectResult:
    folder = tmp_path_factory.mktemp("report")
    failed = VisitResult(
        "sub-007",
        "ses-c",
        LesionVolumes("sub-007", "ses-c", "failed", 400),
        error="ses-c_T1w.nii.gz: the file ends early <b>here</b>",
    )
    visits = (
        make_visit(folder / "a", "ses-a", "LAS", 45),
        replace(
            make_visit(folder / "b", ODD, "PSR", 135), warnings=("<script>alert(2)</script> & thick slices",)
        ),
        failed,
    )
    return SubjectResult("sub-007", visits)


@pytest.fixture(scope="module")
def text(subject) -> str:
    return render_report(subject, settings=SETTINGS | {"<i>": "<u>odd"}, versions=VERSIONS)


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_same_results_give_the_same_bytes(subject, text):
    again = render_report(subject, settings=SETTINGS | {"<i>": "<u>odd"}, versions=VERSIONS)
    assert again == text


def test_nothing_is_loaded_from_outside(page, text):
    for tag, attributes in page.tags:
        for name in ("src", "href", "data", "poster", "action", "srcset"):
            target = attributes.get(name)
            if target is not None and not (tag == "a" and target.startswith("https://doi.org/")):
                assert target.startswith(("#", "data:")), (tag, name, target)
    assert "@import" not in text
    assert "url(" not in text


def test_every_link_has_its_target(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        if tag == "a" and attributes["href"].startswith("#"):
            assert attributes["href"][1:] in ids


def test_security_policy_names_the_script_and_the_style(page, text):
    (policy,) = [a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    for tag in ("script", "style"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_no_style_attribute_or_handler_that_the_policy_would_stop(page):
    assert not [a for _, attributes in page.tags for a in attributes if a == "style" or a.startswith("on")]


def test_text_from_files_is_escaped(page):
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [attributes for tag, attributes in page.tags if tag in ("img", "i", "u")]
    for words in (ODD, "<script>alert(2)</script> & thick slices", "<b>here</b>", "<i>", "<u>odd"):
        assert words in page.shown


def test_sections_come_in_order(page):
    ids = [a["id"] for tag, a in page.tags if tag == "section"]
    assert ids == [
        "warnings", "growth", "visit-1", "visit-2", "visit-3", "registration", "tables", "methods",
    ]  # fmt: skip


def test_warnings_come_before_any_picture(text):
    assert text.index("the file ends early") < text.index("<svg")
    assert text.index("thick slices") < text.index("<svg")


def test_every_native_picture_shows_the_lesion_and_its_sides(text):
    native = text[text.index('id="visit-1"') : text.index('id="registration"')]
    pictures = re.findall(r"<svg.*?</svg>", native, flags=re.DOTALL)
    # The lesion spans 7 thick slices in one visit and more than 8 thin ones in the other.
    assert len(pictures) >= 2 * (6 + 2) + 2 * (8 + 2)
    for picture in pictures:
        assert 'class="outline lesion"' in picture
        assert "outlined: brain, lesion" in picture
        assert "data:image/webp;base64," in picture
        assert (">L<" in picture and ">R<" in picture) or ">L hemisphere<" in picture


def test_both_frames_show_the_same_planes(text):
    shown = text[text.index('id="registration"') : text.index('id="tables"')]
    labels = re.findall(r'aria-label="([^"]*slice at[^"]*)"', shown)
    affine = [label.replace("Affine only", "") for label in labels if label.startswith("Affine only")]
    deformable = [label.replace("Deformable", "") for label in labels if label.startswith("Deformable")]
    assert affine == deformable
    assert len(affine) == 2 * 6
    assert "lesion" in affine[0]


def test_values_are_shown_and_missing_ones_are_not_zero(page):
    for words in (
        "33.2",
        "30.5\u201336.8",
        "35.5",
        "17.9",
        "0.932",
        "0.871",
        "\u221214",
        "9.8.7",
        "asymmetry",
        "42",
    ):
        assert words in page.shown, words
    cells = page.shown[page.shown.index("All measurements") :]
    infarct = cells[cells.index("Infarct, native grid") :]
    assert infarct.startswith("Infarct, native grid (primary) mL 33.25 33.25 n/a Infarct, change since")


def test_territories_are_shown_by_side_and_a_true_zero_stays_one(page, subject):
    cells = page.shown[page.shown.index("Infarct by arterial territory") :]
    row = "Middle cerebral artery, inferior division {} {} Middle"
    assert row.format("left", "12.34 17.8 % 12.34 17.8 % n/a") in cells
    assert row.format("right", "n/a n/a n/a") in cells
    assert "Posterior cerebral artery right 0.00 0.0 % 0.00 0.0 % n/a" in cells
    assert "Overlap of the lateral ventricles" in cells
    assert "0.765 0.765 n/a" in cells
    none = replace(subject, visits=(subject.visits[2],))
    assert "arterial territory" not in Page(render_report(none, settings={}, versions={})).shown


def test_regions_that_are_hit_are_shown_the_worst_first(page, subject):
    cells = page.shown[page.shown.index("Infarct by region of the installed atlases") :]
    first = "lobes: Frontal<b> pole left 4.25 31.0 % 4.25 31.0 % n/a"
    assert f"{first} lobes: Temporal left 2.50 1.5 % 2.50 1.5 % n/a" in cells
    assert "Occipital" not in cells
    none = replace(subject, visits=(subject.visits[2],))
    assert "installed atlases" not in Page(render_report(none, settings={}, versions={})).shown


def test_failed_visit_has_its_section_and_reason(text):
    own = text[text.index('id="visit-3"') : text.index('id="registration"')]
    assert "This visit was not finished." in own
    assert "the file ends early &lt;b&gt;here" in own
    assert "not brought to MNI" in text


def test_a_picture_that_cannot_be_made_stops_nothing(subject, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"\x1f\x8b")
    beside = (replace(subject.visits[0].coregistered[0], image=broken),)
    first = replace(
        subject.visits[0],
        coregistered=beside,
        mni_affine_image=broken,
        mni_lesion_mask=broken,
        brain_mask=None,
    )
    second = replace(subject.visits[1], preproc=broken)
    text = render_report(replace(subject, visits=(first, second)), settings={}, versions={})
    assert Page(text).shown.count("broken.nii.gz: cannot be read for the report") == 2 * 3
    assert "T1w, axial slice" in text
    assert "Deformable, axial slice" in text
    assert "None recorded." in text


def test_no_lesion_spreads_slices_over_the_brain(subject, tmp_path):
    empty = save_ball(tmp_path / "empty.nii.gz", "LAS", (0, 0, 0), 0)
    row = LesionVolumes("sub-007", "ses-a", "no_lesion_found", None)
    visit = replace(
        subject.visits[0], lesion_mask=empty, mni_image=None, mni_affine_image=None, volumes=row, quality=None
    )
    page = Page(render_report(SubjectResult("sub-007", (visit,)), settings={}, versions={}))
    labels = [a["aria-label"] for t, a in page.tags if t == "svg" and "T1w" in (a.get("aria-label") or "")]
    heights = [
        int(m[1].replace("\u2212", "-")) for m in (re.search(r"z = (\S+) mm", label) for label in labels) if m
    ]
    assert max(heights) - min(heights) > 70
    assert "No infarct volume was measured at any visit." in page.shown
    assert "No visit was brought to MNI." in page.shown
    assert "No infarct mask: slices spread over the brain." in page.shown
    assert "no lesion found" in page.shown


def test_mixed_images_and_masks_are_told(subject):
    first, second, _ = subject.visits
    other = replace(
        second,
        reference_suffix="FLAIR",
        volumes=replace(second.volumes, source="manual", status="low_quality"),
    )
    bare = [replace(v, preproc=None, mni_image=None, mni_affine_image=None) for v in (first, other)]
    page = Page(render_report(SubjectResult("sub-007", tuple(bare)), settings={}, versions={}))
    assert "Volumes come from different images (FLAIR, T1w)" in page.shown
    assert "Automatic and expert masks are mixed" in page.shown
    assert "Low quality: look at the pictures" in page.shown
    assert "No image to show." in page.shown


def test_a_participant_without_visits():
    page = Page(render_report(SubjectResult("sub-007", ()), settings={}, versions={}))
    assert "0 visits" in page.shown
    assert "No infarct volume was measured" in page.shown


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [(51.26, 1, "51.3"), (None, 1, "n/a"), (float("nan"), 1, "n/a"), (-14.0, 0, "\u221214"), (0.0, 1, "0.0")],
)
def test_format_number(value, digits, expected):
    assert format_number(value, digits) == expected


def test_a_change_is_told_with_whether_it_is_one(subject):
    first, second = subject.visits[:2]
    row = replace(second.volumes, change_ml=-4.25, change_mdc_ml=5.0, change="not_detected")

    def shown(volumes):
        visits = (first, replace(second, volumes=volumes))
        return Page(render_report(replace(subject, visits=visits), settings={}, versions={})).shown

    told = "\u22124.2 mL since the first visit; not told from no change (minimal detectable change 5.0 mL)."
    assert told in shown(row)
    larger = shown(replace(row, change="detected"))
    assert "more than the minimal detectable change of 5.0 mL." in larger
    assert "not told from no change" not in larger

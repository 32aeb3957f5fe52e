"""Slices of one image with outlines on them, each one a small SVG that stays crisp when enlarged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from mripipe.core.grid import Volume
from mripipe.figures.planes import Plane, sample_plane
from mripipe.figures.svg import element, grey_image, outline_path, serialise, signed_mm

_AXIS_NAMES = ("x", "y", "z")

# Nearer to the middle than this, a sagittal slice is not called left or right.
_MIDLINE_MM = 4.0

# Kinds of outline that hold a brain, and so the intensities to look at.
_BRAIN_KINDS = ("brain", "template-brain")

# Share of intensities shown as black and as white: robust to bright vessels and dark cavities.
_WINDOW_QUANTILES = (0.005, 0.995)


@dataclass(frozen=True)
class Cut:
    """A plane with the outlines that lie on it, traced once for all images shown there."""

    plane: Plane
    paths: Mapping[str, str]
    """SVG path data by kind of outline, mm from the top left corner; only those that meet the plane."""
    brain: NDArray[np.bool_] | None = None
    """Pixels inside the brain, where a brain was among the outlines: they set the grey scale."""


def cut_outlines(planes: Sequence[Plane], masks: Mapping[str, Volume]) -> list[Cut]:
    """Trace masks on planes.

    Parameters
    ----------
    planes : sequence of Plane
        Where to cut, RAS+ mm.
    masks : mapping of str to Volume
        By kind (``brain``, ``lesion``, ``template``): the kind is the CSS class of the outline and is
        named in the picture's description. Any orientation; traced where they are one half.

    Returns
    -------
    list of Cut
        One for each plane.

    """
    cuts = []
    for plane in planes:
        sampled = {kind: sample_plane(mask, plane) for kind, mask in masks.items()}
        paths = {kind: outline_path(pixels, plane.spacing_mm) for kind, pixels in sampled.items()}
        brains = [sampled[kind] > 0.5 for kind in _BRAIN_KINDS if kind in sampled]
        shown = {kind: path for kind, path in paths.items() if path}
        cuts.append(Cut(plane, shown, brains[0] if brains else None))
    return cuts


def mosaic(image: Volume, cuts: Sequence[Cut], *, name: str) -> list[str]:
    """Draw one picture for each cut, all with one grey scale.

    Parameters
    ----------
    image : Volume
        Any orientation.
    cuts : sequence of Cut
        Planes with outlines, from :func:`cut_outlines`.
    name : str
        What the image is, for the picture's description.

    Returns
    -------
    list of str
        SVG text, one for each plane; left on the left, L and R marked.

    """
    pictures = [sample_plane(image, cut.plane, order=3) for cut in cuts]
    window = _grey_window(pictures, [cut.brain for cut in cuts])
    return [
        slice_panel(pixels, cut, window=window, name=name) for pixels, cut in zip(pictures, cuts, strict=True)
    ]


def slice_panel(pixels: NDArray[np.float32], cut: Cut, *, window: Sequence[float], name: str) -> str:
    """Draw one slice with outlines, its position in mm and the letters L and R.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns)
        The image on the cut's plane.
    cut : Cut
        The plane and its outlines.
    window : (float, float)
        Intensities shown as black and as white.
    name : str
        What the image is.

    """
    return draw_panel(grey_image(pixels, window), cut, name=name)


def draw_panel(picture: str, cut: Cut, *, name: str) -> str:
    """Draw a picture of a plane with its outlines, its position in mm and the letters L and R.

    Parameters
    ----------
    picture : str
        Data URI of the image on the cut's plane.
    cut : Cut
    name : str
        What the image is.

    """
    plane = cut.plane
    side = f"{plane.extent_mm:.1f}"
    position = f"{_AXIS_NAMES[plane.axes[0]]} = {signed_mm(plane.position_mm)}"
    text = f"{name}, {plane.orientation} slice at {position}; "
    text += f"outlined: {', '.join(cut.paths)}" if cut.paths else "no outline on this slice"
    root = element(
        None, "svg", viewBox=f"0 0 {side} {side}", role="img", aria_label=text, class_="slice",
        xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip
    element(root, "title", text)
    element(root, "rect", width=side, height=side, fill="#000")
    element(root, "image", href=picture, width=side, height=side)
    for kind, path in cut.paths.items():
        element(root, "path", d=path, class_=f"outline {kind}", vector_effect="non-scaling-stroke")
    _letters(root, plane, position)
    return serialise(root)


def _letters(root: ET.Element, plane: Plane, position: str) -> None:
    """Write the sides and the position; letters go with the view, not with the stored order."""
    size = plane.extent_mm
    font = f"{size * 0.062:.1f}"
    edge = size * 0.02
    middle = size / 2 + size * 0.02
    left, right = ("P", "A") if plane.orientation == "sagittal" else ("L", "R")
    label = {"class_": "letter", "font_size": font}
    element(root, "text", left, x=f"{edge:.1f}", y=f"{middle:.1f}", **label)
    element(root, "text", right, x=f"{size - edge:.1f}", y=f"{middle:.1f}", text_anchor="end", **label)
    if plane.orientation == "sagittal":
        text = _hemisphere(plane)
        element(
            root, "text", text, x=f"{size - edge:.1f}", y=f"{size * 0.07:.1f}", text_anchor="end", **label
        )
    element(root, "text", position, x=f"{edge:.1f}", y=f"{size * 0.975:.1f}", class_="where", font_size=font)


def _hemisphere(plane: Plane) -> str:
    """Name the side of a sagittal plane by its distance from the middle of the field of view."""
    offset = plane.position_mm - plane.centre_mm[0]
    if abs(offset) < _MIDLINE_MM:
        return "L | R midline"
    return "L hemisphere" if offset < 0 else "R hemisphere"


def _grey_window(
    pictures: Sequence[NDArray[np.float32]], brains: Sequence[NDArray[np.bool_] | None]
) -> tuple[float, float]:
    """Put black at the darkest of the pictures (air) and white at the brightest of the brain."""
    inside = [
        pixels[brain] if brain is not None else pixels[pixels != 0]
        for pixels, brain in zip(pictures, brains, strict=True)
    ]
    bright = np.concatenate(inside) if inside else np.zeros(0)
    if bright.size == 0:
        return 0.0, 1.0
    low = np.quantile(np.concatenate([pixels.ravel() for pixels in pictures]), _WINDOW_QUANTILES[0])
    return float(low), float(np.quantile(bright, _WINDOW_QUANTILES[1]))

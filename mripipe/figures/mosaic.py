"""Slices of one image with outlines on them, each one a small SVG that stays crisp when enlarged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from mripipe.figures.planes import Plane, Volume, sample_plane
from mripipe.figures.svg import element, grey_image, outline_path, serialise, signed_mm

_AXIS_NAMES = ("x", "y", "z")

# Nearer to the middle than this, a sagittal slice is not called left or right.
_MIDLINE_MM = 4.0

# Share of intensities shown as black and as white: robust to bright vessels and dark cavities.
_WINDOW_QUANTILES = (0.005, 0.995)


def mosaic(image: Volume, planes: Sequence[Plane], outlines: Mapping[str, Volume], *, name: str) -> list[str]:
    """Draw one picture for each plane, all with one grey scale.

    Parameters
    ----------
    image : Volume
        Any orientation.
    planes : sequence of Plane
        Where to cut, RAS+ mm.
    outlines : mapping of str to Volume
        Masks by kind (``brain``, ``lesion``, ``template``): the kind is the CSS class of the outline and
        is named in the picture's description. A ``brain``, if there is one, sets the grey scale.
    name : str
        What the image is, for the picture's description.

    Returns
    -------
    list of str
        SVG text, one for each plane; left on the left, L and R marked.

    """
    pictures = [sample_plane(image, plane, order=3) for plane in planes]
    cuts = [{kind: sample_plane(mask, plane) for kind, mask in outlines.items()} for plane in planes]
    window = _grey_window(pictures, [cut.get("brain") for cut in cuts])
    return [
        slice_panel(pixels, plane, cut, window=window, name=name)
        for pixels, plane, cut in zip(pictures, planes, cuts, strict=True)
    ]


def slice_panel(
    pixels: NDArray[np.float32],
    plane: Plane,
    masks: Mapping[str, NDArray[np.float32]],
    *,
    window: Sequence[float],
    name: str,
) -> str:
    """Draw one slice with outlines, its position in mm and the letters L and R.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns)
        The image on the plane.
    plane : Plane
        Where that is.
    masks : mapping of str to ndarray, shape (rows, columns)
        Interpolated masks on the same pixels by kind, 0 to 1.
    window : (float, float)
        Intensities shown as black and as white.
    name : str
        What the image is.

    """
    side = f"{plane.extent_mm:.1f}"
    position = f"{_AXIS_NAMES[plane.axes[0]]} = {signed_mm(plane.position_mm)}"
    paths = {kind: outline_path(mask, plane.spacing_mm) for kind, mask in masks.items()}
    drawn = [kind for kind, path in paths.items() if path]
    text = f"{name}, {plane.orientation} slice at {position}; "
    text += f"outlined: {', '.join(drawn)}" if drawn else "no outline on this slice"
    root = element(
        None, "svg", viewBox=f"0 0 {side} {side}", role="img", aria_label=text, class_="slice",
        xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip
    element(root, "title", text)
    element(root, "rect", width=side, height=side, fill="#000")
    element(root, "image", href=grey_image(pixels, window), width=side, height=side)
    for kind in drawn:
        element(root, "path", d=paths[kind], class_=f"outline {kind}", vector_effect="non-scaling-stroke")
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
    pictures: Sequence[NDArray[np.float32]], brains: Sequence[NDArray[np.float32] | None]
) -> tuple[float, float]:
    """Put black at the darkest of the pictures (air) and white at the brightest of the brain."""
    inside = [
        pixels[brain > 0.5] if brain is not None else pixels[pixels != 0]
        for pixels, brain in zip(pictures, brains, strict=True)
    ]
    bright = np.concatenate(inside) if inside else np.zeros(0)
    if bright.size == 0:
        return 0.0, 1.0
    low = np.quantile(np.concatenate([pixels.ravel() for pixels in pictures]), _WINDOW_QUANTILES[0])
    return float(low), float(np.quantile(bright, _WINDOW_QUANTILES[1]))

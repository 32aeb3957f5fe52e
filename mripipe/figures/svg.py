"""Small helpers to write SVG: elements, outlines as paths, grey images as WebP."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import measure

# Half-way between outside (0) and inside (1) of an interpolated mask.
_EDGE = 0.5

# Outlines may leave the exact level line by this much, mm; far below what a screen or printer resolves.
_OUTLINE_TOLERANCE_MM = 0.08


def element(parent: ET.Element | None, tag: str, text: str | None = None, **attributes: object) -> ET.Element:
    """Make an SVG element; an underscore in an attribute's name stands for a hyphen."""
    named = {key.rstrip("_").replace("_", "-"): str(value) for key, value in attributes.items()}
    made = ET.Element(tag, named) if parent is None else ET.SubElement(parent, tag, named)
    made.text = text
    return made


def serialise(root: ET.Element) -> str:
    """Return an element as text that is safe to put into HTML: everything in it is escaped."""
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def signed_mm(value_mm: float) -> str:
    """Format a coordinate, for example ``+12 mm`` or ``−4 mm``."""
    rounded = round(value_mm)
    sign = "+" if rounded > 0 else "\u2212" if rounded < 0 else ""
    return f"{sign}{abs(rounded)} mm"


def outline_path(mask: NDArray[np.float32], spacing_mm: float) -> str:
    """Trace where an interpolated mask crosses one half, as SVG path data in mm from the top left corner.

    Parameters
    ----------
    mask : ndarray, shape (rows, columns)
        0 outside to 1 inside.
    spacing_mm : float
        Pixel size.

    Returns
    -------
    str
        Path data; empty where the mask is nowhere above one half.

    """
    # A rim of zeros closes outlines that touch the picture's border.
    lines = measure.find_contours(np.pad(mask, 1), _EDGE)
    parts = []
    for line in lines:
        points = measure.approximate_polygon(line, _OUTLINE_TOLERANCE_MM / spacing_mm)
        # Padding shifts by one pixel, and a pixel's centre is half a pixel from its edge.
        mm = (points - 0.5) * spacing_mm
        if len(mm) >= 4:
            parts.append("M" + " ".join(f"{x:.1f} {y:.1f}" for y, x in mm[:-1]) + "Z")
    return "".join(parts)


def grey_image(pixels: NDArray[np.float32], window: Sequence[float], *, quality: int = 80) -> str:
    """Encode a picture as a WebP data URI.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns)
        Intensities.
    window : (float, float)
        Intensities shown as black and as white.
    quality : int
        WebP quality, 0 to 100.

    """
    low, high = window
    # A window without width shows everything above it white.
    width = max(high - low, float(np.finfo(np.float32).tiny))
    return _webp(np.clip((pixels.astype(np.float64) - low) / width, 0, 1), quality)


def colour_image(pixels: NDArray[np.float32], *, quality: int = 80) -> str:
    """Encode a picture as a WebP data URI.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns, 3)
        Red, green and blue, 0 to 1.
    quality : int
        WebP quality, 0 to 100.

    """
    return _webp(np.clip(pixels.astype(np.float64), 0, 1), quality)


def _webp(shares: NDArray[np.float64], quality: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.round(shares * 255).astype(np.uint8)).save(
        buffer, format="WEBP", quality=quality, method=4
    )
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

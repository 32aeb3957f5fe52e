"""How many people have a lesion where: colours over the template, on planes through the lesions."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from mripipe.core.grid import Volume
from mripipe.figures.chart import INK, finish, start_chart, words
from mripipe.figures.planes import Plane, field_of_view, mask_points, sample_plane
from mripipe.figures.svg import element, signed_mm

PALETTE: Final = "inferno"
"""Even in lightness, readable without colour and with any colour vision."""
COLUMNS: Final = 6
_PANEL: Final = 140.0
_OPACITY: Final = 0.88


def incidence_planes(
    brain: Volume, *, low_mm: float = -40, high_mm: float = 66, count: int = 12
) -> list[Plane]:
    """Plan axial planes at equal steps over the brain, the same for every study."""
    centre, size = field_of_view(mask_points(brain), margin_mm=4.0)
    middle = (float(centre[0]), float(centre[1]), float(centre[2]))
    return [Plane("axial", float(z), middle, size, 1.0) for z in np.linspace(low_mm, high_mm, count).round()]


def incidence_map(counts: Volume, template: Volume, planes: Sequence[Plane], *, n: int) -> str:
    """Draw the incidence over the template.

    Parameters
    ----------
    counts : Volume
        People with a lesion at each voxel, in the template's space.
    template : Volume
        Picture to draw on.
    planes : sequence of Plane
        Axial planes.
    n : int
        People in all.

    Returns
    -------
    str
        SVG; left is on the left. Where nobody has a lesion the template is seen; the scale ends at the
        highest incidence.

    """
    top = max(float(counts.data.max()), 1.0)
    rows = -(-len(planes) // COLUMNS)
    width, height = COLUMNS * _PANEL, rows * _PANEL + 62
    root = start_chart(
        width, height, f"Incidence of infarcts in MNI, {n} participants, at most {top:g} at a voxel"
    )
    light = float(template.data.max())
    for number, plane in enumerate(planes):
        left, upper = number % COLUMNS * _PANEL, number // COLUMNS * _PANEL
        picture = _blend(
            sample_plane(template, plane, order=1) / light, sample_plane(counts, plane, order=0), top
        )
        element(
            root, "image", href=_webp(picture), x=f"{left:g}", y=f"{upper:g}", width=f"{_PANEL:g}",
            height=f"{_PANEL:g}",
        )  # fmt: skip
        position = f"z = {signed_mm(plane.position_mm)}"
        words(root, position, left + 5, upper + _PANEL - 6, fill="#fff", size=11)
        if number == 0:
            words(root, "L", left + 5, upper + _PANEL / 2, fill="#fff", size=12, bold=True)
            words(
                root,
                "R",
                left + _PANEL - 5,
                upper + _PANEL / 2,
                anchor="end",
                fill="#fff",
                size=12,
                bold=True,
            )
    _colour_bar(root, rows * _PANEL + 14, top, n)
    return finish(root)


def _blend(grey: NDArray[np.float32], counts: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    """Lay colours over a grey picture where there are counts."""
    base = np.repeat(np.clip(grey, 0, 1)[..., None] * 0.9, 3, axis=2)
    colour = _colours(counts / top)
    shown = (counts > 0)[..., None]
    mixed = np.where(shown, (1 - _OPACITY) * base + _OPACITY * colour, base)
    return np.asarray(np.round(mixed * 255).astype(np.uint8))


def _colours(share: NDArray[np.float32]) -> NDArray[np.float64]:
    # The darkest colours would be lost on the template.
    return np.asarray(colormaps[PALETTE](0.25 + 0.75 * np.clip(share, 0, 1)))[..., :3]


def _webp(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", quality=88, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _colour_bar(root: ET.Element, upper: float, top: float, n: int) -> None:
    """Draw the scale with its ends in people and percent."""
    left, length = 8.0, 300.0
    ramp = np.round(_colours(np.linspace(0, 1, 150, dtype=np.float32)[None]) * 255).astype(np.uint8)
    element(
        root, "image", href=_webp(np.repeat(ramp, 4, axis=0)), x=f"{left:g}", y=f"{upper:g}",
        width=f"{length:g}", height="12", preserveAspectRatio="none",
    )  # fmt: skip
    words(root, "1", left, upper + 30, fill=INK)
    words(root, f"{top:g} of {n} ({100 * top / n:.0f} %)", left + length, upper + 30, anchor="end", fill=INK)
    words(root, "participants with infarct at the voxel", left + length + 16, upper + 11, fill=INK)

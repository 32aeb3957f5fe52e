"""What a scanner would see: tissue fractions of the phantom head and their signal in T1w, T2w and FLAIR."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mripipe.core.phantom_anatomy import AnatomyMap
from mripipe.core.phantom_atlas import PhantomAtlas
from mripipe.core.phantom_fields import FloatArray, ball_distance, sample, soft_step
from mripipe.core.phantom_lesion import (
    OUTSIDE_LEVEL,
    LesionLevels,
    LesionThresholds,
    hyperintensity_level,
    lacune_distance,
    room_for_infarct,
)

Sequence = Literal["T1w", "T2w", "FLAIR"]

TISSUES = ("gm", "wm", "csf", "gliosis", "hyperintensity", "rim", "bone", "marrow", "muscle", "fat", "eye")
SIGNALS: dict[str, tuple[float, ...]] = {
    "T1w": (0.66, 1.00, 0.20, 0.50, 0.80, 0.60, 0.07, 0.62, 0.48, 1.15, 0.22),
    "T2w": (0.62, 0.48, 1.00, 0.86, 0.68, 0.80, 0.07, 0.38, 0.28, 0.60, 0.95),
    "FLAIR": (0.66, 0.55, 0.13, 0.95, 0.98, 0.95, 0.06, 0.35, 0.38, 0.62, 0.15),
}
"""Signal of each of `TISSUES` relative to the brightest tissue of the brain."""

ABNORMAL = ("lesion", "cavity", "hyperintensity", "lacune", "rim")
FLUID_GAP_MM = 3.0
SKULL_MM = 6.0
FAT_MM = 5.0
EDGE_MM = 1.0
LESION_EDGE_MM = 2.0
SPOT_EDGE = 0.4
RIM_MM = 1.6
CORD_RADIUS_MM = 6.0
EYES_MM = ((-31.0, 59.0, -38.0), (31.0, 59.0, -38.0))
TEXTURE_DEPTH = 0.12


def lesion_fractions(
    levels: LesionLevels,
    thresholds: LesionThresholds,
    atlas: PhantomAtlas,
    mni: NDArray[np.floating],
    *,
    names: tuple[str, ...] = ABNORMAL,
) -> dict[str, NDArray[np.floating]]:
    """Return how much of each abnormality there is at MNI points (3, N): 0 to 1, ramps at the edges.

    The hard truth is the fraction of at least one half. What is not among ``names`` may stay 0.
    """
    out = {name: np.zeros(mni.shape[1], mni.dtype) for name in ABNORMAL}
    infarct = sample(levels.infarct, levels.affine, mni, outside=OUTSIDE_LEVEL)
    # Cheap tests first: most points are far from everything abnormal.
    near = np.flatnonzero(infarct < thresholds.infarct + LESION_EDGE_MM)
    if near.size:
        edge = soft_step(thresholds.infarct - infarct[near], LESION_EDGE_MM)
        out["lesion"][near] = np.minimum(edge, room_for_infarct(atlas, mni[:, near]))
        cavity = sample(levels.cavity, levels.affine, mni[:, near], outside=OUTSIDE_LEVEL)
        core = soft_step(thresholds.cavity - cavity, LESION_EDGE_MM)
        out["cavity"][near] = np.minimum(core, out["lesion"][near])
    if np.isfinite(thresholds.hyperintensity) and "hyperintensity" in names:
        spots = hyperintensity_level(levels, mni, infarct, clear_of=thresholds.clear_of)
        out["hyperintensity"] = soft_step(thresholds.hyperintensity - spots, SPOT_EDGE)
    if thresholds.lacune:
        distance = lacune_distance(levels, mni)
        out["lacune"] = soft_step(-distance, EDGE_MM)
        out["rim"] = soft_step(RIM_MM - distance, EDGE_MM) - out["lacune"]
    return out


def tissue_fractions(
    atlas: PhantomAtlas,
    levels: LesionLevels,
    thresholds: LesionThresholds,
    mni: NDArray[np.floating],
) -> dict[str, NDArray[np.floating]]:
    """Return the fraction of each of `TISSUES` inside the dura at MNI points (3, N)."""
    gm = sample(atlas.template.gm, atlas.template.affine, mni)
    wm = sample(atlas.template.wm, atlas.template.affine, mni)
    wm = np.maximum(wm, _cord(mni))
    total = np.maximum(gm + wm, 1.0)
    gm, wm = gm / total, wm / total
    abnormal = lesion_fractions(levels, thresholds, atlas, mni)
    tissue = gm + wm
    spared = (1 - abnormal["lesion"]) * (1 - abnormal["lacune"] - abnormal["rim"])
    out = {
        "gm": gm * spared,
        "wm": wm * spared * (1 - abnormal["hyperintensity"]),
        "hyperintensity": wm * spared * abnormal["hyperintensity"],
        "gliosis": tissue * (abnormal["lesion"] - abnormal["cavity"]),
        "rim": tissue * abnormal["rim"] * (1 - abnormal["lesion"]),
    }
    out["csf"] = 1.0 - sum(out.values())
    return out


def _cord(mni: NDArray[np.floating]) -> NDArray[np.floating]:
    """Spinal cord, carrying on from the template's brain stem down the neck."""
    x, y, z = mni
    axis = np.hypot(x, y + 44.0 + 0.12 * (z + 68.0))
    return soft_step(CORD_RADIUS_MM - axis, EDGE_MM) * soft_step(-66.0 - z, 4.0)


def head_signal(
    sequence: Sequence,
    atlas: PhantomAtlas,
    levels: LesionLevels,
    thresholds: LesionThresholds,
    anatomy: AnatomyMap,
    patient_points: FloatArray,
) -> FloatArray:
    """Return noiseless signal at patient points (3, N) in mm: 0 in air, about 1 in the brightest tissue."""
    values = dict(zip(TISSUES, SIGNALS[sequence], strict=True))
    mni = anatomy.to_mni(patient_points)
    signal = np.zeros(mni.shape[1], np.float32)
    skin = sample(atlas.skin_mm, atlas.head_affine, mni, outside=None)
    inside = np.flatnonzero(skin < EDGE_MM)
    mni, skin = mni[:, inside], skin[inside]
    hull = sample(atlas.hull_mm, atlas.head_affine, mni, outside=None)
    texture = sample(levels.texture, levels.affine, mni, outside=None)
    shell = _shell_signal(values, atlas, mni, skin, hull, texture)
    deep = np.flatnonzero(_dura_distance(mni, hull, texture) < EDGE_MM)
    near = mni[:, deep]
    fractions = tissue_fractions(atlas, levels, thresholds, near)
    fractions["gliosis"] *= 1.0 + TEXTURE_DEPTH * texture[deep]
    inner = sum(values[name] * fraction for name, fraction in fractions.items())
    within = soft_step(-_dura_distance(near, hull[deep], texture[deep]), EDGE_MM)
    shell[deep] = inner * within + shell[deep] * (1 - within)
    signal[inside] = shell
    return signal


def _dura_distance(
    mni: NDArray[np.floating], hull: NDArray[np.floating], texture: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Signed distance to the dura, negative inside; the fluid between varies, and follows the cord down."""
    x, y, z = mni
    canal = np.maximum(np.hypot(x, y + 44.0 + 0.12 * (z + 68.0)) - CORD_RADIUS_MM - 4.0, z + 60.0)
    gap = FLUID_GAP_MM + 0.8 * np.sin(x / 23.0 + 1.0) * np.cos(y / 29.0) + 0.15 * texture
    return np.asarray(np.minimum(hull - gap, canal))


def _shell_signal(
    values: dict[str, float],
    atlas: PhantomAtlas,
    mni: NDArray[np.floating],
    skin: NDArray[np.floating],
    hull: NDArray[np.floating],
    texture: NDArray[np.floating],
) -> NDArray[np.floating]:
    """Signal of everything outside the dura: skull with marrow, muscle, fat under the skin, eyes, air."""
    dura = _dura_distance(mni, hull, texture)
    fat = soft_step(skin + FAT_MM, 2.0)
    soft = (values["fat"] * fat + values["muscle"] * (1 - fat)) * (1 + 0.08 * texture)
    bone = soft_step(SKULL_MM - dura, EDGE_MM)
    marrow = (
        bone * np.clip(1.0 - np.abs(dura - SKULL_MM / 2) / 2.0, 0.0, 1.0) * soft_step(mni[2] + 30.0, 20.0)
    )
    signal = soft * (1 - bone) + values["bone"] * (bone - marrow) + values["marrow"] * marrow
    for centre in EYES_MM:
        ball = soft_step(-ball_distance(mni, centre, (12.0, 12.0, 12.0)), EDGE_MM)
        signal = signal * (1 - ball) + values["eye"] * ball
    airway = sample(atlas.airway_mm, atlas.head_affine, mni, outside=None)
    return np.asarray(signal * soft_step(airway, 2.0) * soft_step(-skin, EDGE_MM))

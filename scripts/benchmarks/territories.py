"""Compare the arterial territories with a published atlas.

Usage: python scripts/benchmarks/territories.py ArterialAtlas136.nii.gz

The reference is the atlas of Liu et al. 2023 (doi:10.1038/s41597-022-01923-0), keyed by its numbers: odd ones
are left. It is taken onto our grid by its affine, nearest neighbour.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to
from numpy.typing import NDArray

from mripipe.atlases.territories import TERRITORY_LABELS, load_territories

REFERENCE_LABELS = {"ACA": range(1, 5), "MCA": range(5, 17), "PCA": range(17, 25)}


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice overlap of two masks."""
    return 2.0 * int(np.count_nonzero(a & b)) / int(np.count_nonzero(a) + np.count_nonzero(b))


def main(reference_file: Path) -> None:
    """Print Dice by territory and side, and the volume of every label."""
    ours = load_territories()
    grid = (ours.labels.shape, ours.affine)
    reference = np.asarray(resample_from_to(nib.load(reference_file), grid, order=0).dataobj).astype(int)
    print("territory  side   Dice   ours_ml  reference_ml")
    for territory, numbers in REFERENCE_LABELS.items():
        for odd, side in ((1, "left"), (0, "right")):
            mine = ours.mask(
                [
                    row.index
                    for row in TERRITORY_LABELS
                    if row.side == side and row.abbreviation.startswith(territory)
                ]
            )
            theirs = np.isin(reference, [number for number in numbers if number % 2 == odd])
            volumes = (np.count_nonzero(mask) / 1000 for mask in (mine, theirs))
            overlap = dice(mine, theirs)
            print(f"{territory:9}  {side:5}  {overlap:.3f}  {next(volumes):7.1f}  {next(volumes):12.1f}")
    print("\nlabel   ml")
    for row in ours.table:
        print(f"{row.abbreviation:7} {ours.volume_ml(row.index):.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

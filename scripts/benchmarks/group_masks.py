"""Time and memory of the group stage on many masks: a folder's masks repeated under new names up to a number.

From the root of the repository:

    python scripts/benchmarks/group_masks.py FOLDER --masks 1449
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from mripipe.cli import main as mripipe
from mripipe.steps.group_masks import find_masks


def repeat(folder: Path, target: Path, count: int) -> None:
    """Link masks under new names, and repeat the participants' rows."""
    masks = find_masks(folder)
    lines = (folder / "participants.tsv").read_text(encoding="utf-8").splitlines()
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in lines[1:]}
    table = [lines[0]]
    for number in range(count):
        mask = masks[number % len(masks)]
        who, _, rest = mask.name.partition("_")
        name = f"{who}x{number // len(masks)}"
        (target / f"{name}_{rest}").symlink_to(mask.resolve())
        if who in rows:
            table.append("\t".join([name, *rows[who]]))
    (target / "participants.tsv").write_text("\n".join(table) + "\n", encoding="utf-8")


def main() -> None:
    """Run the group stage and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--masks", type=int, default=1449)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        masks, out = Path(scratch, "masks"), Path(scratch, "out")
        masks.mkdir()
        repeat(given.folder, masks, given.masks)
        start = time.perf_counter()
        status = mripipe(["run", str(masks), str(out), "group", "--masks", str(masks)])
        seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"{given.masks} masks: {seconds:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of processor, "
        f"{used.ru_maxrss / 2**20:.2f} GB, status {status}"
    )


if __name__ == "__main__":
    main()

"""How long the shared tables take to write, by the number of participants: every task of a batch writes them.

    python scripts/benchmarks/tables_at_scale.py OUT_DIR [N ...]

takes the stored result of one participant in OUT_DIR, that of a run of full size, as N participants' in a
scratch folder, and writes the tables there.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from mripipe.bids.names import OutputPaths
from mripipe.steps.tables import write_tables


def main(out_dir: Path, sizes: list[int]) -> None:
    """Print seconds for each number of participants."""
    source = next(out_dir.glob("sub-*/sub-*_results.json"))
    text, old = source.read_text(encoding="utf-8"), source.parent.name
    n_visits = len(json.loads(text)["visits"])
    print("participants\tvisits\tseconds\tmilliseconds a visit")
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            for number in range(size):
                new = f"sub-{number:05d}"
                path = OutputPaths(Path(scratch)).results(new)
                path.parent.mkdir(parents=True)
                path.write_text(text.replace(old, new), encoding="utf-8")
            start = time.process_time()
            write_tables(Path(scratch))
            seconds = time.process_time() - start
        visits = size * n_visits
        print(f"{size}\t{visits}\t{seconds:.2f}\t{1000 * seconds / visits:.1f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(n) for n in sys.argv[2:]] or [10, 40, 120])

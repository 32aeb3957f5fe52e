"""The program with `toypatient`'s steps: what a task runs instead of an hour's work.

All else is the program's own: reading the study, what is done, publishing, the group stage, exit statuses.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import toypatient

from mripipe.cli import main
from mripipe.workflows import run

run.build_subject = toypatient.build_subject  # type: ignore[attr-defined]
run.render_report = lambda result, **_: result.participant_id  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(main())

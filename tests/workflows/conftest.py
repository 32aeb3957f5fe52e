from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mripipe.model.study import Problem, Scan, Session, Study, Subject

sys.path.insert(0, str(Path(__file__).parent))
import toytrial


class Trial:
    """Two participants with two visits each, whose images are text files."""

    def __init__(self, root: Path) -> None:
        self.root, self.bids, self.out, self.work = root, root / "bids", root / "out", root / "work"
        for participant in ("sub-1", "sub-2"):
            for session in ("ses-a", "ses-b"):
                self.write(participant, session, f"{participant} {session}")

    def write(self, participant: str, session: str, text: str) -> None:
        path = self._image(participant, session)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def study(self, *, days: float = 45.0, unfit: str | None = None) -> Study:
        subjects = [
            Subject(p, tuple(self._session(p, s, days, unfit) for s in ("ses-a", "ses-b")))
            for p in ("sub-1", "sub-2")
        ]
        return Study(self.bids, tuple(subjects))

    def called(self) -> list[str]:
        log = self.root / "calls"
        names = log.read_text().split() if log.exists() else []
        log.write_text("")
        return sorted(names)

    def files(self) -> dict[str, tuple[bytes, int]]:
        """Give every published file's content and time."""
        found = [path for path in self.out.rglob("*") if path.is_file() and "logs" not in path.parts]
        return {str(p.relative_to(self.out)): (p.read_bytes(), p.stat().st_mtime_ns) for p in found}

    def _session(self, participant: str, name: str, days: float, unfit: str | None) -> Session:
        scan = Scan(self._image(participant, name), "T1w")
        session = Session(participant, name, scans=(scan,), days_from_onset=days)
        if unfit == f"{participant}/{name}":
            return replace(session, scans=(), problems=(Problem("error", "no image; add one"),))
        return session

    def _image(self, participant: str, session: str) -> Path:
        return self.bids / participant / session / "anat" / f"{participant}_{session}_T1w.nii"


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Not yet run; the workflow's builder is the toy's and the report a line."""
    from mripipe.workflows import run

    def render(result: Any, *, settings: Any, versions: Any) -> str:
        assert versions["mripipe"]
        return f"{result.participant_id} {settings['registration: level']} {len(result.visits)}"

    monkeypatch.setenv("TOY_CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr(run, "build_subject", toytrial.build_subject)
    monkeypatch.setattr(run, "render_report", render)
    return Trial(tmp_path)

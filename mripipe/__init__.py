"""Serial MRI of stroke: registration to MNI, infarct segmentation and volume, report.

The functions are loaded when they are first used, so that ``import mripipe`` takes no time.

Examples
--------
>>> import mripipe
>>> [name for name in dir(mripipe) if name.startswith("process")]
['process_session', 'process_subject']

"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mripipe.api import (
        LesionResult,
        SessionDiffusion,
        SessionResult,
        TensorResult,
        TrackedResult,
        TractValue,
        agreement,
        fit_tensor,
        lesion_volume,
        process_session,
        process_subject,
        read_study,
        segment_lesion,
        track_tract,
        tract_metrics,
    )

__version__ = "0.1.0"

__all__ = [
    "LesionResult",
    "SessionDiffusion",
    "SessionResult",
    "TensorResult",
    "TrackedResult",
    "TractValue",
    "__version__",
    "agreement",
    "fit_tensor",
    "lesion_volume",
    "process_session",
    "process_subject",
    "read_study",
    "segment_lesion",
    "track_tract",
    "tract_metrics",
]


def __getattr__(name: str) -> Any:
    """Load a public function when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'mripipe' has no attribute {name!r}")
    from mripipe import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """List the public names, whether loaded or not."""
    return sorted({*globals(), *__all__})

"""Names in the state folder for what is moved out of the way: it may hold a paid answer, so it is never deleted."""

import time
from itertools import count
from pathlib import Path

__all__ = ["aside"]


def aside(folder: Path, what: str, suffix: str) -> Path:
    """Return a name that is not taken, whatever the clock says."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (folder / f"{what}-{stamp}-{number}{suffix}" for number in count(1))
    return next(name for name in names if not name.exists())

"""Which boot of the machine this is: what was not synced before the last one may be gone."""

import time
from pathlib import Path

__all__ = ["boot"]


def boot() -> str:
    """Name this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"boot {round((time.time() - time.monotonic()) / 60)}"

"""Finds the waits that the bodies of errors ask for, and what Gemini's list of details says. Pure."""

import re
from typing import Any

from llmbatch.core.clock import duration

__all__ = ["google_details", "wait_in_fields"]

_WAITS = {
    "retryafter": 1.0,
    "retryafterseconds": 1.0,
    "resetsinseconds": 1.0,
    "estimatedtime": 1.0,
    "waitseconds": 1.0,
    "retryafterms": 1e-3,
}
"""Fields that ask for a wait, and how many seconds their unit has."""


def wait_in_fields(layers: list[dict[str, Any]]) -> float | None:
    """Find a wait that a field of the body asks for, in seconds."""
    for fields in reversed(layers):
        for about in (fields, fields.get("metadata"), fields.get("details")):  # OpenRouter's, proxies'
            for name, value in about.items() if isinstance(about, dict) else ():
                factor = _WAITS.get(re.sub("[-_]", "", str(name).lower()))
                if factor and isinstance(value, int | float | str) and not isinstance(value, bool):
                    seconds = duration(str(value))
                    return seconds and seconds * factor
    return None


def google_details(details: Any) -> tuple[float | None, bool, str | None]:
    """Find the wait, a per-day quota and the reason in Gemini's list of details."""
    wait, per_day, reason = None, False, None
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        if isinstance(detail.get("retryDelay"), str):
            wait = duration(detail["retryDelay"])
        if isinstance(detail.get("reason"), str):
            reason = detail["reason"].lower()
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict) and "PerDay" in str(violation.get("quotaId")):
                per_day = True
    return wait, per_day, reason

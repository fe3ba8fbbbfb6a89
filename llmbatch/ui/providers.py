"""The presets as a table."""

from collections.abc import Sequence

from llmbatch.app.providers import Provider
from llmbatch.ui.console import columns, plain_text

__all__ = ["providers_text"]


def providers_text(providers: Sequence[Provider], width: int | None) -> bytes:
    """Write one line for each provider, with what a check said where there was one."""
    heading = ["provider", "endpoint", "base URL", "key", "set"]
    if any(one.check is not None for one in providers):
        heading.append("check")
    return plain_text([columns(heading, map(_row, providers))], width)


def _row(one: Provider) -> list[str]:
    set_here = "yes" if one.key_set else "no" if one.needs_key else "not needed"
    row = [one.provider, one.endpoint, one.base_url or "(built in)", " or ".join(one.key_env) or "none", set_here]
    if one.check is not None:
        status = f"HTTP {one.check.status}: " if one.check.status not in (None, 200) else ""
        row.append(f"{'ok' if one.check.ok else 'failed'}: {status}{one.check.message}")
    return row

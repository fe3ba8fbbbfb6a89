"""The presets as a table: a line for each, whatever the width."""

from collections.abc import Sequence

from llmbatch.app.providers import Provider
from llmbatch.core.printable import printable
from llmbatch.ui.console import WIDE
from llmbatch.ui.layout import crop
from llmbatch.ui.symbols import Symbols

__all__ = ["providers_text"]

_ROOMY = 120
"""Cells from which on everything is shown: kinds of endpoint, and second names of keys."""


def providers_text(providers: Sequence[Provider], width: int | None, symbols: Symbols) -> bytes:
    """Write one line for each provider, at its end the address, or what a check said where there was one."""
    width = width or WIDE
    rows = [
        (one.provider, one.endpoint, one.key_env, _key(one), one.base_url or "built in", _said(one))
        for one in providers
    ]
    table: list[tuple[str, ...]]
    if any(one.check is not None for one in providers):
        table = [("provider", "key", "check"), *((name, key, said) for name, _, _, key, _, said in rows)]
    elif width < _ROOMY:
        table = [("provider", "variable", "key", "base URL")]
        table += [(name, next(iter(names), "none"), key, url) for name, _, names, key, url, _ in rows]
    else:
        table = [("provider", "endpoint", "variable", "key", "base URL")]
        table += [(name, kind, " or ".join(names) or "none", key, url) for name, kind, names, key, url, _ in rows]
    sizes = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    lines = ("  ".join(f"{cell:<{size}}" for cell, size in zip(cells, sizes, strict=True)) for cells in table)
    return "".join(f"{crop(line.rstrip(), width, symbols.ellipsis)}\n" for line in lines).encode("utf-8", "replace")


def _key(one: Provider) -> str:
    return "set" if one.key_set else "not set" if one.needs_key else "not needed"


def _said(one: Provider) -> str:
    if one.check is None:
        return ""
    status = f"HTTP {one.check.status}: " if one.check.status not in (None, 200) else ""
    return printable(f"{'ok' if one.check.ok else 'failed'}: {status}{one.check.message}", 300)

"""The report as one self-contained page of HTML, without scripts."""

from collections.abc import Iterable, Sequence
from html import escape

from llmbatch.core.printable import printable
from llmbatch.results.stats import StatsByModel
from llmbatch.ui.report import MODEL_COLUMNS, account_rows, model_rows

__all__ = ["account_page"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #ddd; text-align: right; overflow-wrap: anywhere }
th:first-child, td:first-child { text-align: left; white-space: pre-wrap }
.bar { display: flex; height: 1rem; background: #eee } .ok { background: #2a7 } .failed { background: #c43 }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd } th, td { border-color: #444 } }
"""


def account_page(book: StatsByModel, names: Sequence[str]) -> bytes:
    """Write the page. Everything that comes from a file is escaped."""
    total = book.total()
    share = 100 * total.ok / total.records if total.records else 0.0
    bar = (
        f'<div class="bar"><div class="ok" style="width:{share:.2f}%"></div>'
        f'<div class="failed" style="width:{100 - share:.2f}%"></div></div>'
        if total.records
        else ""
    )
    models = model_rows(book)
    page = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width"><title>llmbatch report</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>llmbatch report</h1><p>{_text(', '.join(names), 2000)}</p>{bar}",
        _table((), account_rows(book.files, total)),
        _table(MODEL_COLUMNS, models) if models else "",
        "</body></html>\n",
    ]
    return "\n".join(page).encode("utf-8", "replace")


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = f"<tr>{''.join(f'<th>{_text(name)}</th>' for name in names)}</tr>\n" if names else ""
    body = "\n".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n{head}{body}\n</table>"


def _text(text: str, limit: int = 200) -> str:
    return escape(printable(text, limit))

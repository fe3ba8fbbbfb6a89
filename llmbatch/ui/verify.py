"""The reconciliation of input and results: a table, then examples of each problem."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from llmbatch.app.verify import Finding, Problem, Reconciliation
from llmbatch.core.plural import counted
from llmbatch.core.printable import printable
from llmbatch.ui.console import WIDE, facts, painted, plain_text
from llmbatch.ui.layout import flow
from llmbatch.ui.symbols import Symbols

__all__ = ["reconciliation_text"]

_WORDS = {
    Problem.MISSING: "missing: records without a result; the same run again sends them",
    Problem.PENDING: "pending: records in a batch at a provider; the same run again collects them",
    Problem.ORPHAN: "orphan: results without a record; a run with --prune moves them to FILE.state",
    Problem.REPEATED: "repeated: one more result of the same record",
    Problem.BROKEN: "broken: lines that are not results; a run with --move-broken moves them to FILE.state",
}


def reconciliation_text(
    account: Reconciliation,
    examples: Mapping[Problem, Sequence[Finding]],
    width: int | None,
    symbols: Symbols,
    *,
    colored: bool = False,
) -> bytes:
    """Write the verdict, the table, then examples of each problem."""
    sign, style = (symbols.good, "1;32") if account.complete else (symbols.bad, "1;31")
    verdict = flow(_verdict(account, sign), width or WIDE, symbols.dot, symbols.ellipsis)
    text = "".join(f"{painted(line, style, colored)}\n" for line in verdict).encode("utf-8", "replace")
    text += plain_text([facts(_rows(account))], width)
    for problem, findings in examples.items():
        if findings:
            words = flow(_WORDS[problem].split(" "), width or WIDE, " ", symbols.ellipsis)
            text += "".join(f"{painted(line, '1', colored)}\n" for line in words).encode()
            more = account.problems[problem] - len(findings)
            text += plain_text(_listed(findings, more, symbols), width)
    return text


def _listed(findings: Sequence[Finding], more: int, symbols: Symbols) -> Iterator[Text]:
    for finding in findings:
        yield Text(f"  {printable(_one(finding.place), 200)}", overflow="fold")
    if more:
        yield Text(f"  {symbols.ellipsis} and {more:,} more; --all lists them")


def _rows(account: Reconciliation) -> list[tuple[str, str]]:
    problems = account.problems
    rows = [
        ("records", f"{account.records:,}"),
        ("  ok", f"{account.ok:,}"),
        ("  failed", f"{account.failed:,}"),
        ("  missing", f"{problems[Problem.MISSING]:,}"),
        *([("  pending in batches", f"{problems[Problem.PENDING]:,}")] if problems[Problem.PENDING] else []),
        ("result lines", f"{account.lines:,}"),
    ]
    if account.orphans_known:
        rows.append(("  orphan", f"{problems[Problem.ORPHAN]:,}"))
    rows += [("  repeated", f"{problems[Problem.REPEATED]:,}"), ("  broken", f"{problems[Problem.BROKEN]:,}")]
    if account.in_doubt:
        rows.append(("in doubt", f"{account.in_doubt:,}"))
    rows += [("in doubt besides", f"not known: {why}") for why in account.doubts_unknown]
    if account.edited:
        rows.append(("edited since they were answered", f"{account.edited:,}"))
    rows += [("ends in a piece of a line", name) for name in account.torn]
    return rows


def _verdict(account: Reconciliation, sign: str) -> list[str]:
    """Say in a line whether each record has one result, and if not, what is wrong."""
    problems = account.problems
    if account.complete:
        return [f"{sign} complete: {counted(account.records, 'record has', 'records have')} one result each"]
    parts = [f"{sign} not complete"]
    for problem, one, several in (
        (Problem.MISSING, "record has no result", "records have no result"),
        (Problem.PENDING, "record is in a batch", "records are in batches"),
        (Problem.ORPHAN, "result has no record", "results have no record"),
        (Problem.REPEATED, "result is repeated", "results are repeated"),
        (Problem.BROKEN, "line is broken", "lines are broken"),
    ):
        if problems[problem]:
            parts.append(counted(problems[problem], one, several))
    if account.in_doubt:
        parts.append(counted(account.in_doubt, "record is in doubt", "records are in doubt"))
    return parts


def _one(place: Mapping[str, Any]) -> str:
    """Describe one finding."""
    parts = []
    if place.get("id") is not None:
        parts.append(f"id {place['id']!r}")
    elif "record" in place:
        parts.append(f"record {place['record']}")
    if "occurrence" in place:
        parts.append(f"occurrence {place['occurrence']}")
    if "sample" in place:
        parts.append(f"sample {place['sample']}")
    if "where" in place:
        parts.append(str(place["where"]))
    if "results" in place and "file" not in place:
        parts.append(f"not in {place['results']}")
    if "file" in place:
        parts.append(_at(place["file"], place["line"]))
    if "first_file" in place:
        parts.append(f"the first is at {_at(place['first_file'], place['first_line'])}")
    parts += [what for what, word in (("in doubt", "in_doubt"), ("unusable", "unusable")) if place.get(word)]
    return ", ".join(parts)


def _at(file: str, line: int | None) -> str:
    return f"{file} line {line}" if line is not None else f"{file}.state/redo.jsonl"

"""`verify INPUT -o DIR/`: compares each part with its results, several at once."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from llmbatch.app.verify import Finding, Problem, Reconciliation
from llmbatch.app.verify import verify as verify_files
from llmbatch.core.errors import UsageError
from llmbatch.core.fork import can_fork, forked
from llmbatch.parts.cut import look_at
from llmbatch.parts.folder import PLAN, RunFolder
from llmbatch.parts.plan import Plan, changed_inputs

__all__ = ["verify"]

_Found = tuple[Reconciliation, list[Finding]]


def verify(
    inputs: Sequence[str],
    name: str,
    *,
    input_format: str | None,
    id_field: str | None,
    max_line: int,
    delimiter: str | None,
    repeat: int | None,
    found: Callable[[Finding], None],
    keep: int | None,
) -> Reconciliation:
    """Reconcile all parts of a folder; call `found` with the findings, of each kind the first `keep` or, if None, all.

    Equal ids in two parts are no finding: each part is one run. Raises InputError, UsageError.
    """
    folder = RunFolder(Path(name))
    plan = folder.plan()
    if plan is None:
        raise UsageError(f"{name} is a folder without a plan {PLAN}", "Name the DIR/ of a run of parts, or files.")
    if (changed := changed_inputs(plan.inputs, look_at(inputs))) is not None:
        raise UsageError(f"the inputs are not those of {folder.path / PLAN}: {changed}", "Name the inputs of the run.")

    planned = plan.options.get("repeat")

    def one(number: int, tell: Callable[[Finding], None]) -> Reconciliation:
        pieces, results = plan.parts[number].pieces, folder.results(number)
        return verify_files(
            [inputs[piece.input] for piece in pieces],
            [str(results)] if results.exists() else [],
            input_format=input_format,
            id_field=id_field,
            limit=None,
            max_line=max_line,
            delimiter=delimiter,
            spans=[piece.span for piece in pieces],
            repeat=repeat or (planned if isinstance(planned, int) else None),
            found=lambda finding: tell(Finding(finding.problem, {"part": number, **finding.place})),
        )

    total = Reconciliation()
    if keep is None:
        for number in range(len(plan.parts)):
            total.include(one(number, found))
        return total
    account, findings = _side_by_side(plan, one, keep)
    total.include(account)
    for finding in findings:
        found(finding)
    return total


def _side_by_side(plan: Plan, one: Callable[[int, Callable[[Finding], None]], Reconciliation], keep: int) -> _Found:
    """Verify all parts, on each processor its share of them."""
    shares = min(len(plan.parts), len(os.sched_getaffinity(0)) if can_fork() else 1) or 1

    def share(first: int) -> _Found:
        account, kept = Reconciliation(), list[Finding]()
        for number in range(first, len(plan.parts), shares):
            account.include(one(number, kept.append))
            kept = _first_of_each(kept, keep)
        return account, kept

    with ExitStack() as stack:
        others = [(first, stack.enter_context(forked(partial(share, first)))) for first in range(1, shares)]
        results = [share(0)]
        for first, other in others:
            result = other.result() if other is not None else None
            results.append(result if result is not None else share(first))  # what it raised is raised here
    account = Reconciliation()
    findings: list[Finding] = []
    for part, some in results:
        account.include(part)
        findings += some
    return account, _first_of_each(sorted(findings, key=lambda finding: int(finding.place["part"])), keep)


def _first_of_each(findings: list[Finding], keep: int) -> list[Finding]:
    counts = dict.fromkeys(Problem, 0)
    kept = []
    for finding in findings:
        counts[finding.problem] += 1
        if counts[finding.problem] <= keep:
            kept.append(finding)
    return kept

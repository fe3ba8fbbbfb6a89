"""The table: one line for each comparison, as text, JSON and Markdown."""

import operator
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import llmbatch
from tests.bench import servers
from tests.bench.measure import Rounds

__all__ = ["BUSY", "Line", "as_json", "as_markdown", "as_text", "compared"]


BUSY = 0.3
"""The load at the start from which on figures are not to be trusted."""


@dataclass(frozen=True)
class Line:
    """One comparison. `theirs` and `ours` are medians in `unit`, `ratio` is the median of the rounds' ratios.

    CPU is in microseconds a record, `memory` our peak in bytes, `server` the share of a core the server used with us.
    """

    work: str
    against: str
    unit: str
    theirs: float | None
    ours: float
    ratio: float | None = None
    lowest: float | None = None
    highest: float | None = None
    bar: str = ""
    cpu_theirs: float | None = None
    cpu_ours: float | None = None
    server: float | None = None
    memory: int | None = None

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None without one."""
        compare, _, number = self.bar.partition(" ")
        value = self.ours if self.ratio is None else self.ratio
        return {">=": operator.ge, "<=": operator.le}[compare](value, float(number)) if number else None


def compared(
    work: str, against: str, ours: Rounds, theirs: Rounds, counts: tuple[int, int], *, bar: str = "", cost: bool = False
) -> Line:
    """Compare the rates of runs done in turns: by how much ours is faster or, as a `cost`, how much longer it takes."""
    rates = [counts[0] / figures.wall for figures in ours]
    other = [counts[1] / figures.wall for figures in theirs]
    ratios = [b / a if cost else a / b for a, b in zip(rates, other, strict=True)]
    return Line(
        work,
        against,
        "records/s",
        median(other),
        median(rates),
        median(ratios),
        min(ratios),
        max(ratios),
        bar,
        cpu_theirs=median(figures.cpu for figures in theirs) / counts[1] * 1e6 or None,
        cpu_ours=median(figures.cpu for figures in ours) / counts[0] * 1e6,
        server=median(figures.server / figures.wall for figures in ours),
        memory=max(figures.memory for figures in ours),
    )


def as_text(line: Line) -> str:
    """Return a few short lines for a terminal."""
    facts = [f"ours {_value(line.ours, line.unit)}"]
    if line.ratio is not None:
        facts.append(f"ratio {line.ratio:.2f} ({_spread(line)})")
    if line.bar:
        facts.append(f"bar {line.bar}: {'met' if line.met else 'NOT MET'}")
    against = [f"  {line.against}: {_value(line.theirs, line.unit)}"] if line.against else []
    return "\n".join([line.work, *against, f"  {'; '.join(facts + _costs(line))}"])


def as_json(lines: Sequence[Line], command: str, load: float) -> dict[str, Any]:
    """Return everything: machine, its load at the start, versions, command, lines."""
    return {
        "machine": _machine(),
        "load": load,
        "versions": {
            "llmbatch": llmbatch.__version__,
            "Python": platform.python_version(),
            **{name: version(name) for name in ("uvloop", "aiohttp", "httpx", "openai", "orjson", "typer")},
            "nginx": servers.version(),
        },
        "command": command,
        "lines": [asdict(line) | {"met": line.met} for line in lines],
    }


def as_markdown(reports: Sequence[dict[str, Any]]) -> str:
    """Return the README's table of reports from one machine. Raises ValueError for different machines or versions."""
    told = {(report["machine"], ", ".join(map(" ".join, report["versions"].items()))) for report in reports}
    load = max(report["load"] for report in reports)
    if len(told) > 1:
        raise ValueError("these reports are of different machines or versions")
    ((machine, versions),) = told
    commands = [report["command"] for report in reports]
    busy = f", busy with other work (load {load:.1f})" if load > BUSY else ""
    rows = [
        f"{' and '.join(f'`{name}`' for name in commands)} on {machine}{busy}; {versions}.",
        "",
        "| work | against | theirs | ours | ratio | bar | CPU a record, theirs / ours | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in (each for report in reports for each in report["lines"]):
        line = Line(**{name: value for name, value in each.items() if name != "met"})
        cells = [
            line.work,
            line.against,
            _value(line.theirs, line.unit),
            _value(line.ours, line.unit),
            "" if line.ratio is None else f"**{line.ratio:.2f}** ({_spread(line)})",
            line.bar.replace(">=", "≥").replace("<=", "≤") + (", missed" if line.met is False else ""),
            " / ".join(f"{value:.0f} us" for value in (line.cpu_theirs, line.cpu_ours) if value is not None),
            "" if line.memory is None else f"{line.memory / 1e6:.0f} MB",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _costs(line: Line) -> list[str]:
    costs = []
    if line.cpu_ours is not None:
        theirs = "" if line.cpu_theirs is None else f"{line.cpu_theirs:.0f} and "
        costs.append(f"CPU a record {theirs}{line.cpu_ours:.0f} us")
    if line.server:
        costs.append(f"server {line.server:.0%} of a core")
    if line.memory is not None:
        costs.append(f"memory {line.memory / 1e6:.0f} MB")
    return costs


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def _spread(line: Line) -> str:
    return f"{line.lowest:.2f}–{line.highest:.2f}"


def _machine() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    kind = found[1] if found else platform.machine()
    return f"{os.cpu_count()} cores ({kind}), {platform.system()} {platform.release().partition('-')[0]}"

"""Print how fast jobs end on services as they are, beside what a user could do by hand: `make bench-pace`.

Real sockets to the built-in mock, whose ledger is the judge. Each row is a service that nobody was told of, and a job;
each client has a provider of its own. Times are from the first request to the last answer, start-up apart.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.pace_rows import ROWS, Client, Figures, Row, Service
from tests.bench.readme import PACING, between
from tests.torture.bench import Provider

BEGIN, END = "<!-- make bench-pace -->\n", "<!-- end of make bench-pace -->\n"


def measure(service: Service, client: Client, seed: int) -> Figures:
    """Run one client against a service of its own."""
    with tempfile.TemporaryDirectory() as name, closing(Provider(Path(name), *service.flags, "--seed", str(seed))) as p:
        folder = Path(name)
        source = folder / "in.jsonl"
        source.write_text(
            "".join(json.dumps({"id": n, "prompt": f"number {n}"}) + "\n" for n in range(service.records))
        )
        command = [str(word) for word in client.command(p.base_url, source, service.patience)]
        environment = os.environ | {"LLMBATCH_API_KEY": "key", "XDG_CONFIG_HOME": name}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        if service.dies_after is None:
            stdout, stderr = process.communicate()
            entries = p.new_entries()
            if not entries:
                sys.exit(f"{client.name} sent nothing: {stderr}")
            return service.figures(entries, client, stdout, stderr)
        while not p.new_entries():
            time.sleep(0.01)
        time.sleep(service.dies_after)
        p.kill()
        stdout, stderr = process.communicate()
        return service.figures([], client, stdout, stderr)


def run(row: Row, seeds: int, together: int) -> list[list[str]]:
    """Run a row's clients, one after the other, each with all seeds; return the cells of its lines."""
    found: dict[str, list[Figures]] = {}
    with ThreadPoolExecutor(together) as pool:
        for client in row.clients:
            print(f"row {row.name.partition(':')[0]}: {client.name} ...", file=sys.stderr, flush=True)
            jobs = [pool.submit(measure, row.service, client, seed) for seed in range(1, seeds + 1)]
            found[client.name] = [job.result() for job in jobs]
    return [
        [row.name, name, *row.cells(_medians(figures)), row.verdict(name, {n: _medians(f) for n, f in found.items()})]
        for name, figures in found.items()
    ]


def _medians(figures: Sequence[Figures]) -> Figures:
    return Figures(*(median(values) for values in zip(*figures, strict=True)))


HEADINGS = ("service and job", "client", "seconds", "ideal", "refused", "sent again early", "against the bar")


def as_markdown(report: dict[str, Any]) -> str:
    """Write the table with the command that measured it."""
    lines = [f"| {' | '.join(cells)} |" for cells in (HEADINGS, ["---"] * len(HEADINGS), *report["rows"])]
    return f"Measured with `{report['command']}` ({report['where']}; {report['how']}):\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pace", description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS), metavar="N,...", help="which of the eleven")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="the median of so many")
    parser.add_argument("--stretch", type=float, default=1.0, metavar="X", help="answers take so many times as long")
    parser.add_argument("--full", action="store_true", help="one seed at a time, so that none takes CPU from another")
    parser.add_argument(
        "--json", type=Path, default=Path("build/bench-pace.json"), metavar="PATH", help="also written to"
    )
    parser.add_argument("--readme", type=Path, metavar="JSON", help="write this report into the page about pacing")
    given = parser.parse_args()
    if given.readme:
        between(PACING, BEGIN, END, as_markdown(json.loads(given.readme.read_text())))
        return
    chosen = given.rows.split(",")
    if unknown := set(chosen) - ROWS.keys():
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    together = 1 if given.full else given.seeds
    print("{:60}{:26}{:>9}{:>9}{:>9}{:>9}  {}".format(*HEADINGS[:5], "early", HEADINGS[6]))
    rows = []
    for name in chosen:
        row = replace(ROWS[name], service=ROWS[name].service.stretched(given.stretch))
        for cells in run(row, given.seeds, together):
            print("{:60}{:26}{:>9}{:>9}{:>9}{:>9}  {}".format(*cells), flush=True)
            rows.append(cells)
    report = {
        "command": " ".join(["make bench-pace" if len(sys.argv) == 1 else "python -m tests.bench.pace", *sys.argv[1:]]),
        "where": f"{os.cpu_count()} cores, Python {platform.python_version()}, {date.today():%d %B %Y}",
        "how": f"median of {given.seeds} seeds, {'one at a time' if together == 1 else f'{together} at once'}, "
        f"{f'{given.stretch:g} times the' if given.stretch != 1.0 else 'full'} latencies",
        "rows": rows,
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {given.json}")


if __name__ == "__main__":
    main()

"""The rows: what is compared, at what size. Each takes a bench and returns its lines."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

from tests.bench.measure import Figures, Rounds, environment, run, turns
from tests.bench.programs import ours, peer, prompts, written
from tests.bench.servers import Server, mock
from tests.bench.steps import steps_of
from tests.bench.table import Line, compared

__all__ = ["LONG", "ROWS", "Bench"]


@dataclass(frozen=True)
class Bench:
    """Where benchmarks run. `scale` shrinks them all, to try them out."""

    server: Server
    folder: Path
    scale: float

    def prompts(self, count: int) -> tuple[Path, int]:
        """Write a file of prompts; return it and how many they are."""
        count = max(100, int(count * self.scale))
        path = self.folder / f"{count}.jsonl"
        return (path if path.exists() else prompts(path, count)), count

    def run(self, command: Sequence[str], output: Path, count: int) -> Figures:
        """Run one program that must write a result for every record."""
        output.unlink(missing_ok=True)
        figures = run(command, server=self.server, home=self.folder)
        if written(output) != count:
            sys.exit(f"{command} wrote {written(output)} of {count} records")
        return figures

    def ours(self, records: tuple[Path, int], in_flight: int, *more: str, after: float = 0.0) -> Callable[[], Figures]:
        """Return what runs ours."""
        (source, count), output = records, self.folder / "ours.jsonl"
        return partial(self.run, ours(self.server.url(after), source, output, in_flight, *more), output, count)

    def peer(
        self, name: str, records: tuple[Path, int], in_flight: int, *, after: float = 0.0
    ) -> Callable[[], Figures]:
        """Return what runs a peer."""
        (source, count), output = records, self.folder / "theirs.jsonl"
        return partial(self.run, peer(name, self.server.url(after), source, output, in_flight), output, count)


def instant(bench: Bench) -> list[Line]:
    """A server that answers at once, 64 workers: the peers on aiohttp in turns with ours, the slow ones on fewer."""
    many, few = bench.prompts(20_000), bench.prompts(5_000)
    lines = []
    quick = {"aiohttp and uvloop, worker pool": ">= 2", "aiohttp and uvloop, worker pool, orjson": ">= 2"}
    figures = turns({"ours": bench.ours(many, 64)} | {name: bench.peer(name, many, 64) for name in quick}, rounds=11)
    work = f"instant server, 64 workers, {many[1]:,} records"
    for name, bar in quick.items():
        lines.append(compared(work, name, figures["ours"], figures[name], (many[1], many[1]), bar=bar))
    name, long = "aiohttp and uvloop, worker pool, orjson", bench.prompts(200_000)  # the start counts for little
    figures = turns({"ours": bench.ours(long, 64), name: bench.peer(name, long, 64)}, rounds=3)
    work_long = f"instant server, 64 workers, {long[1]:,} records"
    lines.append(compared(work_long, name, figures["ours"], figures[name], (long[1], long[1]), bar=">= 2"))
    slow = {"openai client and uvloop, semaphore": ">= 20", "httpx and uvloop, one shared client": ""}
    figures = turns({"ours": bench.ours(many, 64)} | {name: bench.peer(name, few, 64) for name in slow}, rounds=2)
    for name, bar in slow.items():
        label = f"{name}, {few[1]:,} records"
        lines.append(compared(work, label, figures["ours"], figures[name], (many[1], few[1]), bar=bar))
    return lines


def slow(bench: Bench) -> list[Line]:
    """A server that answers after 0.5 s, 1,000 in flight: against the ideal and against aiohttp."""
    records, peer = bench.prompts(20_000), "aiohttp and uvloop, worker pool, orjson"
    in_flight, after = 1000, 0.5
    figures = turns(
        {
            "ours": bench.ours(records, in_flight, after=after),
            peer: bench.peer(peer, records, in_flight, after=after),
        },
        rounds=3,
    )
    work = f"server answers after {after} s, {in_flight:,} in flight, {records[1]:,} records"
    count = records[1]
    ideal = [Figures(count / in_flight * after, 0, 0, 0)] * 3
    return [
        compared(work, "ideal: in flight / latency", figures["ours"], ideal, (count, count), bar=">= 0.9"),
        compared(work, peer, figures["ours"], figures[peer], (count, count), bar=">= 1"),
    ]


def cpu(bench: Bench) -> list[Line]:
    """CPU per record while more and more is in flight, all connections busy all the time."""
    records = bench.prompts(100_000)
    count = records[1]
    levels = (64, 500, 1000, 2000, 4000)
    figures = turns({str(level): bench.ours(records, level) for level in levels}, rounds=5)
    spent = {level: [one.cpu / count * 1e6 for one in figures[str(level)]] for level in levels}
    lines = []
    for level in levels[1:]:
        ratios = [a / b for a, b in zip(spent[level], spent[levels[0]], strict=True)]
        lines.append(
            Line(
                f"CPU a record, {level:,} in flight, {count:,} records",
                f"{levels[0]} in flight",
                "us",
                median(spent[levels[0]]),
                median(spent[level]),
                median(ratios),
                min(ratios),
                max(ratios),
                "<= 1.5",
                memory=max(one.memory for one in figures[str(level)]),
            )
        )
    return lines


def durable(bench: Bench) -> list[Line]:
    """What order, syncs and intents cost, each against the same without."""
    records = bench.prompts(20_000)
    source, count = records
    stream = bench.folder / "stream.jsonl"
    plain = ["sh", "-c", 'out=$1; shift; exec "$@" > "$out"', "sh", str(stream)]
    without = [word for word in ours(bench.server.url(), source, stream, 64) if word not in ("-o", str(stream))]
    without.remove("--overwrite")
    programs: dict[str, Callable[[], Figures]] = {
        "default": bench.ours(records, 64),
        "ordered": bench.ours(records, 64, "--ordered"),
        "never": bench.ours(records, 64, "--fsync", "never"),
        "stdout": partial(bench.run, [*plain, *without], stream, count),
    }
    figures = turns(programs, rounds=15)
    work = f"64 workers, {count:,} records, time with and without: "
    return [
        compared(work + what, against, figures[a], figures[b], (count, count), bar="<= 1.1", cost=True)
        for what, against, a, b in (
            ("--ordered", "completion order", "ordered", "default"),
            ("--fsync batch", "--fsync never", "default", "never"),
            ("intents and journal, no syncs", "stdout to a file", "never", "stdout"),
        )
    ]


def startup(bench: Bench) -> list[Line]:
    """Short commands, the first request, and the first result of a short and of a long input."""
    python, rounds = sys.executable, 15
    programs = {
        "typer": [python, "-c", "import typer"],
        "--version": [python, "-m", "llmbatch", "--version"],
        "--help": [python, "-m", "llmbatch", "--help"],
    }
    figures = turns({name: partial(run, command, home=bench.folder) for name, command in programs.items()}, rounds)
    lines = [
        _longer(f"llmbatch {name}", "python -c 'import typer'", figures[name], figures["typer"], bar)
        for name, bar in (("--version", "<= 1.3"), ("--help", "<= 3"))
    ]
    one = prompts(bench.folder / "one.jsonl", 1)
    took = [_first_request(bench, one, bench.folder / "one.out") for _ in range(7)]
    lines.append(Line("run, to its first request on loopback", "", "s", None, median(took), bar="<= 0.8"))
    short, long = prompts(bench.folder / "short.jsonl", 15), _gigabyte(bench)
    figures = turns({"short": partial(_first_result, bench, short), "long": partial(_first_result, bench, long)}, 7)
    size = f"{long.stat().st_size / 1e9:.2g} GB"
    lines.append(
        _longer(
            f"run, to its first result, {size} of input", "1 kB of input", figures["long"], figures["short"], "<= 1.2"
        )
    )
    long.unlink()
    return lines


def shards(bench: Bench) -> list[Line]:
    """Two runs side by side, a shard each."""
    records = bench.prompts(40_000)
    source, count = records
    parts = [bench.folder / f"shard-{number}.jsonl" for number in (1, 2)]

    def both() -> Figures:
        commands = [
            ours(bench.server.url(), source, path, 64, "--shard", f"{number}/2") for number, path in enumerate(parts, 1)
        ]
        figures = run(*commands, server=bench.server, home=bench.folder)
        if written(*parts) != count:
            sys.exit(f"the shards wrote {written(*parts)} of {count} records")
        return figures

    figures = turns({"one": bench.ours(records, 64), "two": both}, rounds=3)
    work = f"two shards side by side on {os.cpu_count()} cores, server included, {count:,} records"
    return [compared(work, "one run", figures["two"], figures["one"], (count, count))]


def million(bench: Bench) -> list[Line]:
    """Memory of a million records, and how soon their file is gone through when it is continued. Minutes."""
    source, count = bench.prompts(1_000_000)
    output = bench.folder / "million.jsonl"
    first = bench.run(ours(bench.server.url(), source, output, 64), output, count)
    allowed = 150e6 + 100 * count + 64e3 * 64
    work = f"{count:,} records, 100-byte answers, 64 workers"
    rate = Line(work, "", "records/s", None, count / first.wall, cpu_ours=first.cpu / count * 1e6, memory=first.memory)
    return [rate, _memory(f"{work}: peak memory", allowed, first), *_resumes(bench, source, output, count)]


def batches(bench: Bench) -> list[Line]:
    """A million records in twenty batches at the mock: how fast they are cut and settled, and the memory. Minutes.

    The mock has the same cores, but most of its own work lies between the two.
    """
    source, count = bench.prompts(1_000_000)
    output = bench.folder / "batches.jsonl"
    with mock("--batch-delay", "60") as url, steps_of(output) as steps:
        figures = bench.run(ours(url, source, output, 64, "--batch-api", "--no-first-live"), output, count)
    began = steps[0].at
    cut = max(step.at for step in steps if step.name == "drawn") - began
    settling, open_until = 0.0, 0.0
    ends = {step.ticket: step.at for step in steps if step.name == "settled"}
    for step in steps:
        if step.name == "fetched":  # several may be settled at once
            settling += max(0.0, ends[step.ticket] - max(step.at, open_until))
            open_until = max(open_until, ends[step.ticket])
    work = f"{count:,} records in batches of 50,000"
    return [
        Line(f"{work}: read and cut", "", "records/s", None, count / cut, bar=">= 30000"),
        Line(f"{work}: rows settled", "", "rows/s", None, count / settling, bar=">= 20000"),
        _memory(f"{work}: peak memory", 150e6 + 100 * count, figures),
    ]


def _resumes(bench: Bench, source: Path, output: Path, count: int) -> list[Line]:
    """Continue a finished file, and one whose last tenth is missing, in turns."""
    nine_tenths = bench.folder / "nine-tenths.jsonl"

    def finished() -> Figures:
        command = ours(bench.server.url(), source, output, 64)
        command.remove("--overwrite")
        return run(command, server=bench.server, home=bench.folder)

    def until_it_sends() -> Figures:
        _cut_short(output, nine_tenths, count * 9 // 10)
        return Figures(_first_request(bench, source, nine_tenths, anew=False), 0, 0, 0)

    figures = turns({"finished": finished, "nine tenths": until_it_sends}, rounds=3)
    work = f"resume of {count:,} records"
    took = {name: [one.wall / count * 1e6 for one in rounds] for name, rounds in figures.items()}
    ratios = [a / b for a, b in zip(took["nine tenths"], took["finished"], strict=True)]
    peak = max(figures["finished"], key=lambda one: one.memory)
    return [
        Line(
            f"{work}, all done: time a record",
            "",
            "us",
            None,
            median(took["finished"]),
            bar="<= 8",
            cpu_ours=median(one.cpu for one in figures["finished"]) / count * 1e6,
        ),
        _memory(f"{work}, all done: peak memory", 150e6 + 100 * count, peak),
        Line(
            f"{work}, nine tenths done: time a record until it sends",
            "all done",
            "us",
            median(took["finished"]),
            median(took["nine tenths"]),
            median(ratios),
            min(ratios),
            max(ratios),
            "<= 1.2",
        ),
    ]


def _cut_short(results: Path, to: Path, count: int) -> None:
    """Write a results file as if a run had ended after so many records."""
    shutil.rmtree(f"{to}.state", ignore_errors=True)
    shutil.copytree(f"{results}.state", f"{to}.state")
    with results.open("rb") as lines, to.open("wb") as out:
        out.writelines(islice(lines, count))


ROWS = {row.__name__: row for row in (instant, slow, cpu, durable, startup, shards)}
"""By name, in the order of the table."""

LONG = {row.__name__: row for row in (million, batches)}
"""Only when asked for."""


def _memory(work: str, allowed: float, figures: Figures) -> Line:
    ratio = figures.memory / allowed
    against = "150 MB + 100 B a record + 64 kB in flight"
    return Line(work, against, "MB", allowed / 1e6, figures.memory / 1e6, ratio, ratio, ratio, "<= 1")


def _longer(work: str, against: str, ours: Rounds, theirs: Rounds, bar: str) -> Line:
    """Compare times to an end."""
    ratios = [a.wall / b.wall for a, b in zip(ours, theirs, strict=True)]
    their, our = (median(one.wall for one in rounds) for rounds in (theirs, ours))
    return Line(work, against, "s", their, our, median(ratios), min(ratios), max(ratios), bar)


def _first_request(bench: Bench, source: Path, output: Path, *, anew: bool = True) -> float:
    """Return the seconds from the start of a run to the first byte of its first request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = ours(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", source, output, 64)
        if not anew:
            command.remove("--overwrite")
        began = time.monotonic()
        with subprocess.Popen(command, env=environment(bench.folder), stderr=subprocess.DEVNULL) as process:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1)
                    return time.monotonic() - began
            finally:
                process.kill()


def _first_result(bench: Bench, source: Path) -> Figures:
    """Measure from the start of a run to the first line of its results."""
    output = bench.folder / "first.jsonl"
    output.unlink(missing_ok=True)
    began = time.monotonic()
    command = ours(bench.server.url(), source, output, 64)
    with subprocess.Popen(command, env=environment(bench.folder), stderr=subprocess.DEVNULL) as process:
        try:
            while not (output.exists() and output.stat().st_size):
                if process.poll() is not None:
                    sys.exit(f"{command} ended without a result")
                time.sleep(0.001)
            return Figures(time.monotonic() - began, 0, 0, 0)
        finally:
            process.kill()


def _gigabyte(bench: Bench) -> Path:
    """Write a gigabyte of prompts."""
    path, line = bench.folder / "long.jsonl", b'{"prompt": "Write one sentence about this number."}\n'
    block = line * 20_000
    with path.open("wb") as out:
        for _ in range(max(1, int(1e9 * bench.scale / len(block)))):
            out.write(block)
    return path

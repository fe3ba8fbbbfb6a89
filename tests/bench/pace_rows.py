"""The rows of `make bench-pace`: services and jobs, the clients that meet them, and the bars."""

import heapq
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["ROWS", "Client", "Figures", "Row", "Service"]

Entry = dict[str, Any]
WATCHED = 10.0
"""Seconds for which a server that is gone is watched."""
HERE = Path(__file__).parent


class Figures(NamedTuple):
    """How a job went: seconds and those of an ideal client; shares and counts of requests.

    `attempts` counts those to connect to a server that is gone, `at_once` the most that were in flight when it died.
    """

    seconds: float
    ideal: float
    refused: float
    early: float
    missing: float
    attempts: float = 0.0
    at_once: float = 0.0


class Client(NamedTuple):
    """A program: `command` makes its command line from a base URL, an input and the seconds it has at most."""

    name: str
    command: Callable[[str, Path, float], Sequence[object]]
    at_once: int


def llmbatch(*flags: object) -> Client:
    """Return llmbatch with these flags."""

    def command(base_url: str, source: Path, seconds: float) -> Sequence[object]:
        run = (sys.executable, "-m", "llmbatch", "run", source, "--base-url", base_url, "-m", "m", "-q")
        out = ("-o", source.with_name("out.jsonl"), "--overwrite", "--deadline", f"{seconds}s", "--grace", "0")
        return (*run, *out, *flags)

    at_once = int(str(flags[flags.index("-c") + 1])) if "-c" in flags else 256
    return Client(" ".join(["llmbatch", *map(str, flags or ("-c", "auto"))]), command, at_once)


def openai(at_once: int) -> Client:
    """Return the openai client behind a semaphore, with its own retries."""

    def command(base_url: str, source: Path, seconds: float) -> Sequence[object]:
        return (sys.executable, HERE / "openai_retries.py", base_url, source, at_once, seconds)

    return Client(f"openai, semaphore({at_once})", command, at_once)


@dataclass(frozen=True)
class Service:
    """A mock provider, and how many records are sent to it.

    `at_once`, `burst` and `rate` (a second) are what an ideal client is bounded by. `waits` are the seconds after which
    a refused request may come back, by status. `dies_after` is for how many seconds it answers.
    """

    records: int
    flags: tuple[str, ...]
    at_once: int
    rate: float | None = None
    burst: int = 0
    waits: dict[int, float] = field(default_factory=dict)
    dies_after: float | None = None

    def stretched(self, times: float) -> "Service":
        """Return the same service with answers that take so many times as long."""
        flags = list(self.flags)
        if "--latency" in flags:
            at = flags.index("--latency") + 1
            flags[at] = f"{times * float(flags[at]):g}"
        return replace(self, flags=tuple(flags))

    @property
    def patience(self) -> float:
        """How many seconds a client gets; what it has not done by then shows in its figures."""
        return 400.0 if self.dies_after is None else self.dies_after + WATCHED

    def figures(self, entries: Sequence[Entry], client: Client, stdout: str, stderr: str) -> Figures:
        """Judge a run by the provider's ledger, or, where there is no server, by what the client says it did."""
        if self.dies_after is not None:
            lost = stderr.count("connection refused by") if client.name.startswith("llmbatch") else int(stdout)
            return Figures(0.0, 0.0, 0.0, 0.0, 0.0, lost, client.at_once)
        answered = [entry for entry in entries if entry["status"] == 200 and not entry["aborted"]]
        began = min(entry["t_start"] for entry in entries)
        refused = sum(entry["status"] in (429, 503) for entry in entries)
        took = [entry["t_end"] - entry["t_start"] for entry in answered]
        return Figures(
            max(entry["t_end"] for entry in answered) - began,
            self._ideal(took, min(self.at_once, client.at_once)),
            refused / len(entries),
            sum(self._is_early(before, after) for before, after in _pairs(entries)),
            self.records - len({entry["prompt"] for entry in answered}),
        )

    def _ideal(self, took: Sequence[float], at_once: int) -> float:
        """Return the seconds that these answers take, so many at once, each as early as the service allows."""
        slots, last = [0.0] * at_once, 0.0
        for number, seconds in enumerate(took):
            allowed = max(0.0, (number + 1 - self.burst) / self.rate) if self.rate else 0.0
            ended = max(slots[0], allowed) + seconds
            heapq.heapreplace(slots, ended)
            last = max(last, ended)
        return last

    def _is_early(self, before: Entry, after: Entry) -> bool:
        wait = self.waits.get(before["status"])
        return wait is not None and after["t_start"] < before["t_end"] + wait


def _pairs(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Return the attempts at each record, each with the next one."""
    attempts: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: float(entry["t_start"])):
        attempts.setdefault(entry["prompt"], []).append(entry)
    return [pair for of_record in attempts.values() for pair in pairwise(of_record)]


Bar = Callable[[Figures, dict[str, Figures]], tuple[str, bool] | None]
"""Tells how a client did against the bar, given its figures and those of all; None where none is set."""


@dataclass(frozen=True)
class Row:
    """A service, the clients, and a bar for those of ours."""

    name: str
    service: Service
    clients: tuple[Client, ...]
    bar: Bar

    def cells(self, of: Figures) -> list[str]:
        """Write figures."""
        if self.service.dies_after is not None:
            return ["", "", "", ""]
        lost = f" ({of.missing:.0f} missing)" if of.missing else ""
        return [f"{of.seconds:.1f}{lost}", f"{of.ideal:.1f}", f"{of.refused:.1%}", f"{of.early:.0f}"]

    def verdict(self, name: str, all_figures: dict[str, Figures]) -> str:
        """Say how a client did against the bar; nothing for peers."""
        if not name.startswith("llmbatch"):
            return (
                f"{all_figures[name].attempts:.0f} attempts in {WATCHED:.0f} s"
                if self.service.dies_after is not None
                else ""
            )
        figures = all_figures[name]
        result = self.bar(figures, all_figures)
        if result is None:
            return ""
        text, reached = result
        return f"{text}: {'yes' if reached and not figures.missing else 'NO'}"


def _times(most: float, peer: str, what: str) -> Bar:
    """At most so many times as long as another client."""

    def bar(of: Figures, others: dict[str, Figures]) -> tuple[str, bool] | None:
        if of is others[peer]:
            return None
        ratio = of.seconds / others[peer].seconds
        early = f", {of.early:.0f} early" if of.early else ""
        return f"{ratio:.2f} x {what} (at most {most:g}){early}", ratio <= most and not of.early

    return bar


def _of_ideal(least: float) -> Bar:
    """At least this share of the ideal pace."""

    def bar(of: Figures, _: dict[str, Figures]) -> tuple[str, bool]:
        share = of.ideal / of.seconds
        early = f", {of.early:.0f} early" if of.early else ""
        return f"{share:.2f} of ideal (at least {least:g}){early}", share >= least and not of.early

    return bar


def _refused(most: float) -> Bar:
    """At most this share of the requests refused."""
    return lambda of, _: (f"{of.refused:.1%} refused (at most {most:.1%})", of.refused <= most)


def _attempts(most: int) -> Bar:
    """At most so many attempts to connect, beyond those in flight when the server died."""

    def bar(of: Figures, _: dict[str, Figures]) -> tuple[str, bool]:
        text = f"{of.attempts:.0f} attempts in {WATCHED:.0f} s (at most {of.at_once:.0f} in flight, and {most})"
        return text, of.attempts <= of.at_once + most

    return bar


def _lognormal(seconds: float) -> tuple[str, ...]:
    return ("--latency", str(seconds), "--sigma", "0.3", "--refusal-latency", "0.05")


def _unlimited(name: str, records: int, seconds: float, at_once: int) -> Row:
    """A service without limits."""
    clients = (llmbatch(), llmbatch("-c", at_once), openai(at_once))
    bar = _times(1.5, f"llmbatch -c {at_once}", "the fixed number")
    return Row(name, Service(records, _lognormal(seconds), at_once), clients, bar)


def _refusing(name: str, refusal: str, waits: dict[int, float]) -> Row:
    """A service that refuses one in twenty, whatever the load is."""
    service = Service(1500, (*_lognormal(0.5), "--random-refusals", refusal), 64, waits=waits)
    return Row(name, service, (llmbatch(), llmbatch("-c", 64), openai(64)), _of_ideal(0.7))


def _troubled(name: str, *refusals: str, waits: dict[int, float]) -> Row:
    """A service that answers at once, where it does."""
    flags = [word for refusal in (*refusals, "500:0.02") for word in ("--random-refusals", refusal)]
    service = Service(300, tuple(flags), 64, waits=waits)
    clients = (llmbatch(), llmbatch("-c", 64), openai(64))
    return Row(name, service, clients, _times(2.0, "openai, semaphore(64)", "the openai client"))


ROWS = {
    "1": _unlimited("1: 100 records of 5 s, no limit", 100, 5.0, 100),
    "2": _unlimited("2: 1,000 records of 5 s, no limit", 1000, 5.0, 256),
    "3": _unlimited("3: 30 records of 10 s, no limit", 30, 10.0, 30),
    "4": _refusing("4: 1,500 of 0.5 s; 5 % 429, Retry-After 1", "429:0.05:1", {429: 1.0}),
    "5": _refusing("5: 1,500 of 0.5 s; 5 % 429", "429:0.05", {}),
    "6": _refusing("6: 1,500 of 0.5 s; 5 % 503", "503:0.05", {}),
    "7": Row(
        "7: 600 of 5 s; 600 a minute announced, bucket of 20",
        Service(600, (*_lognormal(5.0), "--rpm", "600", "--burst", "20"), 600, rate=10.0, burst=20),
        (llmbatch(), llmbatch("-c", 64), openai(64)),
        _of_ideal(0.9),
    ),
    "8": Row(
        "8: 1,000 of 0.5 s; a limiter of 40 a second",
        Service(1000, (*_lognormal(0.5), "--rpm", "2400", "--window", "1", "--no-announce"), 1000, rate=40.0, burst=40),
        (llmbatch("--rpm", 2400), openai(20)),
        _refused(0.002),
    ),
    "9": Row(
        "9: 60 of 5 s; 60 a minute unannounced, bucket of 5",
        Service(60, (*_lognormal(5.0), "--rpm", "60", "--burst", "5", "--no-announce"), 60, rate=1.0, burst=5),
        (llmbatch(), llmbatch("-c", 5), openai(5)),
        _refused(0.05),
    ),
    "10": Row(
        "10: 1,500 of 0.5 s; the server is gone after 3 s",
        Service(1500, _lognormal(0.5), 64, dies_after=3.0),
        (
            llmbatch("--max-outage", WATCHED, "--debug"),
            llmbatch("-c", 64, "--max-outage", WATCHED, "--debug"),
            openai(64),
        ),
        _attempts(10),
    ),
    "11": _troubled(
        "11: 300 at once; 10 % 429, 5 % 503, both Retry-After 1, 2 % 500",
        "429:0.1:1",
        "503:0.05:1",
        waits={429: 1.0, 503: 1.0},
    ),
    "11b": _troubled("11b: the same without Retry-After, as in Gemini's dialect", "429:0.1", "503:0.05", waits={}),
}
"""By number."""

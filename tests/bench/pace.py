"""Print how much of what a service allows is used, and how much of what is asked it refuses: `make bench-pace`.

Real sockets to the built-in mock; its ledger is the judge. Each client has a provider of its own and the same time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.torture.bench import Provider

Command = Callable[[str, Path, float], Sequence[object]]
"""Makes the command of a client from a base URL, an input and how many seconds it has."""


@dataclass(frozen=True)
class Service:
    """A provider with a limit that nobody is told, but for what its headers say. `capacity` is in answers a second."""

    name: str
    flags: tuple[str, ...]
    capacity: float


def at_once(limit: int, latency: float, jitter: float) -> Service:
    """Return a service that answers so many requests at once, in latency plus up to jitter seconds."""
    flags = ("--concurrency-limit", str(limit), "--latency", str(latency), "--jitter", str(jitter))
    return Service(f"{limit} at once", flags, limit / (latency + jitter / 2))


def a_minute(limit: int, latency: float, jitter: float) -> Service:
    """Return a service that answers so many requests in any minute."""
    flags = ("--rpm", str(limit), "--latency", str(latency), "--jitter", str(jitter))
    return Service(f"{limit:,} a minute", flags, limit / 60)


def llmbatch(*flags: object) -> Command:
    """Run llmbatch with these flags."""

    def command(base_url: str, source: Path, seconds: float) -> Sequence[object]:
        run = (sys.executable, "-m", "llmbatch", "run", source, "--base-url", base_url, "-m", "m", "-q")
        out = ("-o", source.with_name("out.jsonl"), "--overwrite", "--deadline", f"{seconds}s", "--grace", "0")
        return (*run, *out, *flags)

    return command


def semaphore(base_url: str, source: Path, seconds: float) -> Sequence[object]:
    """Run the script."""
    return (sys.executable, Path(__file__).with_name("semaphore.py"), base_url, source, 200, seconds)


SCENES: tuple[tuple[Service, dict[str, Command]], ...] = (
    (
        at_once(32, 0.5, 0.5),
        {"llmbatch -c auto": llmbatch(), "llmbatch -c 200": llmbatch("-c", 200), "semaphore(200)": semaphore},
    ),
    (
        a_minute(2400, 0.5, 0.5),
        {
            "llmbatch -c auto": llmbatch(),
            "llmbatch --rpm 2400": llmbatch("--rpm", 2400),
            "llmbatch -c 200": llmbatch("-c", 200),
            "semaphore(200)": semaphore,
        },
    ),
)


def measure(service: Service, client: Command, seconds: float) -> tuple[float, float]:
    """Return answers a second, and which share of the requests was refused, in so many seconds from the first."""
    with tempfile.TemporaryDirectory() as name, closing(Provider(Path(name), *service.flags)) as provider:
        folder = Path(name)
        source = folder / "in.jsonl"
        count = int(service.capacity * seconds * 2) + 400
        source.write_text("".join(json.dumps({"id": n, "prompt": f"number {n}"}) + "\n" for n in range(count)))
        command = [str(word) for word in client(provider.base_url, source, seconds + 2)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        time.sleep(2)  # what the deadline dropped is still in the provider's hands
        entries = provider.new_entries()
    began = min(entry["t_start"] for entry in entries)
    within = [entry for entry in entries if entry["t_end"] <= began + seconds]
    answered = sum(entry["status"] == 200 and not entry["aborted"] for entry in within)
    return answered / seconds, sum(entry["status"] == 429 for entry in within) / len(within)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pace", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each client")
    given = parser.parse_args()
    print(f"{'service':18}{'client':22}{'answered/s':>12}{'of capacity':>13}{'refused':>10}")
    for service, clients in SCENES:
        for name, client in clients.items():
            rate, refused = measure(service, client, given.seconds)
            share = rate / service.capacity
            print(f"{service.name:18}{name:22}{rate:>12.1f}{share:>13.1%}{refused:>10.1%}", flush=True)


if __name__ == "__main__":
    main()

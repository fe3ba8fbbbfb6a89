"""Runs with batches that die at an operation on a file, and are continued: the provider's ledger is the judge."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from llmbatch.core.ticket import Step
from llmbatch.results.ticket_log import read_log
from tests.torture.bench import Bench, Ended, Provider, quick_folder, results_of, write_records
from tests.torture.trap import Trap

__all__ = ["APIS", "OPERATIONS", "POLICIES", "BatchLoop", "batch_loop", "every_operation"]

OPERATIONS = 125
"""About so many operations on files make a run with two batches."""
APIS: dict[str, tuple[str, list[object]]] = {
    "openai": ("/v1", ["-p", "openai"]),
    "anthropic": ("/v1", ["-p", "anthropic"]),
    "gemini": ("/v1beta", ["-p", "gemini"]),
    "xai": ("/xai/v1", ["-p", "xai"]),
    "embeddings": ("/v1", ["-p", "openai", "--endpoint", "embeddings"]),
}
"""The root and the flags of each API; three embeddings share a request."""
POLICIES = ("hold", "retry")


class BatchLoop:
    """Jobs at a provider that loses a fifth of all creates, and whose list lags a little."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self._bench = bench
        self._ledger = folder / "ledger.jsonl"
        flags = ("--batch-delay", "0.2", "--batch-lost-create", "0.2", "--batch-lag", "0.3")
        self._provider = Provider(folder, *flags)
        self._jobs = count()
        self.kills = 0
        self.reported = 0
        """What lines tell of requests that may have been billed twice."""
        self.waiting = 0
        """Runs whose batch waits for a person to say whether it was made."""
        self.struck = 0

    def close(self) -> None:
        """Stop the provider."""
        self._provider.close()

    def play(self, folder: Path, api: str, policy: str, operations: Iterable[int]) -> list[str]:
        """Kill a job at each of these operations, one run after the other, and let it end; return what is wrong."""
        name = f"{api}.{policy}.{next(self._jobs)}."
        records: list[dict[str, Any]] = [{"id": f"{name}{n}", "prompt": f"{name}{n} asks"} for n in range(6)]
        root, flags = APIS[api]
        url = self._provider.base_url.removesuffix("/v1") + root
        order: list[object] = [write_records(folder / "in.jsonl", records), "--base-url", url, "-m", "m", "-q"]
        order += [*flags, "-o", folder / "out.jsonl", "--in-doubt", policy, "--batch-api", "--batch-records", 3]
        self.struck = 0
        for at in operations:
            self.struck += self._bench.run(folder, *order, trap=Trap(at=at, folder=str(folder))).killed
        self.kills += self.struck
        return list(self._wrong(name, folder, policy, len(records), self._bench.run(folder, *order)))

    def _wrong(self, name: str, folder: Path, policy: str, records: int, last: Ended) -> Iterator[str]:
        lines = results_of(folder / "out.jsonl")
        ids = [line["id"] for line in lines]
        # The first record goes live, and may have been in flight: hold does not send it again.
        missing = records - len(set(ids))
        if len(ids) != len(set(ids)):
            yield f"{name}: a record has two lines"
        asked = 0
        if name.startswith("anthropic.hold."):  # where only rows tell whose a batch is, it may wait for a person
            tickets = read_log(folder / "out.jsonl.state" / "tickets.jsonl").tickets.values()
            asked = sum(ticket.count for ticket in tickets if ticket.step is Step.ASKED)
        self.waiting += asked > 0
        if missing - asked > (policy == "hold"):
            yield f"{name}: {missing} records are lost"
        if last.code != (8 if asked else 7 if missing else 0):
            yield f"{name}: exit {last.code}: {last.stderr}"
        if any(line["status"] != "ok" for line in lines):
            yield f"{name}: a record failed"
        reported = {line["id"]: line.get("possibly_billed", 0) for line in lines}
        self.reported += sum(reported.values())
        for id, times in self._billed(name).items():
            if times - 1 > (0 if policy == "hold" else reported.get(id, 0)):
                yield f"{name}: {id} was billed {times} times, {reported.get(id, 0)} of them reported"

    def _billed(self, name: str) -> Counter[str]:
        """Count what was charged, live and in batches, by the prompt's first word."""
        lines = self._ledger.read_bytes().rpartition(b"\n")[0].split(b"\n")
        entries = [json.loads(line) for line in lines if line]
        prompts = (prompt for entry in entries if entry["billed"] for prompt in entry["prompt"].split("\n"))
        words = (prompt.split(" ")[0] for prompt in prompts)
        return Counter(word for word in words if word.startswith(name))


@contextmanager
def batch_loop(bench: Bench) -> Iterator[BatchLoop]:
    """Begin a loop with a provider of its own."""
    with tempfile.TemporaryDirectory() as folder, closing(BatchLoop(Path(folder), bench)) as loop:
        yield loop


def every_operation(loop: BatchLoop, api: str, policy: str) -> list[str]:
    """Kill a new job at its first operation, another one at its second, until one has fewer; return what is wrong."""
    wrong: list[str] = []
    for at in count(1):
        with quick_folder() as folder:
            wrong += loop.play(folder, api, policy, [at])
        if not loop.struck:
            return wrong
    raise AssertionError  # count() has no end

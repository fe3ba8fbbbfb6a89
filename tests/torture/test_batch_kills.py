"""Runs with batches die at the n-th operation on a file, and are continued: the provider's ledger is the judge."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.deep import DEEP
from tests.torture.bench import Bench, Ended, Provider, results_of, write_records
from tests.torture.trap import Trap

OPERATIONS = 70
"""About so many operations on files make a run with one batch."""
ROOTS = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}


class Batching:
    """A provider that loses a fifth of all creates, and whose list lags a little."""

    def __init__(self, folder: Path) -> None:
        self.ledger = folder / "ledger.jsonl"
        flags = ("--batch-delay", "0.2", "--batch-lost-create", "0.2", "--batch-lag", "0.3")
        self.provider = Provider(folder, *flags)

    def close(self) -> None:
        self.provider.close()

    def billed(self, name: str) -> Counter[str]:
        """Count what was charged, live and in batches, by the prompt's first word."""
        lines = self.ledger.read_bytes().rpartition(b"\n")[0].split(b"\n")
        entries = [json.loads(line) for line in lines if line]
        words = (entry["prompt"].split(" ")[0] for entry in entries if entry["billed"])
        return Counter(word for word in words if word.startswith(name))


@pytest.fixture(scope="module")
def batching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batching]:
    with closing(Batching(tmp_path_factory.mktemp("batching"))) as provider:
        yield provider


@pytest.mark.parametrize("policy", ["hold", "retry"])
@pytest.mark.parametrize("dialect", ROOTS)
def test_a_run_with_batches_may_be_killed_at_any_operation(
    bench: Bench, batching: Batching, quick: Path, dialect: str, policy: str
) -> None:
    random, kills = Random(f"{dialect} {policy}"), 0
    while kills < (5 if DEEP else 2):
        name = f"{dialect}.{policy}.{kills}."
        folder = quick / name
        folder.mkdir()
        records: list[dict[str, Any]] = [{"id": f"{name}{n}", "prompt": f"{name}{n} asks"} for n in range(6)]
        url = batching.provider.base_url.removesuffix("/v1") + ROOTS[dialect]
        order: list[object] = [write_records(folder / "in.jsonl", records), "--base-url", url, "-m", "m", "-q"]
        order += ["-p", dialect, "-o", folder / "out.jsonl", "--in-doubt", policy, "--batch-api", "--batch-records", 3]
        ended: Ended | None = None
        for _ in range(3):
            trap = Trap(at=random.randint(1, OPERATIONS), folder=str(folder))
            ended = bench.run(folder, *order, trap=trap)
            kills += ended.killed
        last = bench.run(folder, *order)
        lines = results_of(folder / "out.jsonl")
        # The first record goes live, and may have been in flight: hold does not send it again.
        missing = {record["id"] for record in records} - {line["id"] for line in lines}
        assert len(missing) <= (policy == "hold") and len(lines) + len(missing) == len(records)
        assert last.code == (7 if missing else 0), f"{ended}, then {last.stderr}"
        assert all(line["status"] == "ok" for line in lines)
        billed = batching.billed(name)
        reported = {line["id"]: line.get("possibly_billed", 0) for line in lines}
        for id, count in billed.items():
            allowed = 0 if policy == "hold" else reported[id]
            assert count - 1 <= allowed, f"{id} was billed {count} times, {allowed} of them reported"

"""The shape of the cost: `make bench-smoke`. Counts and wide ratios, never seconds.

What a record costs is the difference between a long and a short run, so that the start does not count.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from llmbatch.cli.lazy_commands import VERBS
from tests.bench.loopback import loopback
from tests.bench.measure import run
from tests.bench.programs import ours, prompts, written

HEAVY = {"httpx", "anyio", "jinja2", "rich.live", "asyncio", "orjson", "llmbatch.app", "llmbatch.options.resolve"}
FEW, MANY = 64, 512
PATIENCE = ("--deadline", "60", "--grace", "0")
SYNCS = ("fsync", "fdatasync")
SYSCALLS = {
    f"C {name}"
    for name in ("send", "sendmsg", "recv", "recv_into", "poll", "read", "readinto", "write", "pwrite", *SYNCS)
}


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]], ids=" ".join)
def test_what_only_shows_imports_nothing_that_runs(arguments: list[str]) -> None:
    assert _imported(*arguments) & HEAVY == set()


def test_the_version_imports_no_verb() -> None:
    assert _imported("--version") & {f"llmbatch.cli.{verb}" for verb in VERBS} == set()


class Cost(NamedTuple):
    """What a record costs: calls of functions by name. And what the whole of the longer run did."""

    calls: dict[str, float]
    connections: int
    requests: int
    modules: set[str]
    far: set[str]
    """Modules of the process that holds the connections."""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Cost:
    return _counted(tmp_path_factory.mktemp("few"), FEW)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Cost:
    return _counted(tmp_path_factory.mktemp("many"), MANY)


def test_a_worker_has_one_connection_and_keeps_it(few: Cost, many: Cost) -> None:
    assert (few.connections, many.connections) == (FEW, MANY)


def test_a_run_imports_only_what_it_uses(few: Cost) -> None:
    """httpcore is httpx's shared pool."""
    assert "httpx" in few.far and "httpx" not in few.modules
    unused = {
        "httpcore",
        "h11",
        "jinja2",
        "rich.live",
        "genai_prices",
        "jsonschema_rs",
        "pyarrow",
        "pydantic",
        "llmbatch.mock.server",
        "llmbatch.app.first_pass",
        "llmbatch.app.key_command",
        "llmbatch.dialects.batch_api",
        "llmbatch.dialects.gemini",
        "llmbatch.dialects.passthrough",
        "llmbatch.input.csv_rows",
        "llmbatch.input.parquet",
    }
    assert (few.modules | few.far) & unused == set()
    assert few.far & {"typer", "rich", "pydantic", "anyio", "llmbatch.engine"} == set()


@pytest.mark.parametrize(
    ("what", "functions", "most"),
    [
        ("threads handing over", ("BaseEventLoop.call_soon_threadsafe",), 0.6),
        ("event-loop callbacks", ("Handle._run",), 8),
        ("tasks", ("BaseEventLoop.create_task",), 0.1),
        ("timers", ("BaseEventLoop.call_at",), 0.5),
        ("synced writes", tuple(f"C {name}" for name in SYNCS), 0.3),
    ],
)
def test_a_record_costs_no_more_than_a_few(
    what: str, functions: tuple[str, ...], most: float, few: Cost, many: Cost
) -> None:
    for cost in (few, many):
        assert sum(cost.calls.get(name, 0.0) for name in functions) <= most, what


def test_a_record_costs_one_send_and_one_receive_beside_what_many_share(few: Cost, many: Cost) -> None:
    """A message between our processes is a send, a receive and a look; the busier they are, the more share one.

    The marks of a message's requests are one write where they are neighbours. On an idle machine fewer are shared.
    """
    for cost in (few, many):
        messages = cost.calls["Channel._flush"]
        assert messages <= 2.1
        assert cost.calls["C pwrite"] <= messages + 0.5
        assert sum(cost.calls.get(name, 0.0) for name in SYSCALLS - {"C pwrite"}) - 3 * messages <= 5


def test_a_record_costs_as_many_calls_however_many_are_in_flight(few: Cost, many: Cost) -> None:
    assert sum(few.calls.values()) <= 800
    assert sum(many.calls.values()) <= 1.3 * sum(few.calls.values())


def test_a_record_costs_as_much_cpu_however_many_are_in_flight(tmp_path: Path) -> None:
    assert _cpu(tmp_path, MANY) <= 2 * _cpu(tmp_path, FEW)


def _counted(folder: Path, workers: int) -> Cost:
    """Run two sizes under the counter; return the difference of a record."""
    runs = []
    for count in (1000, 2500):
        source, output, report = prompts(folder / "in.jsonl", count), folder / "out.jsonl", folder / "counts.json"
        with loopback(workers, count) as seen:
            _, _, _, *arguments = ours(seen.url, source, output, workers, *PATIENCE)
            run([sys.executable, "-m", "tests.bench.counted", str(report), *arguments], home=folder)
        assert written(output) == seen.requests == count
        runs.append(json.loads(report.read_text()))
    short, long = (each["counts"] for each in runs)
    calls = {name: (long[name] - short.get(name, 0)) / 1500 for name in long}
    return Cost(calls, seen.connections, seen.requests, set(runs[-1]["modules"]), set(runs[-1]["far"]))


def _cpu(folder: Path, workers: int) -> float:
    """Run two sizes as they are; return the difference in CPU seconds."""
    spent = []
    for count in (1000, 5000):
        source, output = prompts(folder / "in.jsonl", count), folder / "out.jsonl"
        with loopback(workers, count) as seen:
            spent.append(run(ours(seen.url, source, output, workers, *PATIENCE), home=folder).cpu)
        assert written(output) == count
    return spent[1] - spent[0]


def _imported(*arguments: str) -> set[str]:
    """Run the command line; return the names of the modules it imported."""
    command = [sys.executable, "-X", "importtime", "-m", "llmbatch", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "llmbatch.cli.main" in modules
    return modules

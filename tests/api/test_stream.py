"""From Python: results as values, under the caller's loop, and what is left when the caller goes."""

import asyncio
import json
import pkgutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import llmbatch
from llmbatch.core.errors import UsageError
from tests.e2e.command import LLMBATCH

PATIENCE = 20.0
RECORDS: list[str | dict[str, Any]] = [
    "a string",
    {"id": 7, "prompt": "with an id", "row": {"n": 1}},
    {"id": "seven", "prompt": "[[mock:refusal]]"},
    {"prompt": "[[mock:status code=400]]"},
    {"prompt": 12},
]


def collect(records: Any, **options: Any) -> list[llmbatch.Result]:
    async def main() -> list[llmbatch.Result]:
        async with asyncio.timeout(PATIENCE):
            return [result async for result in llmbatch.stream(records, **options)]

    return asyncio.run(main())


def comparable(result: Any) -> dict[str, Any]:
    """Drop what differs from run to run."""
    return {name: value for name, value in result.items() if name not in ("started_at", "latency_s", "request_id")}


async def until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110  # seen from outside only
        await asyncio.sleep(0.01)


def test_results_are_the_lines_of_the_command(server: str) -> None:
    lines = subprocess.run(
        [LLMBATCH, "run", "--base-url", server, "-m", "mock", "-q", "-k"],
        input="".join(json.dumps(record) + "\n" for record in RECORDS).encode(),
        capture_output=True,
        timeout=PATIENCE,
    ).stdout.splitlines()
    results = collect(RECORDS, base_url=server, model="mock", ordered=True)
    expected = [comparable(json.loads(line)) for line in lines]
    for line in expected:
        if "error" in line:
            line["error"]["message"] = line["error"]["message"].replace("line 5", "record 5")
    assert [comparable(result) for result in results] == expected
    assert all(result.keys() <= llmbatch.Result.__annotations__.keys() for result in results)


def test_a_record_is_sent_before_the_next_one_is_there(server: str) -> None:
    answered = threading.Event()

    def records() -> Iterator[str]:
        yield "first"
        assert answered.wait(PATIENCE)
        yield "second"

    async def main() -> list[int]:
        seen = []
        async for result in llmbatch.stream(records(), base_url=server, model="mock"):
            seen.append(result["index"])
            answered.set()
        return seen

    assert asyncio.run(main()) == [0, 1]


def test_records_may_come_from_the_loop_itself(server: str) -> None:
    async def main() -> list[int]:
        answered = asyncio.Event()
        seen = []

        async def records() -> AsyncIterator[str]:
            for number in range(600):
                yield f"question {number}"
                if number == 0:
                    await answered.wait()

        async for result in llmbatch.stream(records(), base_url=server, model="mock"):
            seen.append(result["index"])
            answered.set()
        return seen

    assert sorted(asyncio.run(main())) == list(range(600))


def test_a_run_waits_for_who_takes_its_results(server: str) -> None:
    taken = 0

    def records() -> Iterator[str]:
        nonlocal taken
        for taken in range(100_000):
            yield f"question {taken}"

    async def main() -> None:
        results = llmbatch.stream(records(), base_url=server, model="mock", concurrency=4)
        await anext(results)
        before = -1
        while taken != before:  # until nothing moves any more
            before = taken
            await asyncio.sleep(0.3)
        await results.aclose()

    asyncio.run(main())
    assert taken < 4000


@pytest.mark.parametrize("how", ["aclose", "break", "cancel", "leave"])
def test_who_goes_early_leaves_nothing_behind(server: str, tmp_path: Path, how: str) -> None:
    path = tmp_path / "out.jsonl"
    records = [{"id": number, "prompt": "[[mock:hang]]" if number == 40 else "x"} for number in range(60)]
    options: dict[str, Any] = {"base_url": server, "model": "mock", "output": path, "concurrency": 8}

    async def consume() -> None:
        results = llmbatch.stream(records, **options)
        async for result in results:
            if result["index"] >= 20 and how != "cancel":
                break
        if how == "aclose":
            await results.aclose()
        if how == "leave":
            kept.append(results)

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            task = asyncio.create_task(consume())
            if how == "cancel":
                await until(lambda: path.exists() and path.read_bytes().count(b"\n") >= 30)
                task.cancel()
            await asyncio.wait([task])
            if how != "leave":
                await until(lambda: len(asyncio.all_tasks()) == 1)  # the loop closes what was broken off

    kept: list[Any] = []
    threads = set(threading.enumerate())
    asyncio.run(main())
    for thread in set(threading.enumerate()) - threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), thread
    for record in records:
        record["prompt"] = str(record["prompt"]).replace("[[mock:hang]]", "x")
    results = collect(records, **options)
    assert sorted(result["index"] for result in results) == list(range(60))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(line["index"] for line in lines) == list(range(60))


def test_no_signal_is_taken(server: str) -> None:
    async def main() -> list[Any]:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        results = llmbatch.stream(["a", "b"], base_url=server, model="mock")
        await anext(results)
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        await results.aclose()
        return [before, during]

    before, during = asyncio.run(main())
    assert before == during


def test_what_ends_a_run_early_is_raised_after_the_results(server: str) -> None:
    seen: list[llmbatch.Result] = []

    async def main() -> None:
        async for result in llmbatch.stream(["[[mock:status code=401]]"] * 50, base_url=server, model="mock"):
            seen.append(result)  # noqa: PERF401  # what comes before the exception

    with pytest.raises(llmbatch.ActionNeeded, match="refuses the key"):
        asyncio.run(main())
    assert 0 < len(seen) < 50
    assert {result["error"]["kind"] for result in seen} == {"unauthorized"}


@pytest.mark.parametrize("error", [KeyError, SystemExit, asyncio.CancelledError])
def test_records_that_break_off_still_bring_the_results_so_far(server: str, error: type[BaseException]) -> None:
    def records() -> Iterator[str]:
        yield from ("a", "b", "c")
        raise error("the database went away")

    async def broken() -> AsyncIterator[str]:
        for record in records():
            yield record

    for given in (records(),) if error is SystemExit else (records(), broken()):  # in the loop it ends the loop
        seen: list[int] = []

        async def main(given: Any = given, seen: list[int] = seen) -> None:
            async for result in llmbatch.stream(given, base_url=server, model="mock"):
                seen.append(result["index"])  # noqa: PERF401

        with pytest.raises(llmbatch.InputError, match=f"broke off after 3: {error.__name__}") as caught:
            asyncio.run(main())
        assert isinstance(caught.value.__cause__, error)
        assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize("value", [{1, 2}, {"prompt": b"bytes"}, "\ud800", {"prompt": "x", "f": print}])
def test_what_json_cannot_say_is_one_failed_record(server: str, value: Any) -> None:
    bad, good = collect([value, "good"], base_url=server, model="mock", ordered=True)
    assert (bad["status"], bad["error"]["kind"], good["status"]) == ("failed", "invalid_record", "ok")
    assert bad["error"]["message"].startswith("record 1: ")


@pytest.mark.parametrize(
    ("records", "options", "message"),
    [
        ("a prompt", {}, "records is a str"),
        ({"prompt": "x"}, {}, "records is a dict"),
        ({"train": pa.table({"prompt": ["x"]})}, {}, r"(?s)records is a dict.*records\['train'\]"),
        (12, {}, "records is of type int"),
        ([], {"modle": "m"}, "there is no option 'modle'"),
        ([], {"concurrency": 0}, "concurrency=0"),
        ([], {"rpm": -1}, "rpm=-1"),
        ([], {"pack": 0}, "pack=0"),
        ([], {"endpoint": "replies"}, "'replies' is not an endpoint"),
        ([], {"in_doubt": "forget"}, "in_doubt='forget'"),
        ([], {"max_failures": "many"}, "max_failures='many'"),
        ([], {"dedupe": True}, "dedupe needs output"),
        ([], {"include": ["answer"]}, "include='answer' is not one of request"),
        ([], {"provider": "opanai"}, "unknown provider"),
        (["x"], {"provider": "mock", "base_url": "ftp://x"}, "not an http"),
        ([], {"output": "x.jsonl", "ordered": True}, "ordered does not go"),
    ],
)
def test_what_cannot_be_is_a_usage_error(records: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(llmbatch.UsageError, match=message):
        collect(records, **options)


def test_run_returns_results_in_the_order_of_the_records(server: str) -> None:
    run = llmbatch.run([f"question {n}" for n in range(100)], base_url=server, model="mock", batch_size=7)
    assert [result["index"] for result in run] == list(range(100)) == [result["index"] for result in run]
    assert (run.summary["records"], run.summary["ok"]) == (100, 100)


def test_run_packs_embeddings(server: str) -> None:
    run = llmbatch.run(
        [f"text {n}" for n in range(10)], base_url=server, model="mock", endpoint="embeddings", pack=5, concurrency=1
    )
    assert [len(result["embedding"]) for result in run] == [8] * 10
    assert max(result.get("packed", 1) for result in run) == 5


def test_run_leaves_results_in_their_file(server: str, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('"a"\n"b"\n')
    options: dict[str, Any] = {"base_url": server, "model": "mock", "output": tmp_path / "out.jsonl"}
    assert sorted(result["index"] for result in llmbatch.run(prompts, **options)) == [0, 1]
    prompts.write_text('"a"\n"b"\n"c"\n')
    again = llmbatch.run(prompts, **options)
    assert (again.summary["ok"], again.summary["done_before"]) == (1, 2)
    assert sorted(result["index"] for result in again) == [0, 1, 2]


def test_run_keeps_what_it_got_when_it_ends_early(server: str) -> None:
    with pytest.raises(llmbatch.LlmbatchError) as caught:
        llmbatch.run(
            ["fine", *["[[mock:status code=400]]"] * 20], base_url=server, model="mock", concurrency=1, max_failures=3
        )
    assert next(iter(caught.value.run))["status"] == "ok"
    assert caught.value.run.summary["stopped"]


def test_run_works_where_a_loop_runs(server: str) -> None:
    async def main() -> llmbatch.Run:
        return llmbatch.run(["x", "y"], base_url=server, model="mock")

    assert [result["status"] for result in asyncio.run(main())] == ["ok", "ok"]


def test_the_key_is_sent_and_never_shown(server: str) -> None:
    results = collect(
        ["[[mock:status code=400 message=no]]"], base_url=server, model="mock", api_key="sk-very-secret-key-0123456789"
    )
    assert "very-secret" not in json.dumps(results)


def test_importing_it_imports_nothing_heavy() -> None:
    script = (
        "import sys, llmbatch; llmbatch.__version__, llmbatch.UsageError;"
        "print([m for m in ('anyio', 'httpx', 'jinja2', 'orjson', 'rich', 'typer') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE)
    assert shown.stdout == "[]\n", shown.stderr


def test_the_names_are_there_whatever_was_imported_before() -> None:
    script = (
        "import pkgutil, importlib, llmbatch;"
        "[importlib.import_module(f'llmbatch.{each.name}') for each in pkgutil.iter_modules(llmbatch.__path__)"
        " if each.name not in ('__main__', 'ray')];"  # it needs Ray
        "import llmbatch.app.composition;"
        "assert callable(llmbatch.run) and callable(llmbatch.stream), (llmbatch.run, llmbatch.stream)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE)
    assert shown.returncode == 0, shown.stderr


def test_no_part_of_the_package_has_the_name_of_what_it_offers() -> None:
    """A package of that name, once imported, would stand where the function belongs."""
    parts = {each.name for each in pkgutil.iter_modules(llmbatch.__path__)}
    assert parts.isdisjoint(llmbatch.__all__)


def test_types_are_those_of_the_values(tmp_path: Path) -> None:
    script = tmp_path / "typed.py"
    script.write_text(
        "import llmbatch; from collections.abc import Iterator\n"
        "async def main() -> None:\n"
        "    async for result in llmbatch.stream(['a'], model='m', rpm=60):\n"
        "        reveal_type(result['index'])\n"
        "reveal_type(llmbatch.run(['a'], model='m').summary)\n"
        "llmbatch.run(['a'], modle='m')\n"
        "class Frame:\n"
        "    columns = ['prompt']\n"
        "    def __iter__(self) -> Iterator[bytes]:\n"
        "        return iter(())\n"
        "llmbatch.run(Frame(), model='m')\n"
    )
    shown = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(script)],  # with what `make test` has checked before
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert 'typed.py:4: note: Revealed type is "int"' in shown.stdout, shown.stdout
    assert "RunSummary" in shown.stdout
    assert 'Unexpected keyword argument "modle"' in shown.stdout and "1 error" in shown.stdout


def test_ctrl_c_ends_run_and_keeps_what_was_written(server: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import llmbatch, sys\n"
        "records = [{'id': n, 'prompt': '[[mock:hang]]' if n > 20 else 'x'} for n in range(60)]\n"
        f"llmbatch.run(records, base_url={server!r}, model='mock', output=sys.argv[1], concurrency=8)\n"
    )
    output = tmp_path / "out.jsonl"
    with subprocess.Popen([sys.executable, str(script), str(output)], stderr=subprocess.PIPE) as process:
        asyncio.run(
            asyncio.wait_for(until(lambda: output.exists() and output.read_bytes().count(b"\n") >= 21), PATIENCE)
        )
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert said.rstrip().endswith(b"KeyboardInterrupt") and process.returncode == -signal.SIGINT
    assert [json.loads(line)["status"] for line in output.read_bytes().splitlines()] == ["ok"] * 21


class Frame:
    """What is used of a pandas.DataFrame: iterated it gives the names of its columns."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = list(columns)
        self._values = columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self._values[self.columns[0]])

    def itertuples(self, *, index: bool, name: str | None) -> Iterator[tuple[Any, ...]]:
        assert (index, name) == (False, None)
        return zip(*self._values.values(), strict=True)


class PolarsFrame(Frame):
    """What is used of a polars.DataFrame."""

    itertuples = None  # type: ignore[assignment]

    def iter_rows(self) -> Iterator[tuple[Any, ...]]:
        return zip(*self._values.values(), strict=True)


class NAType:
    """What pandas has for nothing."""


COLUMNS: dict[str, list[Any]] = {
    "id": [1, 2],
    "prompt": ["one", "two"],
    "when": [datetime(2026, 1, 2), NAType()],
    "share": [float("nan"), Decimal("0.5")],
}


@pytest.mark.parametrize("table", [Frame(COLUMNS), PolarsFrame(COLUMNS)], ids=lambda table: type(table).__name__)
def test_a_data_frame_is_its_rows_and_not_its_columns(server: str, table: Any) -> None:
    one, two = llmbatch.run(table, base_url=server, model="mock")
    assert (one["id"], one["meta"]) == (1, {"when": "2026-01-02T00:00:00", "share": None})
    assert (two["id"], two["meta"]) == (2, {"when": None, "share": "0.5"})


def test_an_arrow_table_and_a_batch_are_their_rows(server: str) -> None:
    batch = pa.record_batch({"id": [1, 2], "prompt": ["one", "two"]})
    for table in (batch, pa.Table.from_batches([batch])):
        assert [(line["id"], line["status"]) for line in llmbatch.run(table, base_url=server, model="mock")] == [
            (1, "ok"),
            (2, "ok"),
        ]


TEXTS = pa.array(["one", "two"])


@pytest.mark.parametrize(
    "array",
    [
        TEXTS,
        TEXTS.dictionary_encode(),
        pa.chunked_array([TEXTS.slice(0, 1), TEXTS.slice(1)]),
        TEXTS.cast(pa.large_string()),
        pa.array([{"prompt": "one"}, {"prompt": "two"}]),
        pa.table({"prompt": TEXTS}).to_reader(),
    ],
    ids=lambda array: str(getattr(array, "type", "reader")),
)
def test_an_arrow_array_is_its_values(server: str, array: Any) -> None:
    one, two = llmbatch.run(array, base_url=server, model="mock")
    assert "one" in one["text"] and "two" in two["text"]


def test_a_value_of_an_arrow_array_that_is_no_record_fails_alone(server: str) -> None:
    unusable = pa.StructArray.from_arrays([TEXTS, TEXTS], names=["prompt", "prompt"])  # twice the same field
    text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff")]
    )
    for array, expected in ((unusable, "ff"), (text, "of"), (pa.array(["a", None]), "of"), (pa.array([1, 2]), "ff")):
        run = llmbatch.run(array, base_url=server, model="mock")
        assert "".join(result["status"][0] for result in run) == expected


def test_a_table_whose_columns_cannot_be_fields_is_a_usage_error(server: str) -> None:
    twice = Frame({"prompt": ["a"], "x": [1]})
    twice.columns = ["prompt", "prompt"]
    numbers = Frame({"prompt": ["a"]})
    numbers.columns = [0]  # type: ignore[list-item]
    for table in (twice, numbers):
        with pytest.raises(UsageError, match="column"):
            llmbatch.run(table, base_url=server, model="mock")

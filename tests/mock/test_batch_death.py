"""A mock that dies, at any moment, and is started again on the same folder: nothing is lost and nothing runs twice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest

from llmbatch.mock.batch import Batch
from llmbatch.mock.batch_openai import OPENAI_BATCHES
from llmbatch.mock.batch_results import Shared
from llmbatch.mock.batch_store import BatchStore, StoredFile
from llmbatch.mock.batch_worker import BatchWorker
from llmbatch.mock.ledger import Ledger
from llmbatch.mock.provider import Provider
from llmbatch.mock.settings import MockSettings

from .batches import ended, openai_line, rows, submit

IDS = [f"r{n}" for n in range(8)]
LINES = [openai_line(id, id) for id in IDS[:-2]] + [
    openai_line(IDS[-2], "[[mock:batch expire times=1]]"),
    openai_line(IDS[-1], "[[mock:status code=400]]"),
]


class Death(BaseException):
    """The process is gone: nothing after this line happens."""


def worker(folder: Path, now: float) -> tuple[BatchWorker, BatchStore]:
    store = BatchStore(str(folder / "batches"))
    settings = MockSettings()
    ledger = Ledger(str(folder / "ledger"))
    shared = Shared(settings, Provider(settings), store, ledger, count(1), lambda: now)
    return BatchWorker(shared, {"openai": OPENAI_BATCHES}), store


def created(folder: Path) -> BatchStore:
    """Make a batch that nobody has looked at."""
    _, store = worker(folder, 0.0)
    Path(store.content("file-1")).write_bytes(b"\n".join(LINES))
    file = StoredFile("file-1", "openai", "in.jsonl", "batch", 1, 0.0)
    store.add_file(file)
    store.keep_input("batch_1", file)
    shown = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": None}
    store.save(Batch("batch_1", "openai", 0, 0.0, 10.0, "file-1", "/chat/completions", shown))
    return store


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, at: int, *, before: bool) -> Iterator[list[int]]:
    """Let the process die before or after the n-th call that changes the disk; yield the number of calls."""
    calls = [0]

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] == at and before:
                raise Death
            result = call(*args, **named)
            if calls[0] == at:
                raise Death
            return result

        return called

    with monkeypatch.context() as patched:
        for name in ("replace", "remove", "write", "open"):
            patched.setattr(os, name, deadly(getattr(os, name)))
        yield calls


@pytest.mark.parametrize("before", [True, False])
def test_after_a_death_at_any_call_the_results_are_whole_and_each_row_is_in_the_ledger_once(
    before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in count(1):
        folder = tmp_path / str(at)
        folder.mkdir()
        store = created(folder)
        doomed, _ = worker(folder, 20.0)
        with dying(monkeypatch, at, before=before) as calls, suppress(Death):
            anyio.run(doomed.advance, "batch_1")
        survived = calls[0] < at
        again, store = worker(folder, 30.0)
        anyio.run(again.advance, "batch_1")
        batch = store.batch("batch_1")
        assert batch is not None and batch.ended is not None
        assert batch.ended.counts == {"succeeded": 6, "failed": 1, "expired": 1, "cancelled": 0}
        found = [
            json.loads(line)["custom_id"]
            for output in batch.ended.outputs
            for line in Path(store.content(output or "")).read_bytes().splitlines()
        ]
        assert sorted(found) == IDS
        logged = [json.loads(line) for line in (folder / "ledger").read_bytes().splitlines()]
        assert sorted(line["custom_id"] for line in logged) == [IDS[n] for n in (0, 1, 2, 3, 4, 5, 7)]
        assert [path.suffix for path in (folder / "batches" / "batches").iterdir()] == [".json"]
        if survived:
            assert at > 20
            return


@contextmanager
def mock_command(folder: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "llmbatch", "mock", "--port", "0", "--batch-dir", str(folder / "batches")]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured by /proc")
def test_an_upload_goes_to_disk_and_not_into_memory(tmp_path: Path) -> None:
    size = 128 * 2**20
    with mock_command(tmp_path) as (url, process), openai.OpenAI(base_url=url, api_key="any") as client:
        content = (b"x" * 4095 + b"\n") * (size // 4096)
        for _ in range(3):
            assert client.files.create(file=("in.jsonl", content), purpose="batch").bytes == size
        status = Path(f"/proc/{process.pid}/status").read_text()
    most = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    assert most < size


def test_a_batch_outlives_kill_9(tmp_path: Path) -> None:
    flags = ("--batch-delay", "0.5", "--ledger", str(tmp_path / "ledger"))
    with mock_command(tmp_path, *flags) as (url, process):
        with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
            batch = submit(client, *LINES)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with mock_command(tmp_path, *flags) as (url, _):  # noqa: SIM117
        with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
            done = ended(client, batch)
            assert len(rows(client, done.output_file_id) + rows(client, done.error_file_id)) == len(LINES)
            again = ended(client, submit(client, *LINES))
            assert (done.status, again.status) == ("expired", "completed")  # the order was for one time
    logged = [json.loads(line) for line in (tmp_path / "ledger").read_bytes().splitlines()]
    ran = [(line["batch"], line["custom_id"]) for line in logged if "custom_id" in line]
    assert len(ran) == len({*ran}) == 15

"""What a notebook and a data frame see of a run."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

import llmbatch
from llmbatch.api.run_result import Run
from llmbatch.core.tally import Summary


@pytest.fixture(scope="module")
def finished(server: str) -> llmbatch.Run:
    return llmbatch.run(["a <b>", "[[mock:status code=400]]", "c"], base_url=server, model="mock")


def test_a_cell_runs_while_the_loop_of_the_kernel_runs(server: str, capfd: pytest.CaptureFixture[str]) -> None:
    shell = InteractiveShell.instance()
    cell = (
        "import llmbatch\nseen = []\n"
        f"run = llmbatch.run([str(n) for n in range(30)], base_url={server!r}, model='mock', progress=True,\n"
        "                   on_progress=seen.append)\n"
        "len(run), run[0]['status'], run[-1]['index'], len(run[:2])"
    )
    done = asyncio.run(shell.run_cell_async(cell, store_history=False, transformed_cell=cell))
    done.raise_error()
    assert done.result == (30, "ok", 29, 2)
    last = shell.user_ns["seen"][-1]
    assert (last.finished, last.total, last.ok, last.failed) == (30, 30, 30, 0)
    assert "<table>" in shell.display_formatter.format(shell.user_ns["run"])[0]["text/html"]
    assert "30" in "".join(capfd.readouterr())
    InteractiveShell.clear_instance()


def test_answers_are_not_lost_when_on_progress_raises(server: str, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[llmbatch.Progress] = []

    def show(now: llmbatch.Progress) -> None:
        calls.append(now)
        raise ZeroDivisionError

    run = llmbatch.run(["[[mock:text after=0.5]] a", "b"], base_url=server, model="mock", on_progress=show)
    assert [result["status"] for result in run] == ["ok", "ok"] and len(calls) == 1
    assert "on_progress raised an error" in caplog.text and "ZeroDivisionError" in caplog.text


def leave() -> None:
    raise SystemExit


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "stop", [interrupt, leave, partial(os.kill, os.getpid(), signal.SIGINT)], ids=["interrupt", "leave", "signal"]
)
def test_answers_are_not_lost_when_a_run_is_interrupted(stop: Callable[[], None], server: str) -> None:
    left = [stop]

    def show(now: llmbatch.Progress) -> None:
        if now.finished == 2 and left:
            left.pop()()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
            llmbatch.run(["a", "b", "[[mock:hang]]"], base_url=server, model="mock", concurrency=3, on_progress=show)
    finally:
        signal.signal(signal.SIGINT, before)
    run = caught.value.run  # type: ignore[attr-defined]
    assert [result["index"] for result in run] == [0, 1] and (run.summary["ok"], run.summary["dropped"]) == (2, 1)


async def ask(now: llmbatch.Progress) -> None:
    """Take what nobody awaits."""


@pytest.mark.parametrize("on_progress", [3, ask])
def test_a_callback_that_cannot_be_called_is_refused_before_anything_is_sent(on_progress: Any) -> None:
    with pytest.raises(llmbatch.UsageError, match="on_progress is not a plain function"):
        llmbatch.run(["a"], base_url="http://127.0.0.1:1", model="m", on_progress=on_progress)


def test_a_stream_without_a_loop_of_asyncio_says_so() -> None:
    with pytest.raises(llmbatch.UsageError, match=r"(?s)loop of asyncio.*llmbatch\.run"):
        llmbatch.stream(["a"], model="mock").__anext__().send(None)


def test_a_run_is_a_sequence_and_a_table(finished: llmbatch.Run) -> None:
    assert [result["index"] for result in finished[1:]] == [1, 2] and len(finished) == 3
    shown = finished._repr_html_()
    assert "1 failed" in shown and "a &lt;b&gt;" in shown and "<b>" not in shown


def test_a_run_on_a_file_is_one_too(server: str, tmp_path: Path) -> None:
    run = llmbatch.run(["a", "b"], base_url=server, model="mock", output=tmp_path / "out.jsonl")
    assert len(run) == len(list(run)) == 2 and {run[0]["index"], run[1]["index"]} == {0, 1}


def test_pandas_gets_a_row_for_each_result(finished: llmbatch.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(llmbatch.UsageError, match="needs pandas"):
        finished.to_pandas()
    frames = SimpleNamespace(DataFrame=SimpleNamespace(from_records=lambda rows: rows))
    monkeypatch.setitem(sys.modules, "pandas", frames)
    assert [row["index"] for row in finished.to_pandas()] == [0, 1, 2]


def test_the_text_of_an_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmbatch.api.background_run.ENVIRONMENT", {})
    with pytest.raises(llmbatch.ActionNeeded, match=r"(?s)GROQ_API_KEY is not set.*export GROQ_API_KEY"):
        llmbatch.run(["a"], provider="groq", model="m")


def test_the_type_of_the_summary_has_its_fields() -> None:
    summary = Summary(
        read=0, ok=0, failed={}, not_started=0, unwritten=0, requests=0, retries=0, possibly_billed=0, input_tokens=0,
        output_tokens=0, cost_usd=None, wall_s=0.0, waited_s=0.0, latency_s={}, stopped=None, hint=None, exit_code=0,
    )  # fmt: skip
    assert llmbatch.RunSummary.__annotations__.keys() - {"parts"} == summary.as_json().keys() - {"parts"}


class Dataset(list[dict[str, Any]]):
    """A data set as Hugging Face has them: its rows may hold what JSON lacks."""

    features, column_names = {"prompt": "string"}, ("prompt", "x")


def test_a_row_of_unusable_types_fails_and_the_others_do_not(server: str) -> None:
    rows = Dataset([{"prompt": "a", "x": 1}, {"prompt": b"\xff", "x": 2}, {"prompt": "c", "x": b"\xff"}])
    run: Run = llmbatch.run(rows, base_url=server, model="mock")
    assert [result["status"] for result in run] == ["ok", "failed", "ok"]


class Torn(Dataset):
    """A data set whose source fails in the middle."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from super().__iter__()
        raise OSError("the store went away")


def test_a_data_set_that_breaks_off_still_brings_the_results_so_far(server: str) -> None:
    with pytest.raises(llmbatch.InputError, match="broke off after 1: OSError: the store went away") as caught:
        llmbatch.run(Torn([{"prompt": "a"}]), base_url=server, model="mock")
    assert [result["status"] for result in caught.value.run] == ["ok"]


class Query:
    """A query of polars: it has columns, and no rows until it is collected."""

    collect = collect_schema = print


def test_a_query_that_has_no_rows_yet_is_refused() -> None:
    with pytest.raises(llmbatch.UsageError, match=r"(?s)a Query has no rows yet.*collect\(\)"):
        llmbatch.run(Query(), model="mock")  # type: ignore[arg-type]

"""Tables of the usual libraries as records, results as a DataFrame, and a cell of a notebook: `make frames`."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import datasets
import nbclient
import nbformat
import numpy as np
import pandas as pd
import polars as pl
import pytest

import llmbatch


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-m", "llmbatch", "mock", "--port", "0"], stdout=subprocess.PIPE) as mock:
        assert mock.stdout is not None
        yield mock.stdout.readline().decode().strip()
        mock.terminate()


COLUMNS: dict[str, tuple[Any, list[Any]]] = {
    "int8": (np.array([1, 2], dtype="int8"), [1, 2]),
    "uint64": (np.array([1, 2**63 + 5], dtype="uint64"), [1, 2**63 + 5]),
    "float": ([1.5, np.nan], [1.5, None]),
    "Int64": (pd.array([1, None], dtype="Int64"), [1, None]),
    "boolean": (pd.array([True, None], dtype="boolean"), [True, None]),
    "string": (pd.array(["a", None], dtype="string"), ["a", None]),
    "category": (pd.Categorical(["p", "q"]), ["p", "q"]),
    "moment": (pd.to_datetime(["2026-01-01", None]), ["2026-01-01T00:00:00", None]),
    "zone": (pd.to_datetime(["2026-01-01", None]).tz_localize("UTC"), ["2026-01-01T00:00:00+00:00", None]),
    "period": (pd.period_range("2026-01", periods=2, freq="M"), ["2026-01", "2026-02"]),
    "object": ([{"a": 1}, [1, 2]], [{"a": 1}, [1, 2]]),
    "decimal": ([Decimal("1.5")] * 2, ["1.5"] * 2),
    "date": ([date(2026, 1, 1)] * 2, ["2026-01-01"] * 2),
    "array": ([np.array([1, 2])] * 2, [[1, 2]] * 2),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_any_type_comes_back_as_meta(name: str, server: str) -> None:
    values, expected = COLUMNS[name]
    frame = pd.DataFrame({"prompt": ["x", "y"], name: values})
    run = llmbatch.run(frame, base_url=server, model="mock")
    assert [result["meta"].get(name) for result in run] == expected


def test_results_are_a_frame_with_a_row_each(server: str) -> None:
    frame = llmbatch.run(
        pd.DataFrame({"id": ["a", "b"], "prompt": ["x", "y"]}), base_url=server, model="mock"
    ).to_pandas()
    assert [*frame["id"]] == ["a", "b"] and [*frame["status"]] == ["ok", "ok"] and frame["latency_s"].dtype == "float64"


def test_other_tables_are_read_row_by_row(server: str) -> None:
    rows = {"prompt": ["x", "y"], "n": [1, 2]}
    data = datasets.Dataset.from_dict(rows)
    for table in (pl.DataFrame(rows), pl.DataFrame(rows).to_arrow(), data, data.to_iterable_dataset()):
        run = llmbatch.run(table, base_url=server, model="mock")
        assert [result["meta"] for result in run] == [{"n": 1}, {"n": 2}]
    columns = pd.Series(["x", "y"]), pd.Index(["x", "y"]), pl.Series(["x", "y"]), np.array(["x", "y"]), data["prompt"]
    for column in (*columns, pl.Series(["x", "y"]).to_arrow()):
        assert [result["status"] for result in llmbatch.run(column, base_url=server, model="mock")] == ["ok", "ok"]


def test_what_holds_tables_and_is_none_says_how_to_get_one(server: str) -> None:
    rows = {"prompt": ["x"]}
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)})
    for records, hint in ((splits, "records['train']"), (pl.DataFrame(rows).lazy(), "collect()")):
        with pytest.raises(llmbatch.UsageError, match=re.escape(hint)):
            llmbatch.run(records, base_url=server, model="mock")


def test_a_cell_of_a_notebook_shows_a_bar_and_a_table(server: str) -> None:
    cell = f"import llmbatch\nllmbatch.run(['a', 'b'], base_url={server!r}, model='mock', progress=True)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbclient.NotebookClient(notebook, timeout=120).execute()
    outputs = notebook.cells[0].outputs
    assert any("<table>" in output.get("data", {}).get("text/html", "") for output in outputs)
    assert any("2/2" in output.get("text", "") for output in outputs)


def test_an_interrupted_cell_keeps_its_answers(server: str) -> None:
    cell = f"""
import llmbatch, os, signal
left = [signal.SIGINT]
def interrupt(now):
    if now.finished == 2 and left:
        os.kill(os.getpid(), left.pop())
try:
    llmbatch.run(["a", "b", "[[mock:hang]]"], base_url={server!r}, model="mock", concurrency=3, on_progress=interrupt)
except KeyboardInterrupt as stop:
    print([result["status"] for result in stop.run])
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbclient.NotebookClient(notebook, timeout=120).execute()
    assert [output["text"] for output in notebook.cells[0].outputs] == ["['ok', 'ok']\n"]

"""Tables come back with columns of answers, whose types never change; a row that fails is a row with an error."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import llmbatch
from llmbatch.api.answer_columns import ANSWER_COLUMNS, add_columns
from llmbatch.api.table_run import TableRun

PATIENCE = 20.0


def answers(run: TableRun, *batches: Any) -> list[Any]:
    """Send batches side by side."""

    async def main() -> list[Any]:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(*(run.answer(batch) for batch in batches))

    return asyncio.run(main())


@pytest.fixture(scope="module")
def stage(server: str) -> Iterator[TableRun]:
    run = TableRun({"base_url": server, "model": "m"})
    with closing(run):
        yield run


def test_rows_keep_their_columns_and_a_bad_row_has_an_error(stage: TableRun) -> None:
    prompts = [f"prompt {number}" for number in range(40)]
    prompts[7] = "[[mock:status code=400]]"
    rows = pa.table({"id": [1] * 40, "prompt": prompts, "when": pa.array([0] * 40, pa.timestamp("ns"))})
    (found,) = answers(stage, rows)
    assert found.column_names == ["id", "prompt", "when", *ANSWER_COLUMNS]
    assert found.select(["id", "prompt", "when"]).equals(rows)
    assert [place for place, status in enumerate(found["status"].to_pylist()) if status != "ok"] == [7]
    bad = found.slice(7, 1).to_pylist()[0]
    assert bad["error"]["kind"] == "bad_request" and bad["error"]["status"] == 400 and bad["text"] is None
    assert len(set(found["text"].to_pylist())) == 40, "each row has its own answer"


def test_types_are_those_of_a_batch_without_rows(stage: TableRun) -> None:
    empty = pa.table({"prompt": pa.array([], pa.string())})
    bad = pa.table({"prompt": ["[[mock:status code=400]]"]})
    good = pa.table({"prompt": ["fine"]})
    none, failed, ok = answers(stage, empty, bad, good)
    assert none.schema == failed.schema == ok.schema
    assert none.num_rows == 0
    assert pa.concat_tables([none, failed, ok]).num_rows == 2


def test_a_slow_answer_holds_its_own_batch_only(stage: TableRun) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            slow = asyncio.create_task(stage.answer(pa.table({"prompt": ["[[mock:text value=late after=3]]"]})))
            for number in range(5):
                assert (await stage.answer(pa.table({"prompt": [f"{number}"]})))["status"].to_pylist() == ["ok"]
            assert not slow.done()
            assert (await slow)["text"].to_pylist() == ["late"]

    asyncio.run(main())


def test_who_waits_may_be_cancelled_and_the_others_go_on(stage: TableRun) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            gone = asyncio.create_task(stage.answer(pa.table({"prompt": ["[[mock:text value=a after=0.1]]"]})))
            other = asyncio.create_task(stage.answer(pa.table({"prompt": ["[[mock:text value=b after=0.3]]"]})))
            await asyncio.sleep(0)
            gone.cancel()
            assert (await other)["text"].to_pylist() == ["b"]

    asyncio.run(main())


def test_a_template_reads_the_columns_and_a_prefix_keeps_names_apart(server: str) -> None:
    rows = pa.table({"text": ["a review"], "status": ["old"]})
    with closing(TableRun({"base_url": server, "model": "m", "template": "Of {{ text }}"}, prefix="llm_")) as run:
        (found,) = answers(run, rows)
    assert found["text"].to_pylist() == ["a review"] and found["llm_status"].to_pylist() == ["ok"]
    with (
        closing(TableRun({"base_url": server, "model": "m", "template": "Of {{ text }}"})) as run,
        pytest.raises(llmbatch.UsageError, match="a column 'text' already"),
    ):
        answers(run, rows.select(["text"]))


def test_what_would_fail_every_row_raises_for_all_batches(server: str) -> None:
    run = TableRun({"base_url": server, "model": "m"})
    refused = pa.table({"prompt": ["[[mock:status code=401]]"] * 20})
    with closing(run):
        with pytest.raises(llmbatch.ActionNeeded):
            answers(run, refused, refused)
        with pytest.raises(llmbatch.ActionNeeded):
            answers(run, refused)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limit": 3}, "limit has no meaning"),
        ({"output": "x.jsonl"}, "a stage has many"),
        ({"modle": "m"}, "no option 'modle'"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_options_are_checked_before_anything_is_sent(options: dict[str, Any], words: str) -> None:
    with pytest.raises(llmbatch.UsageError, match=words):
        TableRun({"base_url": "http://127.0.0.1:1", **options})


def test_a_folder_keeps_answers_for_the_next_actor(server: str, tmp_path: Path) -> None:
    rows = pa.table({"prompt": [f"kept {number}" for number in range(30)]})
    options = {"base_url": server, "model": "m"}
    for attempts in (1, 0):
        with closing(TableRun(options, folder=tmp_path)) as run:
            (found,) = answers(run, rows)
        assert found["attempts"].to_pylist() == [attempts] * 30
        assert found["status"].to_pylist() == ["ok"] * 30
    assert [len(path.read_bytes().splitlines()) for path in tmp_path.glob("*.jsonl")] == [30, 30]


def test_what_fits_no_column_is_in_more() -> None:
    result: Any = {
        "id": None, "index": 0, "status": "ok", "attempts": 1, "record": "r", "key": "k", "meta": {},
        "embedding": "AAAA", "json": {"a": 1}, "refusal": "no", "usage": {"input_tokens": 2**80},
        "error": {"kind": "x", "status": 1, "code": 5, "message": "m"},
    }  # fmt: skip
    table = add_columns(pa.table({"a": [1, 2]}), ANSWER_COLUMNS, [result, {**result, "embedding": [0.5]}])
    first, second = table.to_pylist()
    assert first["embedding"] is None and second["embedding"] == [0.5]
    assert json.loads(first["more"]) == {"embedding": "AAAA", "refusal": "no", "usage": {"input_tokens": 2**80}}
    assert first["json"] == '{"a":1}' and first["error"]["code"] == "5" and first["billed"] is False


def test_without_ray_the_extra_is_named() -> None:
    script = "import sys; sys.modules['ray'] = None; import llmbatch.ray"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE)
    assert "pip install 'llmbatch[ray-data]'" in shown.stderr.splitlines()[-1]


def test_what_fails_every_row_raises_though_all_rows_were_sent_before_it_was_known(server: str) -> None:
    with closing(TableRun({"base_url": server, "model": "m"})) as run:
        rows = pa.table({"prompt": ["[[mock:status code=401 after=2]]"] * 12})
        with pytest.raises(llmbatch.ActionNeeded, match="401"):
            answers(run, rows)

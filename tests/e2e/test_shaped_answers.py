"""Answers that have to be JSON, fit a schema or end well: asked for, checked, and paid once."""

import json
from pathlib import Path
from typing import Any

import pytest

from .command import Command, Mock, lines_of

SCHEMA = {
    "type": "object",
    "properties": {"stars": {"type": "integer"}},
    "required": ["stars"],
    "additionalProperties": False,
}


@pytest.fixture
def schema(tmp_path: Path) -> str:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    return "schema.json"


def test_answers_are_parsed_and_checked_and_misfits_are_kept(
    llmbatch: Command, mock: Mock, schema: str, tmp_path: Path
) -> None:
    prompts = ["fits well", "unusable_answer [[mock:text value={%22stars%22:%22four%22} times=2]]"]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    run = ("run", "p.jsonl", *mock("--schema", schema, "-o", "out.jsonl", "--price", "1,1"))
    assert llmbatch(*run).code == 1
    good, bad = sorted(lines_of(tmp_path / "out.jsonl"), key=lambda line: line["index"])
    assert isinstance(good["json"]["stars"], int) and json.loads(good["text"]) == good["json"]
    assert (bad["status"], bad["error"]["kind"], bad["billed"]) == ("failed", "schema", True)
    assert (bad["text"], bad["json"]) == ('{"stars":"four"}', {"stars": "four"})
    assert bad["usage"]["output_tokens"] and bad["cost_usd"] > 0
    once = llmbatch(*run)
    assert once.code == 1 and len(mock.ledger("unusable_answer")) == 1
    again = llmbatch(*run, "--retry-billed", "--json-retries", 3)
    assert again.code == 0, again.stderr
    mended = next(line for line in lines_of(tmp_path / "out.jsonl") if line["index"] == 1)
    assert mended["status"] == "ok" and mended["attempts"] == 2 and len(mock.ledger("unusable_answer")) == 3
    assert mended["cost_usd"] > 2 * bad["cost_usd"]


def test_a_changed_schema_is_a_changed_option(llmbatch: Command, mock: Mock, schema: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('"a question about shapes"\n')
    run = ("run", "p.jsonl", *mock("--schema", schema, "-o", "out.jsonl"))
    assert llmbatch(*run).code == 0
    (tmp_path / schema).write_text(json.dumps(SCHEMA | {"title": "Stars"}))
    done = llmbatch(*run)
    assert done.code == 2 and "schema" in done.stderr and "--changed" in done.stderr


@pytest.mark.parametrize(
    ("content", "flags", "said"),
    [
        ('{"type": "nope"}', (), "not a JSON schema: type:"),
        ('{"$ref": "http://127.0.0.1:9/x"}', (), "outside the file"),
        ("nope", (), "schema.json: Expecting value"),
        (None, (), "schema.json: No such file"),
        ("{}", ("--endpoint", "/v1/x", "--json-retries", "-1"), "--json-retries -1"),
    ],
)
def test_a_schema_that_is_none_stops_before_anything_is_sent(
    llmbatch: Command, mock: Mock, tmp_path: Path, content: str | None, flags: tuple[str, ...], said: str
) -> None:
    if content is not None:
        (tmp_path / "schema.json").write_text(content)
    done = llmbatch("run", *mock("--schema", "schema.json", "-o", "out.jsonl", *flags), stdin=["never sent"])
    assert done.code == 2 and said in done.stderr
    assert not (tmp_path / "out.jsonl").exists() and not mock.ledger("never sent")


def test_without_the_extra_it_is_named(llmbatch: Command, mock: Mock, schema: str, tmp_path: Path) -> None:
    (tmp_path / "jsonschema_rs.py").write_text("raise ImportError\n")
    done = llmbatch("run", *mock("--schema", schema), stdin=["x"], env={"PYTHONPATH": str(tmp_path)})
    assert done.code == 2 and "llmbatch[schema]" in done.stderr
    assert llmbatch("run", *mock("--json"), stdin=["x"], env={"PYTHONPATH": str(tmp_path)}).code == 0


def test_answers_that_end_badly_can_be_failures(llmbatch: Command, mock: Mock) -> None:
    prompts: list[Any] = ["whole", "[[mock:length]]", "[[mock:model-length]]", "[[mock:content-filter]]"]
    done = llmbatch("run", *mock("--fail-on-finish", "length,content_filter", "-k"), stdin=prompts)
    assert [result["status"] for result in done.results] == ["ok", "failed", "failed", "failed"]
    assert [result["error"]["code"] for result in done.results[1:]] == ["length", "length", "content_filter"]
    assert all(result["billed"] and isinstance(result["text"], str) for result in done.results[1:])
    assert "finish_reason" in done.stderr
    slip = llmbatch("run", *mock("--fail-on-finish", "lenght"), stdin=prompts)
    assert slip.code == 2 and "Did you mean length?" in slip.stderr

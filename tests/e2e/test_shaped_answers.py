"""Answers that have to be JSON, fit a schema or end well: asked for, checked, and paid once."""

import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from .command import Command, Mock, children_of, is_alive, lines_of, until

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


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


LIST = {"type": "array", "items": {"$ref": "#"}}
ENDLESS = {
    "a schema in itself": (
        {"oneOf": [LIST, {**LIST, "minItems": 2}, {"type": "string"}]}, _nested(24), "short"),
    "a chain of references": (
        {"$ref": "#/$defs/d0", "$defs": {**{f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)},
                                         "d40": {"type": "integer"}}}, "x", 1),
    "a pattern that looks ahead": (
        {"items": {"type": "string", "pattern": "^((a|aa)+b(?!x)|a+)$"}}, ["a" * 24] * 4000, ["aa"] * 3),
}  # fmt: skip


def _says(value: Any) -> str:
    return f"[[mock:text value={quote(json.dumps(value))}]]"


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_check_without_end_holds_nobody_up_and_keeps_the_answer(
    llmbatch: Command, mock: Mock, tmp_path: Path, kind: str
) -> None:
    schema, bad, good = ENDLESS[kind]
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    prompts = [{"id": "bad", "prompt": f"{kind} {_says(bad)}"}]
    prompts += [{"id": number, "prompt": f"{kind} {number} {_says(good)}"} for number in range(30)]
    flags = mock("--schema", "schema.json", "--json-retries", 2, "-c", 2, "--timeout", 3, "-o", "out.jsonl")
    done = llmbatch("run", *flags, stdin=prompts)
    lines = {line["id"]: line for line in lines_of(tmp_path / "out.jsonl")}
    last, others = lines.pop("bad"), lines.values()
    assert done.code == 1 and len(others) == 30 and all(line["status"] == "ok" for line in others), done.stderr
    assert (last["id"], last["status"], last["billed"], last["attempts"]) == ("bad", "failed", True, 1)
    assert last["error"]["kind"] == "schema" and "was not checked against the schema" in last["error"]["message"]
    assert json.loads(last["text"]) == last["json"] == bad and last["usage"]["output_tokens"]
    assert last["error"]["code"] == "not_checked" and llmbatch("run", *flags, stdin=prompts).code == 1
    assert len(mock.ledger(kind)) == 31


def test_two_interrupts_end_a_run_whose_checks_have_no_end(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    schema, bad, _ = ENDLESS["a chain of references"]
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    run = llmbatch.start("run", *mock("--schema", "schema.json", "-c", 8, "-o", "out.jsonl"))
    run.write(*({"id": number, "prompt": f"interrupted {_says(bad)}"} for number in range(200)))
    processes = until(lambda: readers_of(run.pid))
    run.signal(signal.SIGINT)
    run.read_error("interrupt again")
    run.signal(signal.SIGINT)
    assert run.wait() == 130
    until(lambda: not any(is_alive(pid) for pid in processes))


def readers_of(pid: int) -> list[int]:
    """Return the processes that read answers for a run."""
    return [reader for child in children_of(pid) for reader in children_of(child)]

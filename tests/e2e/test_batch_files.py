"""Files in the formats of others, run live, and their answers in the same formats: OpenAI Batch and the cookbook's."""

import json
from pathlib import Path
from typing import Any

from openai.types import Completion, CreateEmbeddingResponse, ErrorObject
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from .command import Command, Mock, lines_of


def chat(custom_id: str, prompt: str, **more: Any) -> dict[str, Any]:
    body = {"model": "mock-1", "messages": [{"role": "user", "content": prompt}]}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body} | more


def line(custom_id: str, url: str, model: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": model, **body}}


BATCH = [
    chat("good", "a question"),
    chat("refused", "[[mock:status code=400 message=no]]"),
    chat("foreign", "x", url="https://elsewhere.example/v1/chat/completions"),
    chat("unknown", "x", url="/v1/moderations"),
    chat("gone", "[[mock:close]]"),
    chat("other", "another question"),
    line("response", "/v1/responses", "mock-2", input="a question", text={"format": {"type": "json_object"}}),
    line("completion", "/v1/completions", "mock-3", prompt="a question"),
    *(line(f"vector-{n}", "/v1/embeddings", "mock-4", input=f"text {n}") for n in range(5)),
    line("vectors", "/v1/embeddings", "mock-4", input=["one", "two"]),
    line("empty", "/v1/embeddings", "mock-4", input=["one", ""]),
]
TYPES: dict[str, Any] = {
    "response": Response,
    "completion": Completion,
    "vectors": CreateEmbeddingResponse,
    **{f"vector-{n}": CreateEmbeddingResponse for n in range(5)},
}


def checked(lines: list[dict[str, Any]]) -> dict[str, str]:
    """Read batch lines as the official client's types have them; say how each ended."""
    ends = {}
    for line in lines:
        assert line.keys() == {"id", "custom_id", "response", "error"}
        response = line["response"]
        if response is None:
            assert line["error"].keys() == {"code", "message"}
            ends[line["custom_id"]] = line["error"]["code"]
        elif response["status_code"] == 200:
            assert line["error"] is None and isinstance(response["request_id"], str)
            type = TYPES.get(line["custom_id"], ChatCompletion)
            answer = type.model_validate(response["body"], strict=type is not Response)
            if type is CreateEmbeddingResponse:
                assert [one.index for one in answer.data] == list(range(1 + (line["custom_id"] == "vectors")))
            ends[line["custom_id"]] = "ok"
        else:
            assert line["error"] is None
            ErrorObject.model_validate(response["body"]["error"])
            ends[line["custom_id"]] = str(response["status_code"])
    return ends


EXPECTED = {
    "good": "ok",
    "refused": "400",
    "foreign": "invalid_record",
    "unknown": "invalid_record",
    "gone": "protocol",
    "other": "ok",
    "empty": "invalid_record",
    **dict.fromkeys(TYPES, "ok"),
}
FINE = {name: end for name, end in EXPECTED.items() if end == "ok"}


def test_a_batch_file_runs_live_and_comes_back_as_one(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    shaped = ("--output-format", "openai-batch", "--retries", 0)
    inline = llmbatch("run", "--base-url", mock.base_url, *shaped, stdin=BATCH)
    assert inline.code == 1 and checked(inline.results) == EXPECTED
    assert not mock.ledger("elsewhere")

    apart = llmbatch("run", "--base-url", mock.base_url, *shaped, "--error-file", "errors.jsonl", stdin=BATCH)
    errors = checked(lines_of(tmp_path / "errors.jsonl"))
    assert checked(apart.results) == FINE
    assert errors == {name: end for name, end in EXPECTED.items() if end != "ok"}

    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in BATCH))
    run = ("run", "in.jsonl", "--base-url", mock.base_url, "-o", "done.jsonl", "--retries", 0)
    llmbatch(*run)
    converted = llmbatch("convert", "done.jsonl", "--to", "openai-batch", "--error-file", "errors.jsonl")
    assert checked(converted.results) == FINE
    assert checked(lines_of(tmp_path / "errors.jsonl")) == errors
    again = llmbatch(*run, "--tee", "--keep-failed", *shaped[:2], "--error-file", "errors.jsonl")
    assert checked(again.results) == FINE
    assert checked(lines_of(tmp_path / "errors.jsonl")) == errors


COOKBOOK: list[dict[str, Any]] = [
    {"model": "mock-1", "messages": [{"role": "user", "content": "a question"}], "metadata": {"row": 1}},
    {"model": "mock-1", "messages": [{"role": "user", "content": "another question"}], "temperature": 0},
    {"model": "mock-1", "messages": [{"role": "user", "content": "[[mock:status code=400]]"}], "metadata": "x"},
    {"temperature": 1, "metadata": {"row": 4}},
]


def check_cookbook(lines: list[Any]) -> None:
    """Read lines as the cookbook's users do: an answer is a dict, a failure a list."""
    found = {json.dumps(line[0]): line[1:] for line in lines}
    bodies = [{k: v for k, v in record.items() if k != "metadata"} for record in COOKBOOK[:3]]
    first, second, third = (found[json.dumps(body)] for body in bodies)
    assert ChatCompletion.model_validate(first[0]) and first[1] == {"row": 1}
    assert ChatCompletion.model_validate(second[0]) and len(second) == 1
    assert third[0][0].startswith("bad_request: ") and third[1] == "x"
    assert found["null"][0][0].startswith("invalid_record: ") and found["null"][1] == {"row": 4}


def test_a_cookbook_file_runs_and_comes_back_as_one(llmbatch: Command, mock: Mock) -> None:
    run = ("run", "--base-url", mock.base_url, "--input-format", "cookbook")
    shaped = llmbatch(*run, "--output-format", "cookbook", stdin=COOKBOOK)
    check_cookbook(shaped.results)
    assert llmbatch(*run, "-o", "done.jsonl", stdin=COOKBOOK).code == 1
    check_cookbook(llmbatch("convert", "done.jsonl", "--to", "cookbook").results)
    sent = [entry for entry in mock.ledger("a question") if "metadata" in entry.get("body", {})]
    assert not sent


def test_what_lines_lack_for_their_shape_is_said_with_the_flag(llmbatch: Command, mock: Mock) -> None:
    llmbatch("run", *mock("-o", "plain.jsonl"), stdin=["a question"])
    for shape, flag in (("openai-batch", "--include response"), ("cookbook", "--include request,response")):
        done = llmbatch("convert", "plain.jsonl", "--to", shape)
        assert done.code == 2 and flag in done.stderr
    done = llmbatch("run", *mock("--error-file", "e.jsonl"), stdin=["a question"])
    assert done.code == 2 and "--error-file needs" in done.stderr

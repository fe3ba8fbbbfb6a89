"""Anthropic's and Gemini's APIs through the whole command: the same records in, the same lines out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .command import Command, Mock, lines_of


class Api(NamedTuple):
    preset: str
    root: str
    paths: tuple[str, str]
    key_header: str
    key_env: str
    request_id: str
    own: dict[str, str]


APIS = [
    Api(
        "anthropic",
        "/v1",
        ("/v1/messages", "/v1/messages"),
        "x-api-key",
        "ANTHROPIC_API_KEY",
        "req_",
        {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"},
    ),
    Api(
        "gemini",
        "/v1beta",
        ("/v1beta/models/mock-1:generateContent", "/v1beta/models/mock-1:streamGenerateContent?alt=sse"),
        "x-goog-api-key",
        "GOOGLE_API_KEY",
        "mock-",
        {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"},
    ),
]
NAMES = [api.preset for api in APIS]
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


def reached(api: Api, mock: Mock) -> tuple[str, ...]:
    return ("-p", api.preset, "--base-url", mock.base_url.removesuffix("/v1") + api.root, "-m", "mock-1")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("api", APIS, ids=NAMES)
def test_records_in_openais_words_become_lines_like_everybodys(
    api: Api, stream: bool, llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    mock = start_mock("--api-key", "sk-right")
    records: list[dict[str, Any]] = [
        {"id": "plain", "prompt": "Capital of France?", "system": "Be brief.", "temperature": 0},
        {"id": "capped", "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "a"}], "n": None},
        {"id": "tool", "messages": [{"role": "user", "content": "b"}], "tools": [TOOL], "tool_choice": "required"},
        {"id": "thought", "prompt": "[[mock:reasoning]] c"},
        {"id": "refused", "prompt": "[[mock:content-filter]] d"},
        {"id": "limited", "prompt": "[[mock:status code=429 retry-after=1 times=1]] e"},
        {"id": "odd", "prompt": "[[mock:text value=x]] f", "params": {"logit_bias": {}}},
    ]
    records[1]["max_tokens"] = 3
    del records[1]["n"]
    flags = ["--stream"] if stream else []
    done = llmbatch("run", *reached(api, mock), *flags, stdin=records, env={"LLMBATCH_API_KEY": "sk-right"})
    lines = {line["id"]: line for line in done.results}
    assert done.code == 1, done.stderr
    plain, capped, tool, thought, refused, limited, odd = (lines[record["id"]] for record in records)
    assert plain["text"].startswith("You asked: 'Capital of France?' ") and plain["model"] == "mock-1"
    assert plain["usage"]["input_tokens"] >= 8 and plain["usage"]["output_tokens"] > 8
    assert plain["request_id"].startswith(api.request_id)
    for line, reason in ((plain, "stop"), (capped, "length"), (tool, "tool_calls")):
        assert (line["finish_reason"], line["provider_finish_reason"]) == (reason, api.own[reason])
    assert (capped["text"], capped["usage"]["output_tokens"]) == ("You asked: '", 3)
    (call,) = tool["tool_calls"]
    assert (tool["text"], call["type"], call["function"]["name"]) == (None, "function", "f")
    assert call["function"]["arguments"].startswith('{"a":')
    assert thought["reasoning"] and 0 < thought["usage"]["reasoning_tokens"] < thought["usage"]["output_tokens"]
    assert (refused["status"], refused["text"], refused["finish_reason"]) == ("ok", None, "content_filter")
    assert (limited["attempts"], limited["status"]) == (2, "ok") and "possibly_billed" not in limited
    assert (odd["attempts"], odd["error"]["kind"]) == (0, "invalid_record") and "logit_bias" in odd["error"]["message"]
    sent = mock.ledger()
    assert {entry["path"] for entry in sent} == {api.paths[stream]}
    assert all(api.key_header in entry["headers"] and "authorization" not in entry["headers"] for entry in sent)
    assert ("anthropic-version" in sent[0]["headers"]) is (api.preset == "anthropic")


@pytest.mark.parametrize("api", APIS, ids=NAMES)
def test_a_stream_that_breaks_is_sent_once_more_and_counted(api: Api, llmbatch: Command, mock: Mock) -> None:
    faults = [f"[[mock:{name} times=1]] {api.preset}" for name in ("stream-cut", "stream-error")]
    done = llmbatch("run", *reached(api, mock), "--stream", stdin=[{"prompt": prompt} for prompt in faults])
    assert done.code == 0, done.stderr
    assert [(line["attempts"], line["possibly_billed"]) for line in done.results] == [(2, 1), (2, 1)]


@pytest.mark.parametrize(
    ("api", "fault", "kind", "code"),
    [
        (APIS[0], "code=429 code-name=enforced_spend_limit_reached", "no_credit", 4),
        (APIS[0], "code=402", "no_credit", 4),
        (APIS[1], "code=400 code-name=API_KEY_INVALID", "unauthorized", 4),
        (APIS[1], "code=429 code-name=GenerateRequestsPerDayPerProjectPerModel retry-after=30", "rate_limited", 5),
    ],
)
def test_what_no_waiting_helps_against_stops_the_run(
    api: Api, fault: str, kind: str, code: int, llmbatch: Command, mock: Mock
) -> None:
    records = [{"prompt": f"[[mock:status {fault}]] {number}"} for number in range(40)]
    done = llmbatch("run", *reached(api, mock), "-c", "1", stdin=records)
    assert done.code == code, done.stderr
    assert 0 < len(done.results) < 40
    assert {(line["error"]["kind"], line["attempts"]) for line in done.results} == {(kind, 1)}


@pytest.mark.parametrize("api", APIS, ids=NAMES)
def test_the_key_is_looked_for_where_the_provider_keeps_it(api: Api, llmbatch: Command) -> None:
    done = llmbatch("run", "-p", api.preset, "-m", "m", stdin=[{"prompt": "x"}])
    assert done.code == 4 and api.key_env in done.stderr


def test_a_blocked_prompt_of_gemini_is_a_failed_line_that_is_not_sent_again(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    args = ("run", *reached(APIS[1], mock), "-o", tmp_path / "out.jsonl")
    for _ in range(2):
        done = llmbatch(*args, stdin=[{"id": 1, "prompt": "[[mock:refusal]] blocked once"}])
        assert done.code == 1, done.stderr
    (line,) = lines_of(tmp_path / "out.jsonl")
    assert (line["error"]["kind"], line["error"]["code"], line["billed"]) == ("content_filter", "safety", True)
    assert len(mock.ledger("blocked once")) == 1


def test_the_version_of_anthropics_api_is_a_setting(llmbatch: Command, mock: Mock) -> None:
    args = ("run", *reached(APIS[0], mock), "--temperature", "0")
    assert llmbatch(*args, stdin=[{"prompt": "x"}]).code == 0
    refused = llmbatch(*args, "--header", "anthropic-version:2026-10-21", stdin=[{"prompt": "x"}])
    assert refused.result["error"]["message"] == "temperature: Extra inputs are not permitted"

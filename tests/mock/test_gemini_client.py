"""The official client of Gemini takes the mock for the real thing."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from google import genai
from google.genai import errors

from .requests import SCHEMA


@pytest.fixture
def client(mock_server: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., genai.Client]]:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as clients:

        def connect(key: str = "AQ.right", **settings: Any) -> genai.Client:
            root = mock_server(**settings).removesuffix("/v1")
            made = genai.Client(api_key=key, http_options={"base_url": root, "api_version": "v1beta", "timeout": 5000})
            clients.callback(made.close)
            return made

        yield connect


def ask(client: genai.Client, prompt: str = "Capital of France?", *, model: str = "mock-1", **config: Any) -> Any:
    return client.models.generate_content(model=model, contents=prompt, config=config or None)


def test_an_answer_quotes_the_prompt_and_counts_tokens(client: Callable[..., genai.Client]) -> None:
    answer = ask(client())
    assert answer.text.startswith("You asked: 'Capital of France?' ")
    assert answer.candidates[0].finish_reason.name == "STOP"
    assert answer.usage_metadata.prompt_token_count == 5
    assert answer.usage_metadata.candidates_token_count == -(-len(answer.text.encode()) // 4)
    assert (answer.model_version, bool(answer.response_id)) == ("mock-1", True)


def test_a_stream_carries_the_same_text_and_the_usage(client: Callable[..., genai.Client]) -> None:
    one = client()
    chunks = list(one.models.generate_content_stream(model="mock-1", contents="Tell me"))
    text = "".join(chunk.text or "" for chunk in chunks)
    assert len(chunks) > 4
    assert text == ask(one, "Tell me").text
    assert chunks[-1].candidates[0].finish_reason.name == "STOP"
    assert chunks[-1].usage_metadata.candidates_token_count == -(-len(text.encode()) // 4)


def test_a_wrong_key_is_a_client_error(client: Callable[..., genai.Client]) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(client("AQ.wrong", api_key="AQ.right"))
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
    assert ask(client("AQ.right", api_key="AQ.right")).text


def test_a_missing_model_is_not_found(client: Callable[..., genai.Client]) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(client(), model="missing-model")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


def test_beyond_the_rate_the_wait_is_in_the_body_and_in_no_header(client: Callable[..., genai.Client]) -> None:
    one = client(rpm=1)
    ask(one)
    with pytest.raises(errors.ClientError) as caught:
        ask(one)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    (retry,) = caught.value.details["error"]["details"]
    assert 1 <= float(retry["retryDelay"].removesuffix("s")) <= 60
    assert not [name for name in caught.value.response.headers if "retry" in name or "ratelimit" in name]


def test_several_candidates_and_their_cap(client: Callable[..., genai.Client]) -> None:
    answer = ask(client(), candidate_count=2, max_output_tokens=30)
    assert [candidate.index for candidate in answer.candidates] == [0, 1]
    texts = [candidate.content.parts[0].text for candidate in answer.candidates]
    assert texts[0] != texts[1]
    assert answer.candidates[0].finish_reason.name == "MAX_TOKENS"


def test_a_required_function_is_called_with_fitting_arguments(client: Callable[..., genai.Client]) -> None:
    declared = {"name": "note", "parameters_json_schema": SCHEMA}
    calling = {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["note"]}}
    config: dict[str, Any] = {"tools": [{"function_declarations": [declared]}], "tool_config": calling}
    (call,) = ask(client(), automatic_function_calling={"disable": True}, **config).function_calls
    assert call.name == "note"
    assert set(call.args) == set(SCHEMA["properties"])


def test_a_schema_is_answered_with_json_that_fits(client: Callable[..., genai.Client]) -> None:
    one = client()
    answer = ask(one, response_mime_type="application/json", response_json_schema=SCHEMA)
    assert set(json.loads(answer.text)) == set(SCHEMA["properties"])
    assert isinstance(json.loads(ask(one, response_mime_type="application/json").text), dict)


def test_thoughts_are_parts_of_their_own_and_counted_apart(client: Callable[..., genai.Client]) -> None:
    one = client()
    for answer in (ask(one, thinking_config={"include_thoughts": True}), ask(one, "[[mock:reasoning]] why")):
        thought, said = answer.candidates[0].content.parts
        assert (thought.thought, said.thought) == (True, None)
        counts = answer.usage_metadata
        assert counts.thoughts_token_count == -(-len(thought.text) // 4)
        assert counts.candidates_token_count == -(-len(said.text.encode()) // 4)


def test_blocked_prompts_and_answers_parse(client: Callable[..., genai.Client]) -> None:
    one = client()
    blocked = ask(one, "[[mock:refusal]] no")
    assert (blocked.candidates, blocked.prompt_feedback.block_reason.name) == (None, "SAFETY")
    stopped = ask(one, "[[mock:content-filter]] no")
    assert (stopped.candidates[0].finish_reason.name, stopped.candidates[0].content) == ("SAFETY", None)


def test_an_unknown_field_is_refused(client: Callable[..., genai.Client]) -> None:
    with pytest.raises(errors.ClientError, match="Unknown name"):
        ask(client(), http_options={"extra_body": {"logit_bias": {}}})


@pytest.mark.parametrize(
    ("marker", "code", "status"),
    [
        ("status code=503", 503, "UNAVAILABLE"),
        ("status code=429 retry-after=2", 429, "RESOURCE_EXHAUSTED"),
        ("status code=402", 402, "RESOURCE_EXHAUSTED"),
        ("status code=400 code-name=FAILED_PRECONDITION", 400, "FAILED_PRECONDITION"),
    ],
)
def test_faults_are_told_as_gemini_does(
    client: Callable[..., genai.Client], marker: str, code: int, status: str
) -> None:
    one = client()
    with pytest.raises(errors.APIError) as caught:
        ask(one, f"[[mock:{marker} times=1]] Hello")
    assert (caught.value.code, caught.value.status) == (code, status)
    assert ask(one, f"[[mock:{marker} times=1]] Hello").text.startswith("You asked: 'Hello'")


def test_a_quota_and_a_reason_stand_in_the_details(client: Callable[..., genai.Client]) -> None:
    one = client()
    with pytest.raises(errors.ClientError) as caught:
        ask(one, "[[mock:status code=429 code-name=GenerateRequestsPerDayPerProjectPerModel]]")
    assert "PerDay" in caught.value.details["error"]["details"][0]["violations"][0]["quotaId"]
    with pytest.raises(errors.ClientError) as caught:
        ask(one, "[[mock:status code=400 code-name=API_KEY_INVALID]]")
    assert caught.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


def test_an_error_in_the_stream_is_raised(client: Callable[..., genai.Client]) -> None:
    with pytest.raises(errors.APIError):
        list(client().models.generate_content_stream(model="mock-1", contents="[[mock:stream-error]] x"))

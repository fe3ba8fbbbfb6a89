"""The official client of Anthropic takes the mock for the real thing."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import anthropic
import pytest

from .requests import SCHEMA

TOOL = {"name": "note", "input_schema": SCHEMA}


@pytest.fixture
def client(mock_server: Callable[..., str]) -> Iterator[Callable[..., anthropic.Anthropic]]:
    with ExitStack() as clients:

        def connect(key: str = "sk-right", **settings: Any) -> anthropic.Anthropic:
            root = mock_server(**settings).removesuffix("/v1")
            made = anthropic.Anthropic(base_url=root, api_key=key, max_retries=0, timeout=5)
            return clients.enter_context(made)

        yield connect


def ask(client: anthropic.Anthropic, prompt: str = "Capital of France?", **fields: Any) -> Any:
    fields = {"model": "mock-1", "max_tokens": 1000, **fields}
    return client.messages.create(messages=[{"role": "user", "content": prompt}], **fields)


def test_a_message_quotes_the_prompt_and_counts_tokens(client: Callable[..., anthropic.Anthropic]) -> None:
    answer = ask(client())
    (block,) = answer.content
    assert block.text.startswith("You asked: 'Capital of France?' ")
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens == 5 + 4  # 18 bytes, one message
    assert answer.usage.output_tokens == -(-len(block.text.encode()) // 4)
    assert answer._request_id.startswith("req_")


def test_a_marked_system_prompt_is_read_from_the_cache(client: Callable[..., anthropic.Anthropic]) -> None:
    system = [{"type": "text", "text": "a" * 400, "cache_control": {"type": "ephemeral"}}]
    used = ask(client(), system=system).usage
    assert (used.input_tokens, used.cache_read_input_tokens, used.cache_creation_input_tokens) == (9, 100, 0)


def test_a_stream_carries_the_same_text_and_the_usage(client: Callable[..., anthropic.Anthropic]) -> None:
    one = client()
    whole = ask(one, "Tell me")
    with one.messages.stream(
        model="mock-1", max_tokens=1000, messages=[{"role": "user", "content": "Tell me"}]
    ) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 4
    assert "".join(pieces) == final.content[0].text
    assert final.content[0].text.startswith("You asked: 'Tell me'")
    assert (final.stop_reason, final.usage.input_tokens) == ("end_turn", whole.usage.input_tokens)
    assert final.usage.output_tokens == -(-len(final.content[0].text.encode()) // 4)


def test_a_wrong_key_is_an_authentication_error(client: Callable[..., anthropic.Anthropic]) -> None:
    with pytest.raises(anthropic.AuthenticationError) as caught:
        ask(client("sk-wrong", api_key="sk-right"))
    assert caught.value.body["error"]["type"] == "authentication_error"
    assert ask(client("sk-right", api_key="sk-right")).content


def test_a_missing_model_is_not_found(client: Callable[..., anthropic.Anthropic]) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(client(), model="missing-model")
    assert caught.value.body["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_the_newer_version_refuses_sampling_and_the_older_takes_it(
    client: Callable[..., anthropic.Anthropic], name: str
) -> None:
    one = client()
    with pytest.raises(anthropic.BadRequestError, match="Extra inputs are not permitted"):
        ask(one, extra_body={name: 1}, extra_headers={"anthropic-version": "2026-10-21"})
    assert ask(one, extra_body={name: 1}, extra_headers={"anthropic-version": "2023-06-01"}).content


def test_a_system_role_among_the_messages_is_refused(client: Callable[..., anthropic.Anthropic]) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.0\.role"):
        client().messages.create(model="m", max_tokens=9, messages=[{"role": "system", "content": "x"}])


def test_beyond_the_rate_is_a_rate_limit_error_with_headers(client: Callable[..., anthropic.Anthropic]) -> None:
    one = client(rpm=1, tpm=1000)
    messages: Any = [{"role": "user", "content": "x"}]
    head = one.messages.with_raw_response.create(model="m", max_tokens=9, messages=messages).headers
    assert head["anthropic-ratelimit-requests-limit"] == "1"
    assert head["anthropic-ratelimit-requests-remaining"] == "0"
    assert head["anthropic-ratelimit-tokens-limit"] == "1000"
    assert head["anthropic-ratelimit-tokens-remaining"] == str(1000 - 5 - 9)
    reset = datetime.fromisoformat(head["anthropic-ratelimit-requests-reset"])
    assert 0 < (reset - datetime.now(UTC)).total_seconds() <= 61
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask(one)
    assert caught.value.body["error"]["type"] == "rate_limit_error"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60


def test_a_required_tool_is_used_with_fitting_input(client: Callable[..., anthropic.Anthropic]) -> None:
    one = client()
    for choice in ({"type": "any"}, {"type": "tool", "name": "note"}):
        answer = ask(one, tools=[TOOL], tool_choice=choice)
        (block,) = answer.content
        assert (answer.stop_reason, block.type, block.name) == ("tool_use", "tool_use", "note")
        assert set(block.input) == set(SCHEMA["properties"])
    stream: Any = one.messages.stream(
        model="m", max_tokens=99, tools=[TOOL], tool_choice={"type": "any"}, messages=[{"role": "user", "content": "x"}]
    )
    with stream as events:
        assert set(events.get_final_message().content[0].input) == set(SCHEMA["properties"])


def test_a_schema_is_answered_with_json_that_fits(client: Callable[..., anthropic.Anthropic]) -> None:
    wanted = {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert set(json.loads(ask(client(), output_config=wanted).content[0].text)) == set(SCHEMA["properties"])


def test_the_cap_and_a_stop_sequence_cut_the_answer(client: Callable[..., anthropic.Anthropic]) -> None:
    one = client()
    short = ask(one, max_tokens=3)
    assert (short.stop_reason, short.content[0].text, short.usage.output_tokens) == ("max_tokens", "You asked: '", 3)
    stopped = ask(one, stop_sequences=["asked"])
    assert (stopped.stop_reason, stopped.stop_sequence, stopped.content[0].text) == ("stop_sequence", "asked", "You ")


def test_thinking_comes_first_and_is_counted(client: Callable[..., anthropic.Anthropic]) -> None:
    one = client()
    for answer in (ask(one, max_tokens=2000, thinking={"type": "adaptive"}), ask(one, "[[mock:reasoning]] why")):
        assert [block.type for block in answer.content] == ["thinking", "text"]
        assert 0 < answer.usage.output_tokens_details.thinking_tokens < answer.usage.output_tokens


def test_a_refusal_parses(client: Callable[..., anthropic.Anthropic]) -> None:
    answer = ask(client(), "[[mock:refusal]] no")
    assert (answer.stop_reason, answer.content) == ("refusal", [])
    assert answer.stop_details.explanation


@pytest.mark.parametrize(
    ("marker", "error", "kind"),
    [
        ("status code=529", anthropic.APIStatusError, "overloaded_error"),
        ("status code=429 retry-after=2", anthropic.RateLimitError, "rate_limit_error"),
        ("status code=402", anthropic.APIStatusError, "billing_error"),
        ("status code=500", anthropic.InternalServerError, "api_error"),
    ],
)
def test_faults_are_told_as_anthropic_does(
    client: Callable[..., anthropic.Anthropic], marker: str, error: type[anthropic.APIStatusError], kind: str
) -> None:
    one = client()
    with pytest.raises(error) as caught:
        ask(one, f"[[mock:{marker} times=1]] Hello")
    assert caught.value.body["error"]["type"] == kind
    assert caught.value.body["request_id"]
    assert ask(one, f"[[mock:{marker} times=1]] Hello").content[0].text.startswith("You asked: 'Hello'")


def test_a_spend_limit_says_so_in_the_details_alone(client: Callable[..., anthropic.Anthropic]) -> None:
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask(client(), "[[mock:status code=429 code-name=enforced_spend_limit_reached]]")
    assert caught.value.body["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}
    assert "retry-after" not in caught.value.response.headers


def test_an_error_in_the_stream_is_raised(client: Callable[..., anthropic.Anthropic]) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        list(ask(client(), "[[mock:stream-error]] x", stream=True))
    assert caught.value.body["error"]["type"] == "overloaded_error"

"""The official client of OpenAI takes the mock for the real thing."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import openai
import pytest

from .requests import SCHEMA


@pytest.fixture
def client(mock_server: Callable[..., str]) -> Iterator[Callable[..., openai.OpenAI]]:
    with ExitStack() as clients:

        def connect(key: str = "sk-right", **settings: Any) -> openai.OpenAI:
            made = openai.OpenAI(base_url=mock_server(**settings), api_key=key, max_retries=0, timeout=5)
            return clients.enter_context(made)

        yield connect


def ask(client: openai.OpenAI, prompt: str = "Capital of France?", **fields: Any) -> Any:
    return client.chat.completions.create(
        model=fields.pop("model", "mock-1"), messages=[{"role": "user", "content": prompt}], **fields
    )


def test_a_completion_quotes_the_prompt_and_counts_tokens(client: Callable[..., openai.OpenAI]) -> None:
    answer = ask(client())
    text = answer.choices[0].message.content
    assert text.startswith("You asked: 'Capital of France?' ")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 5 + 4  # 18 bytes, one message
    assert answer.usage.completion_tokens == -(-len(text.encode()) // 4)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_same_seed_and_body_give_the_same_words_and_another_id(
    client: Callable[..., openai.OpenAI],
) -> None:
    one, other, third = client(seed=1), client(seed=1), client(seed=2)
    first, again, elsewhere, reseeded = ask(one), ask(one), ask(other), ask(third)
    texts = [answer.choices[0].message.content for answer in (first, again, elsewhere, reseeded)]
    assert texts[0] == texts[1] == texts[2] != texts[3]
    assert first.id != again.id


def test_a_stream_carries_the_same_text_and_the_usage(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    chunks = list(ask(one, "Tell me", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith("You asked: 'Tell me'")
    assert len(chunks) > 4
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == -(-len(text.encode()) // 4)
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_a_stream_without_usage_option_has_no_usage_chunk(client: Callable[..., openai.OpenAI]) -> None:
    assert all(chunk.choices for chunk in ask(client(), stream=True))


def test_models_are_listed(client: Callable[..., openai.OpenAI]) -> None:
    assert "mock-1" in [model.id for model in client().models.list()]


def test_a_wrong_key_is_an_authentication_error(client: Callable[..., openai.OpenAI]) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(client("sk-wrong", api_key="sk-right"))
    assert caught.value.code == "invalid_api_key"
    assert ask(client("sk-right", api_key="sk-right")).choices


def test_a_missing_model_is_not_found(client: Callable[..., openai.OpenAI]) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client(), model="missing-model")
    assert caught.value.code == "model_not_found"


def test_beyond_the_rate_is_a_rate_limit_error_with_headers(client: Callable[..., openai.OpenAI]) -> None:
    one = client(rpm=1, tpm=1000)
    head = one.chat.completions.with_raw_response.create(model="m", messages=[{"role": "user", "content": "x"}]).headers
    assert (head["x-ratelimit-limit-requests"], head["x-ratelimit-remaining-requests"]) == ("1", "0")
    assert (head["x-ratelimit-limit-tokens"], head["x-ratelimit-remaining-tokens"]) == ("1000", "955")
    with pytest.raises(openai.RateLimitError) as caught:
        ask(one)
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.type == "requests"
    head = caught.value.response.headers
    assert 1 <= int(head["retry-after"]) <= 60
    assert 0 < int(head["retry-after-ms"]) <= 60_000
    assert head["x-ratelimit-remaining-requests"] == "0"


def test_a_request_larger_than_the_token_limit_gets_no_time_to_wait(
    client: Callable[..., openai.OpenAI],
) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client(tpm=100), "x" * 1000)
    assert caught.value.type == "tokens"
    assert "retry-after" not in caught.value.response.headers


def test_n_gives_n_different_choices(client: Callable[..., openai.OpenAI]) -> None:
    answer = ask(client(), n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].message.content != answer.choices[1].message.content


def test_a_required_tool_is_called_with_fitting_arguments(client: Callable[..., openai.OpenAI]) -> None:
    tools = [{"type": "function", "function": {"name": "note", "parameters": SCHEMA}}]
    one = client()
    choice = ask(one, tools=tools, tool_choice="required").choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    call = choice.message.tool_calls[0].function
    assert call.name == "note"
    assert set(json.loads(call.arguments)) == set(SCHEMA["properties"])
    streamed = ask(one, tools=tools, tool_choice="required", stream=True)
    deltas = [call for chunk in streamed for call in chunk.choices[0].delta.tool_calls or ()]
    assert deltas[0].function.name == "note"
    assert set(json.loads("".join(delta.function.arguments for delta in deltas))) == set(SCHEMA["properties"])


def test_a_schema_is_answered_with_json_that_fits(client: Callable[..., openai.OpenAI]) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA}}
    value = json.loads(ask(client(), response_format=wanted).choices[0].message.content)
    assert isinstance(value["name"], str)
    assert value["count"] in (3, 4, 5)
    assert isinstance(value["score"], float)
    assert isinstance(value["good"], bool)
    assert value["colour"] in ("red", "blue")
    assert isinstance(value["tags"][0]["label"], str)


def test_json_mode_answers_with_an_object(client: Callable[..., openai.OpenAI]) -> None:
    answer = ask(client(), response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_token_maximum_cuts_the_answer(client: Callable[..., openai.OpenAI], field: str) -> None:
    answer = ask(client(), **{field: 3})
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == "You asked: '"
    assert answer.usage.completion_tokens == 3


def test_a_fault_ends_after_its_times(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    prompt = "[[mock:status code=503 times=1]][[mock:status code=429 retry-after=2 times=1]] Hello"
    with pytest.raises(openai.InternalServerError):
        ask(one, prompt)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(one, prompt)
    assert caught.value.response.headers["retry-after"] == "2"
    assert ask(one, prompt).choices[0].message.content.startswith("You asked: 'Hello'")


def test_a_refusal_and_a_reasoning_answer_parse(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    refused = ask(one, "[[mock:refusal]] no").choices[0].message
    assert (refused.content, bool(refused.refusal)) == (None, True)
    thought = ask(one, "[[mock:reasoning]] why")
    assert thought.choices[0].message.reasoning_content
    assert 0 < thought.usage.completion_tokens_details.reasoning_tokens < thought.usage.completion_tokens


def test_an_error_in_the_stream_is_raised(client: Callable[..., openai.OpenAI]) -> None:
    with pytest.raises(openai.APIError, match="while streaming"):
        list(ask(client(), "[[mock:stream-error]]", stream=True))


# The other endpoints


def test_a_response_quotes_the_prompt_and_counts_tokens(client: Callable[..., openai.OpenAI]) -> None:
    answer = client().responses.create(model="mock-1", input="Capital of France?", instructions="Be brief.")
    assert answer.output_text.startswith("You asked: 'Capital of France?' ")
    assert (answer.status, answer.error, answer.incomplete_details) == ("completed", None, None)
    assert answer.usage is not None and answer.usage.total_tokens > answer.usage.output_tokens > 0


def test_a_streamed_response_ends_with_the_whole_of_it(client: Callable[..., openai.OpenAI]) -> None:
    events = list(client().responses.create(model="mock-1", input="Tell me", stream=True))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert text == last.response.output_text and text.startswith("You asked: 'Tell me'")
    assert [event.sequence_number for event in events] == list(range(len(events)))


@pytest.mark.parametrize(
    ("marker", "status", "reason"),
    [
        ("length", "incomplete", "max_output_tokens"),
        ("content-filter", "incomplete", "content_filter"),
        ("failed", "failed", None),
        ("unfinished", "in_progress", None),
    ],
)
def test_a_response_that_is_not_whole_says_so(
    client: Callable[..., openai.OpenAI], marker: str, status: str, reason: str | None
) -> None:
    answer = client().responses.create(model="mock-1", input=f"[[mock:{marker}]] x")
    assert answer.status == status
    assert (answer.incomplete_details and answer.incomplete_details.reason) == reason
    assert (answer.error is not None and answer.error.code == "server_error") is (status == "failed")


def test_a_response_thinks_refuses_calls_and_fits_a_schema(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    thought = one.responses.create(model="m", input="[[mock:reasoning]] why")
    assert [item.type for item in thought.output] == ["reasoning", "message"]
    refused = one.responses.create(model="m", input="[[mock:refusal]] no")
    assert refused.output_text == "" and refused.output[0].content[0].type == "refusal"  # type: ignore[union-attr]
    tool: Any = {"type": "function", "name": "note", "parameters": SCHEMA, "strict": False}
    called = one.responses.create(model="m", input="do", tools=[tool], tool_choice="required").output[0]
    assert called.type == "function_call" and set(json.loads(called.arguments)) == set(SCHEMA["properties"])
    form: Any = {"format": {"type": "json_schema", "name": "thing", "schema": SCHEMA}}
    assert set(json.loads(one.responses.create(model="m", input="x", text=form).output_text)) == set(
        SCHEMA["properties"]
    )


def test_a_completion_of_several_prompts_is_told_apart_by_index(client: Callable[..., openai.OpenAI]) -> None:
    answer = client().completions.create(model="m", prompt=["one", "two"], n=2, max_tokens=64)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text[:16] for choice in answer.choices] == ["You asked: 'one'"] * 2 + ["You asked: 'two'"] * 2
    assert answer.choices[0].text != answer.choices[1].text
    assert answer.usage is not None and answer.usage.completion_tokens == sum(
        -(-len(choice.text.encode()) // 4) for choice in answer.choices
    )


def test_a_streamed_completion_has_the_same_text(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    chunks = list(one.completions.create(model="m", prompt="go on", stream=True))
    text = "".join(chunk.choices[0].text for chunk in chunks)
    assert text.startswith("You asked: 'go on'")
    assert chunks[-1].choices[0].finish_reason == "length"


def test_embeddings_depend_on_the_text_alone(client: Callable[..., openai.OpenAI]) -> None:
    one = client()
    together = one.embeddings.create(model="m", input=["a", "b"])  # the client asks for base64
    alone = one.embeddings.create(model="m", input="b", encoding_format="float", dimensions=8)
    assert [item.index for item in together.data] == [0, 1]
    assert together.data[1].embedding == alone.data[0].embedding
    assert together.data[0].embedding != together.data[1].embedding
    assert (len(alone.data[0].embedding), together.usage.prompt_tokens) == (8, 2)


def test_an_empty_input_is_refused(client: Callable[..., openai.OpenAI]) -> None:
    with pytest.raises(openai.BadRequestError, match="non-empty"):
        client().embeddings.create(model="m", input=["a", ""])


@pytest.mark.parametrize("version", ["2024-10-21", "v1"])
def test_the_azure_client_is_answered_at_both_its_paths(mock_server: Callable[..., str], version: str) -> None:
    root = mock_server(api_key="sk-right").removesuffix("/v1")
    connected = (
        openai.OpenAI(base_url=f"{root}/openai/v1", api_key="sk-right")
        if version == "v1"
        else openai.AzureOpenAI(azure_endpoint=root, api_key="sk-right", api_version=version)
    )
    with connected as one:
        assert ask(one, model="my-deployment").model == "my-deployment"
        assert one.embeddings.create(model="my-deployment", input="x").model == "my-deployment"
        assert one.responses.create(model="my-deployment", input="x").model == "my-deployment"

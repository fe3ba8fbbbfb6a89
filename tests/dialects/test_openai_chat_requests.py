"""Building chat requests: what the record says, what flags add, what wins."""

import json
from typing import Any

import pytest

from llmbatch.core.job import Route
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.openai_chat import Chat
from llmbatch.dialects.request_options import Options
from tests.support.scripted import job

MESSAGES = [{"role": "user", "content": "hi"}]


def body(prompt: Prompt, *, token_cap: str = "max_completion_tokens", **options: Any) -> dict[str, Any]:
    return Chat(Options(**{"model": "m", **options}), token_cap=token_cap).item(prompt)[1]


def test_a_prompt_becomes_one_user_message() -> None:
    assert body(Prompt(text="hi")) == {"model": "m", "messages": MESSAGES}


def test_an_empty_prompt_is_a_prompt() -> None:
    assert body(Prompt(text=""))["messages"] == [{"role": "user", "content": ""}]


def test_messages_are_sent_as_they_are() -> None:
    assert body(Prompt(messages=MESSAGES))["messages"] is MESSAGES


def test_a_system_prompt_comes_first() -> None:
    assert body(Prompt(text="hi", system="be brief"))["messages"] == [
        {"role": "system", "content": "be brief"},
        *MESSAGES,
    ]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_messages_with_a_system_message_of_their_own_keep_it(role: str) -> None:
    own = [{"role": role, "content": "own"}, *MESSAGES]
    assert body(Prompt(messages=own, system="other"))["messages"] == own


def test_a_system_prompt_does_not_change_the_records_own_messages() -> None:
    own = list(MESSAGES)
    body(Prompt(messages=own, system="other"))
    assert own == MESSAGES


def test_params_are_merged_into_the_body() -> None:
    assert body(Prompt(text="hi", params={"temperature": 0, "x": {"y": 1}}))["x"] == {"y": 1}


def test_null_removes_a_field_of_the_body() -> None:
    assert "temperature" not in body(
        Prompt(body={"messages": MESSAGES, "temperature": 1}, params={"temperature": None})
    )


def test_a_default_does_not_bring_a_removed_field_back() -> None:
    assert "temperature" not in body(Prompt(text="hi", params={"temperature": None}), defaults={"temperature": 1})


def test_max_tokens_does_not_bring_a_removed_cap_back() -> None:
    made = body(Prompt(text="hi", params={"max_tokens": None}), max_tokens=9)
    assert not made.keys() & {"max_tokens", "max_completion_tokens"}


def test_defaults_fill_what_the_record_lacks() -> None:
    assert body(Prompt(text="hi"), defaults={"temperature": 1})["temperature"] == 1


def test_the_record_wins_over_defaults() -> None:
    assert body(Prompt(text="hi", params={"temperature": 0}), defaults={"temperature": 1})["temperature"] == 0


def test_overrides_win_over_the_record() -> None:
    assert body(Prompt(text="hi", params={"temperature": 0}), overrides={"temperature": 1})["temperature"] == 1


def test_an_override_of_null_removes() -> None:
    assert "temperature" not in body(Prompt(text="hi", params={"temperature": 0}), overrides={"temperature": None})


@pytest.mark.parametrize("cap", ["max_completion_tokens", "max_tokens"])
def test_the_token_cap_has_the_name_the_provider_knows(cap: str) -> None:
    made = body(Prompt(text="hi"), token_cap=cap, max_tokens=9)
    assert {k: v for k, v in made.items() if k.startswith("max_")} == {cap: 9}


@pytest.mark.parametrize("own", ["max_completion_tokens", "max_tokens"])
@pytest.mark.parametrize("cap", ["max_completion_tokens", "max_tokens"])
def test_a_token_cap_of_the_record_stands_under_either_name(own: str, cap: str) -> None:
    made = body(Prompt(text="hi", params={own: 5}), token_cap=cap, max_tokens=9)
    assert {k: v for k, v in made.items() if k.startswith("max_")} == {own: 5}


@pytest.mark.parametrize(
    ("prompt", "options", "model"),
    [
        (Prompt(text="hi"), {}, "m"),
        (Prompt(text="hi", model="own"), {}, "own"),
        (Prompt(text="hi", params={"model": "own"}), {}, "own"),
        (Prompt(body={"messages": MESSAGES, "model": "own"}), {}, "own"),
        (Prompt(body={"messages": MESSAGES}), {}, "m"),
        (Prompt(text="hi", model="own"), {"overrides": {"model": "won"}}, "won"),
    ],
)
def test_the_model_is_the_records_then_the_flags(prompt: Prompt, options: dict[str, Any], model: str) -> None:
    route, made = Chat(Options(**{"model": "m", **options})).item(prompt)
    assert (route, made["model"]) == (Route("/chat/completions", model), model)


@pytest.mark.parametrize(
    "prompt",
    [Prompt(text="hi"), Prompt(text="hi", params={"model": ""}), Prompt(text="hi", params={"model": 7})],
)
def test_a_record_without_a_model_is_refused_with_a_hint(prompt: Prompt) -> None:
    with pytest.raises(RecordError, match="no model") as caught:
        Chat(Options()).item(prompt)
    assert caught.value.hint is not None and "-m" in caught.value.hint


def test_a_batch_body_is_sent_as_given() -> None:
    given = {"messages": MESSAGES, "model": "own", "unheard_of": [1], "max_tokens": 3}
    assert json.dumps(body(Prompt(body=given, path="/chat/completions"))) == json.dumps(given)


def test_a_batch_body_is_not_changed_itself() -> None:
    given: dict[str, Any] = {"messages": MESSAGES}
    body(Prompt(body=given, system="s"), defaults={"temperature": 1}, overrides={"n": 1})
    assert given == {"messages": MESSAGES}


@pytest.mark.parametrize("given", [{}, {"messages": []}, {"messages": "hi"}, {"messages": None}])
def test_a_batch_body_without_messages_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="no messages"):
        body(Prompt(body=given))


def test_input_has_no_place_in_chat_and_the_hint_names_the_flag() -> None:
    with pytest.raises(RecordError) as caught:
        body(Prompt(input="hi"))
    assert caught.value.hint is not None and "--endpoint" in caught.value.hint


def test_the_request_carries_the_item_as_json() -> None:
    one = job(3)
    request = Chat(Options()).request([one])
    assert (request.jobs, request.path, json.loads(request.body)) == ((one,), "/chat/completions", one.item)


def test_a_number_wider_than_64_bits_is_sent_exactly() -> None:
    one = job(3)
    one.item["seed"] = 2**70
    assert json.loads(Chat(Options()).request([one]).body)["seed"] == 2**70

"""Answers that have to be more than answers: how they are asked for, and which are turned down."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmbatch.codec.schema import compiled
from llmbatch.core.exchange import Expected, Reply
from llmbatch.core.fault import Billing, Fault
from llmbatch.core.outcome import Completion, UnusableAnswer
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.presets import PRESETS
from llmbatch.dialects.request_options import Options
from llmbatch.dialects.structured_output import AnswerChecks, JsonRouter, parsed, response_format

STRICT = {
    "type": "object",
    "properties": {"stars": {"type": "integer"}},
    "required": ["stars"],
    "additionalProperties": False,
}
MESSAGES = [{"role": "user", "content": "hi"}]
CUT, REFUSED = {"content": "cut"}, {"content": None, "refusal": "no"}
FENCES = "```\n1\n```\n```\n2\n```"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def ending(*reasons: str) -> AnswerChecks:
    return AnswerChecks(finish=frozenset(reasons))


def dialect(schema: Any = STRICT, endpoint: str = "chat") -> JsonRouter:
    return JsonRouter(Options(model="m"), PRESETS["openai"], endpoint, response_format(schema))


def wanting(schema: Any = STRICT) -> AnswerChecks:
    return AnswerChecks(json=True, check=compiled(schema) if schema is not None else None)


def read(demands: AnswerChecks, message: dict[str, Any], finish: str = "stop") -> Completion | Fault:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    answer = {"model": "m-1", "choices": [choice], "usage": usage}
    reply = Reply(200, {"x-request-id": "req_1"}, json.dumps(answer).encode())
    (verdict,) = AnswerReader(demands).read(Expected("chat"), reply)
    return verdict


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        (
            "chat",
            lambda body: [
                body["response_format"]["type"] == "json_schema",
                body["response_format"]["json_schema"] == {"name": "answer", "schema": STRICT, "strict": True},
            ],
        ),
        (
            "responses",
            lambda body: [
                "response_format" not in body,
                body["text"]["format"] == {"type": "json_schema", "name": "answer", "schema": STRICT, "strict": True},
            ],
        ),
        ("messages", lambda body: [body["output_config"]["format"] == {"type": "json_schema", "schema": STRICT}]),
        (
            "gemini",
            lambda body: [
                body["generationConfig"]["responseJsonSchema"] == STRICT,
                body["generationConfig"]["responseMimeType"] == "application/json",
            ],
        ),
    ],
)
def test_each_dialect_asks_in_its_own_form(endpoint: str, place: Any) -> None:
    route, body = dialect(endpoint=endpoint).item(Prompt(text="hi"))
    assert all(place(body)) and route.dialect == endpoint


def test_json_without_a_schema_is_any_object() -> None:
    assert dialect(None).item(Prompt(text="hi"))[1]["response_format"] == {"type": "json_object"}
    with pytest.raises(RecordError, match="only by a schema"):
        dialect(None, "messages").item(Prompt(text="hi"))


@pytest.mark.parametrize("own", [{"response_format": {"type": "text"}}, {"response_format": None}])
def test_a_record_that_asks_for_a_form_of_its_own_gets_it(own: dict[str, Any]) -> None:
    by_params = dialect().item(Prompt(text="hi", params=own))[1]
    by_body = dialect().item(Prompt(body={"messages": MESSAGES, **own}))[1]
    assert by_params.get("response_format") == by_body.get("response_format") == own["response_format"]


def test_an_endpoint_without_words_is_named() -> None:
    for endpoint in ("embeddings", "completions"):
        with pytest.raises(RecordError, match=f"/{endpoint} knows no answer in JSON") as refused:
            dialect(endpoint=endpoint).item(Prompt(text="hi"))
        assert refused.value.hint is not None


def test_parameters_beside_a_form_are_no_form() -> None:
    beside: list[tuple[str, dict[str, Any]]] = [
        ("responses", {"text": {"verbosity": "low"}}),
        ("messages", {"output_config": {"effort": "low"}}),
        ("gemini", {"generationConfig": {"topK": 3}}),
    ]
    forms: list[tuple[str, dict[str, Any]]] = [
        ("responses", {"text": {"format": {"type": "text"}}}),
        ("messages", {"output_config": {"format": {"type": "json_schema", "schema": {}}}}),
        ("gemini", {"generationConfig": {"responseMimeType": "text/plain"}}),
    ]
    for wanted, cases in ((True, beside), (False, forms)):
        for endpoint, own in cases:
            body = dialect(endpoint=endpoint).item(Prompt(text="hi", params=own))[1]
            assert ("additionalProperties" in str(body)) is wanted


def test_a_record_is_left_as_it_is() -> None:
    params: dict[str, Any] = {"temperature": 0}
    dialect().item(Prompt(text="hi", params=params))
    assert params == {"temperature": 0}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (STRICT, True),
        ({"type": "string"}, True),
        ({**STRICT, "required": []}, False),
        ({"type": "object", "properties": {}}, False),
        ({"type": "array", "items": {"type": "object"}}, False),
        ({"anyOf": [STRICT, {"type": "null"}]}, True),
        ({"anyOf": [STRICT, {"type": "object"}]}, False),
        ({**STRICT, "properties": {"stars": {"type": "object"}}}, False),
        ({"enum": [{"type": "object"}]}, True),
        ({"$defs": {"a": {"type": "object"}}, "$ref": "#/$defs/a"}, False),
    ],
)
def test_strict_is_asked_for_where_it_would_be_accepted(schema: Any, strict: bool) -> None:
    assert response_format(schema)["json_schema"].get("strict", False) is strict


@pytest.mark.parametrize(("title", "name"), [("Star rating!", "Star_rating_"), ("", "answer"), ("x" * 99, "x" * 64)])
def test_a_schema_is_called_by_its_title(title: str, name: str) -> None:
    assert response_format({"title": title})["json_schema"]["name"] == name


@given(values)
@example({"[/THINK]": None})
@example(["a </think> b", 1])
def test_json_is_found_bare_or_fenced(value: Any) -> None:
    written = json.dumps(value)
    assert parsed(written) == value
    assert parsed(f" \n{written}\n") == value
    assert parsed(f"```json\n{written}\n```") == value
    assert parsed(f"Here it is:\n\n```\n{json.dumps(value, indent=1)}\n```\nDone.") == value
    assert parsed(f"```JSON\r\n{written}\r\n```\r\n") == value
    assert parsed(f"\ufeff{written}") == value


@pytest.mark.parametrize("value", [{"a": 1}, [1, {}], {}])
def test_a_fence_around_an_object_may_lack_its_lines_or_its_end(value: Any) -> None:
    written = json.dumps(value)
    assert parsed(f"```json{written}```") == parsed(f"``` {written} ```") == parsed(f"```json\n{written}") == value
    with pytest.raises(ValueError):
        parsed(f"```json\n{written[:-1]}")


@pytest.mark.parametrize("text", ["```json\n12", "```\ntrue", "```12```", "```json\n{}\n{}"])
def test_what_may_go_on_in_an_open_fence_is_no_json(text: str) -> None:
    with pytest.raises(ValueError):
        parsed(text)


THOUGHTS = 'Perhaps {x}, or\n```json\n{"draft": 1}\n```\nbut no.'


@pytest.mark.parametrize(
    "text",
    [
        "<think>{}</think>{}",
        "\n<think>\n{}\n</think>\n\n{}",
        "{}</think>\n{}",
        "<thinking>{}</thinking>\n```json\n{}\n```",
        "[THINK]{}[/THINK]{}",
        "◁think▷{}◁/think▷{}",
        "<think></think>\n<think>{}</think>Here:\n```\n{}\n```\nDone.",
    ],
)
@given(value=values)
def test_thoughts_are_no_place_to_look_for_json(text: str, value: Any) -> None:
    assert parsed(text.replace("{}", THOUGHTS, 1).replace("{}", json.dumps(value), 1)) == value


@pytest.mark.parametrize("text", [f"<think>{THOUGHTS}", f"<think>{THOUGHTS}</think>", f"<think>{THOUGHTS}</think>no"])
def test_a_draft_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError):
        parsed(text)


def test_json_that_speaks_of_thoughts_is_left_as_it_is() -> None:
    value = {"mark": "<think>", "end": "</think>"}
    assert parsed(json.dumps(value)) == value
    assert parsed(f"```json\n{json.dumps(value)}\n```") == value


@pytest.mark.parametrize("text", ["", "nope", "{'a': 1}", "NaN", '{"a":1} and more', FENCES, "\ud83d"])
def test_what_is_not_json_is_not_guessed_at(text: str) -> None:
    with pytest.raises(ValueError):
        parsed(text)


def test_an_answer_that_fits_has_its_value() -> None:
    answer = read(wanting(), {"content": '```json\n{"stars": 4}\n```'})
    assert isinstance(answer, Completion) and answer.extra["json"] == {"stars": 4}
    assert answer.text == '```json\n{"stars": 4}\n```'


@pytest.mark.parametrize(
    ("demands", "message", "finish", "kind", "said"),
    [
        (wanting(), {"content": '{"stars":"four"}'}, "stop", "schema", 'stars: "four" is not of type "integer"'),
        (wanting(), {"content": '{"stars":'}, "length", "not_json", "finish_reason 'length'"),
        (wanting(None), REFUSED, "stop", "not_json", "no text"),
        (wanting(None), {"content": ""}, "stop", "not_json", "not JSON"),
        (ending("length"), CUT, "length", "finish_reason", "'length'"),
        (ending("length"), CUT, "model_length", "finish_reason", "'length'"),
        (ending("model_length"), CUT, "model_length", "finish_reason", "'model_length'"),
        (ending("refusal"), REFUSED, "stop", "finish_reason", "'refusal'"),
    ],
)
def test_an_answer_that_does_not_is_a_paid_failure(
    demands: AnswerChecks, message: dict[str, Any], finish: str, kind: str, said: str
) -> None:
    verdict = read(demands, message, finish)
    assert isinstance(verdict, UnusableAnswer)
    assert (verdict.kind, verdict.billing, verdict.retry, verdict.request_id) == (kind, Billing.BILLED, False, "req_1")
    assert said in verdict.message
    assert verdict.completion.text == message["content"] and verdict.usage is verdict.completion.usage is not None


@pytest.mark.parametrize("finish", [["length"], {"length": 1}, 7, None])
def test_an_end_that_is_no_word_is_none_of_those(finish: Any) -> None:
    assert isinstance(read(ending("length"), {"content": "whole"}, finish), Completion)


def test_other_ends_and_faults_pass() -> None:
    assert isinstance(read(AnswerChecks(finish=frozenset({"length"})), {"content": "whole"}), Completion)
    reply = Reply(500, {}, b"")
    (fault,) = AnswerReader(wanting()).read(Expected("chat"), reply)
    assert not isinstance(fault, UnusableAnswer)


@pytest.mark.parametrize(
    "schema", [{"type": "nope"}, 12, {"$ref": "http://localhost:9/x"}, {"$ref": "other.json"}, {"pattern": "("}]
)
def test_what_is_no_schema_or_leads_elsewhere_is_refused(schema: Any) -> None:
    with pytest.raises(ValueError):
        compiled(schema)


@given(st.dictionaries(st.sampled_from(["stars", "x"]), values, max_size=2) | values)
def test_a_check_says_what_the_library_says(value: Any) -> None:
    assert (compiled(STRICT)(value) is None) is jsonschema_rs.is_valid(STRICT, value)

"""Result lines, as the contract has them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.attempts import Attempts
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Identity, Job, Route
from llmbatch.core.outcome import Completion, InvalidRecord, Outcome, Usage
from llmbatch.core.redact import MARK, Redactor
from llmbatch.results.output_formats import as_batch_line, as_raw_text, as_text
from llmbatch.results.render import jsonl, reshaped

KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz"


def job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "identity": Identity(0, "q1", "77ab"),
        "key": "5f0c",
        "route": Route("/chat/completions", "m"),
        "item": {"model": "m"},
        "meta": {"row": 7},
        "tokens": 1,
        "input": {"prompt": "hi"},
    }
    attempts = {"sent": 1, "started": 1_795_341_600.123, "latency": 0.8123}
    attempts |= {name: changes.pop(name) for name in list(changes) if name in Attempts.__slots__}
    return Job(**{**fields, **changes}, attempts=Attempts(**attempts))


def ok(text: str | None = "Paris.", **changes: Any) -> Completion:
    fields: dict[str, Any] = {
        "finish_reason": "stop",
        "model": "m-1",
        "usage": Usage(9, 14, 0, None, 0),
        "request_id": "req_9",
    }
    return Completion(text=text, **{**fields, **changes})


def no(**changes: Any) -> Fault:
    fields: dict[str, Any] = {
        "kind": Kind.BAD_REQUEST,
        "message": "no",
        "status": 400,
        "code": "context_length_exceeded",
        "request_id": "req_8",
    }
    return Fault(**{**fields, **changes})


def paid(raw: bytes, **changes: Any) -> Fault:
    return no(kind=Kind.UNPARSABLE, billing=Billing.BILLED, status=200, code=None, raw=raw, **changes)


def refused(**changes: Any) -> InvalidRecord:
    fault = Fault(kind=Kind.INVALID_RECORD, message="line 3: not JSON")
    return InvalidRecord(Identity(2, None, "90cd"), fault, {}, **changes)


def line(outcome: Outcome | InvalidRecord, *include: str) -> dict[str, Any]:
    written = jsonl(include=frozenset(include), redact=Redactor(["s3cret"]))(outcome)
    assert written.count(b"\n") == 1 and written.endswith(b"\n")
    return json.loads(written)  # type: ignore[no-any-return]


def test_a_good_line_has_the_fields_of_the_contract_in_their_order() -> None:
    assert list(line(Outcome(job(cost=0.000004, prior_cost=0.000008), ok())).items()) == [
        ("id", "q1"),
        ("index", 0),
        ("status", "ok"),
        ("text", "Paris."),
        ("finish_reason", "stop"),
        ("model", "m-1"),
        (
            "usage",
            {"input_tokens": 9, "output_tokens": 14, "cached_input_tokens": 0, "reasoning_tokens": 0},
        ),
        ("cost_usd", 0.000012),
        ("started_at", "2026-11-22T10:00:00.123Z"),
        ("latency_s", 0.812),
        ("attempts", 1),
        ("request_id", "req_9"),
        ("record", "77ab"),
        ("key", "5f0c"),
        ("meta", {"row": 7}),
    ]


def test_a_failed_line_has_the_fields_of_the_contract_in_their_order() -> None:
    assert list(line(Outcome(job(), no())).items()) == [
        ("id", "q1"),
        ("index", 0),
        ("status", "failed"),
        (
            "error",
            {"kind": "bad_request", "status": 400, "code": "context_length_exceeded", "message": "no"},
        ),
        ("model", "m"),
        ("attempts", 1),
        ("started_at", "2026-11-22T10:00:00.123Z"),
        ("latency_s", 0.812),
        ("request_id", "req_8"),
        ("record", "77ab"),
        ("key", "5f0c"),
        ("meta", {"row": 7}),
    ]


def test_a_record_that_was_never_sent_has_no_time_and_no_key() -> None:
    assert line(refused()) == {
        "id": None,
        "index": 2,
        "status": "failed",
        "error": {"kind": "invalid_record", "status": None, "code": None, "message": "line 3: not JSON"},
        "attempts": 0,
        "record": "90cd",
        "key": None,
        "meta": {},
    }


@pytest.mark.parametrize("id", ["1", 1, None, -(2**70), "ä\u2028"])
def test_an_id_keeps_its_type(id: str | int | None) -> None:
    written = line(Outcome(job(identity=Identity(0, id, "77ab")), ok()))["id"]
    assert (written, type(written)) == (id, type(id))


@pytest.mark.parametrize(("occurrence", "there"), [(0, False), (1, True)])
def test_the_occurrence_is_there_only_when_it_is_not_the_first(occurrence: int, there: bool) -> None:
    written = line(Outcome(job(identity=Identity(0, None, "77ab", occurrence)), ok()))
    assert ("occurrence" in written) is there


@pytest.mark.parametrize(
    "name", ["usage", "cost_usd", "occurrence", "billed", "possibly_billed", "response", "request"]
)
def test_what_is_not_known_is_absent(name: str) -> None:
    assert name not in line(Outcome(job(), ok(usage=None)))


def test_an_answer_without_text_has_a_text_of_null() -> None:
    assert line(Outcome(job(), ok(None)))["text"] is None


def test_an_unknown_count_of_tokens_is_absent() -> None:
    assert line(Outcome(job(), ok(usage=Usage(9))))["usage"] == {"input_tokens": 9}


def test_what_is_only_sometimes_there_stands_beside() -> None:
    written = line(Outcome(job(), ok(extra={"tool_calls": [1], "refusal": "r", "reasoning": "t"})))
    assert (written["tool_calls"], written["refusal"], written["reasoning"]) == ([1], "r", "t")


def test_attempts_without_a_known_outcome_are_counted() -> None:
    written = line(Outcome(job(sent=4, possibly_billed=3), ok()))
    assert (written["attempts"], written["possibly_billed"]) == (4, 3)


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (1_795_341_600.0, "2026-11-22T10:00:00.000Z"),
        (1_795_341_600.9996, "2026-11-22T10:00:01.000Z"),
        (1_795_341_659.999, "2026-11-22T10:00:59.999Z"),
        *[(1_795_341_600 + ms / 1000, f"2026-11-22T10:00:00.{ms:03d}Z") for ms in (1, 123, 289, 571, 997)],
    ],
)
def test_times_are_exact_to_the_millisecond(wall: float, text: str) -> None:
    assert line(Outcome(job(started=wall), ok()))["started_at"] == text


# what is included on demand


def test_the_request_and_the_input_are_included_on_demand() -> None:
    written = line(Outcome(job(), ok()), "request", "input")
    assert (written["request"], written["input"]) == ({"model": "m"}, {"prompt": "hi"})


def test_the_answer_is_included_when_it_was_kept() -> None:
    assert line(Outcome(job(), ok(body={"choices": [1]})))["response"] == {"choices": [1]}


def test_the_input_of_an_invalid_record_is_included_on_demand() -> None:
    assert line(refused(input=[1]), "input")["input"] == [1]


# paid answers that cannot be read


@pytest.mark.parametrize("raw", [b"", b"<html>", '{"a":NaN,"b":"ä"}'.encode(), b'{"a":"\\ud800"}', b"[" * 5000])
def test_a_paid_answer_that_is_text_is_kept_as_text(raw: bytes) -> None:
    written = line(Outcome(job(), paid(raw)))
    assert written["billed"] is True and written["response"].encode() == raw


def test_a_paid_answer_that_is_not_text_is_kept_byte_for_byte() -> None:
    import base64

    written = line(Outcome(job(), paid(b'{"a":"\xff\x00"}')))
    assert base64.b64decode(written["response_base64"]) == b'{"a":"\xff\x00"}' and "response" not in written


def test_numbers_wider_than_64_bits_come_back_exactly() -> None:
    assert line(Outcome(job(meta={"n": 2**100}), ok()))["meta"] == {"n": 2**100}


@pytest.mark.parametrize("depth", [10, 250, 400, 500])
def test_a_record_as_deep_as_is_read_comes_back(depth: int) -> None:
    meta: Any = 1
    for _ in range(depth - 1):
        meta = [meta]
    assert line(Outcome(job(meta={"deep": meta}, input={"deep": meta}), ok()), "input")["meta"] == {"deep": meta}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=3), st.text(), JSON)
def test_whatever_a_record_and_its_answer_hold_comes_back(meta: dict[str, Any], text: str, body: Any) -> None:
    written = line(Outcome(job(meta=meta, input=meta), ok(text, body={"b": body})), "input")
    assert (written["meta"], written["input"], written["text"], written["response"]) == (meta, meta, text, {"b": body})


# secrets


@pytest.mark.parametrize("secret", ["s3cret", KEY])
def test_a_message_that_quotes_the_key_does_not_reach_the_file(secret: str) -> None:
    assert line(Outcome(job(), no(message=f"bad key {secret}")))["error"]["message"] == f"bad key {MARK}"


@pytest.mark.parametrize("secret", ["s3cret", KEY])
def test_an_error_body_that_quotes_the_key_does_not_reach_the_file(secret: str) -> None:
    answer = {"error": {"message": f"bad key {secret}", "details": [secret, 1, None]}}
    written = line(Outcome(job(), no(answer=answer)))["response"]
    assert written == {"error": {"message": f"bad key {MARK}", "details": [MARK, 1, None]}}


def test_the_text_of_an_answer_is_never_changed() -> None:
    assert line(Outcome(job(), ok(f"a key looks like {KEY}")))["text"] == f"a key looks like {KEY}"


# OpenAI's batch lines


def batch(outcome: Outcome | InvalidRecord) -> dict[str, Any]:
    return json.loads(reshaped(as_batch_line, include=frozenset(), redact=Redactor())(outcome))  # type: ignore[no-any-return]


def test_a_batch_line_holds_the_providers_answer() -> None:
    assert batch(Outcome(job(), ok(body={"choices": []}))) == {
        "id": "batch_req_0",
        "custom_id": "q1",
        "response": {"status_code": 200, "request_id": "req_9", "body": {"choices": []}},
        "error": None,
    }


def test_a_batch_line_holds_the_providers_error() -> None:
    written = batch(Outcome(job(), no(answer={"error": {"message": f"key {KEY}"}})))
    assert written["response"] == {
        "status_code": 400,
        "request_id": "req_8",
        "body": {"error": {"message": f"key {MARK}"}},
    }


def test_a_batch_line_of_a_failure_without_an_answer_says_why() -> None:
    written = batch(Outcome(job(), no(kind=Kind.TIMEOUT, message=f"late {KEY}", status=None)))
    assert (written["response"], written["error"]) == (None, {"code": "timeout", "message": f"late {MARK}"})


def test_a_batch_line_of_an_invalid_record_says_why() -> None:
    assert batch(refused())["error"] == {"code": "invalid_record", "message": "line 3: not JSON"}


def test_a_batch_line_keeps_a_paid_answer_that_cannot_be_read() -> None:
    written = batch(Outcome(job(), paid(b"<html>")))
    assert written["response"]["body"] == "<html>" and written["error"]["code"] == "unparsable"


# text


def test_text_is_one_json_string_a_line() -> None:
    assert (
        reshaped(as_text, include=frozenset(), redact=Redactor())(Outcome(job(), ok("a\n\u2028b")))
        == '"a\\n\u2028b"\n'.encode()
    )


def test_a_request_id_is_short_and_holds_no_key() -> None:
    assert line(Outcome(job(), ok(request_id="s3cret" + "x" * 100_000)))["request_id"].startswith("[redacted]xxx")
    assert len(line(Outcome(job(), no(request_id="x" * 100_000)))["request_id"]) == 200


@pytest.mark.parametrize("outcome", [Outcome(job(), no()), Outcome(job(), ok(None)), refused()])
def test_no_text_is_null(outcome: Outcome | InvalidRecord) -> None:
    assert reshaped(as_text, include=frozenset(), redact=Redactor())(outcome) == b"null\n"


def test_raw_text_is_the_text_itself() -> None:
    assert reshaped(as_raw_text, include=frozenset(), redact=Redactor())(Outcome(job(), ok("a\nb"))) == b"a\nb\n"


@pytest.mark.parametrize("outcome", [Outcome(job(), no()), Outcome(job(), ok(None)), refused()])
def test_without_text_there_is_no_raw_line(outcome: Outcome | InvalidRecord) -> None:
    assert reshaped(as_raw_text, include=frozenset(), redact=Redactor())(outcome) == b""


def test_a_key_that_a_server_echoes_stands_nowhere_but_in_the_models_own_words() -> None:
    body = {
        "id": f"for {KEY}",
        "model": KEY,
        KEY: 1,
        "choices": [
            {
                "finish_reason": KEY,
                "message": {
                    "content": [{"type": "text", "text": f"say {KEY}"}],
                    "tool_calls": [{"id": KEY, "function": {"name": "f", "arguments": f"say {KEY}"}}],
                },
            }
        ],
    }
    extra = {
        "provider_finish_reason": KEY,
        "choices": [{"index": 0, "text": KEY, "finish_reason": KEY}],
        "tool_calls": [{"id": KEY, "type": KEY, "input": KEY, "function": {"name": "f", "arguments": KEY}}],
    }
    answer = ok(KEY, model=f"m {KEY}", finish_reason=KEY, extra=extra, body=body)
    outcome = Outcome(job(meta={"mine": KEY}), answer)
    got = json.loads(jsonl(include=frozenset({"response"}), redact=Redactor([KEY]))(outcome))
    assert (got["model"], got["finish_reason"], got["provider_finish_reason"]) == (f"m {MARK}", MARK, MARK)
    assert (got["text"], got["meta"]) == (KEY, {"mine": KEY})
    called = {"id": MARK, "type": MARK, "input": KEY, "function": {"name": "f", "arguments": KEY}}
    assert got["tool_calls"] == [called]
    assert got["choices"] == [{"index": 0, "text": KEY, "finish_reason": MARK}]
    shown = got["response"]
    assert (shown["id"], shown["model"], shown[MARK]) == (f"for {MARK}", MARK, 1)
    (choice,) = shown["choices"]
    assert choice["finish_reason"] == MARK
    assert choice["message"]["content"][0]["text"] == f"say {KEY}"
    (call,) = choice["message"]["tool_calls"]
    assert (call["id"], KEY in call["function"]["arguments"]) == (MARK, True)


def test_what_looks_like_a_key_is_cut_out_of_names_of_fields_of_a_refusal_too() -> None:
    line = jsonl(include=frozenset(), redact=Redactor())(Outcome(job(), no(answer={KEY: {KEY: f"no {KEY}"}})))
    assert KEY.encode() not in line and line.count(MARK.encode()) == 3


def test_a_key_that_a_server_echoes_stands_in_no_other_shape_of_a_line_either() -> None:
    outcome = Outcome(job(), ok("fine", body={"model": KEY, "choices": []}))
    line = reshaped(as_batch_line, include=frozenset({"response"}), redact=Redactor([KEY]))(outcome)
    assert KEY.encode() not in line and MARK.encode() in line

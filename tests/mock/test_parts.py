"""The pure parts: limits, markers, words, verdicts."""

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.mock import event_streams, http_writer, openai_chat, openai_embeddings, openai_responses, reply_faults
from llmbatch.mock.fault_markers import FAULTS, RANDOM, BadMarker, due, markers, without_markers
from llmbatch.mock.ledger import shown_headers
from llmbatch.mock.limits import MockBucket, MockLimits, duration
from llmbatch.mock.provider import Provider, is_billed
from llmbatch.mock.settings import MockSettings

from .requests import arrive, asked

SCHEMA_WORDS = ("type", "properties", "items", "enum", "$ref", "anyOf", "minItems", "minimum", "required")
TEXTS = {"text", "echo", "control", "surrogate", "big", "bad-utf8"}


# Limits


@given(st.integers(1, 20), st.lists(st.integers(0, 15_000), max_size=120))
def test_no_window_of_a_minute_exceeds_the_limit(per_minute: int, gaps: list[int]) -> None:
    bucket, now, admitted = MockBucket(per_minute, 60_000), 0, []
    bucket.capacity = per_minute  # milliseconds as the unit of time, so that sums are exact
    for gap in gaps:
        now += gap
        if not bucket.wait(1, now):
            bucket.take(1, now)
            admitted.append(now)
    for start in admitted:
        assert sum(start <= moment < start + 60_000 for moment in admitted) <= per_minute


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), max_size=60))
def test_the_wait_told_is_enough_and_not_more(limit: int, requests: list[tuple[float, int]]) -> None:
    bucket, now = MockBucket(limit), 0.0
    for gap, amount in requests:
        now += gap
        wait = bucket.wait(amount, now)
        if amount > limit:
            assert wait == float("inf")
            continue
        if wait:
            assert bucket.wait(amount, now + wait * 0.999) > 0
            now += wait + 1e-6
        assert bucket.wait(amount, now) == 0
        bucket.take(amount, now)
        assert 0 <= bucket.left(now) <= limit
        assert 0 < bucket.reset(now) <= 60


def test_a_refused_request_takes_nothing_from_the_other_bucket() -> None:
    limits = MockLimits(rpm=5, tpm=10)
    assert limits.admit(8, 0.0) is None
    shortage = limits.admit(8, 15.0)
    assert shortage is not None
    assert (shortage.bucket, shortage.wait) == ("tokens", 45.0)
    assert limits.levels(15.0) == [("requests", 5, 4, 45.0), ("tokens", 10, 2, 45.0)]


def test_a_short_window_gives_its_share_of_the_minute() -> None:
    bucket = MockBucket(600, 1.0)
    assert bucket.left(0.0) == 10


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (0.0071, "8ms"),
        (0.12, "120ms"),
        (1.5, "1.5s"),
        (90, "1m30s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
    ],
)
def test_durations_read_as_go_writes_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


# Markers


def test_a_marker_gives_name_options_times_and_delay() -> None:
    prompt = "Say [[mock:status code=429 retry-after=Wed,%2021%20Oct times=2 after=0.5]] please [[mock:cut at=3]]"
    first, second = markers(prompt)
    assert (first.name, first.times, first.after) == ("status", 2, 0.5)
    assert (first.options["code"], first.options["retry-after"], first.options["body"]) == (
        429,
        "Wed, 21 Oct",
        "",
    )
    assert (second.name, second.times, second.options) == ("cut", 0, {"at": 3})
    assert without_markers(prompt) == "Say  please"


def test_faults_follow_each_other_and_end() -> None:
    script = markers("[[mock:hang times=2]][[mock:close times=1]]")
    faults = [due(script, attempt) for attempt in range(4)]
    assert [fault and fault.name for fault in faults] == ["hang", "hang", "close", None]


@pytest.mark.parametrize(
    "marker",
    [
        "nonsense",
        "status colour=red",
        "status code=x",
        "status code=99",
        "status body=xml",
        "cut at=-1",
        "hang after=nan",
    ],
)
def test_a_marker_that_cannot_be_understood_is_refused(marker: str) -> None:
    with pytest.raises(BadMarker):
        markers(f"[[mock:{marker}]]")
    verdict = arrive(Provider(MockSettings()), asked(f"[[mock:{marker}]]"))
    assert verdict.reply.status == 400


@given(st.text())
def test_any_other_text_asks_for_nothing(text: str) -> None:
    assert markers(text.replace("[[mock:", "")) == []


def test_every_fault_has_one_stage() -> None:
    stages = [
        TEXTS,
        set(openai_chat._SHAPES),
        set(openai_embeddings.DISORDERS),
        set(openai_responses.STATUSES),
        set(event_streams.STREAM_FAULTS),
        set(reply_faults.REPLIES) - {"bad-utf8"} | {"status"},
        set(http_writer.BROKEN),
        {"batch"},
    ]
    assert sorted(name for stage in stages for name in stage) == sorted(FAULTS)


# Verdicts


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_any_messages_get_an_answer_or_a_refusal(messages: Any) -> None:
    body = {"model": "m", "messages": messages}
    for value in (body, messages, body | {"tools": messages, "n": messages, "response_format": messages}):
        verdict = arrive(Provider(MockSettings()), json.dumps(value).encode())
        assert verdict.reply.status == 400
        assert set(json.loads(verdict.reply.body)["error"]) == {"message", "type", "param", "code"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(SCHEMA_WORDS), inner, max_size=4),
    )
)
def test_any_schema_and_tool_gets_an_answer(schema: Any) -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    tools = [{"function": {"name": "f", "parameters": schema}}, schema]
    for fields in (
        {"response_format": wanted},
        {"tools": tools, "tool_choice": "required", "stream_options": schema},
    ):
        assert arrive(Provider(MockSettings()), asked("x", **fields)).reply.status == 200


def test_a_schema_that_contains_itself_gets_an_answer() -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}
    assert arrive(Provider(MockSettings()), asked("x", response_format=wanted)).reply.status == 200


@pytest.mark.parametrize("count", [True, 1.5, 0, 129, "2", []])
def test_only_a_small_positive_integer_counts_choices(count: Any) -> None:
    assert arrive(Provider(MockSettings()), asked("x", n=count)).reply.status == 400


def test_a_prompt_in_parts_is_read() -> None:
    parts = [
        {"type": "text", "text": "Two "},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "parts"},
    ]
    verdict = arrive(Provider(MockSettings()), asked(parts))  # type: ignore[arg-type]
    assert verdict.prompt == "Two parts"


def test_random_faults_come_at_their_rate_and_depend_on_seed_and_attempt_only() -> None:
    bodies = [asked(str(number)) for number in range(600)]

    def faults(provider: Provider, order: list[bytes]) -> dict[bytes, str | None]:
        verdicts = ((body, arrive(provider, body).fault) for body in order)
        return {body: fault and fault.name for body, fault in verdicts}

    one, other = Provider(MockSettings(fault_rate=0.3)), Provider(MockSettings(fault_rate=0.3))
    first = faults(one, bodies)
    assert first == faults(other, bodies[::-1])
    assert 120 < sum(name is not None for name in first.values()) < 240
    assert {name for name in first.values() if name} == {fault.name for fault in RANDOM}
    assert faults(one, bodies) != first


def test_more_in_flight_than_allowed_is_refused() -> None:
    provider = Provider(MockSettings(concurrency_limit=2))
    assert arrive(provider, asked("x"), in_flight=2).reply.status == 200
    assert arrive(provider, asked("x"), in_flight=3).reply.status == 429


def test_latency_and_jitter_delay_the_answer_but_not_a_refusal() -> None:
    provider = Provider(MockSettings(latency=2, jitter=3, rpm=1))
    delay = arrive(provider, asked("x")).delay
    assert 2 < delay <= 5
    assert arrive(provider, asked("x")).delay == 0
    assert arrive(Provider(MockSettings(latency=2, jitter=3)), asked("x")).delay == delay


@pytest.mark.parametrize("shape", FAULTS["status"]["body"])
def test_every_error_body_names_the_message(shape: str) -> None:
    marker = f"[[mock:status code=429 body={shape} message=slow_down retry-after=7 should-retry=false]]"
    reply = arrive(Provider(MockSettings()), asked(marker)).reply
    assert reply.status == 429
    assert (b"x-should-retry", b"false") in reply.headers
    assert ((b"retry-after", b"7") in reply.headers) is (shape != "gemini")
    assert (b"slow down" in reply.body) is (shape != "empty")
    if shape not in ("html", "empty"):
        json.loads(reply.body)


@pytest.mark.parametrize(
    ("status", "billed"),
    [(None, True), (200, True), (500, True), (502, True), (504, True)]
    + [(status, False) for status in (307, 400, 401, 404, 413, 429, 503, 529)],
)
def test_billing_follows_the_status(status: int | None, billed: bool) -> None:
    assert is_billed(status) is billed


def test_credentials_are_shown_as_digests() -> None:
    shown = shown_headers([(b"authorization", b"Bearer sk-secret"), (b"x-api-key", b"sk-secret"), (b"accept", b"*/*")])
    assert shown["accept"] == "*/*"
    assert "secret" not in str(shown)
    assert shown["authorization"] == "sha256:" + sha256(b"Bearer sk-secret").hexdigest()[:12]

"""Services as they are: latency that varies, slots that queue, buckets that refill, refusals at random."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from math import log
from statistics import median, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.mock.latency import Latency
from llmbatch.mock.limits import RefillingBucket
from llmbatch.mock.provider import Provider, Verdict
from llmbatch.mock.random_refusals import RandomRefusal
from llmbatch.mock.settings import MockSettings

from .loopback import Wire, chat_request, post
from .requests import arrive, asked

Start = Callable[..., str]
Connect = Callable[[str], Wire]


def headers_of(verdict: Verdict) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in (*verdict.headers, *verdict.reply.headers)}


def head_of(head: bytes) -> dict[str, str]:
    lines = head.decode().lower().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines if line)


# Latency


def test_a_lognormal_latency_has_its_median_and_spread() -> None:
    latency = Latency(MockSettings(latency=5.0, sigma=0.3))
    times = [latency.delay(0.0, str(n)) for n in range(4000)]
    assert median(times) == pytest.approx(5.0, rel=0.03)
    assert stdev(map(log, times)) == pytest.approx(0.3, rel=0.05)
    assert times == [Latency(MockSettings(latency=5.0, sigma=0.3)).delay(9.0, str(n)) for n in range(4000)]


@given(st.integers(1, 5), st.lists(st.floats(0, 3), min_size=1, max_size=40))
def test_no_more_are_worked_on_than_there_are_slots_and_none_idles(slots: int, gaps: list[float]) -> None:
    latency, now, spans = Latency(MockSettings(latency=2.0, slots=slots)), 0.0, []
    for gap in gaps:
        now += gap
        ended = now + latency.delay(now, "")
        spans.append((ended - 2.0, ended))
        assert ended - 2.0 >= now - 1e-9
    for begun, _ in spans:
        assert sum(since - 1e-9 <= begun < until - 1e-9 for since, until in spans) <= slots
    assert spans[0][0] == pytest.approx(gaps[0]) and spans == sorted(spans)


# Limits


@given(st.integers(1, 30), st.integers(1, 600), st.lists(st.floats(0, 5), max_size=100))
def test_a_refilling_bucket_admits_its_size_and_then_its_rate(burst: int, rpm: int, gaps: list[float]) -> None:
    bucket, now, admitted = RefillingBucket(rpm, burst), 1000.0, []
    for gap in gaps:
        now += gap
        wait = bucket.wait(1, now)
        if not wait:
            bucket.take(1, now)
            admitted.append(now)
        else:
            assert bucket.wait(1, now + wait + 1e-6) == 0
    for place, since in enumerate(admitted):
        for number, until in enumerate(admitted[place:], 1):
            assert number <= burst + (until - since) * rpm / 60 + 1e-6


def test_a_bucket_of_a_second_announces_what_is_left_of_it_and_when_the_limit_is_reached() -> None:
    provider = Provider(MockSettings(rpm=600, burst=20))
    told = [headers_of(arrive(provider, asked(str(n)), n, now=100.0)) for n in range(21)]
    assert (told[0]["x-ratelimit-limit-requests"], told[0]["x-ratelimit-remaining-requests"]) == ("600", "19")
    assert told[0]["x-ratelimit-reset-requests"] == "58.1s"  # (600 - 19) at ten a second
    assert told[19]["x-ratelimit-remaining-requests"] == "0" and told[20]["retry-after-ms"] == "100"
    later = headers_of(arrive(provider, asked("later"), 22, now=100.5))
    assert later["x-ratelimit-remaining-requests"] == "4"


@pytest.mark.parametrize("settings", [{"rpm": 1}, {"rpm": 1, "burst": 1}, {"concurrency_limit": 1}])
def test_who_announces_nothing_says_nothing_of_limits(settings: dict[str, int]) -> None:
    provider = Provider(MockSettings(announce=False, **settings))
    arrive(provider, asked("one"))
    refused = arrive(provider, asked("two"), in_flight=2)
    assert refused.reply.status == 429 and not headers_of(refused)
    assert not any(word in refused.reply.body for word in (b"try again", b"Limit "))


# Refusals


def test_random_refusals_come_at_their_shares_and_with_their_waits() -> None:
    refusals = tuple(map(RandomRefusal.parse, ("429:0.1:1", "503:0.05", "500:0.02")))
    settings = MockSettings(random_refusals=refusals, latency=9.0, refusal_latency=0.05)
    provider = Provider(settings)
    verdicts = [arrive(provider, asked(str(n % 1500))) for n in range(3000)]  # each twice
    shares = {code: sum(v.reply.status == code for v in verdicts) / 3000 for code in (200, 429, 503, 500)}
    assert shares == pytest.approx({200: 0.83, 429: 0.1, 503: 0.05, 500: 0.02}, abs=0.015)
    assert {headers_of(v).get("retry-after") for v in verdicts if v.reply.status == 429} == {"1"}
    assert {headers_of(v).get("retry-after") for v in verdicts if v.reply.status == 503} == {None}
    assert {v.delay for v in verdicts} == {9.0, 0.05}
    again = Provider(settings)
    assert [arrive(again, asked(str(n % 1500))).reply.status for n in range(3000)] == [v.reply.status for v in verdicts]
    assert [v.reply.status for v in verdicts[:1500]] != [v.reply.status for v in verdicts[1500:]]


@pytest.mark.parametrize("text", ["", "429", "429:", "429:2", "200:0.1", "429:-1", "429:x", "429:0.1:soon", "429:nan"])
def test_a_random_refusal_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        RandomRefusal.parse(text)


def test_a_model_that_loads_is_not_ready_for_a_while() -> None:
    provider = Provider(MockSettings(loading=5.0), now=100.0)
    loading = arrive(provider, asked("hi"), now=104.9)
    assert loading.reply.status == 503 and b"Loading model" in loading.reply.body
    assert arrive(provider, asked("hi"), now=105.0).reply.status == 200


# On real sockets


def test_slots_queue_on_the_wire(mock_server: Start, wire: Connect) -> None:
    url = mock_server(latency=0.1, slots=1)
    connections = [wire(url) for _ in range(3)]
    began = time.monotonic()
    for number, connection in enumerate(connections):
        connection.send(chat_request(str(number)))
    for connection in connections:
        assert connection.read_answer()[0].startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began >= 0.3


def test_every_provider_announces_its_bucket_in_its_own_form(mock_server: Start, wire: Connect) -> None:
    connection = wire(mock_server(rpm=600, burst=20))
    connection.send(chat_request("hi"))
    head = head_of(connection.read_answer()[0])
    assert head["x-ratelimit-remaining-requests"] == "19" and head["x-ratelimit-reset-requests"].endswith("s")
    message = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    connection.send(post(json.dumps(message).encode(), "anthropic-version: 2023-06-01", path="/v1/messages"))
    head = head_of(connection.read_answer()[0])
    assert head["anthropic-ratelimit-requests-limit"] == "600"
    assert head["anthropic-ratelimit-requests-reset"].endswith("z")
    google = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    connection.send(post(json.dumps(google).encode(), path="/v1beta/models/g:generateContent"))
    assert not any("ratelimit" in name for name in head_of(connection.read_answer()[0]))


def test_a_kept_connection_is_lost_without_a_word_after_a_stream_and_never_after_another_answer(
    mock_server: Start, wire: Connect
) -> None:
    url = mock_server(silent_close=1.0)
    connection = wire(url)
    for _ in range(3):
        connection.send(chat_request("hi"))
        assert connection.read_answer()[0].startswith(b"HTTP/1.1 200")
    connection.send(chat_request("hi", stream=True))
    seen = b""
    while not seen.endswith(b"0\r\n\r\n"):
        seen += connection.socket.recv(65536)
    assert b"connection: close" not in seen.lower()
    connection.socket.setblocking(False)
    with pytest.raises(BlockingIOError):  # it looks open
        connection.socket.recv(1)
    connection.socket.settimeout(5.0)
    connection.send(chat_request("again"))
    with suppress(ConnectionResetError):
        assert connection.socket.recv(1) == b""
    other = wire(url)
    other.send(chat_request("again"))
    assert other.read_answer()[0].startswith(b"HTTP/1.1 200")

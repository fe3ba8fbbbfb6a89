"""What goes over the wire, byte by byte: HTTP as it should be, and the faults as they should not."""

import gzip
import json
import re
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from llmbatch.mock.fault_markers import FAULTS
from llmbatch.mock.server import _raw_socket, run
from llmbatch.mock.settings import MockSettings

from .loopback import PATIENCE, Wire, chat_request, post, running

Start = Callable[..., str]
Connect = Callable[[str], Wire]


@pytest.fixture
def ask_raw(mock_server: Start, wire: Connect) -> Callable[..., Wire]:
    """Send one prompt to a provider of its own; return the connection with the answer under way."""

    def ask(prompt: str, *headers: str, **fields: Any) -> Wire:
        opened = wire(mock_server())
        opened.send(chat_request(prompt, *headers, **fields))
        return opened

    return ask


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def text(body: bytes) -> str:
    return str(json.loads(body)["choices"][0]["message"]["content"])


# HTTP


def test_pipelined_requests_are_answered_in_order(mock_server: Start, wire: Connect) -> None:
    connection = wire(mock_server())
    connection.send(b"".join(chat_request(f"[[mock:echo]] {number}") for number in range(5)))
    assert [text(connection.read_answer()[1]) for _ in range(5)] == ["0", "1", "2", "3", "4"]


def test_a_chunked_request_and_one_with_emoji_are_read(mock_server: Start, wire: Connect) -> None:
    connection = wire(mock_server())
    body = '{"model":"m","messages":[{"role":"user","content":"[[mock:echo]] 🦊 ünï"}]}'.encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    connection.send(head + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
    assert text(connection.read_answer()[1]) == "🦊 ünï"


def test_the_prefix_may_be_left_out(mock_server: Start, wire: Connect) -> None:
    connection = wire(mock_server())
    connection.send(post(b'{"model":"m","messages":[{"role":"user"}]}', path="/chat/completions"))
    assert connection.read_answer()[0].startswith(b"HTTP/1.1 200 OK\r\n")


def test_connection_close_is_honoured(ask_raw: Callable[..., Wire]) -> None:
    assert ask_raw("x", "connection: close").read_to_end().startswith(b"HTTP/1.1 200 ")


def test_a_body_is_asked_for_when_the_client_waits(mock_server: Start, wire: Connect) -> None:
    connection = wire(mock_server())
    head, _, body = chat_request("x", "expect: 100-continue").partition(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    assert connection.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(body)
    assert connection.read_answer()[0].startswith(b"HTTP/1.1 200 ")


def test_sixteen_megabytes_are_read(mock_server: Start, wire: Connect) -> None:
    connection = wire(mock_server())
    connection.send(chat_request("x" * 16_000_000))
    assert json.loads(connection.read_answer()[1])["usage"]["prompt_tokens"] == 4_000_004


@pytest.mark.parametrize("expecting", [True, False])
def test_a_body_over_the_cap_is_refused(mock_server: Start, wire: Connect, expecting: bool) -> None:
    connection = wire(mock_server())
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 67108865\r\n"
    connection.send(head + (b"expect: 100-continue\r\n\r\n" if expecting else b"\r\nsome of it"))
    assert connection.read_answer()[0].startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_over_the_cap_is_refused(mock_server: Start, wire: Connect) -> None:
    connection = wire(mock_server())
    connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    connection.send((b"100000\r\n" + b"x" * 2**20 + b"\r\n") * 64 + b"1\r\nx\r\n")
    assert connection.read_answer()[0].startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /v1/models HTTP/1.1", b"200"),
        (b"GET /health HTTP/1.1", b"200"),
        (b"GET /v1/nothing HTTP/1.1", b"404"),
        (b"GET /v1/chat/completions HTTP/1.1", b"404"),
        (b"GARBAGE", b"400"),
    ],
)
def test_other_requests_get_their_status(mock_server: Start, wire: Connect, request_line: bytes, status: bytes) -> None:
    connection = wire(mock_server())
    connection.send(request_line + b"\r\nhost: x\r\n\r\n")
    head, body = connection.read_answer()
    assert head.split()[1] == status
    if status != b"200":
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_head_has_no_body_and_keeps_the_connection(mock_server: Start, wire: Connect) -> None:
    connection = wire(mock_server())
    connection.send(b"HEAD /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    connection.send(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    first, second = connection.read_to_end().split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"404 ")
    assert first.endswith(b"\r\n\r\n")
    assert second.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"messages":[{}]}', b'{"model":"m"}', b'{"model":"m","messages":[]}']
)
def test_a_bad_body_is_refused(mock_server: Start, wire: Connect, body: bytes) -> None:
    connection = wire(mock_server())
    connection.send(post(body))
    head, answer = connection.read_answer()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert set(json.loads(answer)["error"]) == {"message", "type", "param", "code"}


def test_a_client_that_vanishes_at_any_point_leaves_the_server_well(
    mock_server: Start, wire: Connect, capfd: pytest.CaptureFixture[str]
) -> None:
    url = mock_server()
    for raw in (
        chat_request("[[mock:reset after=0.02]]"),
        b"",
        b"POST",
        chat_request("x")[:-5],
        chat_request("[[mock:big mb=20]]"),
        chat_request("[[mock:drip interval=0.001]]"),
    ):
        for linger in (b"\1\0\0\0\0\0\0\0", b"\0" * 8):  # with a reset, with a FIN
            connection = wire(url)
            connection.send(raw)
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.socket.close()
    connection = wire(url)
    connection.send(chat_request("[[mock:echo after=0.05]] still here"))
    assert text(connection.read_answer()[1]) == "still here"
    assert capfd.readouterr() == ("", "")


# Faults that keep the connection


def answered(connection: Wire) -> tuple[bytes, bytes]:
    head, body = connection.read_answer()
    return head.lower(), body


@pytest.mark.parametrize(
    ("marker", "status", "contains"),
    [
        ("html", b"200", b"<title>Sign in"),
        ("empty", b"200", b""),
        ("null-choices", b"200", b'"choices":null'),
        ("empty-choices", b"200", b'"choices":[]'),
        ("error-200 code=502", b"200", b'"code":502'),
        ("content-filter", b"200", b'"finish_reason":"content_filter"'),
        ("length", b"200", b'"finish_reason":"length"'),
        ("null-content", b"200", b'"content":null'),
        ("array-content", b"200", b'"content":[{"type":"text","text":"You asked'),
        ("nan", b"200", b'{"mock":NaN,'),
        ("huge-number", b"200", b'{"mock":1e400,'),
        ("deep depth=2000", b"200", b"[" * 2000 + b"]" * 2000),
        ("bad-utf8", b"200", b"Caf\xe9"),
        ("bom", b"200", b'\xef\xbb\xbf{"id"'),
        ("surrogate", b"200", b"\\ud83d and"),
        ("control", b"200", b"\\u001b[31mred"),
        ("text value=a%5Bb%5D%20c", b"200", b'"content":"a[b] c"'),
        ("big mb=0.5", b"200", b"plain words " * 41_666),
        ("status code=529 body=anthropic", b"529", b'"type":"overloaded_error"'),
        ("status code=429 code-name=insufficient_quota", b"429", b'"type":"insufficient_quota"'),
        ("redirect code=301", b"301", b""),
    ],
)
def test_a_fault_of_the_answer_is_seen(
    ask_raw: Callable[..., Wire], marker: str, status: bytes, contains: bytes
) -> None:
    head, body = answered(ask_raw(f"[[mock:{marker}]] hello"))
    assert head.split()[1] == status
    assert contains in body


@pytest.mark.parametrize(("marker", "key"), [("no-choices", "choices"), ("no-usage", "usage")])
def test_a_missing_field_is_missing(ask_raw: Callable[..., Wire], marker: str, key: str) -> None:
    assert key not in json.loads(answered(ask_raw(f"[[mock:{marker}]]"))[1])


def test_compressed_bodies_are_what_they_claim(mock_server: Start, wire: Connect) -> None:
    connection = wire(mock_server())

    def ask(name: str) -> bytes:
        connection.send(chat_request(f"[[mock:{name}]]"))
        head, body = answered(connection)
        assert b"content-encoding: gzip\r\n" in head
        return body

    assert json.loads(gzip.decompress(ask("gzip")))["object"] == "chat.completion"
    bomb = ask("bomb mb=30")
    assert len(bomb) < 100_000
    unpacked = gzip.decompress(bomb)
    assert len(unpacked) > 30_000_000
    assert json.loads(unpacked)["object"] == "chat.completion"
    assert json.loads(ask("bad-gzip"))["object"] == "chat.completion"
    with pytest.raises(EOFError):
        gzip.decompress(ask("truncated-gzip"))


def test_brotli_is_not_readable_as_json(ask_raw: Callable[..., Wire]) -> None:
    head, body = answered(ask_raw("[[mock:br]]"))
    assert b"content-encoding: br\r\n" in head
    with pytest.raises(ValueError, match="codec"):
        json.loads(body)
    with pytest.raises(zlib.error):
        zlib.decompress(body)


def test_headers_can_be_huge(ask_raw: Callable[..., Wire]) -> None:
    assert len(answered(ask_raw("[[mock:huge-headers kb=64]]"))[0]) > 64_000


def test_junk_follows_the_body_and_the_connection_stays_open(ask_raw: Callable[..., Wire]) -> None:
    connection = ask_raw("[[mock:extra-bytes]]")
    answered(connection)
    assert connection.socket.recv(1000) == b"\r\nnobody asked for this"
    connection.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        connection.socket.recv(1)


@pytest.mark.parametrize(
    ("marker", "done", "finished"),
    [("stream-cut", False, False), ("stream-error", False, False), ("no-done", False, True)],
)
def test_a_stream_ends_as_its_fault_says(ask_raw: Callable[..., Wire], marker: str, done: bool, finished: bool) -> None:
    raw = ask_raw(f"[[mock:{marker}]] x", "connection: close").read_to_end()
    assert b"text/event-stream" in raw
    assert raw.endswith(b"0\r\n\r\n")
    assert (b"data: [DONE]" in raw) is done
    assert (b'"finish_reason":"stop"' in raw) is finished
    assert (b'data: {"error"' in raw) is (marker == "stream-error")


def test_all_chunks_but_the_last_say_null_usage_when_usage_is_asked_for(ask_raw: Callable[..., Wire]) -> None:
    counting = {"stream": True, "stream_options": {"include_usage": True}}
    events = ask_raw("x", "connection: close", **counting).read_to_end().split(b"data: ")[1:]
    assert events[-1].startswith(b"[DONE]")
    assert [b'"usage":null' in event for event in events[:-1]] == [True] * (len(events) - 2) + [False]


# Faults that break the connection


def test_hang_answers_nothing(ask_raw: Callable[..., Wire]) -> None:
    connection = ask_raw("[[mock:hang]]")
    connection.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        connection.socket.recv(1)


@pytest.mark.parametrize(("where", "ending"), [("before", b""), ("headers", b"\r\n\r\n"), ("body", b'"object":"chat')])
def test_reset_is_a_tcp_reset(ask_raw: Callable[..., Wire], where: str, ending: bytes) -> None:
    connection = ask_raw(f"[[mock:reset where={where}]]")
    with pytest.raises(ConnectionResetError):
        connection.read_to_end()
    got = connection.received
    assert bool(got) is (where != "before")
    assert got.endswith(ending) if where != "body" else ending in got


def test_close_is_the_end_without_an_answer(ask_raw: Callable[..., Wire]) -> None:
    assert ask_raw("[[mock:close]]").read_to_end() == b""


def test_cut_promises_more_than_it_sends(ask_raw: Callable[..., Wire]) -> None:
    head, _, body = ask_raw("[[mock:cut at=17]]").read_to_end().partition(b"\r\n\r\n")
    assert len(body) == 17
    assert int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]) > 17


def test_cut_chunked_lacks_the_last_chunk(ask_raw: Callable[..., Wire]) -> None:
    raw = ask_raw("[[mock:cut-chunked]]").read_to_end()
    assert b"transfer-encoding: chunked\r\n" in raw
    assert raw.endswith(b"}\r\n")


@pytest.mark.parametrize("where", ["headers", "body", "blank"])
def test_a_drip_comes_byte_by_byte_and_whole(ask_raw: Callable[..., Wire], where: str) -> None:
    connection = ask_raw(f"[[mock:drip interval=0.0005 where={where}]]")
    body = connection.read_to_end().partition(b"\r\n\r\n")[2]
    assert body.startswith(b"\n" * 100 if where == "blank" else b"{")
    assert json.loads(body)["object"] == "chat.completion"


@pytest.mark.parametrize(
    ("marker", "pattern"),
    [
        ("wrong-length", rb"content-length: (\d+)\r\ncontent-length: (?!\1\r)\d+"),
        ("negative-length", rb"content-length: -1\r\n"),
        ("junk-status", rb"^ICY 200"),
        ("1xx", rb"^HTTP/1.1 103 Early Hints\r\n(.+\r\n)+\r\nHTTP/1.1 200 OK\r\n"),
        ("trailers", rb"\r\n0\r\nx-checksum: 1234\r\n\r\n$"),
    ],
)
def test_an_oddity_is_written_as_described(ask_raw: Callable[..., Wire], marker: str, pattern: bytes) -> None:
    assert re.search(pattern, ask_raw(f"[[mock:{marker}]]").read_to_end())


@pytest.mark.parametrize("streamed", [False, True])
def test_after_every_fault_the_server_serves_on(
    mock_server: Start, wire: Connect, tmp_path: Path, streamed: bool
) -> None:
    ledger = tmp_path / "ledger"
    url = mock_server(ledger=str(ledger))
    for name in FAULTS:
        connection = wire(url)
        connection.send(chat_request(f"[[mock:{name}]]", "connection: close", stream=streamed))
        if name not in ("hang", "drip"):
            try:
                connection.read_to_end()
            except ConnectionResetError:
                assert name == "reset"
        connection.socket.close()
    connection = wire(url)
    connection.send(chat_request("[[mock:echo]] alive"))
    assert text(connection.read_answer()[1]) == "alive"
    assert sorted(line["fault"] or "batch" for line in lines(ledger)) == sorted([*FAULTS, "echo"])


# The ledger


def test_a_line_tells_all_of_a_request_and_no_secret(mock_server: Start, wire: Connect, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    connection = wire(mock_server(ledger=str(ledger)))
    raw = chat_request("first", "Authorization: Bearer sk-secret", "X-Other: 1")
    connection.send(raw)
    connection.read_answer()
    connection.send(raw)
    connection.read_answer()
    line, again = lines(ledger)
    assert (again["n"], again["conn"], again["in_flight"], again["key"]) == (2, 1, 1, line["key"])
    assert line.pop("t_start") <= line.pop("t_end") <= time.time()
    assert line.pop("headers")["x-other"] == "1"
    assert line == {
        "n": 1,
        "path": "/v1/chat/completions",
        "key": sha256(raw.partition(b"\r\n\r\n")[2]).hexdigest(),
        "prompt": "first",
        "status": 200,
        "fault": None,
        "billed": True,
        "conn": 1,
        "in_flight": 1,
        "aborted": False,
    }
    assert b"sk-secret" not in ledger.read_bytes()


@pytest.mark.parametrize(
    ("marker", "status", "billed"),
    [
        ("reset", None, True),
        ("reset where=body", 200, True),
        ("cut", 200, True),
        ("close", None, True),
        ("status code=500", 500, True),
        ("status code=503", 503, False),
        ("status code=429", 429, False),
    ],
)
def test_the_ledger_knows_what_was_billed(
    mock_server: Start, wire: Connect, tmp_path: Path, marker: str, status: int | None, billed: bool
) -> None:
    ledger = tmp_path / "ledger"
    connection = wire(mock_server(ledger=str(ledger)))
    connection.send(chat_request(f"[[mock:{marker}]]", "connection: close"))
    with suppress(ConnectionResetError):
        connection.read_to_end()
    (line,) = lines(ledger)
    assert (line["status"], line["billed"]) == (status, billed)


def test_a_client_that_left_before_its_answer_is_noted(mock_server: Start, wire: Connect, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    url = mock_server(ledger=str(ledger), latency=0.1)
    leaving, half, staying = wire(url), wire(url), wire(url)
    leaving.send(chat_request("leaving"))
    half.send(chat_request("half")[:-1])
    staying.send(chat_request("staying"))
    leaving.socket.close()
    half.socket.close()
    staying.read_answer()
    noted = {line["prompt"]: (line["aborted"], line["status"], line["billed"]) for line in lines(ledger)}
    assert noted == {"leaving": (True, 200, True), "": (True, None, False), "staying": (False, 200, True)}


def test_what_waits_when_the_server_stops_is_noted(tmp_path: Path, wire: Connect) -> None:
    ledger = tmp_path / "ledger"
    with running(MockSettings(ledger=str(ledger), latency=60)) as url:
        connection = wire(url)
        connection.send(chat_request("waiting"))
        probe = wire(url)
        probe.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        probe.read_answer()
    assert connection.socket.recv(1) == b""
    assert [(line["path"], line["aborted"], line["billed"]) for line in lines(ledger)] == [
        ("/health", False, True),
        ("/v1/chat/completions", True, True),
    ]


def test_requests_in_flight_are_counted(mock_server: Start, wire: Connect, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    url = mock_server(ledger=str(ledger), latency=0.1, concurrency_limit=3)
    connections = [wire(url) for _ in range(4)]
    for connection in connections:
        connection.send(chat_request("x"))
    statuses = sorted(connection.read_answer()[0].split()[1] for connection in connections)
    assert statuses == [b"200", b"200", b"200", b"429"]
    assert sorted(line["in_flight"] for line in lines(ledger)) == [1, 2, 3, 4]


# The process


def test_an_address_in_use_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        run(MockSettings(port=taken.getsockname()[1]))


@pytest.mark.parametrize("error", [AttributeError, OSError])
def test_a_connection_without_a_peer_has_no_socket_to_touch(error: type[Exception]) -> None:
    class Gone:
        def extra(self, _: object) -> None:
            raise error

    assert _raw_socket(Gone()) is None  # type: ignore[arg-type]


PROGRAM = """
import sys
from llmbatch.mock.server import run
from llmbatch.mock.server import _raw_socket, run
from llmbatch.mock.settings import MockSettings
run(MockSettings(latency=60), started=lambda url: print(url, flush=True), until_stdin_closes=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, "stdin"])
def test_the_process_ends_cleanly_in_the_middle_of_work(how: Any) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        connection = Wire(process.stdout.readline().decode().strip())
        connection.send(chat_request("never answered"))
        process.stdin.close() if how == "stdin" else process.send_signal(how)
        code = process.wait(PATIENCE)
        assert code < 0 if how == "stdin" else code == 0  # the kernel ends it when the parent is gone
        assert process.stderr.read() == b""
        with suppress(ConnectionResetError):
            assert connection.socket.recv(1) == b""
        connection.socket.close()

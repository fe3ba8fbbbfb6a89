"""What leaves: the head to the byte, socket options, and what never follows or sticks."""

import os
import socket
import subprocess
import sys

import httpx
import pytest

from llmbatch.core.errors import UsageError
from llmbatch.core.exchange import Expected, Reply, Request
from llmbatch.core.fault import Billing, Kind, Scope
from llmbatch.transport.head import Heads
from llmbatch.transport.lane import Http11Lane
from llmbatch.transport.limits import Limits, socket_options
from llmbatch.transport.sender import LaneSender
from llmbatch.transport.tls import shared_context

from .conftest import LaneClass, Open, Run, asking, assert_fault, body_of
from .scripted import Peer, answering, ok, serving


def test_the_head_is_exactly_what_was_asked_for(run: Run, opening: Open) -> None:
    headers = {"Accept": "application/json", "authorization": "Bearer sk-1", "X-Empty": "", "x-tab": " a\tb "}

    async def scene() -> None:
        async with serving(answering(ok())) as server, opening(server.url, headers=headers) as sender:
            for _ in range(2):
                body_of(await sender.send(asking(b"12345")))
            head = (
                b"POST /v1/chat/completions HTTP/1.1\r\n"
                b"host: 127.0.0.1:%d\r\n"
                b"accept: application/json\r\n"
                b"authorization: Bearer sk-1\r\n"
                b"x-empty: \r\n"
                b"x-tab: a\tb\r\n"
                b"content-length: 5\r\n\r\n" % server.port
            )
            for seen in server.requests:
                assert _spelled(seen.head) == head

    run(scene())


def test_every_request_tells_its_own_length(run: Run, opening: Open) -> None:
    async def scene() -> None:
        bodies = [b"1", b"12345", b"", b"123"]
        async with serving(answering(ok())) as server, opening(server.url) as sender:
            for body in bodies:
                body_of(await sender.send(asking(body)))
            assert [seen.body for seen in server.requests] == bodies
            heads = [seen.head.lower() for seen in server.requests]
            assert all(b"content-length: %d\r\n" % len(body) in head for head, body in zip(heads, bodies, strict=True))
            assert all(head.count(b"content-length") == 1 for head in heads)

    run(scene())


def test_a_client_of_httpx_can_use_the_lane(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async with (
            serving(answering(ok(b"here"))) as server,
            opening(server.url) as sender,
            httpx.AsyncClient(transport=sender._lane) as client,
        ):
            response = await client.post(f"{server.url}/chat/completions", json={"model": "m"})
            assert (response.status_code, response.content) == (200, b"here")
            assert response.headers["content-length"] == "4"
            assert server.requests[0].body == b'{"model":"m"}'

    run(scene())


def _spelled(head: bytes) -> bytes:
    """Undo what h11 does with names: it keeps their case, but knows some by heart."""
    lines = head.split(b"\r\n")
    return b"\r\n".join(
        [
            lines[0],
            *(name.lower() + sep + rest for name, sep, rest in (ln.partition(b":") for ln in lines[1:])),
        ]
    )


def test_method_and_path_are_the_requests(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async with serving(answering(ok())) as server, opening(f"{server.url}/deep%20er") as sender:
            body_of(await sender.send(Request((), "/models/a b:generate?alt=x&y=%2F", b"", Expected("chat"), "GET")))
            assert server.requests[0].line == b"GET /v1/deep%20er/models/a%20b:generate?alt=x&y=%2F HTTP/1.1"
            assert (b"content-length", b"0") in server.requests[0].headers

    run(scene())


def test_a_host_of_ones_own_replaces_the_address(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async with (
            serving(answering(ok())) as server,
            opening(server.url, headers={"Host": "api.example"}) as sender,
        ):
            body_of(await sender.send(asking()))
            hosts = [value for name, value in server.requests[0].headers if name.lower() == b"host"]
            assert hosts == [b"api.example"]

    run(scene())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-a", "sk-secret\r\nx-evil: 1"),
        ("x-a", "sk-secret\n"),
        ("x-a", "sk-secret\r"),
        ("x-a", "sk-secret\0"),
        ("x-a", "sk-secret\x7f"),
        ("x-a", "sk-secret-é"),
        ("x-a\r\nx-evil", "sk-secret"),
        ("x a", "sk-secret"),
        ("", "sk-secret"),
        ("x-é", "sk-secret"),
        ("Content-Length", "sk-secret"),
        ("transfer-encoding", "sk-secret"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_unseen(name: str, value: str) -> None:
    lane = Http11Lane(limits=Limits(), tls=shared_context(None))
    with pytest.raises(UsageError) as caught:
        LaneSender(lane, Heads("http://127.0.0.1:1", {name: value}), limits=Limits())
    assert "sk-secret" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"


def test_a_line_break_in_a_header_is_not_smuggled(run: Run, opening: Open) -> None:
    """The sender refuses it at the door; the lane beneath refuses it again."""

    async def scene() -> None:
        async with serving(answering(ok())) as server, opening(server.url) as sender:
            sender._heads._headers["x-a"] = "b\r\nx-evil: 1"
            result = await sender.send(asking())
            assert_fault(result, Kind.CONFIGURATION, Billing.UNBILLED, retry=False, scope=Scope.RUN)
            del sender._heads._headers["x-a"]
            body_of(await sender.send(asking()))
            assert len(server.requests) == 1

    run(scene())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(run: Run, opening: Open, status: int) -> None:
    async def scene() -> None:
        async with serving(answering(ok(b"trap"))) as trap:
            location = b"location: " + trap.url.encode()
            answer = ok(b"moved", location, status=b"%d Moved" % status)
            async with serving(answering(answer)) as server, opening(server.url) as sender:
                result = await sender.send(asking())
                assert isinstance(result, Reply), result
                assert (result.status, result.body) == (status, b"moved")
                assert result.headers["location"] == trap.url
                assert len(server.requests) == 1
            assert not trap.peers

    run(scene())


def test_no_cookie_sticks(run: Run, opening: Open) -> None:
    async def scene() -> None:
        answer = ok(b"{}", b"set-cookie: a=b", b'alt-svc: h3=":443"', b"strict-transport-security: max-age=9")
        async with serving(answering(answer)) as server, opening(server.url) as sender:
            for _ in range(3):
                body_of(await sender.send(asking()))
            names = {name.lower() for seen in server.requests for name, _ in seen.headers}
            assert names == {b"host", b"content-length"}

    run(scene())


def test_dead_peers_are_probed_for(
    run: Run, opening: Open, monkeypatch: pytest.MonkeyPatch, lane_class: LaneClass
) -> None:
    """The client's end of the connection is found among this process's sockets by both of its names."""

    async def scene() -> None:
        options = {}

        async def script(peer: Peer) -> None:
            await peer.request()
            sock = _socket_between(peer.writer.get_extra_info("peername"), peer.writer.get_extra_info("sockname"))
            for level, name, value in socket_options():
                options[level, name] = (sock.getsockopt(level, name), value)
            sock.detach()
            await peer.say(ok())
            await peer.gone()

        async with serving(script) as server, opening(server.url) as sender:
            body_of(await sender.send(asking()))
        assert len(options) == 5
        assert all(bool(got) if want == 1 else got == want for got, want in options.values()), options
        assert options[socket.IPPROTO_TCP, socket.TCP_KEEPIDLE][0] == 60

    run(scene())


def _socket_between(name: tuple[str, int], peer: tuple[str, int]) -> socket.socket:
    """Find a socket by both ends: a port of one end may serve other connections of this process too."""
    for entry in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=int(entry))
        except OSError:
            continue
        try:
            if sock.family == socket.AF_INET and (sock.getsockname(), sock.getpeername()) == (name, peer):
                return socket.socket(fileno=sock.detach())
        except OSError:
            pass
        sock.detach()
    raise LookupError((name, peer))


def test_the_sender_needs_no_more_than_it_says() -> None:
    """No parser, no loop, no list of authorities: those come with the first connection."""
    unwanted = {"anyio", "certifi", "h11", "httpcore", "httptools", "uvloop"}
    script = f"import sys, llmbatch.transport.sender; print({unwanted} & {{*sys.modules}} or 'none')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"

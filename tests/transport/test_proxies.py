"""Which requests go through a proxy, and how: never those to this machine."""

import asyncio

import httpx
import pytest

from llmbatch.core.errors import UsageError
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Kind, Scope
from llmbatch.core.loopback import is_loopback
from llmbatch.transport.head import Heads
from llmbatch.transport.httpx_lane import HttpxLane
from llmbatch.transport.lane import Http11Lane
from llmbatch.transport.limits import Limits
from llmbatch.transport.proxies import lane_opener, proxy_for
from llmbatch.transport.sender import LaneSender
from llmbatch.transport.tls import shared_context

from .conftest import Run, asking, assert_fault, body_of
from .scripted import Peer, Script, Server, answering, ok, saying, serving

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD")
PROXY = "http://proxy.example:3128"


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with a proxy for both schemes, and nothing else of the kind."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    return monkeypatch


LOOPBACK = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "api.localhost",
    "127.0.0.1",
    "127.8.9.10",
    "::1",
    "[::1]",
]
ELSEWHERE = [
    "api.example",
    "localhost.example",
    "notlocalhost",
    "10.0.0.1",
    "128.0.0.1",
    "::2",
    "127.0.0.1.example",
    "",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_is_known(host: str, proxied: pytest.MonkeyPatch) -> None:
    assert is_loopback(host)
    url = f"http://[{host}]:8000/v1" if host == "::1" else f"http://{host}:8000/v1"
    assert proxy_for(httpx.URL(url)) is None
    assert isinstance(lane_opener(url, limits=Limits())(), Http11Lane)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_other_machines_are_not_mistaken_for_it(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("url", ["http://api.example/v1", "https://api.example/v1", "http://10.0.0.1:8000"])
def test_other_machines_are_asked_through_the_proxy(url: str, proxied: pytest.MonkeyPatch) -> None:
    assert proxy_for(httpx.URL(url)) == PROXY
    assert isinstance(lane_opener(url, limits=Limits())(), HttpxLane)


@pytest.mark.parametrize(
    ("exempt", "url"),
    [
        ("api.example", "https://api.example/v1"),
        ("example", "https://api.example/v1"),
        (".example", "https://api.example/v1"),
        ("other.test, api.example", "https://api.example/v1"),
        ("API.EXAMPLE", "https://api.example/v1"),
        ("gpu.example:8000", "http://gpu.example:8000/v1"),
        ("10.0.0.1", "http://10.0.0.1:8000/v1"),
        ("2001:db8::1", "http://[2001:db8::1]:8000/v1"),
        ("*", "https://api.example/v1"),
    ],
)
def test_no_proxy_is_honoured(exempt: str, url: str, proxied: pytest.MonkeyPatch) -> None:
    proxied.setenv("NO_PROXY", exempt)
    assert proxy_for(httpx.URL(url)) is None


@pytest.mark.parametrize("exempt", ["pi.example", "gpu.example:9000", "xample", ""])
def test_no_proxy_is_not_stretched(exempt: str, proxied: pytest.MonkeyPatch) -> None:
    proxied.setenv("NO_PROXY", exempt)
    assert proxy_for(httpx.URL("http://gpu.example:8000/v1")) == PROXY


def test_the_variable_of_the_scheme_wins(proxied: pytest.MonkeyPatch) -> None:
    proxied.setenv("ALL_PROXY", "http://all.example:1")
    assert proxy_for(httpx.URL("https://api.example")) == PROXY
    proxied.delenv("HTTPS_PROXY")
    assert proxy_for(httpx.URL("https://api.example")) == "http://all.example:1"
    proxied.delenv("ALL_PROXY")
    assert proxy_for(httpx.URL("https://api.example")) is None


def test_a_proxy_without_a_scheme_is_http(proxied: pytest.MonkeyPatch) -> None:
    proxied.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert proxy_for(httpx.URL("https://api.example")) == PROXY


@pytest.mark.parametrize("proxy", ["socks5://user:secret@proxy:1080", "http://user:secret@proxy:port"])
def test_a_proxy_that_cannot_serve_is_the_users_error(proxy: str, proxied: pytest.MonkeyPatch) -> None:
    proxied.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(UsageError) as caught:
        lane_opener("https://api.example", limits=Limits())
    assert "secret" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"


def sender(url: str, proxy: str) -> LaneSender:
    lane = HttpxLane(limits=Limits(), tls=shared_context(None), proxy=proxy)
    return LaneSender(lane, Heads(url, {"authorization": "Bearer sk-secret"}), limits=Limits())


def proxy_url(server: Server, credentials: str = "") -> str:
    return f"http://{credentials}127.0.0.1:{server.port}"


def test_a_proxy_is_given_the_whole_address(run: Run) -> None:
    async def scene() -> None:
        async with serving(answering(ok(b"1"))) as server:
            through = sender("http://api.example:8080/v1", proxy_url(server, "user:secret@"))
            for _ in range(2):
                assert body_of(await through.send(asking(b"12345"))) == b"1"
            await through.aclose()
            for seen in server.requests:
                assert seen.line == b"POST http://api.example:8080/v1/chat/completions HTTP/1.1"
                assert (b"host", b"api.example:8080") in seen.headers
                assert (b"Proxy-Authorization", b"Basic dXNlcjpzZWNyZXQ=") in seen.headers
                assert seen.body == b"12345"
            assert len(server.peers) == 1

    run(scene())


def test_the_environment_s_proxy_is_the_one_that_is_asked(run: Run, proxied: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with serving(answering(ok(b"1"))) as server:
            proxied.setenv("HTTP_PROXY", proxy_url(server))
            url = "http://api.example/v1"
            lane = lane_opener(url, limits=Limits())()
            through = LaneSender(lane, Heads(url, {}), limits=Limits())
            assert body_of(await through.send(asking())) == b"1"
            await through.aclose()
            assert server.requests[0].line.startswith(b"POST http://api.example/v1/")

    run(scene())


def test_this_machine_is_never_asked_through_it(run: Run, proxied: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with serving(answering(ok(b"proxy"))) as proxy, serving(answering(ok(b"1"))) as server:
            proxied.setenv("HTTP_PROXY", proxy_url(proxy))
            lane = lane_opener(server.url, limits=Limits())()
            direct = LaneSender(lane, Heads(server.url, {}), limits=Limits())
            assert body_of(await direct.send(asking())) == b"1"
            await direct.aclose()
            assert not proxy.peers

    run(scene())


def test_the_key_is_not_shown_to_a_proxy_on_the_way_to_https(run: Run) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            seen = await peer.head()
            assert seen.line == b"CONNECT api.example:443 HTTP/1.1"
            assert b"sk-secret" not in seen.head
            await peer.say(b"HTTP/1.1 407 Log In\r\ncontent-length: 0\r\n\r\n")
            await peer.gone()

        async with serving(script) as server:
            through = sender("https://api.example/v1", proxy_url(server))
            fault = assert_fault(await through.send(asking()), Kind.CONNECTION, Billing.UNBILLED, scope=Scope.RUN)
            await through.aclose()
            assert "407" in fault.message and f"the proxy 127.0.0.1:{server.port}: " in fault.message

    run(scene())


@pytest.mark.parametrize("url", ["https://api.example/v1", "http://api.example/v1"])
def test_a_proxy_that_is_not_there_is_named_and_its_password_is_not(url: str, run: Run) -> None:
    async def scene() -> None:
        async with serving(answering(ok(b"1"))) as server:
            proxy = proxy_url(server, "user:secret@")
        through = sender(url, proxy)
        fault = assert_fault(await through.send(asking()), Kind.CONNECTION, Billing.UNBILLED, scope=Scope.RUN)
        await through.aclose()
        assert fault.message.startswith(f"through the proxy 127.0.0.1:{server.port}: ")
        assert "secret" not in fault.message

    run(scene())


async def _hang_up(peer: Peer) -> None:
    await peer.head()
    await peer.close()


async def _reset(peer: Peer) -> None:
    await peer.head()
    await peer.reset()


async def _speak_something_else(peer: Peer) -> None:
    await peer.head()
    await peer.say(b"SSH-2.0-proxy\r\n\r\n")
    await peer.gone()


async def _answer_half(peer: Peer) -> None:
    await peer.head()
    await peer.say(b"HTTP/1.1 200 Conn")
    await peer.close()


async def _open_and_hang_up(peer: Peer) -> None:
    await peer.head()
    await peer.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await peer.close()


@pytest.mark.parametrize("script", [_hang_up, _reset, _speak_something_else, _answer_half, _open_and_hang_up])
def test_a_tunnel_that_does_not_come_about_is_never_billed(run: Run, script: Script) -> None:
    async def scene() -> None:
        async with serving(script) as server:
            through = sender("https://api.example/v1", proxy_url(server))
            for _ in range(2):
                assert_fault(await through.send(asking()), Kind.CONNECTION, Billing.UNBILLED, scope=Scope.RUN)
            await through.aclose()

    run(scene())


async def _say_nothing(peer: Peer) -> None:
    await peer.head()
    await peer.gone()


async def _open_and_say_nothing(peer: Peer) -> None:
    await peer.head()
    await peer.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await peer.gone()


@pytest.mark.parametrize("script", [_say_nothing, _open_and_say_nothing])
def test_a_tunnel_that_takes_too_long_ends_at_the_connect_time_out(run: Run, script: Script) -> None:
    async def scene() -> None:
        async with serving(script) as server:
            limits = Limits(connect_timeout=0.2, timeout=8.0)
            lane = HttpxLane(limits=limits, tls=shared_context(None), proxy=proxy_url(server))
            through = LaneSender(lane, Heads("https://api.example/v1", {}), limits=limits)
            began = asyncio.get_running_loop().time()
            fault = assert_fault(await through.send(asking()), Kind.CONNECTION, Billing.UNBILLED, scope=Scope.RUN)
            assert asyncio.get_running_loop().time() - began < limits.timeout
            assert "0.2 s" in fault.message
            await through.aclose()

    run(scene())


def test_a_proxy_that_adds_an_answer_poisons_nothing(run: Run) -> None:
    async def scene() -> None:
        async with serving(saying(ok(b"1") + ok(b"poison")), answering(ok(b"2"))) as server:
            through = sender("http://api.example/v1", proxy_url(server))
            assert body_of(await through.send(asking())) == b"1"
            result = await through.send(asking())
            await through.aclose()
            assert isinstance(result, Reply) and result.body == b"2"

    run(scene())

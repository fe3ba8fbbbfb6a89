"""TLS: who is believed, who is not, and what a wrong port looks like."""

import asyncio
import datetime as dt
import ssl
from pathlib import Path

import pytest
import trustme

from llmbatch.core.errors import UsageError
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.transport.head import Heads
from llmbatch.transport.httpx_lane import HttpxLane
from llmbatch.transport.limits import Limits
from llmbatch.transport.proxies import lane_opener
from llmbatch.transport.sender import LaneSender
from llmbatch.transport.tls import shared_context

from .conftest import Open, Run, asking, assert_fault, body_of, open_descriptors, patient
from .scripted import Peer, answering, ending, ok, saying, serving, silence


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def certified(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture(scope="session")
def context(authority: trustme.CA) -> ssl.SSLContext:
    return certified(authority.issue_cert("127.0.0.1", "localhost"))


def test_a_known_authority_is_believed(run: Run, opening: Open, context: ssl.SSLContext, ca_file: str) -> None:
    async def scene() -> None:
        async with (
            serving(answering(ok(b"1")), context=context) as server,
            opening(server.url, ca_file=ca_file) as sender,
        ):
            for _ in range(3):
                assert body_of(await sender.send(asking())) == b"1"
            assert len(server.peers) == 1

    run(scene())


def test_ssl_cert_file_is_believed(
    run: Run, opening: Open, context: ssl.SSLContext, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)

    async def scene() -> None:
        async with serving(answering(ok(b"1")), context=context) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"

    run(scene())


def test_the_named_file_wins_over_the_variable(ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    assert shared_context(ca_file)().get_ca_certs()


def test_names_are_checked_and_used(run: Run, opening: Open, context: ssl.SSLContext, ca_file: str) -> None:
    async def scene() -> None:
        async with (
            serving(answering(ok(b"1")), context=context) as server,
            opening(f"https://localhost:{server.port}", ca_file=ca_file) as sender,
        ):
            assert body_of(await sender.send(asking())) == b"1"

    run(scene())


@pytest.mark.parametrize("flaw", ["unknown", "wrong host", "expired"])
def test_a_bad_certificate_ends_the_run(
    run: Run, opening: Open, authority: trustme.CA, ca_file: str, flaw: str
) -> None:
    if flaw == "unknown":
        certificate = trustme.CA().issue_cert("127.0.0.1")
    elif flaw == "wrong host":
        certificate = authority.issue_cert("elsewhere.example")
    else:
        yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        certificate = authority.issue_cert("127.0.0.1", not_after=yesterday)

    async def scene() -> None:
        async with (
            serving(answering(ok(b"1")), context=certified(certificate)) as server,
            opening(server.url, ca_file=ca_file) as sender,
        ):
            for _ in range(2):
                fault = assert_fault(
                    await sender.send(asking()), Kind.TLS, Billing.UNBILLED, retry=False, scope=Scope.RUN
                )
                assert "certificate was refused" in fault.message
            assert not server.requests

    run(scene())


def test_https_to_a_plain_port_is_told(run: Run, opening: Open, ca_file: str) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.reader.read(10)
            await peer.say(ok(b"plain", status=b"400 Bad Request"))
            await peer.gone()

        async with (
            serving(script) as server,
            opening(f"https://127.0.0.1:{server.port}", ca_file=ca_file, timeout=5.0) as sender,
        ):
            fault = assert_fault(await sender.send(asking()), Kind.TLS, Billing.UNBILLED, retry=False, scope=Scope.RUN)
            assert "http://" in fault.message

    run(scene())


def test_http_to_a_tls_port_is_a_fault(run: Run, opening: Open, context: ssl.SSLContext) -> None:
    async def scene() -> None:
        async with (
            serving(answering(ok(b"1")), context=context) as server,
            opening(f"http://127.0.0.1:{server.port}", timeout=5.0) as sender,
        ):
            result = await sender.send(asking())
            assert isinstance(result, Fault) and result.billing is Billing.DOUBTFUL, result
            assert result.kind in (Kind.PROTOCOL, Kind.CONNECTION), "an alert, and a reset may overtake it"

    run(scene())


@pytest.mark.parametrize("limit", ["connect_timeout", "timeout"])
def test_a_stalled_handshake_ends_and_frees_its_socket(run: Run, opening: Open, ca_file: str, limit: str) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.gone()

        async with (
            serving(script) as server,
            opening(f"https://127.0.0.1:{server.port}", ca_file=ca_file, **{limit: 0.1}) as sender,
        ):
            before = open_descriptors()
            result = await sender.send(asking())
            if limit == "connect_timeout":
                assert_fault(result, Kind.CONNECTION, Billing.UNBILLED, scope=Scope.RUN)
            else:
                assert_fault(result, Kind.TIMEOUT, Billing.UNBILLED)
            await server.peers[0].over.wait()
            await asyncio.gather(*server.tasks)
            for _ in range(3):
                await asyncio.sleep(0)
            assert open_descriptors() == before

    run(scene())


def test_a_reset_handshake_is_free_to_try_again(run: Run, opening: Open, ca_file: str) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.reader.read(10)
            await peer.reset()

        async with (
            serving(script) as server,
            opening(f"https://127.0.0.1:{server.port}", ca_file=ca_file) as sender,
        ):
            result = await sender.send(asking())
            assert_fault(result, Kind.CONNECTION, Billing.UNBILLED, scope=Scope.RUN)

    run(scene())


def test_a_large_body_goes_through_tls(run: Run, opening: Open, context: ssl.SSLContext, ca_file: str) -> None:
    body = bytes(range(256)) * (4 << 12)

    async def scene() -> None:
        async with (
            serving(answering(ok(body)), context=context) as server,
            opening(server.url, ca_file=ca_file, timeout=8.0) as sender,
        ):
            for _ in range(2):
                assert body_of(await sender.send(asking(body))) == body
            assert [seen.body == body for seen in server.requests] == [True, True]
            assert len(server.peers) == 1

    run(scene())


def test_silence_on_a_kept_tls_connection_is_in_doubt(
    run: Run, opening: Open, context: ssl.SSLContext, ca_file: str
) -> None:
    """The ssl module pauses writers by rules of its own: that must not pass for "not sent"."""

    async def scene() -> None:
        async def script(peer: Peer) -> None:
            for _ in range(turns):
                await peer.request()
                await peer.say(ok(b"1"))
            await peer.gone()

        for turns in range(3):
            async with (
                serving(script, context=context) as server,
                opening(server.url, ca_file=ca_file, timeout=0.4) as sender,
            ):
                for _ in range(turns):
                    assert body_of(await patient(sender).send(asking())) == b"1"
                assert_fault(await sender.send(asking()), Kind.TIMEOUT, Billing.DOUBTFUL)

    run(scene())


def test_a_large_body_nobody_reads_is_not_billed_over_tls(
    run: Run, opening: Open, context: ssl.SSLContext, ca_file: str
) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            await asyncio.Event().wait()

        async with (
            serving(script, context=context) as server,
            opening(server.url, ca_file=ca_file, timeout=0.2) as sender,
        ):
            assert_fault(await sender.send(asking(bytes(32 << 20))), Kind.TIMEOUT, Billing.UNBILLED)

    run(scene())


def test_a_cancel_closes_a_tls_socket_at_once(run: Run, opening: Open, context: ssl.SSLContext, ca_file: str) -> None:
    async def scene() -> None:
        async with (
            serving(silence, answering(ok(b"2")), context=context) as server,
            opening(server.url, ca_file=ca_file) as sender,
        ):
            attempt = asyncio.create_task(sender.send(asking()))
            peer = await server.heard(0)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            await peer.over.wait()
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_a_kept_tls_connection_closed_while_idle_is_replaced(
    run: Run, opening: Open, context: ssl.SSLContext, ca_file: str
) -> None:
    async def scene() -> None:
        async with (
            serving(saying(ok(b"1")), answering(ok(b"2")), context=context) as server,
            opening(server.url, ca_file=ca_file) as sender,
        ):
            assert body_of(await sender.send(asking())) == b"1"
            server.peers[0].end_now()
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_a_body_only_the_end_delimits_is_read_over_tls(
    run: Run, opening: Open, context: ssl.SSLContext, ca_file: str
) -> None:
    async def scene() -> None:
        async with (
            serving(ending(b"HTTP/1.1 200 OK\r\n\r\n{}"), context=context) as server,
            opening(server.url, ca_file=ca_file) as sender,
        ):
            result = await sender.send(asking())
            assert body_of(result) == b"{}"
            assert isinstance(result, Reply) and result.cut

    run(scene())


@pytest.mark.parametrize("cut", ["end", "garbage"])
def test_a_tls_stream_broken_off_is_doubtful(
    run: Run, opening: Open, context: ssl.SSLContext, ca_file: str, cut: str
) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal")
            if cut == "end":
                peer.end_now()
            else:
                peer.say_now(b"\x17\x03\x03\x00\x20" + bytes(32))
            await peer.gone()

        async with (
            serving(script, answering(ok(b"2")), context=context) as server,
            opening(server.url, ca_file=ca_file, timeout=5.0) as sender,
        ):
            result = await sender.send(asking())
            kind = Kind.PROTOCOL if cut == "end" else Kind.CONNECTION
            assert_fault(result, kind, Billing.DOUBTFUL)
            assert body_of(await sender.send(asking())) == b"2"

    run(scene())


def test_a_proxy_sees_nothing_but_the_name(run: Run, context: ssl.SSLContext, ca_file: str) -> None:
    """Through CONNECT the reference lane speaks TLS with the server itself, by the same authorities."""

    async def scene() -> None:
        async def script(peer: Peer) -> None:
            seen = await peer.head()
            assert seen.line == b"CONNECT localhost:443 HTTP/1.1"
            assert b"sk-secret" not in seen.head
            await peer.say(b"HTTP/1.1 200 Connected\r\n\r\n")
            await peer.writer.start_tls(context)
            for _ in range(2):
                inner = await peer.request()
                assert inner.line == b"POST /v1/chat/completions HTTP/1.1"
                await peer.say(ok(b"1"))
            await peer.gone()

        async with serving(script) as server:
            tls = shared_context(ca_file)
            lane = HttpxLane(limits=Limits(), tls=tls, proxy=f"http://127.0.0.1:{server.port}")
            key = {"authorization": "Bearer sk-secret"}
            sender = LaneSender(lane, Heads("https://localhost/v1", key), limits=Limits())
            for _ in range(2):
                assert body_of(await sender.send(asking())) == b"1"
            await sender.aclose()
            assert len(server.peers) == 1

    run(scene())


def test_an_old_protocol_is_not_spoken(run: Run, opening: Open, authority: trustme.CA, ca_file: str) -> None:
    old = certified(authority.issue_cert("127.0.0.1"))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1

    async def scene() -> None:
        async with (
            serving(answering(ok(b"1")), context=old) as server,
            opening(server.url, ca_file=ca_file) as sender,
        ):
            result = await sender.send(asking())
            assert_fault(result, Kind.CONNECTION, Billing.UNBILLED, scope=Scope.RUN)
            assert not server.requests

    run(scene())


@pytest.mark.parametrize("name", ["missing.pem", ".", "text.pem", "empty.pem"])
def test_an_unusable_file_of_authorities_is_the_users_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.pem").write_text("not a certificate\n")
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(UsageError, match=r"pem|no certificates"):
        shared_context(str(tmp_path / name))()


def test_a_missing_file_is_told_before_anything_is_sent() -> None:
    with pytest.raises(UsageError, match="no certificates"):
        lane_opener("https://api.example", limits=Limits(), ca_file="/nowhere.pem")


def test_a_file_without_certificates_is_the_users_error_before_the_first_request(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("not a certificate\n")
    with pytest.raises(UsageError, match="no usable certificates"):
        lane_opener("https://127.0.0.1:9", limits=Limits(), ca_file=str(path))
    lane_opener("http://127.0.0.1:9", limits=Limits(), ca_file=str(path))


def test_one_context_serves_all_lanes(ca_file: str) -> None:
    context = shared_context(ca_file)
    assert context() is context()
    assert context().minimum_version is ssl.TLSVersion.TLSv1_2
    assert context().verify_mode is ssl.CERT_REQUIRED and context().check_hostname

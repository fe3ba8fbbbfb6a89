"""Errands on real sockets: bodies from and to files, keys at their own host, patience as long as bytes move."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from llmbatch.core.errand import DISK, Call, Errand, FilePart, StrangeAddress, addressed
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.transport.errands import ErrandRunner
from llmbatch.transport.limits import Limits

from .conftest import Run
from .scripted import Peer, answering, ok, serving

RUNNER = ErrandRunner(limits=Limits(connect_timeout=5.0), ca_file=None)
HEADERS = {"authorization": "Bearer key", "content-type": "application/json", "accept-encoding": "identity"}


def call(url: str, **errand: object) -> Call:
    return addressed(replace(Errand(method="GET", address="/x"), **errand), url, HEADERS)  # type: ignore[arg-type]


def test_a_body_comes_from_a_file_with_its_length_and_what_stands_around_it(run: Run, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "in").write_bytes(content)

    async def test() -> None:
        async with serving(answering(ok())) as server:
            part = FilePart(str(tmp_path / "in"), b"before", b"after")
            headers = {"content-type": "multipart/form-data; boundary=b"}
            reply = await RUNNER.run(call(server.url, method="POST", body=part, headers=headers))
            assert isinstance(reply, Reply) and reply.status == 200
            (seen,) = server.requests
            assert seen.body == b"before" + content + b"after"
            said = dict(seen.headers)
            assert said[b"content-length"] == b"3000011" and b"transfer-encoding" not in said
            assert said[b"content-type"].startswith(b"multipart/") and said[b"authorization"] == b"Bearer key"

    run(test())


def test_an_answer_goes_to_a_file_beyond_what_memory_may_hold(run: Run, tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    small = ErrandRunner(limits=Limits(body=1000), ca_file=None)

    async def test() -> None:
        async with serving(answering(ok(content))) as server:
            reply = await small.run(call(server.url, sink=str(tmp_path / "out")))
            assert isinstance(reply, Reply) and reply.body == b""
            assert (tmp_path / "out").read_bytes() == content
            assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
            inside = await small.run(call(server.url))
            assert isinstance(inside, Fault)

    run(test())


def test_an_answer_that_ends_early_is_a_fault_and_an_error_never_goes_to_the_file(run: Run, tmp_path: Path) -> None:
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 500

    async def hang_up(peer: Peer) -> None:
        await peer.request()
        await peer.say(half)
        await peer.close()

    async def test() -> None:
        async with serving(hang_up, answering(ok(b'{"error":"no"}', status=b"404 Not Found"))) as server:
            first = await RUNNER.run(call(server.url, sink=str(tmp_path / "out")))
            assert isinstance(first, Fault) and first.billing is Billing.DOUBTFUL
            (tmp_path / "out").unlink()
            second = await RUNNER.run(call(server.url, sink=str(tmp_path / "out")))
            assert isinstance(second, Reply) and (second.status, second.body) == (404, b'{"error":"no"}')
            assert not (tmp_path / "out").exists()

    run(test())


def test_patience_is_for_silence_and_not_for_the_whole(run: Run, tmp_path: Path) -> None:
    async def drip(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n")
        for _ in range(12):
            await asyncio.sleep(0.05)
            await peer.say(b"x")

    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async def test() -> None:
        async with serving(drip, silent) as server:
            slow = await RUNNER.run(call(server.url, patience=0.3))
            assert isinstance(slow, Reply) and slow.body == b"x" * 12
            none = await RUNNER.run(call(server.url, patience=0.3))
            assert isinstance(none, Fault) and none.billing is Billing.DOUBTFUL

    run(test())


def test_an_answer_that_drips_without_end_is_given_up(run: Run) -> None:
    hasty = ErrandRunner(limits=Limits(timeout=0.3), ca_file=None)

    async def drip(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.say(b" ")
            await asyncio.sleep(0.01)

    async def test() -> None:
        async with serving(drip) as server:
            fault = await hasty.run(call(server.url, method="POST", body=b"{}", patience=0.2))
            assert isinstance(fault, Fault) and fault.billing is Billing.DOUBTFUL

    run(test())


def test_what_cannot_have_arrived_is_told_from_what_may_have(run: Run) -> None:
    async def hang_up(peer: Peer) -> None:
        await peer.request()
        await peer.reset()

    async def test() -> None:
        async with serving(hang_up) as server:
            lost = await RUNNER.run(call(server.url, method="POST", body=b"{}"))
            assert isinstance(lost, Fault) and lost.billing is Billing.DOUBTFUL
            assert len(server.requests) == 1
        nobody = await RUNNER.run(call(server.url, method="POST", body=b"{}"))
        assert isinstance(nobody, Fault)
        assert (nobody.kind, nobody.scope, nobody.billing) == (Kind.CONNECTION, Scope.RUN, Billing.UNBILLED)

    run(test())


def test_certificates_are_not_loaded_for_plain_http(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each load takes megabytes, which wait for the garbage collector: a batch is asked for again and again."""

    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("certificates were loaded")

    monkeypatch.setattr("ssl.SSLContext.load_verify_locations", loaded)
    monkeypatch.setattr("ssl.SSLContext.load_default_certs", loaded)

    async def test() -> None:
        async with serving(answering(ok())) as server:
            assert isinstance(await RUNNER.run(call(server.url)), Reply)

    run(test())


def test_a_redirect_is_an_answer_and_is_never_followed(run: Run) -> None:
    async def test() -> None:
        moved = ok(b"", b"location: http://127.0.0.1:1/", status=b"302 Found")
        async with serving(answering(moved)) as server:
            reply = await RUNNER.run(call(server.url))
            assert isinstance(reply, Reply) and reply.status == 302
            assert len(server.requests) == 1

    run(test())


def test_a_disk_that_refuses_is_no_fault_of_the_provider(run: Run) -> None:
    async def test() -> None:
        async with serving(answering(ok(b"x" * 100_000))) as server:
            full = await RUNNER.run(call(server.url, sink="/dev/full/no"))
            assert isinstance(full, Fault) and full.code == DISK and full.billing is Billing.UNBILLED

    run(test())


BASE = "https://api.example.com/v1"


def test_the_key_goes_to_the_providers_own_host_only() -> None:
    own = Errand(method="GET", address="https://api.example.com:443/results/1")
    assert addressed(own, BASE, HEADERS).headers["authorization"] == "Bearer key"
    signed = Errand(method="GET", address="https://storage.example.net/x?sig=1", signed=True)
    assert "authorization" not in addressed(signed, BASE, HEADERS).headers
    for strange in (
        "https://api.example.com.evil.net/r",
        "http://api.example.com/r",
        "https://api.example.com:8443/r",
        "https://user@evil.net/r",
    ):
        with pytest.raises(StrangeAddress):
            addressed(Errand(method="GET", address=strange), BASE, HEADERS)

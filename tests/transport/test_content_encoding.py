"""Content encodings are decoded, or reported as broken, and never beyond the cap."""

import gzip
import resource
import time
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Kind
from llmbatch.transport.content_encoding import EncodingError, decode
from llmbatch.transport.limits import Limits

from .conftest import Open, Run, asking, assert_fault, body_of
from .scripted import answering, ok, serving

BODY = b'{"text":"' + b"word " * 500 + b'"}'
LIMITS = Limits()


def bomb(mebibytes: int) -> bytes:
    """Build gzip data of so many mebibytes of zeros: one block repeated; its check sum is never reached."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(7) + block * mebibytes


def raw_deflate(body: bytes) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeeze.compress(body) + squeeze.flush()


def flushed(body: bytes) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    return squeeze.compress(body) + squeeze.flush(zlib.Z_SYNC_FLUSH)


SOUND = [
    pytest.param(b"gzip", gzip.compress(BODY), BODY, id="gzip"),
    pytest.param(b"GZip ", gzip.compress(BODY), BODY, id="spelling"),
    pytest.param(b"x-gzip", gzip.compress(BODY), BODY, id="x-gzip"),
    pytest.param(b"gzip", gzip.compress(BODY[:99]) + gzip.compress(BODY[99:]), BODY, id="two members"),
    pytest.param(b"gzip", gzip.compress(BODY) + b"\0" * 8, BODY, id="padding"),
    pytest.param(b"deflate", zlib.compress(BODY), BODY, id="deflate"),
    pytest.param(b"deflate", raw_deflate(BODY), BODY, id="raw deflate"),
    pytest.param(b"identity", BODY, BODY, id="identity"),
    pytest.param(b"", BODY, BODY, id="empty name"),
    pytest.param(b"gzip", b"", b"", id="empty body"),
    pytest.param(b"gzip", BODY, BODY, id="undone by a proxy"),
    pytest.param(b"deflate", BODY, BODY, id="deflate undone by a proxy"),
    pytest.param(b"utf-8", BODY, BODY, id="no encoding"),
    pytest.param(b"br", b"\ndata: {}\n\n", b"\ndata: {}\n\n", id="events"),
    pytest.param(b"gzip", b"\xef\xbb\xbf" + BODY, b"\xef\xbb\xbf" + BODY, id="a byte order mark"),
    pytest.param(b"gzip, gzip", gzip.compress(gzip.compress(BODY)), BODY, id="twice"),
    pytest.param(b"gzip, gzip", gzip.compress(BODY), BODY, id="named twice"),
    pytest.param(b"deflate, gzip", gzip.compress(zlib.compress(BODY)), BODY, id="one in the other"),
    pytest.param(b"identity, gzip", gzip.compress(BODY), BODY, id="a list with none"),
    pytest.param(b"identity", gzip.compress(BODY), BODY, id="not named"),
    pytest.param(b"gzip", gzip.compress(BODY)[:-1], BODY, id="cut by a byte"),
    pytest.param(b"gzip", gzip.compress(BODY)[:-8], BODY, id="without its check sum"),
    pytest.param(b"deflate", zlib.compress(BODY)[:-4], BODY, id="deflate without its check sum"),
    pytest.param(b"gzip", flushed(BODY), BODY, id="flushed and never finished"),
]
BROKEN = [
    pytest.param(b"gzip", b"<" + BODY, id="not gzip"),
    pytest.param(b"gzip", gzip.compress(BODY)[:-20], id="cut"),
    pytest.param(b"gzip", gzip.compress(BODY)[:-8] + b"\0" * 8, id="check sum"),
    pytest.param(b"gzip", gzip.compress(BODY[:99]) + gzip.compress(BODY[99:])[:-20], id="second member cut"),
    pytest.param(b"deflate", zlib.compress(BODY)[:-15], id="deflate cut"),
    pytest.param(b"deflate", b"<" + BODY, id="not deflate"),
    pytest.param(b"br", b"\x0b\x02\x80{}\x03", id="br"),
    pytest.param(b"zstd", b"\x28\xb5\x2f\xfd\x04", id="zstd"),
]


@pytest.mark.parametrize(("name", "sent", "body"), SOUND)
def test_sound_data_is_undone(run: Run, opening: Open, name: bytes, sent: bytes, body: bytes) -> None:
    async def scene() -> None:
        async with (
            serving(answering(ok(sent, b"content-encoding: " + name))) as server,
            opening(server.url) as sender,
        ):
            for _ in range(2):
                assert body_of(await sender.send(asking())) == body
            assert len(server.peers) == 1

    run(scene())


@pytest.mark.parametrize(("name", "sent"), BROKEN)
def test_a_paid_answer_that_cannot_be_undone_is_kept_raw(run: Run, opening: Open, name: bytes, sent: bytes) -> None:
    async def scene() -> None:
        async with (
            serving(answering(ok(sent, b"content-encoding: " + name))) as server,
            opening(server.url) as sender,
        ):
            fault = assert_fault(await sender.send(asking()), Kind.UNPARSABLE, Billing.BILLED, retry=False)
            assert (fault.raw, fault.status) == (sent, 200)

    run(scene())


def test_a_refusal_that_cannot_be_undone_stays_a_refusal(run: Run, opening: Open) -> None:
    async def scene() -> None:
        answer = ok(b"\x0b\x02", b"content-encoding: br", b"retry-after: 7", status=b"429 Slow Down")
        async with serving(answering(answer)) as server, opening(server.url) as sender:
            result = await sender.send(asking())
            assert isinstance(result, Reply), result
            assert (result.status, result.body, result.headers["retry-after"]) == (429, b"", "7")

    run(scene())


def test_a_bomb_is_defused(run: Run, opening: Open) -> None:
    sent = bomb(1024)
    assert len(sent) < 1 << 21

    async def scene() -> None:
        async with (
            serving(answering(ok(sent, b"content-encoding: gzip"))) as server,
            opening(server.url) as sender,
        ):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            fault = assert_fault(await sender.send(asking()), Kind.UNPARSABLE, Billing.BILLED, retry=False)
            assert "beyond" in fault.message
            assert fault.raw == sent
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 160 << 10, f"{grown} KiB more at the peak"

    run(scene())


def test_a_small_bomb_stops_at_a_mebibyte() -> None:
    with pytest.raises(EncodingError, match="beyond 1048576"):
        decode(bomb(2), "gzip", LIMITS)
    assert len(decode(gzip.compress(bytes(1 << 20)), "gzip", LIMITS)) == 1 << 20


def test_the_cap_holds_over_many_members() -> None:
    with pytest.raises(EncodingError, match="beyond"):
        decode(gzip.compress(bytes(1 << 20)) * 2, "gzip", Limits(body=(1 << 20) + 1, ratio=10**6))


def test_many_tiny_members_take_no_time() -> None:
    """What follows a member is copied by zlib: that must not become quadratic."""
    member = gzip.compress(b"x")
    assert decode(member * 9999, "gzip", LIMITS) == b"x" * 9999
    began = time.process_time()
    with pytest.raises(EncodingError, match="too early"):
        decode(member * (32 << 20 >> 4), "gzip", LIMITS)
    assert time.process_time() - began < 2.0


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_decode_or_are_refused(body: bytes, encoding: str) -> None:
    with suppress(EncodingError):
        assert len(decode(body, encoding, LIMITS)) <= 1 << 20


@given(st.binary(max_size=3000), st.integers(0, 40))
def test_no_part_of_a_gzip_body_passes_for_the_whole(body: bytes, missing: int) -> None:
    sent = gzip.compress(body)
    assert decode(sent, "gzip", LIMITS) == body
    if 0 < missing < len(sent):
        with pytest.raises(EncodingError):
            decode(sent[:-missing], "gzip", LIMITS)

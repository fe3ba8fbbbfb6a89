"""Every shape of an answer: its end, its framing, and bytes around it."""

import time
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.transport.head import Heads, mended
from llmbatch.transport.lane import Http11Lane
from llmbatch.transport.limits import Limits
from llmbatch.transport.sender import LaneSender
from llmbatch.transport.tls import shared_context

from .conftest import LaneClass, Open, Run, asking, assert_fault, body_of
from .scripted import Peer, Script, answering, ending, ok, saying, serving, silence

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def first(run: Run, opening: Open, script: Script, **limits: float) -> Reply | Fault:
    """Return what comes of one request, after proof that a second one is served."""

    async def scene() -> Reply | Fault:
        async with (
            serving(script, answering(ok(b"next"))) as server,
            opening(server.url, timeout=5.0, **limits) as sender,
        ):
            result = await sender.send(asking())
            assert body_of(await sender.send(asking())) in (b"next", b"kept")
            assert len(server.requests) == 2
            return result

    result: Reply | Fault = run(scene())
    return result


def kept(*pieces: bytes) -> Script:
    """Answer with these pieces; the connection serves on."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(*pieces)
        while True:
            await peer.request()
            await peer.say(ok(b"kept"))

    return script


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        pytest.param([ok(b"{}")], b"{}", id="length"),
        pytest.param([ok(b"")], b"", id="empty"),
        pytest.param(one_by_one(ok(b"{}")), b"{}", id="byte by byte"),
        pytest.param([CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"], b"{}", id="chunked"),
        pytest.param(one_by_one(CHUNKED + b"1\r\n{\r\n1;e=f\r\n}\r\n0\r\n\r\n"), b"{}", id="chunks byte by byte"),
        pytest.param([CHUNKED + b"2\r\n{}\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n"], b"{}", id="trailers"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"{}")], b"{}", id="100 in the same packet"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", ok(b"{}")], b"{}", id="103"),
        pytest.param([b"HTTP/1.1 102 Processing\r\n\r\n"] * 20 + [ok(b"{}")], b"{}", id="many 102"),
        pytest.param([ok(b"{}", b"upgrade: h2,h2c", b"connection: upgrade")], b"{}", id="an offer of HTTP/2"),
        pytest.param([ok(b"{}", status=b"200 ")], b"{}", id="no reason"),
        pytest.param([ok(b"{}", status=b"200")], b"{}", id="no reason and no space"),
    ],
)
def test_a_whole_answer_is_read_and_the_connection_kept(
    run: Run, opening: Open, pieces: list[bytes], body: bytes
) -> None:
    async def scene() -> None:
        async with serving(kept(*pieces)) as server, opening(server.url) as sender:
            result = await sender.send(asking())
            assert body_of(result) == body
            assert isinstance(result, Reply) and not result.cut
            assert body_of(await sender.send(asking())) == b"kept"
            assert len(server.peers) == 1

    run(scene())


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_is_whole(run: Run, opening: Open, status: bytes) -> None:
    async def scene() -> None:
        answer = b"HTTP/1.1 " + status + b"\r\nx: y\r\n\r\n"
        async with serving(kept(answer)) as server, opening(server.url) as sender:
            result = await sender.send(asking())
            assert isinstance(result, Reply), result
            assert (result.status, result.body, result.cut) == (int(status[:3]), b"", False)
            assert body_of(await sender.send(asking())) == b"kept"
            assert len(server.peers) == 1

    run(scene())


def test_trailers_are_not_headers(run: Run, opening: Open) -> None:
    result = first(run, opening, kept(CHUNKED + b"2\r\n{}\r\n0\r\ncontent-encoding: gzip\r\n\r\n"))
    assert body_of(result) == b"{}"
    assert isinstance(result, Reply) and "content-encoding" not in result.headers


def test_headers_of_an_interim_answer_are_not_the_answers(run: Run, opening: Open) -> None:
    result = first(run, opening, kept(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx: 1\r\n\r\n" + ok(b"{}", b"x: 1")))
    assert isinstance(result, Reply) and result.headers == {"x": "1", "content-length": "2"}


@pytest.mark.parametrize("said", [b"", b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["end", "line", "interim"])
def test_nothing_of_one_answer_is_left_for_the_next(run: Run, opening: Open, said: bytes) -> None:
    """The first has no length, as only the end of the connection would delimit another."""

    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n")
            await peer.request()
            await peer.say(said)
            await peer.close()

        async with serving(script) as server, opening(server.url) as sender:
            assert isinstance(await sender.send(asking()), Reply)
            assert_fault(await sender.send(asking()), Kind.PROTOCOL, Billing.DOUBTFUL)

    run(scene())


def test_a_body_that_only_the_end_delimits_is_marked(run: Run, opening: Open) -> None:
    result = first(run, opening, ending(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n{", b"}"))
    assert body_of(result) == b"{}"
    assert isinstance(result, Reply) and result.cut


def test_an_old_server_is_understood(run: Run, opening: Open) -> None:
    result = first(run, opening, ending(b"HTTP/1.0 200 OK\r\n\r\n{}"))
    assert body_of(result) == b"{}"
    assert isinstance(result, Reply) and result.cut


def test_a_length_beside_chunks_is_overruled(run: Run, opening: Open) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    assert body_of(first(run, opening, kept(answer))) == b"{}"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", id="short of its length"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000000000\r\n\r\n{", id="10**18"),
        pytest.param(CHUNKED + b"1\r\n{\r\n", id="no last chunk"),
        pytest.param(CHUNKED + b"5\r\n{", id="within a chunk"),
        pytest.param(CHUNKED + b"1\r\n{\r\n0\r\nx-sum: 1\r\n", id="within the trailers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nconte", id="within the headers"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="after an interim answer"),
        pytest.param(b"H", id="after one byte"),
    ],
)
def test_an_answer_cut_short_is_doubtful(run: Run, opening: Open, answer: bytes) -> None:
    assert_fault(first(run, opening, ending(answer)), Kind.PROTOCOL, Billing.DOUBTFUL)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        pytest.param(CHUNKED + b"2\r\n{}\r\n", b"{}", id="no last chunk"),
        pytest.param(CHUNKED + b"9\r\n{}\n", b"{}\n", id="within a chunk of white space"),
        pytest.param(CHUNKED + b"2\r\n{}\r\n0\r\nx-sum: 1\r\n", b"{}", id="within the trailers"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", b"{}", id="short of its length"),
        pytest.param(CHUNKED + b"d\r\ndata: [DONE]\n\r\n", b"data: [DONE]\n", id="a stream that came to its end"),
    ],
)
def test_an_answer_cut_short_that_may_be_complete_is_read(run: Run, opening: Open, answer: bytes, body: bytes) -> None:
    result = first(run, opening, ending(answer))
    assert body_of(result) == body
    assert isinstance(result, Reply) and result.cut


def test_the_same_holds_for_a_later_answer_on_the_connection(run: Run, opening: Open) -> None:
    async def scene() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.say(ok(b"1"))
            await peer.request()
            await peer.say(CHUNKED + b"2\r\n{}\r\n")

        async with serving(script, answering(ok(b"3"))) as server, opening(server.url) as sender:
            assert body_of(await sender.send(asking())) == b"1"
            result = await sender.send(asking())
            assert body_of(result) == b"{}"
            assert isinstance(result, Reply) and result.cut
            assert body_of(await sender.send(asking())) == b"3"

    run(scene())


def test_a_whole_answer_whose_length_is_wrong_is_read_when_time_is_out(run: Run, opening: Open) -> None:
    async def scene() -> None:
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"
        async with serving(saying(answer), silence) as server, opening(server.url, timeout=0.4) as sender:
            result = await sender.send(asking())
            assert body_of(result) == b"{}"
            assert isinstance(result, Reply) and result.cut
            assert_fault(await sender.send(asking()), Kind.TIMEOUT, Billing.DOUBTFUL)  # nothing of the last one is left

    run(scene())


def test_a_refusal_cut_short_is_still_that_refusal(run: Run, opening: Open) -> None:
    answer = b'HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 100\r\n\r\n{"error'
    result = first(run, opening, ending(answer))
    assert isinstance(result, Reply)
    assert (result.status, result.headers["retry-after"]) == (429, "7")


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([ok(b"{}", b"content-length: 2")], id="the same length twice"),
        pytest.param(one_by_one(ok(b"{}", b"Content-Length: 2")), id="byte by byte"),
        pytest.param([b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\n{}"], id="twice in one line"),
        pytest.param([CHUNKED.replace(b"\r\n", b"\n") + b"2\r\n{}\r\n0\r\n\r\n"], id="lines that end in LF"),
        pytest.param([CHUNKED + b"2 \r\n{}\r\n0 \r\n\r\n"], id="a space after a chunk size"),
        pytest.param(one_by_one(CHUNKED + b"2\t \r\n{}\r\n0\r\n\r\n"), id="a tab after a chunk size"),
    ],
)
def test_sloppy_framing_that_leaves_no_doubt_is_read(run: Run, opening: Open, pieces: list[bytes]) -> None:
    async def scene() -> None:
        async with serving(kept(*pieces)) as server, opening(server.url) as sender:
            result = await sender.send(asking())
            assert body_of(result) == b"{}"
            assert isinstance(result, Reply) and not result.cut
            assert body_of(await sender.send(asking())) == b"kept"
            assert len(server.peers) == 1

    run(scene())


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([CHUNKED.replace(b"\r\n", b"\n") + b"2\n{}\n0\n\n"], id="lines and chunks that end in LF"),
        pytest.param(one_by_one(CHUNKED.replace(b"\r\n", b"\n") + b"1\n{\n1\n}\n0\n\n"), id="byte by byte"),
    ],
)
def test_what_only_our_lane_reads(run: Run, pieces: list[bytes]) -> None:
    async def scene() -> None:
        async with serving(kept(*pieces)) as server:
            limits = Limits(timeout=5.0)
            sender = LaneSender(
                Http11Lane(limits=limits, tls=shared_context(None)), Heads(server.url, {}), limits=limits
            )
            assert body_of(await sender.send(asking())) == b"{}"
            await sender.aclose()

    run(scene())


@pytest.mark.parametrize(("status", "dated"), [(b"200 OK", False), (b"429 Odd", True), (b"503 Odd", True)])
def test_a_refusal_without_a_date_gets_the_time_when_it_came(
    run: Run, opening: Open, status: bytes, dated: bool
) -> None:
    result = first(run, opening, kept(ok(b"{}", b"retry-after: Sun, 22 Nov 2026 10:00:00 GMT", status=status)))
    assert isinstance(result, Reply) and ("date" in result.headers) is dated
    if dated:
        assert abs(parsedate_to_datetime(result.headers["date"]).timestamp() - time.time()) < 600
    own = b"Sun, 22 Nov 2026 09:59:00 GMT"
    result = first(run, opening, kept(ok(b"{}", b"date: " + own, status=status)))
    assert isinstance(result, Reply) and result.headers["date"] == own.decode()


@pytest.mark.parametrize(
    ("pieces", "keeps"),
    [
        pytest.param([ok(b"{}", b"transfer-encoding: identity")], True, id="with a length"),
        pytest.param(one_by_one(ok(b"{}", b"Transfer-Encoding: Identity")), True, id="byte by byte"),
        pytest.param([b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\n{}"], False, id="without"),
    ],
)
def test_a_transfer_encoding_that_is_none_is_read(run: Run, pieces: list[bytes], keeps: bool) -> None:
    async def scene() -> None:
        async with serving((kept if keeps else ending)(*pieces), answering(ok(b"kept"))) as server:
            limits = Limits(timeout=5.0)
            lane = Http11Lane(limits=limits, tls=shared_context(None))  # h11 knows no such thing
            sender = LaneSender(lane, Heads(server.url, {}), limits=limits)
            result = await sender.send(asking())
            assert body_of(result) == b"{}"
            assert isinstance(result, Reply) and result.cut is not keeps
            assert body_of(await sender.send(asking())) == b"kept"
            assert len(server.peers) == 1 + (not keeps)
            await sender.aclose()

    run(scene())


@given(st.binary(max_size=40), st.sampled_from([b"content-length: 2\r\n", b"transfer-encoding: identity\r\n", b""]))
def test_mending_a_head_fails_or_leaves_one_length(head: bytes, more: bytes) -> None:
    try:
        answer = mended(b"HTTP/1.1 200 OK\r\n" + more + more + head + b"\r\n\r\n{}")
    except ValueError:
        return
    assert answer is None or answer.lower().partition(b"\r\n\r\n")[0].count(b"\r\ncontent-length:") <= 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"<html>not http</html>\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"HTTP/x.y 200 OK\r\n\r\n", id="version"),
        pytest.param(b"HTTP/1.1 twohundred OK\r\n\r\n", id="status"),
        pytest.param(b"HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n", id="status 099"),
        pytest.param(b"HTTP/1.1 000 None\r\n\r\n", id="status 000"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02F" * 20 + b"\r\n\r\n", id="TLS alert"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}", id="negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n{}", id="length in words"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000000000000000\r\n\r\n{}", id="10**23"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\n{}", id="NUL in a header"),
        pytest.param(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", id="chunk size"),
        pytest.param(CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", id="negative chunk"),
        pytest.param(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nxyz", id="101"),
        pytest.param(b"HTTP/1.1 101 Switching\r\n\r\nxyz", id="101 to nothing"),
    ],
)
def test_what_is_not_http_is_doubtful(run: Run, opening: Open, answer: bytes) -> None:
    fault = assert_fault(first(run, opening, ending(answer)), Kind.PROTOCOL, Billing.DOUBTFUL)
    assert len(fault.message) < 400


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(b"x: a\r\n  folded", id="folded"),
        pytest.param(b"x: \xc3\xa9\xff\xfe", id="not ASCII"),
        pytest.param(b"x : a", id="space before the colon"),
        pytest.param(b"x: \x7f\x01", id="control"),
        pytest.param(b"\xff: a", id="name"),
        pytest.param(b"content-length: 2", id="the same length twice"),
        pytest.param(b"retry-after: \xf0\x9f\x92\xa9", id="emoji"),
    ],
)
def test_odd_headers_crash_nothing(run: Run, opening: Open, headers: bytes) -> None:
    result = first(run, opening, kept(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\ncontent-length: 2\r\n\r\n{}"))
    if isinstance(result, Fault):
        assert_fault(result, Kind.PROTOCOL, Billing.DOUBTFUL)
    else:
        assert result.body == b"{}"


def test_headers_are_folded_in_lower_case(run: Run, opening: Open) -> None:
    result = first(
        run, opening, kept(ok(b"{}", b"X-Limit: 1", b"x-limit: 2", b"X-LIMIT: 2", b"Retry-After:  7 ", b"x-e: \xe9"))
    )
    assert isinstance(result, Reply)
    assert result.headers == {"x-limit": "1, 2", "retry-after": "7", "x-e": "é", "content-length": "2"}


@pytest.mark.parametrize("status", [301, 429, 503, 999])
def test_every_status_comes_through(run: Run, opening: Open, status: int) -> None:
    result = first(run, opening, kept(ok(b'{"error":1}', status=b"%d Odd" % status)))
    assert isinstance(result, Reply)
    assert (result.status, result.body) == (status, b'{"error":1}')


def _more(head: bytes, piece: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(head)
        while True:
            await peer.say(piece)

    return script


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"a: %s\r\n" % (b"b" * 4000), id="headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\na: ", b"b" * 4000, id="one header"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"b" * 4000, id="one header's name"),
        pytest.param(b"HTTP/1.1 200 ", b"b" * 4000, id="reason"),
        pytest.param(CHUNKED + b"0\r\n", b"a: %s\r\n" % (b"b" * 4000), id="trailers"),
        pytest.param(CHUNKED + b"0\r\na: ", b"b" * 4000, id="one trailer"),
        pytest.param(CHUNKED + b"1;a=", b"b" * 4000, id="chunk extension"),
    ],
)
def test_endless_headers_are_cut_off(run: Run, opening: Open, head: bytes, piece: bytes) -> None:
    result = first(run, opening, _more(head, piece))
    assert_fault(result, Kind.PROTOCOL, Billing.DOUBTFUL)


def test_endless_interim_answers_are_cut_off(run: Run, opening: Open, lane_class: LaneClass) -> None:
    """The reference lane forgets each one, and leaves their end to the deadline."""

    async def scene() -> None:
        interim = b"HTTP/1.1 102 Processing\r\nx: %s\r\n\r\n" % (b"y" * 4000)
        async with serving(_more(b"", interim)) as server, opening(server.url, timeout=0.3) as sender:
            kind = Kind.PROTOCOL if lane_class is Http11Lane else Kind.TIMEOUT
            assert_fault(await sender.send(asking()), kind, Billing.DOUBTFUL)

    run(scene())


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000000000\r\n\r\n"],
    ids=["no length", "10**18"],
)
def test_an_endless_body_is_cut_off_and_its_beginning_kept(run: Run, opening: Open, head: bytes) -> None:
    result = first(run, opening, _more(head, b"abc" * 1000), body=1 << 20)
    fault = assert_fault(result, Kind.TOO_LARGE, Billing.BILLED, retry=False)
    assert fault.raw == (b"abc" * 30000)[: 64 * 1024]


def test_endless_chunks_are_cut_off(run: Run, opening: Open) -> None:
    result = first(run, opening, _more(CHUNKED, b"3\r\nabc\r\n" * 1000), body=1 << 17)
    fault = assert_fault(result, Kind.TOO_LARGE, Billing.BILLED, retry=False)
    assert fault.raw is not None and fault.raw.startswith(b"abcabc")


def test_chunks_of_hardly_any_body_are_cut_off(run: Run, opening: Open, lane_class: LaneClass) -> None:
    """Ours counts the framing too; the other leaves it to the deadline."""

    async def scene() -> None:
        script = _more(CHUNKED, b"1;a=" + b"b" * 4000 + b"\r\nx\r\n")
        async with serving(script) as server, opening(server.url, body=1 << 17, timeout=0.3) as sender:
            result = await sender.send(asking())
            if lane_class is Http11Lane:
                assert_fault(result, Kind.TOO_LARGE, Billing.BILLED, retry=False)
            else:
                assert_fault(result, Kind.TIMEOUT, Billing.DOUBTFUL)

    run(scene())


def test_a_body_of_exactly_the_cap_is_whole(run: Run, opening: Open) -> None:
    body = bytes(1 << 20)
    assert body_of(first(run, opening, kept(ok(body)), body=1 << 20)) == body
    result = first(run, opening, saying(ok(body + b"x")), body=1 << 20)
    assert_fault(result, Kind.TOO_LARGE, Billing.BILLED, retry=False)


def test_a_large_answer_is_whole(run: Run, opening: Open) -> None:
    body = bytes(range(256)) * (16 << 12)
    assert body_of(first(run, opening, kept(ok(body)))) == body

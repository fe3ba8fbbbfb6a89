"""Requests over lanes in another process: what comes back, what it refuses, and how it ends."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from llmbatch.codec.schema import compiled
from llmbatch.core.errors import LlmbatchError, OutputError, UsageError
from llmbatch.core.exchange import Expected, RateLimits, Request
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.outcome import Completion, UnusableAnswer
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.structured_output import AnswerChecks
from llmbatch.transport_process import spawn
from llmbatch.transport_process.channel import TransportSettings
from llmbatch.transport_process.parent import RemoteLane, TransportProcess
from llmbatch.transport_process.spawn import spawn_transport

PATIENCE = 20.0

SETTINGS = TransportSettings(
    base_urls=("http://127.0.0.1:1/v1",),
    headers={"authorization": "Bearer key"},
    reader=AnswerReader(),
    ca_file=None,
    connect_timeout=5.0,
    timeout=10.0,
    lanes=4,
    logged=False,
)


class Server:
    """Answers every request with its own body; a `silent` one leaves it without an answer.

    `asked` is set once a request came, `left` once a connection ended.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.silent = False
        self.headers = b"X-Request-Id: r\r\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                self.requests.append(head + body)
                self.asked.set()
                if not self.silent:
                    writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (self.headers, length) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.left.set()
            writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        yield server


def lost_nothing(error: LlmbatchError) -> None:
    raise AssertionError(error)


def order(body: bytes, server: int = 0) -> Request:
    return Request((), "/chat", body, Expected("passthrough", (True,)), server=server)


def chat(text: str) -> bytes:
    """Make an answer, which the server sends back as it gets it."""
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


async def heard(lane: RemoteLane, request: Request) -> Completion | Fault:
    result = await asyncio.wait_for(lane.ask(request), PATIENCE)
    return result if isinstance(result, Fault) else result[0][0]


async def ended(condition: asyncio.Future[LlmbatchError]) -> LlmbatchError:
    return await asyncio.wait_for(condition, PATIENCE)


def test_replies_come_back_to_the_lane_that_asked_over_connections_that_are_kept() -> None:
    async def asked(wire: TransportProcess) -> None:
        async with (
            serving() as server,
            wire.connected(replace(SETTINGS, base_urls=(server.url,)), log=None, lost=lost_nothing),
        ):
            lanes = [wire.lane() for _ in range(3)]
            for turn in range(5):
                asked = [heard(lane, order(b"[%d, %d]" % (turn, place))) for place, lane in enumerate(lanes)]
                answers = await asyncio.gather(*asked)
                assert [one.body for one in answers if isinstance(one, Completion)] == [[turn, n] for n in range(3)]
                assert all(one.request_id == "r" for one in answers)
            assert server.connections == 3
            assert all(b"authorization: Bearer key" in request for request in server.requests)

    with spawn_transport() as wire:
        asyncio.run(asked(wire))


def test_requests_of_which_it_cannot_be_marked_that_they_leave_do_not_leave_and_others_do() -> None:
    full = [True]

    def mark_sent() -> None:
        if full[0]:
            raise OutputError("no space left on device")

    async def asked(wire: TransportProcess) -> None:
        async with serving() as server:
            full[0] = False
            settings = replace(SETTINGS, base_urls=(server.url,))
            async with wire.connected(settings, log=None, lost=lost_nothing, mark_sent=mark_sent):
                lanes = [wire.lane() for _ in range(3)]
                full[0] = True
                wire.renew({"authorization": "Bearer new"})
                asked = [heard(lane, order(b"{}")) for lane in lanes]
                refused = await asyncio.gather(*asked, return_exceptions=True)
                assert [type(one) for one in refused] == [OutputError] * 3
                full[0] = False
                assert isinstance(await heard(lanes[0], order(b"{}")), Completion)
                (request,) = server.requests
                assert b"authorization: Bearer new" in request

    with spawn_transport() as wire:
        asyncio.run(asked(wire))


def test_requests_go_to_the_server_they_name_and_faults_come_back_as_values() -> None:
    async def asked(wire: TransportProcess) -> None:
        async with serving() as server:
            settings = replace(SETTINGS, base_urls=("http://127.0.0.1:1/v1", server.url))
            async with wire.connected(settings, log=None, lost=lost_nothing):
                lane = wire.lane()
                refused = await heard(lane, order(b"{}"))
                assert isinstance(refused, Fault) and refused.kind is Kind.CONNECTION
                assert isinstance(await heard(lane, order(b"{}", 1)), Completion)

    with spawn_transport() as wire:
        asyncio.run(asked(wire))


def test_answers_are_held_against_what_is_demanded_and_say_what_limits_there_are() -> None:
    async def asked(wire: TransportProcess) -> None:
        async with serving() as server:
            server.headers = b"X-RateLimit-Limit-Requests: 600\r\n"
            demands = AnswerChecks(json=True, check=compiled({"type": "object", "required": ["stars"]}), again=True)
            settings = replace(SETTINGS, base_urls=(server.url,), reader=AnswerReader(demands))
            async with wire.connected(settings, log=None, lost=lost_nothing):
                lane = wire.lane()
                good, announced = await asyncio.wait_for(lane.ask(order(chat('{"stars": 4}'))), PATIENCE)
                assert good[0].extra["json"] == {"stars": 4}
                assert announced == RateLimits(requests=600)
                bad = await heard(lane, order(chat("{}")))
                assert isinstance(bad, UnusableAnswer) and bad.kind is Kind.SCHEMA and bad.retry
                assert bad.completion.text == "{}"

    with spawn_transport() as wire:
        asyncio.run(asked(wire))


@pytest.mark.parametrize("level", [b'{"a":%b}', b"[%b]"])
def test_an_answer_nested_as_deep_as_is_read_comes_back(level: bytes) -> None:
    body = b"1"
    for _ in range(200):
        body = level % body

    async def asked(wire: TransportProcess) -> None:
        async with (
            serving() as server,
            wire.connected(replace(SETTINGS, base_urls=(server.url,)), log=None, lost=lost_nothing),
        ):
            lane = wire.lane()
            answer = await heard(lane, order(body))
            assert isinstance(answer, Completion) and answer.body == json.loads(body)
            refused = await heard(lane, order(level % body))
            assert isinstance(refused, Fault) and refused.raw == level % body

    with spawn_transport() as wire:
        asyncio.run(asked(wire))


def test_every_attempt_is_told_where_that_was_asked() -> None:
    told: list[str] = []

    async def asked(wire: TransportProcess) -> None:
        async with serving() as server:
            settings = replace(SETTINGS, base_urls=(server.url,), logged=True)
            async with wire.connected(settings, log=told.append, lost=lost_nothing):
                await heard(wire.lane(), order(b"{}"))

    with spawn_transport() as wire:
        asyncio.run(asked(wire))
    assert told == ["POST /chat 2 B on a new connection -> 200, 2 B"]


@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, headers={"x": "a\r\nb"}),
        replace(SETTINGS, ca_file="/no/such/file"),
        replace(SETTINGS, ca_file=__file__, base_urls=("https://127.0.0.1:1/v1",)),
        replace(SETTINGS, lanes=100_000_000),
    ],
)
def test_settings_that_do_not_go_are_refused_before_the_first_request(settings: TransportSettings) -> None:
    async def connected(wire: TransportProcess) -> None:
        async with wire.connected(settings, log=None, lost=lost_nothing):
            raise AssertionError("connected")

    with spawn_transport() as wire, pytest.raises(UsageError) as refused:
        asyncio.run(connected(wire))
    assert refused.value.hint


def test_a_dropped_lane_takes_no_answer_and_hanging_up_closes_every_connection() -> None:
    async def asked(wire: TransportProcess) -> None:
        async with serving() as server:
            server.silent = True
            async with wire.connected(replace(SETTINGS, base_urls=(server.url,)), log=None, lost=lost_nothing):
                lane = wire.lane()
                attempt = asyncio.ensure_future(lane.ask(order(b"{}")))
                await asyncio.wait_for(server.asked.wait(), PATIENCE)
                attempt.cancel()
                await asyncio.wait([attempt])
                await lane.aclose()
            await asyncio.wait_for(server.left.wait(), PATIENCE)

    with spawn_transport() as wire:
        asyncio.run(asked(wire))


def test_its_death_is_told_and_its_end_is_waited_for() -> None:
    async def asked(wire: TransportProcess) -> LlmbatchError:
        lost: asyncio.Future[LlmbatchError] = asyncio.get_running_loop().create_future()
        async with wire.connected(SETTINGS, log=None, lost=lost.set_result):
            os.kill(wire.pid, signal.SIGKILL)
            return await ended(lost)

    with spawn_transport() as wire:
        assert "the process that holds the connections was killed by SIGKILL" in asyncio.run(asked(wire)).message
    with pytest.raises(ProcessLookupError):
        os.kill(wire.pid, 0)


@pytest.mark.parametrize(
    ("error", "told"), [(MemoryError(), "not enough memory"), (ValueError("odd"), "out of reach: ValueError: odd")]
)
def test_a_failure_at_this_end_is_told_without_waiting_for_the_other_one(error: Exception, told: str) -> None:
    """The other one learns of it only when the socket is closed, after that."""

    def log(line: str) -> None:
        raise error

    async def asked(wire: TransportProcess) -> LlmbatchError:
        lost: asyncio.Future[LlmbatchError] = asyncio.get_running_loop().create_future()
        async with wire.connected(replace(SETTINGS, logged=True), log=log, lost=lost.set_result):
            attempt = asyncio.ensure_future(wire.lane().ask(order(b"{}")))
            reason = await ended(lost)
            assert not attempt.done()
            attempt.cancel()
            return reason

    def stuck(number: int, frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stuck)
    signal.alarm(int(PATIENCE))
    try:
        with spawn_transport() as wire:
            assert told in asyncio.run(asked(wire)).message
    finally:
        signal.alarm(0)


@pytest.mark.parametrize(
    ("program", "told_of"),
    [
        ("import nonsense", "ModuleNotFoundError: .*nonsense"),
        ("raise ExceptionGroup('several', [ValueError('odd')])", "ValueError: odd"),
    ],
)
def test_what_it_fails_of_is_told(program: str, told_of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "PROGRAM", program)
    told: list[str] = []

    async def connected(wire: TransportProcess) -> None:
        async with wire.connected(SETTINGS, log=told.append, lost=lost_nothing):
            raise AssertionError("connected")

    with spawn_transport() as wire, pytest.raises(LlmbatchError, match=f"ended with 1: {told_of}"):
        asyncio.run(connected(wire))
    assert "Traceback" in told[0]


def test_a_bug_in_the_reading_of_answers_ends_it_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bug = "from llmbatch.dialects.answer_reader import AnswerReader; AnswerReader.read_reply = None; "
    start = "from llmbatch.transport_process.child"
    monkeypatch.setattr(spawn, "PROGRAM", spawn.PROGRAM.replace(start, bug + start))

    async def asked(wire: TransportProcess) -> LlmbatchError:
        lost: asyncio.Future[LlmbatchError] = asyncio.get_running_loop().create_future()
        async with serving() as server:
            settings = replace(SETTINGS, base_urls=(server.url,))
            async with wire.connected(settings, log=None, lost=lost.set_result):
                attempt = asyncio.ensure_future(wire.lane().ask(order(b"{}")))
                reason = await ended(lost)
                attempt.cancel()
                return reason

    with spawn_transport() as wire:
        assert "ended with 1: TypeError" in asyncio.run(asked(wire)).message


def test_a_process_that_dies_at_once_is_told_as_well() -> None:
    async def connected(wire: TransportProcess) -> None:
        async with wire.connected(SETTINGS, log=None, lost=lost_nothing):
            raise AssertionError("connected")

    with spawn_transport() as wire:
        os.kill(wire.pid, signal.SIGKILL)
        with pytest.raises(LlmbatchError, match="the process that holds the connections"):
            asyncio.run(connected(wire))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_stops_all_processes_of_a_run_leaves_it_time_for_what_is_in_flight(number: int) -> None:
    async def asked(wire: TransportProcess) -> None:
        async with (
            serving() as server,
            wire.connected(replace(SETTINGS, base_urls=(server.url,)), log=None, lost=lost_nothing),
        ):
            os.kill(wire.pid, number)
            assert isinstance(await heard(wire.lane(), order(b"{}")), Completion)

    with spawn_transport() as wire:
        asyncio.run(asked(wire))
    with pytest.raises(ProcessLookupError):
        os.kill(wire.pid, 0)


def test_no_signal_of_the_terminal_reaches_it() -> None:
    with spawn_transport() as wire:
        assert os.getsid(wire.pid) != os.getsid(0)
        assert os.getpgid(wire.pid) != os.getpgid(0)

"""Several servers: the least busy is asked, one that fails is suspended and probed, the run ends with the last."""

import asyncio
import random
from collections import Counter

from llmbatch.core.errors import ActionNeeded, CeilingReached
from llmbatch.core.events import Event, Notice
from llmbatch.core.exchange import Reply, Request
from llmbatch.core.fault import Fault, Kind, Scope
from llmbatch.core.settings import PatienceSettings
from llmbatch.pacing.concurrency_limit import ConcurrencyLimit
from llmbatch.pacing.gate import Gate
from llmbatch.pacing.token_bucket import TokenBucket
from tests.support.scripted import Attempt, Run, answer, error, job, play

GONE = Fault(kind=Kind.CONNECTION, message="refused", scope=Scope.RUN, retry=True)
BROKEN, KEY, MODEL, BUSY = error(502), error(401), error(404), error(503)


class Servers:
    """Scripted servers: each takes so long for an answer, unless something ails it between two moments."""

    def __init__(self, *latencies: float) -> None:
        self.latencies = latencies
        self.ails: dict[int, tuple[float, float, Reply | Fault]] = {}
        self.asked: list[tuple[float, int]] = []

    def __call__(self, request: Request, number: int) -> Attempt:
        now, place = asyncio.get_running_loop().time(), request.server
        self.asked.append((now, place))
        since, until, result = self.ails.get(place, (0.0, 0.0, GONE))
        return (0.01, result) if since <= now < until else (self.latencies[place], answer())

    def share(self, place: int, since: float = 0.0, until: float = 1e9) -> float:
        asked = [at for moment, at in self.asked if since <= moment < until]
        return asked.count(place) / max(1, len(asked))

    def count(self, place: int, since: float = 0.0, until: float = 1e9) -> int:
        return sum(at == place and since <= moment < until for moment, at in self.asked)


def run_at(
    servers: Servers, records: int = 2000, *, workers: int = 16, adaptive: bool = False, **options: object
) -> Run:
    urls = [f"http://{place}" for place in range(len(servers.latencies))]
    return play(
        (job(index) for index in range(records)),
        servers,
        workers=workers,
        batch=32,
        random=random.Random(2).random,
        servers=urls,
        new_gate=lambda: Gate(ConcurrencyLimit(workers, adaptive=adaptive), TokenBucket(), TokenBucket()),
        **options,  # type: ignore[arg-type]
    )


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def test_records_are_spread_by_what_is_outstanding() -> None:
    servers = Servers(0.1, 0.1, 0.4)
    run = run_at(servers, workers=24)
    assert run.sink.ok == 2000
    # As many in flight everywhere: the slow one gets a quarter of what the others get.
    assert abs(servers.share(0) - 4 / 9) < 0.05 and abs(servers.share(2) - 1 / 9) < 0.05
    assert run.dispatch.routes.traffic() == [
        (f"http://{place}", n, n, 0) for place in range(3) if (n := servers.count(place))
    ]


def test_one_that_is_gone_is_set_aside_probed_one_at_a_time_and_taken_back() -> None:
    servers = Servers(0.1, 0.1)
    servers.ails[1] = (3.0, 30.0, GONE)
    run = run_at(servers, 12_000)
    assert run.sink.ok == 12_000 and not run.stops
    assert 2 <= servers.count(1, 4.0, 30.0) <= 15
    assert servers.share(1, 52.0) > 0.4
    aside, back = notices(run.events)
    assert "http://1 is paused" in aside and "http://1 works again" in back


def test_a_storm_of_server_errors_sets_one_aside_before_records_are_lost() -> None:
    servers = Servers(0.1, 0.1)
    servers.ails[1] = (3.0, 30.0, BROKEN)
    run = run_at(servers, 12_000)
    assert run.sink.failed <= 3 and run.sink.ok >= 11_997
    assert servers.count(1, 4.0, 30.0) <= 15
    assert servers.share(1, 52.0) > 0.4


def test_one_that_never_was_there_costs_no_record() -> None:
    servers = Servers(0.1, 0.1)
    servers.ails[0] = (0.0, 1e9, GONE)
    run = run_at(servers)
    assert run.sink.ok == 2000 and not run.stops


def test_one_that_refuses_the_key_or_lacks_the_model_is_left_out() -> None:
    for fault in (KEY, MODEL):
        servers = Servers(0.1, 0.1)
        servers.ails[0] = (0.0, 1e9, fault)
        run = run_at(servers)
        assert run.sink.ok == 2000 and not run.stops
        assert servers.count(0) <= 16
        assert "http://0 gets no more requests" in notices(run.events)[0]


def test_a_run_ends_when_none_was_ever_there() -> None:
    servers = Servers(0.1, 0.1)
    servers.ails = {0: (0.0, 1e9, GONE), 1: (0.0, 1e9, GONE)}
    run = run_at(servers)
    assert isinstance(run.stops[0], ActionNeeded) and run.sink.failed <= 20


def test_a_run_ends_when_all_refuse_the_key() -> None:
    servers = Servers(0.1, 0.1)
    servers.ails = {0: (0.0, 1e9, KEY), 1: (0.0, 1e9, KEY)}
    run = run_at(servers)
    assert isinstance(run.stops[0], ActionNeeded) and run.sink.failed <= 20


def test_a_run_waits_as_long_as_one_works_and_ends_when_all_were_down_for_too_long() -> None:
    servers = Servers(0.1, 0.1)
    servers.ails = {0: (3.0, 1e9, BUSY), 1: (200.0, 1e9, BUSY)}
    run = run_at(servers, 1_000_000, patience=PatienceSettings(max_outage=100.0))
    assert isinstance(run.stops[0], CeilingReached)
    assert 300.0 <= run.took <= 340.0 and run.sink.failed == 0
    assert run.accounted == run.pipeline.progress.read


def test_a_long_wait_that_one_asks_for_is_no_reason_to_end_while_others_work() -> None:
    servers = Servers(0.1, 0.1)
    servers.ails[1] = (3.0, 1e9, error(429, retry_after="7200"))
    run = run_at(servers, 4000)
    assert run.sink.ok == 4000 and not run.stops


def test_each_has_a_pace_of_its_own() -> None:
    servers, peaks = Servers(0.5, 0.5), Counter[int]()
    flying: Counter[int] = Counter()

    def script(request: Request, number: int) -> Attempt:
        loop, place = asyncio.get_running_loop(), request.server
        if place == 0 and flying[0] >= 4:
            return 0.01, error(429)
        flying[place] += 1
        peaks[place] = max(peaks[place], flying[place])
        loop.call_later(0.5, flying.subtract, {place: 1})
        return servers(request, number)

    run = play(
        (job(index) for index in range(8000)),
        script,
        workers=64,
        batch=32,
        random=random.Random(2).random,
        servers=["http://0", "http://1"],
        new_gate=lambda: Gate(ConcurrencyLimit(64, adaptive=True), TokenBucket(), TokenBucket()),
    )
    assert run.sink.ok == 8000
    assert peaks[0] == 4 and peaks[1] >= 50
    assert run.dispatch.routes.traffic()[0][3] <= 0.1 * run.dispatch.routes.traffic()[0][1]

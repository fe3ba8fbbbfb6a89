"""Whole runs, scripted and in virtual time: hours in milliseconds, and a deadlock is an error."""

import asyncio
import math
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmbatch.core.errors import (
    ActionNeeded,
    CeilingReached,
    InputError,
    Interrupted,
    LlmbatchError,
    OutputError,
    ReaderGone,
)
from llmbatch.core.events import Event, Finished, Stopping
from llmbatch.core.exchange import Reply, Request
from llmbatch.core.job import Job
from llmbatch.core.outcome import InvalidRecord, Outcome
from llmbatch.core.settings import PatienceSettings
from llmbatch.engine import pipeline as engine_pipeline
from llmbatch.engine.dispatch import Dispatch
from llmbatch.pacing.retry import RetryPolicy
from tests.support.deep import examples
from tests.support.scripted import (
    TIMED_OUT,
    UNREACHABLE,
    Attempt,
    MemorySink,
    Run,
    Script,
    answer,
    error,
    finish,
    inline,
    invalid,
    job,
    new_run,
    play,
    written,
)
from tests.support.virtual_time import Stuck, run_virtually

STOPPED = Interrupted(2)


def jobs(number: int) -> list[Job]:
    return [job(n) for n in range(number)]


def always(reply: Reply, seconds: float = 1.0) -> Script:
    return lambda request, n: (seconds, reply)


def first_then(first: list[Attempt], then: Attempt) -> Script:
    """Answer each request of the start with the next of these, and all later ones alike."""
    return lambda request, n: first[n] if n < len(first) else then


def at(seconds: float, act: Callable[[Run], None]) -> Callable[[Run], Awaitable[None]]:
    async def wait(run: Run) -> None:
        await asyncio.sleep(seconds)
        act(run)

    return wait


def stop(reason: LlmbatchError, grace: float) -> Callable[[Run], None]:
    return lambda run: run.pipeline.stop(reason, grace=grace)


def adds_up(run: Run) -> bool:
    return run.pipeline.progress.read == run.accounted and run.dispatch.outstanding == 0


# going well


def test_thousands_of_records_each_get_one_answer() -> None:
    run = play(jobs(5000), always(answer()), workers=64, batch=64)
    assert sorted(run.sink.indices) == list(range(5000)) and run.sink.ok == 5000


def test_all_workers_work_all_the_time() -> None:
    run = play(jobs(1000), always(answer()), workers=50, batch=64)
    assert run.took == pytest.approx(20.0, abs=0.1)


def test_no_worker_looks_in_vain_for_the_record_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Request | None] = []
    take = Dispatch.take

    def counted(dispatch: Dispatch, now: float) -> Request | None:
        found.append(take(dispatch, now))
        return found[-1]

    async def from_disk(function: Callable[..., Any], *arguments: Any) -> Any:
        await asyncio.sleep(0.01)
        return function(*arguments)

    monkeypatch.setattr(Dispatch, "take", counted)
    run = play(jobs(2000), always(answer(), 0.05), workers=500, batch=64, offload=from_disk)
    in_vain = found.count(None) - 500  # each looks once before there is anything
    assert run.sink.ok == 2000 and in_vain <= 2000  # and once after its record


@pytest.mark.parametrize("batch", [1, 8, 64, 1000])
def test_all_workers_have_work_from_the_first_second_whatever_the_batch(batch: int) -> None:
    run = play(jobs(400), always(answer(), 100.0), workers=100, batch=batch)
    assert max(when for when, _ in run.world.sent[:100]) < 0.001 and run.took == pytest.approx(400.0, abs=0.1)


def test_no_more_requests_are_in_flight_than_there_are_workers() -> None:
    run = play(jobs(500), lambda r, n: (1 + n % 3, answer()), workers=7)
    assert run.world.peak == 7


def test_workers_live_as_long_as_the_run_and_close_their_lane() -> None:
    run = play(jobs(500), always(answer()), workers=7)
    assert (run.world.opened, run.world.closed) == (7, 7)


def test_nothing_is_kept_of_a_record_that_is_written() -> None:
    """By a worker's frame, most of all, which lives as long as the run."""

    class Seen(Job):
        __slots__ = ("__weakref__",)

    class Forgetful(MemorySink):
        def write(self, outcomes: Sequence[Outcome | InvalidRecord]) -> None:
            self.batches.append(len(outcomes))

    seen: list[weakref.ref[Seen]] = []
    alive: list[int] = []

    def records() -> Iterator[Job]:
        for n in range(200):
            one = job(n)
            seen.append(weakref.ref(record := Seen(one.identity, one.key, one.route, one.item, one.meta, one.tokens)))
            yield record

    def script(request: Request, n: int) -> Attempt:
        alive.append(sum(reference() is not None for reference in seen))
        return 1.0 + n % 20 / 10, answer()  # one after the other, each written before the next

    async def main() -> Run:
        run = new_run(
            records(), script, workers=20, batch=1, sink=Forgetful(), observe=lambda event: run.events.clear()
        )
        return await finish(run)

    run = run_virtually(main())
    assert len(run.world.sent) == sum(run.sink.batches) == 200
    assert max(alive) <= 20 + 20 + 5, "more than is in flight, read ahead and just on its way"


def test_an_empty_input_is_a_run_without_results() -> None:
    run = play([], always(answer()))
    assert (run.sink.outcomes, run.stops, run.took < 0.1) == ([], [], True)


def test_records_that_are_not_valid_are_written_without_being_sent() -> None:
    records: list[Job | InvalidRecord] = [invalid(n) if n % 3 else job(n) for n in range(90)]
    run = play(records, always(answer()))
    assert len(run.world.sent) == 30 and sorted(run.sink.indices) == list(range(90))


def test_an_input_of_nothing_but_invalid_records_ends() -> None:
    run = play([invalid(n) for n in range(300)], always(answer()))
    assert run.sink.failed == 300 and adds_up(run)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_no_more_than_a_batch_is_written_together(batch: int) -> None:
    run = play(jobs(600), lambda r, n: (n % 10, answer()), workers=100, batch=batch)
    assert max(run.sink.batches) <= batch and len(run.sink.outcomes) == 600


def test_what_comes_after_a_pause_is_written_at_once_and_what_follows_gathers() -> None:
    written_at: list[float] = []

    def noted(function: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        if function.__name__ == "write":
            written_at.append(asyncio.get_running_loop().time())
        return inline(function, *args)

    def script(request: Request, n: int) -> Attempt:
        return 1.0 + request.jobs[0].identity.index / 1000, answer()

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        await finish(new_run(jobs(10), script, workers=10, batch=64, offload=noted))
        assert [at - began for at in written_at] == pytest.approx([1.0, 1.005, 1.009])

    run_virtually(main())


def test_what_is_written_is_told() -> None:
    run = play(jobs(100), always(answer()))
    assert sum(map(written, run.events)) == 100


def test_latency_and_attempts_are_those_of_the_job() -> None:
    run = play([job(0)], first_then([(2.0, error(500)), (3.0, answer())], (0.0, answer())))
    (outcome,) = run.sink.outcomes
    assert isinstance(outcome, Outcome)
    assert (outcome.job.attempts.sent, outcome.job.attempts.latency) == (2, pytest.approx(3.0))


# memory


def furthest_ahead(records: Any, script: Script, **options: Any) -> int:
    """Return how many records were read and not written at the worst moment."""
    furthest = 0

    def offload(function: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        nonlocal furthest
        furthest = max(furthest, run.input.read_count - len(run.sink.outcomes))
        return options.get("slow", inline)(function, *args)  # type: ignore[no-any-return]

    plain = {name: value for name, value in options.items() if name != "slow"}

    async def main() -> None:
        nonlocal run
        run = new_run(records, script, offload=offload, **plain)
        await finish(run)

    run: Run = None  # type: ignore[assignment]
    run_virtually(main())
    return furthest


@pytest.mark.parametrize(("workers", "batch"), [(4, 8), (16, 64), (200, 64)])
@pytest.mark.parametrize(
    ("tokens", "batches"),
    [(1, engine_pipeline.AHEAD), (engine_pipeline.LIGHT, engine_pipeline.AHEAD), (engine_pipeline.LIGHT + 1, 1)],
)
def test_the_input_is_not_read_far_ahead(workers: int, batch: int, tokens: int, batches: int) -> None:
    records = [replace(one, tokens=tokens) for one in jobs(5000)]
    ahead = furthest_ahead(records, always(answer()), workers=workers, batch=batch)
    assert ahead <= 3 * workers + (2 + batches) * batch  # in flight, queued, and answered at once


def test_a_slow_output_slows_the_reading_down() -> None:
    async def slow(function: Callable[..., Any], *args: Any) -> Any:
        if function.__name__ == "write":
            await asyncio.sleep(10.0)
        return function(*args)

    ahead = furthest_ahead(jobs(2000), always(answer(), 0.001), workers=8, batch=16, slow=slow)
    assert ahead <= (4 + 2 + engine_pipeline.AHEAD) * 16 + 8


def test_records_that_wait_to_be_sent_again_do_not_pile_up() -> None:
    def script(request: Request, n: int) -> Attempt:
        return 0.01, error(409, retry_after="500") if request.jobs[0].attempts.sent == 1 else answer()

    ahead = furthest_ahead(jobs(9000), script, workers=8, batch=16)
    assert ahead <= 4 * 8 + 1000 + (3 + engine_pipeline.AHEAD) * 16


def test_an_endless_input_is_read_as_far_as_it_is_answered() -> None:
    endless: Iterator[Job] = map(job, count())
    run = play(endless, always(answer()), at(60.5, stop(STOPPED, math.inf)), workers=10)
    assert run.sink.ok == 610 and run.input.read_count < 700 and adds_up(run)


# retries


def test_a_model_that_is_held_does_not_keep_those_behind_it_from_being_read() -> None:
    def script(request: Request, n: int) -> Attempt:
        held = request.jobs[0].route.model == "a" and asyncio.get_running_loop().time() < 100
        return 0.01, error(429, retry_after="500") if held else answer()

    def b_is_done(run: Run) -> None:
        seen.append(sum(o.job.route.model == "b" for o in run.sink.outcomes if isinstance(o, Outcome)))

    seen: list[int] = []
    records = [job(n, "a") for n in range(500)] + [job(500 + n, "b") for n in range(50)]
    run = play(records, script, at(10.0, b_is_done), workers=4, batch=8)
    assert seen == [50] and run.sink.ok == 550 and adds_up(run)


def test_behind_a_model_that_is_held_no_more_is_read_than_fits() -> None:
    reply = error(429, retry_after="500")
    ahead = furthest_ahead(jobs(9000), first_then([(0.01, reply)] * 40, (0.01, answer())), workers=4, batch=8)
    assert 900 < ahead <= 4 * 4 + 1000 + 3 * 8


def test_a_wait_that_the_server_asks_for_holds_all_workers() -> None:
    def script(request: Request, number: int) -> Attempt:
        refuses = 5.0 <= asyncio.get_running_loop().time() < 36.0
        return (0.1, error(429, retry_after="30")) if refuses else (1.0, answer())

    run = play(jobs(200), script, workers=10)
    times = [when for when, _ in run.world.sent]
    assert not [t for t in times if 5.2 < t < 35.1]
    assert sum(5.0 <= t <= 5.2 for t in times) <= 20
    assert run.sink.ok == 200


@pytest.mark.parametrize("waits", [[10.0, 20.0, 30.0, 40.0], [40.0, 30.0, 20.0, 10.0]])
def test_retries_due_at_different_times_are_each_sent_at_their_time_though_all_workers_sleep(
    waits: list[float],
) -> None:

    def script(request: Request, n: int) -> Attempt:
        index = request.jobs[0].identity.index
        if request.jobs[0].attempts.sent == 1:
            return 0.1 + index / 100, error(409, retry_after=str(waits[index]))
        return 500.0, answer()

    run = play(jobs(4), script, workers=4, random=lambda: 0.0)
    again = {index: when for when, index in run.world.sent[4:]}
    assert again == pytest.approx({n: 0.1 + n / 100 + wait for n, wait in enumerate(waits)}, abs=0.001)


def test_a_retry_is_sent_in_time_though_the_worker_that_caused_it_is_busy_elsewhere() -> None:
    """Worker one fails a record, then takes a long one; worker two, idle, must send the retry."""

    def script(request: Request, n: int) -> Attempt:
        one = request.jobs[0]
        if one.identity.index == 0 and one.attempts.sent == 1:
            return 5.0, error(409, retry_after="20")
        if one.identity.index == 1 and one.attempts.sent == 1:
            return 1.0, error(409, retry_after="4")
        return (900.0, answer()) if one.identity.index == 1 else (1.0, answer())

    run = play(jobs(2), script, workers=2, random=lambda: 0.0)
    assert [when for when, index in run.world.sent if index == 0] == pytest.approx([0.0, 25.0], abs=1e-6)


def test_a_wait_of_many_hours_is_waited_when_the_user_allows_it() -> None:
    run = play(
        jobs(20),
        first_then([(1.0, error(429, retry_after="50000"))], (1.0, answer())),
        patience=PatienceSettings(max_wait=100_000, max_outage=100_000),
    )
    assert run.sink.ok == 20 and run.took > 50_000


def test_a_wait_longer_than_allowed_ends_the_run_and_counts_what_is_left() -> None:
    run = play(jobs(50), first_then([(1.0, error(429, retry_after="601"))], (1.0, answer())), workers=4)
    (reason,) = run.stops
    assert isinstance(reason, CeilingReached) and adds_up(run)


def test_a_service_that_comes_back_costs_nobody_a_failure() -> None:
    """Refused for a minute, then out of reach for five: all records still get their answer."""

    def script(request: Request, n: int) -> Attempt:
        now = asyncio.get_running_loop().time()
        if 30 < now < 90:
            return 0.2, error(503)
        return (0.2, UNREACHABLE) if 120 < now < 420 else (1.0, answer())

    run = play(jobs(2000), script, workers=20, policy=RetryPolicy(retries=1))
    assert (run.sink.ok, run.sink.failed, run.stops) == (2000, 0, [])


def test_a_service_that_does_not_come_back_ends_the_run() -> None:
    def script(request: Request, n: int) -> Attempt:
        return (1.0, answer()) if n < 50 else (0.2, error(503))

    run = play(jobs(1000), script, workers=20)
    (reason,) = run.stops
    assert isinstance(reason, CeilingReached) and run.sink.ok == 50 and adds_up(run)


def test_a_record_that_never_succeeds_fails_after_its_retries() -> None:
    run = play([job(0)], always(error(409)), policy=RetryPolicy(retries=3))
    assert len(run.world.sent) == 4 and run.sink.failed == 1


FAULTS = [
    answer(),
    error(400),
    error(400, "context_length_exceeded"),
    error(409),
    error(429, retry_after="2"),
    error(429),
    error(500),
    error(502),
    error(503, retry_after="1"),
    Reply(200, {}, b"<html>"),
    Reply(200, {}, b"{", cut=True),
    TIMED_OUT,
    UNREACHABLE,
]


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(
    script=st.lists(st.tuples(st.floats(0, 20), st.sampled_from(FAULTS)), max_size=40),
    number=st.integers(0, 25),
    workers=st.integers(1, 6),
    batch=st.integers(1, 9),
    ordered=st.booleans(),
    r=st.floats(0, 0.99),
)
def test_whatever_the_service_does_every_record_has_one_line(
    script: list[Attempt], number: int, workers: int, batch: int, ordered: bool, r: float
) -> None:
    run = play(
        jobs(number),
        first_then(script, (1.0, answer())),
        workers=workers,
        batch=batch,
        ordered=ordered,
        random=lambda: r,
    )
    assert sorted(run.sink.indices) == list(range(number)) or (run.stops and adds_up(run))
    assert len(set(run.sink.indices)) == len(run.sink.indices)
    assert run.world.peak <= workers and run.world.in_flight == 0


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(
    script=st.lists(st.tuples(st.floats(0, 20), st.sampled_from(FAULTS)), max_size=30),
    when=st.floats(0, 60),
    again=st.floats(0, 10),
    grace=st.sampled_from([0.0, 3.0, 25.0, math.inf]),
    ordered=st.booleans(),
)
def test_whenever_it_is_stopped_the_numbers_add_up(
    script: list[Attempt], when: float, again: float, grace: float, ordered: bool
) -> None:
    run = play(
        [job(n) if n % 5 else invalid(n) for n in range(60)],
        first_then(script, (1.0, answer())),
        at(when, stop(STOPPED, grace)),
        at(when + again, stop(STOPPED, 0.0)),
        workers=3,
        ordered=ordered,
    )
    assert adds_up(run) and len(set(run.sink.indices)) == len(run.sink.indices)
    assert (run.world.opened, run.world.closed, run.world.in_flight) == (3, 3, 0)


# order


def scattered(request: Request, n: int) -> Attempt:
    return float(request.jobs[0].identity.index * 7919 % 13), answer()


def test_ordered_results_come_in_the_order_of_the_input() -> None:
    run = play(jobs(500), scattered, workers=20, ordered=True)
    assert run.sink.indices == list(range(500))


def test_ordered_results_are_the_same_as_unordered_ones_sorted() -> None:
    plain = play(jobs(300), scattered, workers=20)
    assert plain.sink.indices != sorted(plain.sink.indices)
    assert play(jobs(300), scattered, workers=20, ordered=True).sink.indices == sorted(plain.sink.indices)


def test_ordered_results_wait_in_a_window_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pipeline, "WINDOW", 100)

    def script(request: Request, n: int) -> Attempt:
        return (1000.0 if request.jobs[0].identity.index == 3 else 1.0), answer()

    ahead = furthest_ahead(jobs(2000), script, workers=10, batch=8, ordered=True)
    assert 80 < ahead <= 100


@pytest.mark.parametrize("batch", [50, 10_000, 20_000])
def test_a_batch_larger_than_the_window_does_not_stop_an_ordered_run(
    monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(engine_pipeline, "WINDOW", 50)
    run = play(jobs(300), scattered, workers=4, batch=batch, ordered=True)
    assert run.sink.indices == list(range(300))


def test_an_ordered_run_goes_on_past_the_records_of_a_model_that_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pipeline, "WINDOW", 50)

    def script(request: Request, n: int) -> Attempt:
        return 1.0, error(404) if request.jobs[0].route.model == "bad" else answer()

    records = [job(n, "bad" if n % 2 else "good") for n in range(1000)]
    run = play(records, script, workers=4, ordered=True)
    assert run.sink.ok == 500 and run.sink.indices == sorted(run.sink.indices) and adds_up(run)


def test_an_ordered_run_that_stops_writes_what_it_has_in_order() -> None:
    def script(request: Request, n: int) -> Attempt:
        return (100.0 if request.jobs[0].identity.index == 5 else 1.0), answer()

    run = play(jobs(500), script, at(10.5, stop(STOPPED, 0.0)), workers=4, ordered=True)
    assert run.sink.indices == sorted(run.sink.indices) and 5 not in run.sink.indices
    assert len(run.sink.indices) > 20 and adds_up(run)


# stopping


def test_a_request_of_which_it_cannot_be_marked_that_it_leaves_is_not_started_and_ends_the_run() -> None:
    def script(request: Request, number: int) -> Attempt:
        if number == 10:
            raise OutputError("no space left on device")
        return 0.1, answer()

    run = play(jobs(30), script)
    dispatch = run.pipeline.dispatch
    assert dispatch.dropped == dispatch.held == 0 and dispatch.sent == len(run.sink.outcomes) >= 10
    assert adds_up(run)
    assert isinstance(run.pipeline.progress.stops[0], OutputError)


def test_stopping_sends_nothing_new_and_lets_what_is_in_flight_finish() -> None:
    run = play(jobs(1000), always(answer(), 10.0), at(15.0, stop(STOPPED, math.inf)), workers=5)
    assert max(when for when, _ in run.world.sent) == pytest.approx(10.0, abs=0.1)
    assert run.sink.ok == 10 and run.took == pytest.approx(20.0, abs=0.1) and adds_up(run)


def test_stopping_drops_what_takes_longer_than_the_grace() -> None:
    run = play(jobs(1000), always(answer(), 100.0), at(15.0, stop(STOPPED, 25.0)), workers=5)
    assert run.sink.ok == 0 and run.took == pytest.approx(40.0, abs=0.1) and adds_up(run)


def test_a_second_stop_without_grace_drops_what_is_in_flight() -> None:
    run = play(
        jobs(1000), always(answer(), 100.0), at(15.0, stop(STOPPED, 600.0)), at(20.0, stop(STOPPED, 0.0)), workers=5
    )
    assert run.took == pytest.approx(20.0, abs=0.1) and len(run.stops) == 2 and adds_up(run)


def test_a_later_stop_cannot_lengthen_the_grace() -> None:
    run = play(
        jobs(1000), always(answer(), 100.0), at(15.0, stop(STOPPED, 10.0)), at(20.0, stop(STOPPED, 600.0)), workers=5
    )
    assert run.took == pytest.approx(25.0, abs=0.1)


def test_stopping_is_told_once_with_what_is_in_flight() -> None:
    run = play(jobs(99), always(answer(), 9.0), at(1.0, stop(STOPPED, 9.0)), at(2.0, stop(STOPPED, 9.0)), workers=5)
    assert [e.in_flight for e in run.events if isinstance(e, Stopping)] == [5]


def test_a_run_that_waits_for_a_rate_limit_can_be_stopped() -> None:
    run = play(
        jobs(100),
        always(error(429, retry_after="500")),
        at(10.0, stop(STOPPED, math.inf)),
        patience=PatienceSettings(600, 9e9),
    )
    assert run.took == pytest.approx(10.0, abs=0.1) and adds_up(run)


def test_a_run_stopped_before_it_began_sends_nothing() -> None:
    async def main() -> Run:
        run = new_run(jobs(50), always(answer()))
        run.pipeline.stop(STOPPED, grace=0.0)
        return await finish(run)

    run = run_virtually(main())
    assert run.world.sent == [] and run.world.closed == run.world.opened and adds_up(run)


def test_an_observer_may_stop_the_run() -> None:
    runs: list[Run] = []

    def observe(event: Event) -> None:
        if isinstance(event, Finished) and len(runs[0].sink.outcomes) >= 20 and not runs[0].stops:
            runs[0].pipeline.stop(CeilingReached("enough"), grace=math.inf)

    async def main() -> Run:
        runs.append(new_run(jobs(1000), always(answer()), observe=observe))
        return await finish(runs[0])

    run = run_virtually(main())
    assert 20 <= run.sink.ok < 40 and adds_up(run)


# inputs and outputs that break


def test_an_input_that_breaks_lets_what_is_in_flight_finish() -> None:
    broken: list[Job | InvalidRecord | Exception] = [*jobs(20), InputError("gone")]
    run = play(broken, lambda r, n: (5.0, answer()), workers=20, batch=30)
    assert run.sink.ok == 20 and [str(s) for s in run.stops] == ["gone"] and adds_up(run)


def test_an_input_that_breaks_leaves_what_was_not_sent_yet_for_the_next_run() -> None:
    broken: list[Job | InvalidRecord | Exception] = [*jobs(20), InputError("gone")]
    run = play(broken, lambda r, n: (5.0, answer()), workers=30, batch=4)
    assert run.sink.ok + run.dispatch.not_started == 20 and run.sink.ok == len(run.world.sent)


def test_an_output_nobody_reads_cancels_what_is_in_flight() -> None:
    gone = MemorySink(ReaderGone("gone"), good=10)
    run = play(jobs(1000), lambda r, n: ((1.0 if n < 15 else 500.0), answer()), workers=5, sink=gone)
    assert run.took < 20 and isinstance(run.stops[0], ReaderGone) and adds_up(run)


def test_a_full_disk_stops_sending_and_hands_every_answer_in_flight_to_the_output() -> None:
    full = MemorySink(OutputError("full"), good=10)
    run = play(jobs(1000), lambda r, n: (float(1 + n % 4 * 50), answer()), workers=12, batch=4, sink=full)
    answered = len(run.sink.outcomes) + run.pipeline.writer.unwritten
    assert answered == len(run.world.sent) and run.dispatch.not_started == run.pipeline.progress.read - answered
    assert isinstance(run.stops[0], OutputError) and full.refused_batches >= 2


def test_a_bad_key_stops_after_a_few_records() -> None:
    run = play(jobs(10_000), always(error(401)), workers=8)
    assert len(run.world.sent) <= 3 + 8 and isinstance(run.stops[0], ActionNeeded) and adds_up(run)


def test_a_server_that_is_not_there_stops_the_run() -> None:
    run = play(jobs(10_000), lambda r, n: (0.01, UNREACHABLE), workers=8)
    assert isinstance(run.stops[0], ActionNeeded) and run.took < 120 and adds_up(run)


def test_what_was_received_is_written_even_when_the_program_has_a_bug() -> None:
    sink = MemorySink()

    async def slow(function: Callable[..., Any], *args: Any) -> Any:
        if function == sink.write:
            await asyncio.sleep(0.1)
        return function(*args)

    def script(request: Request, n: int) -> Attempt:
        if n == 20:
            raise ZeroDivisionError
        return 1.0, answer()

    with pytest.raises(ExceptionGroup):
        play(jobs(100), script, workers=4, sink=sink, offload=slow)
    assert len(sink.outcomes) == 20


# the loop itself


def test_the_virtual_loop_knows_a_deadlock() -> None:
    with pytest.raises(Stuck):
        run_virtually(asyncio.Event().wait())


def test_hours_pass_in_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(36_000)
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) == pytest.approx(36_000)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_real_loops_run_the_same(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    asked: set[int] = set()

    def script(request: Request, n: int) -> Attempt:
        """Refuse some records once. By the number of the request, ten at a time would refuse one record for ever."""
        index = request.jobs[0].identity.index
        first = index not in asked
        asked.add(index)
        match index % 10:
            case 3 if first:
                return 0.001, error(429, retry_after_ms="5")
            case 7 if first:
                return 0.001, error(409, retry_after_ms="2")
        return 0.001, answer()

    async def main() -> Run:
        return await finish(new_run(jobs(400), script, workers=20, random=lambda: 0.001, offload=None, ordered=True))

    with asyncio.Runner(loop_factory=loop) as runner:
        run = runner.run(main())
    assert run.sink.indices == list(range(400)) and run.sink.failed == 0


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_real_loops_stop_the_same(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> Run:
        run = new_run(map(job, count()), always(answer(), 0.001), workers=10, offload=None)
        return await finish(run, at(0.05, stop(STOPPED, 0.02)))

    with asyncio.Runner(loop_factory=loop) as runner:
        run = runner.run(main())
    assert adds_up(run) and run.sink.ok > 0

"""When nothing finishes: the oldest records are named, and what each waits for."""

import asyncio
import io

from rich.console import Console
from rich.text import Text

from llmbatch.core.exchange import Reply, Request
from llmbatch.core.snapshot import Snapshot
from llmbatch.engine.explain import waits
from llmbatch.ui.live import render
from llmbatch.ui.plain import progress_line
from llmbatch.ui.symbols import UNICODE
from tests.support.scripted import Run, answer, error, job, play


def test_records_in_flight_and_due_are_named_oldest_and_soonest_first() -> None:
    seen: list[tuple[str, ...]] = []

    def script(request: Request, count: int) -> tuple[float, Reply]:
        (one,) = request.jobs
        if one.identity.index < 4:
            return 300.0 + one.identity.index, answer()
        if one.identity.index == 4 and one.attempts.sent == 1:
            return 1.0, error(500, retry_after="200")
        return 1.0, answer()

    async def watch(run: Run) -> None:
        await asyncio.sleep(100)
        seen.append(run.pipeline.waits(run.pipeline._pool._clock.monotonic(), paused=False))

    run = play([job(index) for index in range(6)], script, watch, workers=6)
    assert len(run.sink.outcomes) == 6
    ((first, second, third, due),) = seen
    assert [first, second, third] == [f"record {n} (id 'id-{n}') in flight for 100 s" for n in range(3)]
    assert due.startswith("record 4 (id 'id-4') to be sent again in 1")


def test_nothing_is_named_once_all_is_done() -> None:
    run = play([job(0)], lambda request, count: (1.0, answer()), workers=2)
    assert run.pipeline.waits(1e9, paused=False) == ()


def test_records_that_limits_hold_back_are_counted() -> None:
    held_back = waits(100.0, [], [], queued=7, paused=False)
    assert held_back == ("7 records ready, held back by the limits a minute or by --max-cost",)
    assert waits(100.0, [], [], queued=7, paused=True) == ()


def test_displays_say_it_and_no_id_drives_the_terminal() -> None:
    one = job(7)
    one.identity.id, one.attempts.sent = "\x1b[31mred\n", 2
    said = waits(95.0, [(0.0, one)], [], queued=0, paused=False)
    now = Snapshot(
        ok=1,
        failed=0,
        in_flight=1,
        waiting=0,
        limit=8,
        wall=95.0,
        rate=0.1,
        fraction=None,
        eta=None,
        input_tokens=0,
        output_tokens=0,
        cost=0.5,
        left=1.5,
        stalled=95.0,
        waits=said,
    )
    screen = io.StringIO()
    Console(file=screen, width=200).print(Text("\n").join(render(now, UNICODE, 200, 50)))
    for shown in (progress_line(now), screen.getvalue()):
        assert "$0.5000 ($1.50 left)" in shown
        assert "nothing finished for 1:35: record 7 (id " in shown
        assert "attempt 2) in flight for 95 s" in shown and "\x1b" not in shown
    assert "nothing finished" not in progress_line(now._replace(stalled=0.0, waits=()))

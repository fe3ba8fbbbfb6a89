"""A thread for calls that block: what it returns, what it raises, and who waits for it."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from llmbatch.engine.offload import BRIEF, RARELY, SPARE, Offload, WhileBrief

PATIENCE = 20.0


def within(use: Callable[[Offload], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        thread = Offload()
        with thread:
            await use(thread)

    asyncio.run(main())


def test_a_call_returns_what_the_function_returns_from_another_thread() -> None:
    async def use(thread: Offload) -> None:
        assert await thread.run(divmod, 7, 2) == (3, 1)
        assert await thread.run(threading.get_ident) != threading.get_ident()

    within(use)


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="the policy is Linux's")
def test_it_takes_turns_with_the_loop() -> None:
    async def use(thread: Offload) -> None:
        assert await thread.run(os.sched_getscheduler, 0) == os.SCHED_BATCH
        assert os.sched_getscheduler(0) == os.SCHED_OTHER

    within(use)


@pytest.mark.parametrize("error", [OSError("no"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_function_raises_is_raised_and_the_next_call_goes_through(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def use(thread: Offload) -> None:
        with pytest.raises(type(error)) as caught:
            await thread.run(fail)
        assert caught.value is error
        assert await thread.run(len, "ab") == 2

    within(use)


def test_even_the_end_of_an_iterator_is_no_reason_to_hang() -> None:
    async def use(thread: Offload) -> None:
        with pytest.raises(RuntimeError):
            await asyncio.wait_for(thread.run(next, iter(())), 5.0)

    within(use)


def test_calls_are_made_one_after_the_other_in_their_order() -> None:
    async def use(thread: Offload) -> None:
        seen: list[int] = []
        await asyncio.gather(*(thread.run(seen.append, n) for n in range(100)))
        assert seen == list(range(100))

    within(use)


def test_the_loop_goes_on_meanwhile() -> None:
    async def use(thread: Offload) -> None:
        gate = threading.Event()
        waiting = asyncio.ensure_future(thread.run(gate.wait, 5.0))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        gate.set()
        assert await waiting

    within(use)


def test_who_is_cancelled_waits_until_the_function_is_through() -> None:
    async def use(thread: Offload) -> None:
        through: list[bool] = []

        def slow() -> None:
            time.sleep(0.05)
            through.append(True)

        with anyio.move_on_after(0.01) as scope:
            await thread.run(slow)
            await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught and through

    within(use)


def test_a_task_that_is_cancelled_all_the_same_leaves_the_thread_to_others() -> None:
    async def use(thread: Offload) -> None:
        given_up = asyncio.ensure_future(thread.run(time.sleep, 0.02))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert await thread.run(len, "abc") == 3

    within(use)


def test_it_ends_with_its_context() -> None:
    seen: list[int] = []

    async def use(thread: Offload) -> None:
        seen.append(await thread.run(threading.get_ident))

    within(use)
    end = time.monotonic() + PATIENCE
    while seen[0] in sys._current_frames():
        assert time.monotonic() < end
        time.sleep(0.001)


def timed_calls() -> tuple[list[float], Callable[[float], int]]:
    """Return a clock, and a function that moves it on by some seconds and tells which thread called it."""
    now = [0.0]

    def call(seconds: float) -> int:
        now[0] += seconds
        return threading.get_ident()

    return now, call


def test_brief_calls_are_made_on_the_loop_and_after_a_stall_a_thread_makes_them_for_a_time() -> None:
    now, call = timed_calls()

    async def use(thread: Offload) -> None:
        here, brief = threading.get_ident(), WhileBrief(thread.run, lambda: now[0])
        assert [await brief.run(call, BRIEF / 2) for _ in range(3)] == [here] * 3
        assert await brief.run(call, SPARE) == here
        until = now[0] + RARELY * SPARE - SPARE
        while now[0] < until:
            assert await brief.run(call, BRIEF / 2) != here
        assert await brief.run(call, BRIEF / 2) == here
        with pytest.raises(ZeroDivisionError):
            await brief.run(divmod, 1, 0)

    within(use)


def test_calls_that_are_long_now_and_then_stay_on_the_loop_and_many_take_no_more_than_their_share() -> None:
    now, call = timed_calls()

    async def use(thread: Offload) -> None:
        here, brief = threading.get_ident(), WhileBrief(thread.run, lambda: now[0])
        for _ in range(100):
            assert await brief.run(call, 2 * BRIEF) == here
            now[0] += 2 * RARELY * BRIEF
        began, taken = now[0], 0.0
        while now[0] < began + 100.0:
            taken += 2 * BRIEF * (await brief.run(call, 2 * BRIEF) == here)
        assert taken <= (100.0 + SPARE) / RARELY + 2 * BRIEF

    within(use)

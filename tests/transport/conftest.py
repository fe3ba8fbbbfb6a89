"""A loop of each kind that forgives nothing, and a lane of each kind."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import pytest
import uvloop

from llmbatch.core.exchange import Expected, Reply, Request
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.transport.head import Heads
from llmbatch.transport.httpx_lane import HttpxLane
from llmbatch.transport.lane import Http11Lane
from llmbatch.transport.limits import Limits
from llmbatch.transport.sender import LaneSender
from llmbatch.transport.tls import shared_context

T = TypeVar("T")
LaneClass = type[Http11Lane] | type[HttpxLane]
Open = Callable[..., AbstractAsyncContextManager[LaneSender]]


class Run(Protocol):
    """Runs a coroutine to its end on a loop of one kind."""

    def __call__(self, coroutine: Coroutine[Any, Any, T]) -> T: ...


PATIENCE = 10.0
"""No test takes this long: one that does hangs."""

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as first:
    first.run(asyncio.sleep(0))  # the first loop of its kind opens descriptors that stay


@pytest.fixture(scope="session", autouse=True)
def only_new_garbage() -> Iterator[None]:
    """Let the many collections below look only at what tests made."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine; fail for whatever the loop complains of, and for any descriptor left open."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        complaints: list[dict[str, Any]] = []

        async def watched() -> T:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            async with asyncio.timeout(PATIENCE):
                result = await coroutine
            for _ in range(3):
                await asyncio.sleep(0)  # closed transports go in the next turns
            gc.collect()
            return result

        gc.collect()
        before = open_descriptors()
        with asyncio.Runner(loop_factory=factory) as runner:
            result = runner.run(watched())
        gc.collect()
        assert not complaints, complaints
        assert open_descriptors() <= before  # what an earlier test left may be closed by now
        return result

    return run


@pytest.fixture(params=[Http11Lane, HttpxLane], ids=["ours", "reference"])
def lane_class(request: pytest.FixtureRequest) -> LaneClass:
    """One of the two lanes."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def opening(lane_class: LaneClass) -> Open:
    """Open a sender over the lane, closed at the end of its block."""

    @asynccontextmanager
    async def opening(
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        ca_file: str | None = None,
        proxy: str | None = None,
        log: Callable[[str], None] | None = None,
        **limits: Any,
    ) -> AsyncIterator[LaneSender]:
        numbers = Limits(**limits)
        tls = shared_context(ca_file)
        lane = (
            Http11Lane(limits=numbers, tls=tls)
            if lane_class is Http11Lane
            else HttpxLane(limits=numbers, tls=tls, proxy=proxy)
        )
        sender = LaneSender(lane, Heads(url, headers or {}), limits=numbers, log=log)
        try:
            yield sender
        finally:
            await sender.aclose()

    return opening


def patient(sender: LaneSender) -> LaneSender:
    """Return a sender over the same lane without a short deadline, for what a busy machine must not fail."""
    return LaneSender(sender._lane, sender._heads, limits=Limits())


def open_descriptors() -> int:
    """Count this process's descriptors."""
    return len(os.listdir("/proc/self/fd"))


def asking(body: bytes = b'{"model":"m"}', path: str = "/chat/completions") -> Request:
    """Build a request."""
    return Request((), path, body, Expected("chat"))


def body_of(result: Reply | Fault) -> bytes:
    """Return the body of what must be a 200."""
    assert isinstance(result, Reply), result
    assert result.status == 200, result
    return result.body


def assert_fault(
    result: Reply | Fault,
    kind: Kind,
    billing: Billing,
    *,
    retry: bool = True,
    scope: Scope = Scope.RECORD,
) -> Fault:
    """Check what a failed attempt was judged to be."""
    assert isinstance(result, Fault), result
    assert (result.kind, result.billing, result.retry, result.scope) == (kind, billing, retry, scope), result
    assert result.message
    return result

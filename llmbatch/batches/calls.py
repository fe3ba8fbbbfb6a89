"""Makes the calls of one ticket: drops them when the run is to end, waits out refusals that pass, raises for others."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import anyio

from llmbatch.core.clock import Clock
from llmbatch.core.errand import Errand, Talk
from llmbatch.core.errors import ActionNeeded, CeilingReached
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.dialects.batch_api import BatchApi, date_of
from llmbatch.pacing.batch_polling import BatchPace

__all__ = ["BatchClient", "Calls", "Left", "Refused"]

_CREATE_GRACE = 30.0
"""Seconds that a create call in flight may take once the run is to end: its answer saves a look-up."""
_MOST_WAIT = 1800.0


class BatchClient(NamedTuple):
    """One provider with the key that goes there: what its batch API is like, and how a call is made."""

    provider: str
    api: BatchApi
    call: Callable[[Errand], Awaitable[Reply | Fault]]
    address: str
    account: str
    pace: BatchPace


class Left(Exception):
    """The ticket is left as it is: the run ends, or does not wait."""


class Refused(Exception):
    """A call was answered with an error, or with nothing."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Calls:
    """The calls of one ticket. `trouble` says in words why the last one failed, None once one has worked."""

    def __init__(
        self,
        client: BatchClient,
        *,
        clock: Clock,
        random: Callable[[], float],
        stopping: anyio.Event,
        max_outage: float,
    ) -> None:
        self._client = client
        self._clock = clock
        self._random = random
        self._stopping = stopping
        self._max_outage = max_outage
        self.trouble: str | None = None
        self.skew: float | None = None
        """The provider's clock less ours, as its last answer told."""
        self._since: float | None = None
        """When the trouble began that lasts."""
        self.refusals = 0
        """Refusals since the last call that worked."""

    async def make(self, errand: Errand) -> Reply | Fault:
        """Make a call that is dropped when the run is to end. Raises Left then."""
        return await self._until_stopped(errand, grace=0.0)

    async def finish(self, errand: Errand) -> Reply | Fault:
        """Make a call that is not dropped when the run is to end, unless it takes long then."""
        try:
            return await self._until_stopped(errand, grace=_CREATE_GRACE)
        except Left:
            return Fault(kind=Kind.TIMEOUT, message="dropped", billing=Billing.DOUBTFUL)

    async def _until_stopped(self, errand: Errand, grace: float) -> Reply | Fault:
        result: list[Reply | Fault] = []

        async def watch(scope: anyio.CancelScope) -> None:
            await self._stopping.wait()
            scope.deadline = anyio.current_time() + grace

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, tasks.cancel_scope)
            result.append(await self._client.call(errand))
            tasks.cancel_scope.cancel()
        if not result:
            raise Left
        if isinstance(result[0], Reply) and (date := date_of(result[0].headers)) is not None:
            self.skew = date - self._clock.wall()
        return result[0]

    async def talk(self, talk: Talk[Any]) -> Any:
        """Hold a conversation of several calls. Raises Refused, Left."""
        reply: Reply | None = None
        try:
            while True:
                errand = next(talk) if reply is None else talk.send(reply)
                if errand.delay:
                    await self.sleep(errand.delay)
                answer = await self.make(errand)
                if isinstance(answer, Fault):
                    raise Refused(answer)
                reply = answer
        except StopIteration as end:
            result = end.value
        if isinstance(result, Fault):
            raise Refused(result)
        return result

    async def until_answered(self, ask: Callable[[], Awaitable[Any]], what: str, *, way: str | None = None) -> Any:
        """Ask again as long as refusals may pass; `way` leads out of one that does not. Raises LlmbatchError, Left."""
        while True:
            try:
                result = await ask()
            except Refused as refused:
                await self.wait_out(refused.fault, what, way=way)
            else:
                self.worked()
                return result

    def worked(self) -> None:
        """Note that a call was answered well."""
        self._since, self.refusals, self.trouble = None, 0, None

    async def wait_out(
        self, fault: Fault, what: str, *, base: float | None = None, outage: bool = True, way: str | None = None
    ) -> None:
        """Wait after a refusal that passes; raise what ends the run for one that does not.

        `base` is the first wait in seconds. Without `outage` it may last as long as it likes.
        """
        self.check(fault, what, way=way)
        if outage:
            self.check_outage(fault)
        else:
            self._since = None
        first = base if base is not None else self._client.pace.first
        wait = max(fault.wait or 0.0, min(_MOST_WAIT, first * 2.0 ** min(self.refusals - 1, 12)))
        await self.sleep(wait * (0.8 + 0.4 * self._random()))

    def check(self, fault: Fault, what: str, *, way: str | None = None) -> None:
        """Note a refusal. Raises ActionNeeded for one that does not pass."""
        self.refusals += 1
        self.trouble = f"{what} fails ({fault.status or fault.kind}): {fault.message}"
        passing = fault.retry or fault.billing in (Billing.THROTTLED, Billing.DOUBTFUL, Billing.SERVER)
        if not passing or fault.kind in (Kind.UNAUTHORIZED, Kind.NO_CREDIT, Kind.TLS):
            answered = fault.status is not None and 200 <= fault.status < 300
            refusal = (
                f"is not understood about {what}" if answered else f"refuses {what} ({fault.status or fault.kind})"
            )
            raise ActionNeeded(
                f"{self._client.provider} {refusal}: {fault.message}",
                way or "Correct that, then run the same command again: no batch is lost.",
            )

    def check_outage(self, fault: Fault) -> None:
        """Raise CeilingReached when calls have failed for longer than `--max-outage`."""
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > self._max_outage:
            raise CeilingReached(
                f"{self._client.provider} was out of reach for longer than --max-outage: {fault.message}",
                "Run the same command again later: no batch is lost.",
                by="outage",
            )

    async def sleep(self, seconds: float) -> None:
        """Wait. Raises Left when the run is to end meanwhile."""
        with anyio.move_on_after(min(seconds, 3600.0)):
            await self._stopping.wait()
        if self._stopping.is_set():
            raise Left

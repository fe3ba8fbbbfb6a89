"""One ticket whose calls are answered by a function, in virtual time."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from llmbatch.batches.calls import BatchClient
from llmbatch.batches.steps import run_to_the_end
from llmbatch.batches.ticket_run import TicketContext, TicketRun
from llmbatch.core.errand import Errand
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.ticket import Step, Ticket
from llmbatch.dialects.batch_api import BatchApi
from llmbatch.dialects.batch_openai import OpenAIBatches
from llmbatch.pacing.batch_polling import REMOTE
from llmbatch.results.chunk import ChunkFiles

from .virtual_time import EPOCH, LoopClock, run_virtually

TAG = "t" * 16
LOST = Fault(kind=Kind.TIMEOUT, message="no answer", billing=Billing.DOUBTFUL, retry=True)

Answer = Callable[[Errand], "Reply | Fault"]


def answer(status: int, body: Any = None, **headers: str) -> Reply:
    """Make an answer."""
    return Reply(status, headers, json.dumps(body if body is not None else {}).encode())


def refused(status: int, message: str = "no", code: str | None = None) -> Reply:
    """Make a refusal in the words of a provider."""
    return answer(status, {"error": {"message": message, "code": code, "type": None}})


class Store:
    """Remembers steps and marks in memory, and files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[str] = []
        self.marks: list[bool] = []
        self.stop_at: str | None = None
        self.stop: Callable[[], None] = lambda: None

    def record(self, ticket: Ticket, step: Step, facts: dict[str, Any]) -> Ticket:
        self.steps.append(step.value)
        if step.value == self.stop_at:
            self.stop()
        return ticket.after({"step": step, **facts})

    def files(self, ticket: Ticket) -> ChunkFiles:
        return ChunkFiles(self.folder, ticket.tag)

    def keep_rows(self, ticket: Ticket) -> None:
        pass

    def tidy(self, ticket: Ticket, *, keep_rows: bool) -> None:
        pass


class Play:
    """A ticket on its way. `reply` answers its calls; `around` overrides what all tickets share."""

    def __init__(self, folder: Path, reply: Answer, api: BatchApi | None = None, **around: Any) -> None:
        self.store, self.calls, self.notices = Store(folder), list[Errand](), list[str]()
        self.stopping = anyio.Event()
        self.store.stop = self.stopping.set

        async def call(errand: Errand) -> Reply | Fault:
            self.calls.append(errand)
            got = reply(errand)
            if errand.sink is not None and isinstance(got, Reply) and got.status == 200:
                _write(errand.sink, got.body)
            return got

        async def in_thread(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
            return function(*args, **named)

        async def settle(run: TicketRun) -> bool:
            return False

        settings: dict[str, Any] = {
            "store": self.store,
            "in_thread": in_thread,
            "mark_asked": lambda ticket, *, sent: self.store.marks.append(sent),
            "clock": LoopClock(),
            "notify": lambda notice: self.notices.append(notice.text),
            "random": lambda: 0.5,
            "hold": False,
            "max_outage": 900.0,
            "stopping": self.stopping,
            "wait_for_room": lambda ticket: 0.0,
            "batches_of_others": lambda tag: set(),
            "settle": settle,
        }
        ticket = Ticket(
            tag=TAG, step=Step.DRAWN, path="/chat/completions", model="m", count=2, account="a", drawn_at=EPOCH
        )
        client = BatchClient("provider", api or OpenAIBatches(), call, "https://x", "a", REMOTE)
        self.run = TicketRun(ticket, client, TicketContext(**{**settings, **around}))

    def begin_at(self, step: Step, **facts: Any) -> "Play":
        """Begin later on the way."""
        self.run.ticket = replace(self.run.ticket, step=step, **facts)
        return self

    def go(self) -> float:
        """Run to the end; return the seconds that it took. What lasts a week is a failure."""

        async def main() -> float:
            with anyio.fail_after(7 * 86400.0):
                await run_to_the_end(self.run)
            return anyio.current_time()

        return run_virtually(main())

    def count(self, method: str, path: str) -> int:
        """Count the calls of a kind."""
        return sum(errand.method == method and errand.address == path for errand in self.calls)


def _write(path: str, data: bytes) -> None:
    Path(path).write_bytes(data)

"""Works on parts for a driver in another process: progress, the wish to stop, and loans of limits go through `call`."""

import copyreg
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from llmbatch.app.prices import find_price
from llmbatch.app.servers import find_servers
from llmbatch.app.shared import Shared
from llmbatch.app.timer import ticking
from llmbatch.core.errors import LlmbatchError
from llmbatch.core.events import Event, Notice
from llmbatch.core.settings import Settings
from llmbatch.core.snapshot import Snapshot
from llmbatch.core.tally import Summary
from llmbatch.pacing.lender import Ask, Grant
from llmbatch.parts.account import without_latencies
from llmbatch.parts.folder import RunFolder
from llmbatch.parts.loans import Borrower
from llmbatch.parts.worker import Worker

__all__ = ["Call", "Job", "RemoteWorker", "Result", "packed", "unpacked"]

EVERY = 0.5
"""Seconds between two reports of progress."""
LATENCIES = 10_000
"""Latencies of a model that go to the driver with the summary of a part."""

Call = Callable[..., Any]
"""Calls the driver by the name of a method of its `Hub`; may be called from several threads."""
Result = Summary | LlmbatchError
"""What became of a part."""


def _mapping(values: dict[str, Any]) -> MappingProxyType[str, Any]:
    return MappingProxyType(values)


copyreg.pickle(MappingProxyType, lambda mapping: (_mapping, (dict(mapping),)))  # empty defaults of settings


class Job(NamedTuple):
    """What a worker has to know. `base_url` is that of the built-in mock, where the driver runs it."""

    settings: Settings
    environment: Mapping[str, str]
    folder: str
    base_url: str | None = None


def packed(job: Job) -> bytes:
    """Return a job as bytes for another process of the same program."""
    return pickle.dumps(job)


def unpacked(data: bytes) -> Job:
    """Return the job."""
    job: Job = pickle.loads(data)
    return job


class RemoteWorker:
    """Works on one part after the other. Limits that the user named are borrowed from the driver."""

    def __init__(self, job: Job, call: Call, *, embedded: bool = False) -> None:
        settings = job.settings
        servers = find_servers(settings.model, job.environment, settings.patience.connect_timeout)
        if job.base_url is not None:
            servers = replace(servers, base_url=job.base_url)
        folder = RunFolder(Path(job.folder))
        plan = folder.plan()
        assert plan is not None
        price = find_price(settings.model, settings.stop, (servers.name, servers.preset))
        self._call = call
        self._failure: LlmbatchError | None = None
        """Why the driver cannot lend limits any more."""
        self._borrower = Borrower.of(settings.pace, settings.stop, price, self._lend, partial(call, "borrow"))
        shared = self._borrower.shared if self._borrower is not None else Shared()
        shared.failure = lambda: self._failure
        observers = (self._pass_on,) if self._borrower is None else (self._pass_on, self._borrower.see)
        self._worker = Worker(settings, servers, job.environment, folder, plan, shared, observers, embedded=embedded)
        self._signals = 0
        """How many signals of the driver were passed on to the run."""

    def work(self, number: int) -> Result:
        """Work on a part; return what became of it."""
        try:
            if self._borrower is None:
                return self._send(self._worker.work(number, self._view(number)))
            with self._borrower.at_work():
                return self._send(self._worker.work(number, self._view(number)))
        except LlmbatchError as error:
            error.run = None
            return error

    def _lend(self, ask: Ask) -> Grant:
        reply: Grant | LlmbatchError = self._call("lend", ask)
        if isinstance(reply, LlmbatchError):
            self._failure = reply
            return Grant()
        return reply

    def _send(self, summary: Summary) -> Summary:
        return without_latencies(summary, LATENCIES)

    def _view(self, number: int) -> Callable[[Callable[[], Snapshot]], Any]:
        @contextmanager
        def view(snapshot: Callable[[], Snapshot]) -> Iterator[None]:
            def report() -> None:
                signals = self._call("report", number, snapshot())
                for signum in signals[self._signals :]:
                    os.kill(os.getpid(), signum)  # the run handles it as if it came from a person
                self._signals = len(signals)

            with ticking(EVERY, report):
                yield

        return view

    def _pass_on(self, event: Event) -> None:
        if isinstance(event, Notice):
            self._call("notice", event.text)

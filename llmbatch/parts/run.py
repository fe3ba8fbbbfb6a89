"""Runs the parts of a plan, one after the other or several at once, and adds up what became of them."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic, sleep
from typing import Any

from llmbatch.app.files import check_run_files
from llmbatch.app.mock_process import mock_process
from llmbatch.app.prices import find_price, spent_before
from llmbatch.app.servers import Servers, find_preset
from llmbatch.app.session import View
from llmbatch.app.shared import Shared
from llmbatch.core.errors import CeilingReached, Interrupted, LlmbatchError, OutputBusy
from llmbatch.core.events import Notice
from llmbatch.core.plural import counted
from llmbatch.core.ports import AttemptLog, Observer
from llmbatch.core.settings import Settings, StopSettings
from llmbatch.core.tally import Summary
from llmbatch.pacing.cost import Budget, Price
from llmbatch.parts.account import Account
from llmbatch.parts.claim import EXPIRES
from llmbatch.parts.folder import RunFolder
from llmbatch.parts.hub import Hub, LenderHere, Lends
from llmbatch.parts.limits_server import LimitsClient, limits_client, shared_limits
from llmbatch.parts.plan import Plan
from llmbatch.parts.planning import find_plan, parts_of_shard
from llmbatch.parts.processes import Processes
from llmbatch.parts.progress import Progress
from llmbatch.parts.remote import Job, Result
from llmbatch.parts.summary import needs_work
from llmbatch.parts.worker import Worker
from llmbatch.transport_process.parent import TransportProcess

__all__ = ["PartsRun", "run_parts"]

PATIENCE = EXPIRES + 60.0
"""Seconds that a worker waits for a part of its own that another one holds."""
LOOKS_AGAIN = 1.0


def run_parts(
    settings: Settings,
    servers: Servers,
    environment: Mapping[str, str],
    *,
    transport: TransportProcess | None = None,
    observers: Sequence[Observer] = (),
    view: View | None = None,
    attempt_log: AttemptLog | None = None,
    embedded: bool = False,
) -> Summary:
    """Work on all parts of `-o DIR/` that are this command's and not complete; the summary is that of all of them.

    `embedded` is for a program that does something else, too: it keeps its signals. Raises LlmbatchError for what is
    wrong before the first request.
    """
    run = PartsRun(settings, servers, environment, tuple(observers))
    with run.servers_ready(), nullcontext() if view is None else view(run.progress.snapshot):
        if settings.parallel.engine == "ray" or settings.parallel.processes is not None:
            run.side_by_side()
        else:
            with run.limits_shared() as (shared, observers):
                run.one_by_one(run.worker(transport, attempt_log, shared, observers, embedded=embedded))
    return run.summary()


@dataclass(slots=True)
class PartsRun:
    """One command on a folder: what is to be done, and what came of it."""

    settings: Settings
    servers: Servers
    environment: Mapping[str, str]
    observers: Sequence[Observer]
    folder: RunFolder = field(init=False)
    plan: Plan = field(init=False)
    account: Account = field(init=False)
    progress: Progress = field(init=False)
    todo: list[int] = field(init=False)
    began: float = field(default_factory=monotonic)
    signals: list[int] = field(default_factory=list)
    """Signals for the processes that work on parts, where another thread gets them."""

    def __post_init__(self) -> None:
        settings = self.settings
        assert settings.output.folder is not None
        self.folder = RunFolder(settings.output.folder)
        price = find_price(settings.model, settings.stop, (self.servers.name, self.servers.preset))
        check_run_files(settings.input, settings.output, settings.files_read, settings.view.files, stdin=False)
        self.plan = find_plan(
            settings.input,
            settings.model,
            settings.output,
            self.folder,
            self.servers.preset,
            self.notice,
            append=settings.resume.append,
            pack=settings.pace.pack,
        )
        mine = parts_of_shard(self.plan, settings.input.shard)
        self.account, self.progress = Account(len(mine)), Progress(self.plan)
        self.progress.limit_to(mine)
        complete = {number: self._summary(number) for number in sorted(self.folder.complete().intersection(mine))}
        self.todo = [
            number for number in mine if number not in complete or needs_work(complete[number], settings.resume.redo)
        ]
        for number in complete.keys() - set(self.todo):
            self.account.skip(complete[number])
            self.progress.skip(number, complete[number]["records"])
        if self.account.complete:
            self.notice(f"{self.account.complete:,} of {len(mine):,} parts are complete")
        self.price = price

    price: Price | None = field(init=False)

    def notice(self, text: str) -> None:
        """Tell a person."""
        for observer in self.observers:
            observer(Notice(text))

    @contextmanager
    def servers_ready(self) -> Iterator[None]:
        """Serve the built-in mock, if that is asked, while the context lasts: one for all parts."""
        model = self.settings.model
        if model.provider != "mock" or model.base_urls or not self.todo:
            yield
            return
        with mock_process(str(self.folder.path / "mock") if self.settings.batches.batch_api else None) as url:
            self.servers = replace(self.servers, base_url=url)
            yield

    def worker(
        self,
        transport: TransportProcess | None,
        attempt_log: AttemptLog | None,
        shared: Shared,
        observers: Sequence[Observer],
        *,
        embedded: bool,
    ) -> Worker:
        """Return what works on parts in this process."""
        return Worker(
            self.settings,
            self.servers,
            self.environment,
            self.folder,
            self.plan,
            shared,
            (*self.observers, *observers),
            attempt_log,
            transport,
            self.notice,
            embedded,
            self.began,
        )

    @contextmanager
    def limits_shared(self) -> Iterator[tuple[Shared, Sequence[Observer]]]:
        """Yield the limits of the parts in this process, and what watches refusals, where other runs share them."""
        budget = self._budget()
        if self.settings.pace.share_limits is None:
            yield Shared.of(self.settings.pace, budget), ()
            return
        with shared_limits(self._limits_client(budget), self.settings.pace, self.settings.stop, self.price) as found:
            yield found

    def side_by_side(self) -> None:
        """Work on several parts at once: in processes of this machine, or on a Ray cluster."""
        parallel, pace, budget = self.settings.parallel, self.settings.pace, self._budget()
        dollars = _left(budget)
        url = self.servers.base_url if self.settings.model.provider == "mock" else None
        job = Job(self.settings, dict(self.environment), os.path.abspath(self.folder.path), url or None)
        if parallel.engine == "ray":
            from llmbatch.parts.ray_engine import RayTasks

            show = self.progress.show, self.notice
            address = parallel.ray_address or self.environment.get("RAY_ADDRESS")
            tls = self.environment.get("RAY_USE_TLS", "0") not in ("", "0")
            tasks = RayTasks(
                _for_other_nodes(job), show, self.signals, dollars, parallel.processes, self._done, address, tls=tls
            )
            tasks.run(self.todo, lambda: self.account.is_stopped)
            return
        with ExitStack() as stack:
            limits: Lends = LenderHere(rpm=pace.rpm, tpm=pace.tpm, dollars=dollars)
            if pace.share_limits is not None:
                limits = stack.enter_context(closing(self._limits_client(budget)))
            hub = Hub(limits, self.progress.show, self.notice, self.signals)
            Processes(job, hub, parallel.processes or 1, self._done).run(self.todo, lambda: self.account.is_stopped)

    def summary(self) -> Summary:
        """Return what became of all parts."""
        return self.account.summary(wall_s=monotonic() - self.began, fail_on=self.settings.stop.fail_on)

    def _done(self, number: int, result: Result) -> None:
        """Count what became of a part that another process worked on."""
        if isinstance(result, Summary):
            self.take(number, result)
        elif isinstance(result, OutputBusy):
            self.account.busy += 1
        else:
            self.account.stop(result)

    def one_by_one(self, worker: Worker) -> None:
        """Work on the parts in order; on those that another worker holds when the others are done.

        A worker with a shard waits for its parts: their holder is its predecessor, whose end takes a while to be seen.
        """
        waits_until = monotonic() + (PATIENCE if self.settings.input.shard is not None else 0.0)
        waiting = self.todo
        while waiting and not self.account.is_stopped:
            busy = [number for number in waiting if not self._work(worker, number)]
            if busy == waiting and monotonic() >= waits_until:
                self.account.busy = len(busy)
                return
            if busy == waiting:
                sleep(LOOKS_AGAIN)
            waiting = busy

    def _work(self, worker: Worker, number: int) -> bool:
        """Work on a part, unless the run is stopped; False if another worker holds it."""
        if self.account.is_stopped:
            return True
        try:
            self.take(number, worker.work(number, partial(self._watching, number)))
        except OutputBusy:
            return False
        except LlmbatchError as error:
            if not self.account.records:
                raise
            self.account.stop(error)
        except KeyboardInterrupt:
            self.account.stop(Interrupted(2))
        return True

    def take(self, number: int, summary: Summary) -> None:
        """Count what became of a part."""
        self.account.add(summary)
        self.progress.end(number, summary)
        limit, account = self.settings.stop.max_failures, self.account
        if limit.exceeded(account.failed, account.records) and not account.is_stopped:
            account.stop(
                CeilingReached(
                    f"{account.failed:,} of {counted(account.records, 'record')} failed, "
                    "more than --max-failures allows",
                    "Look at the failures, then run the same command again.",
                    by="failures",
                )
            )

    def _watching(self, number: int, snapshot: Any) -> AbstractContextManager[None]:
        return self.progress.watching(number, snapshot)

    def _summary(self, number: int) -> dict[str, Any]:
        return self.folder.read_summary(number, self.plan)

    def _limits_client(self, budget: Budget | None) -> LimitsClient:
        settings, left = self.settings, _left(budget)
        return limits_client(
            settings.pace,
            settings.output.folder,
            self.environment,
            left,
            patience=settings.patience.max_outage,
            notice=self.notice,
        )

    def _budget(self) -> Budget | None:
        """Return the budget of all parts together; under a ceiling it includes what they cost so far."""
        stop = self.settings.stop
        if not stop.has_ceiling or self.price is None:
            return None
        return budget(stop, self.price, self.folder, self.plan)


def _left(budget: Budget | None) -> float:
    """Return the dollars that may still be spent."""
    return math.inf if budget is None else max(0.0, budget.ceiling - budget.before)


def _for_other_nodes(job: Job) -> Job:
    """Return a job that means the same on another machine; of the environment it has keys and addresses alone."""
    settings = job.settings
    paths = tuple(path if "://" in path else os.path.abspath(path) for path in settings.input.paths)
    _, preset = find_preset(settings.model, {})
    wanted = {
        *preset.key_env,
        *preset.variables,
        "LLMBATCH_API_KEY",
        "LLMBATCH_LIMITS_TOKEN",
        "OPENAI_BASE_URL",
        "api_key",
    }
    wanted.add(settings.model.key_env or "")
    return job._replace(
        settings=settings._replace(input=settings.input._replace(paths=paths)),
        environment={name: value for name, value in job.environment.items() if name in wanted},
    )


def budget(stop: StopSettings, price: Price, folder: RunFolder, plan: Plan) -> Budget:
    """Return the budget of a run of parts, by the lines of its results so far. Raises InputError."""
    before = spent_before(map(folder.results, range(len(plan.parts))), price)
    ceiling, option = stop.ceiling(before)
    return Budget(price, ceiling=ceiling, before=before, option=option)

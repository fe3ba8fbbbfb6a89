"""Works on the parts of a plan, one after the other, in this process: each as a run on one results file."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from time import monotonic

from llmbatch.app.composition import run as run_session
from llmbatch.app.report import report
from llmbatch.app.servers import Servers
from llmbatch.app.session import View
from llmbatch.app.shared import Shared
from llmbatch.core.errors import ExitCode, LlmbatchError
from llmbatch.core.ports import AttemptLog, Observer
from llmbatch.core.settings import ParallelSettings, Settings
from llmbatch.core.tally import Summary
from llmbatch.parts.claim import claimed
from llmbatch.parts.folder import RunFolder
from llmbatch.parts.plan import Plan
from llmbatch.parts.planning import check_inputs_of_part
from llmbatch.parts.summary import summary_of
from llmbatch.transport_process.parent import TransportProcess
from llmbatch.transport_process.spawn import spawn_transport

__all__ = ["Worker"]


@dataclass(slots=True)
class Worker:
    """Works on parts. `transport` serves the first one, if there is one already."""

    settings: Settings
    servers: Servers
    environment: Mapping[str, str]
    folder: RunFolder
    plan: Plan
    shared: Shared
    observers: Sequence[Observer] = ()
    attempt_log: AttemptLog | None = None
    transport: TransportProcess | None = None
    notice: Callable[[str], None] = lambda text: None
    embedded: bool = False
    began: float = field(default_factory=monotonic)

    def work(self, number: int, view: View | None = None) -> Summary:
        """Work on a part until it is complete or something ends the work early; the summary says which.

        A complete one is looked at again. Raises LlmbatchError where the part could not begin, OutputBusy if another
        run works on it.
        """
        settings = _settings_of_part(self.settings, self.folder, self.plan, number)
        left = settings.stop.deadline - (monotonic() - self.began)
        settings = settings._replace(stop=settings.stop._replace(deadline=max(0.01, left)))
        transport, self.transport = self.transport, None
        servers, self.servers = self.servers, replace(self.servers, note=None)  # said once
        lanes_of = nullcontext(transport) if transport is not None else spawn_transport()
        with claimed(self.folder.claim(number), self.folder.results(number)), lanes_of as lanes:
            check_inputs_of_part(settings.input.paths, self.plan, number)
            if self.folder.summary(number).exists():
                self.folder.reopen(number)
            summary = run_session(
                settings,
                servers,
                lanes,
                self.environment,
                observers=self.observers,
                view=view,
                attempt_log=self.attempt_log,
                shared=self.shared,
                embedded=self.embedded,
            )
        if summary.stopped is None and summary.exit_code in (ExitCode.OK, ExitCode.FAILURES):
            self._complete(number, summary)
        return summary

    def _complete(self, number: int, summary: Summary) -> None:
        """Write what the part has, from its lines: the account of the run has to be the same."""
        path = self.folder.results(number)
        fields = summary_of(self.plan.name_of(number), report([os.fspath(path)], notice=self.notice))
        if fields["records"] != summary.read + summary.orphans:
            raise LlmbatchError(f"{path} has {fields['records']} results for {summary.read} records: this is a bug")
        self.folder.write_summary(number, fields)


def _settings_of_part(settings: Settings, folder: RunFolder, plan: Plan, number: int) -> Settings:
    """Return the settings of the session that works on a part."""
    pieces = plan.parts[number].pieces
    paths = settings.input.paths
    return settings._replace(
        input=settings.input._replace(
            paths=tuple(paths[piece.input] for piece in pieces),
            named=(),
            spans=tuple(piece.span for piece in pieces),
            part=plan.name_of(number),
            shard=None,
            strict=False,
        ),
        output=settings.output._replace(path=folder.results(number), folder=None),
        parallel=ParallelSettings(),
        view=settings.view._replace(summary_file=None, metrics_file=None),
    )

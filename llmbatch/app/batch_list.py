"""`batches`: what a results file has with providers, and what is done about it by hand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from llmbatch.app.batches import MOCK_ADDRESS, client_of, model_of
from llmbatch.app.mock_process import mock_process
from llmbatch.app.servers import find_servers
from llmbatch.batches.calls import BatchClient
from llmbatch.core.clock import SystemClock
from llmbatch.core.errors import LlmbatchError, UsageError
from llmbatch.core.exchange import Reply
from llmbatch.core.plural import counted
from llmbatch.core.ticket import Status, Step, Ticket, line_of
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.batch_api import read_row
from llmbatch.results.opening import open_store
from llmbatch.results.state_folder import check_folder
from llmbatch.results.store import Store
from llmbatch.results.ticket_log import NAME, read_log
from llmbatch.transport_process.channel import TransportSettings
from llmbatch.transport_process.parent import TransportProcess
from llmbatch.transport_process.spawn import spawn_transport

__all__ = ["BatchLine", "adopt", "cancel", "check_batch", "file_with", "give_up", "list_batches"]

Notice = Callable[[str], None]
"""Tells a person."""

_FIRST_ROWS = 1 << 20
"""Bytes of an output that are fetched to look at its first row."""


@dataclass(slots=True)
class BatchLine:
    """One batch, as it is shown. `said` is what the provider said, where it was asked, or why it was not.

    `answered` is how many of its requests are, as it said.
    """

    ticket: Ticket
    said: str | None = None
    answered: int | None = None
    unasked: LlmbatchError | None = None
    """Why the provider was not asked."""

    @property
    def records_answered(self) -> int | None:
        """About how many records are answered, None where nobody told."""
        said = self.answered if self.answered is not None else self.ticket.completed
        return None if said is None else self.ticket.records_in(said)

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        ticket = self.ticket
        return {
            "ticket": ticket.tag,
            "batch": ticket.batch,
            "provider": ticket.provider,
            "model": ticket.model,
            "records": ticket.count,
            "step": str(ticket.step),
            "cancelling": ticket.cancelling,
            "status": self.said or ticket.status,
            "answered": self.records_answered,
            "created_at": ticket.created_at or None,
            "asked_at": ticket.asked_at or None,
            "window_s": ticket.window,
        }


def list_batches(
    path: Path, *, check: bool, environment: Mapping[str, str], key_env: str | None = None
) -> list[BatchLine]:
    """Return the open batches of a results file; with `check` the providers are asked. Raises LlmbatchError."""
    lines = [BatchLine(ticket) for ticket in _open_tickets(path)]
    if check and lines:
        with _transport() as transport:
            anyio.run(partial(_each, lines, path, transport, environment, key_env, _look))
    return lines


def file_with(files: Sequence[Path], tag: str) -> Path:
    """Return which of the results files of a run has a ticket; the first if none has. Raises LlmbatchError."""
    return next((path for path in files if any(one.tag == tag for one in _open_tickets(path))), files[0])


def cancel(
    path: Path, notice: Notice, *, environment: Mapping[str, str], key_env: str | None = None
) -> list[BatchLine]:
    """Have every running batch of a results file cancelled; what is answered is collected by the next run.

    Holds the file meanwhile. Raises LlmbatchError.
    """
    if not _open_tickets(path):
        return []
    with _opened(path, notice) as store, _transport() as transport:
        lines = [BatchLine(ticket) for ticket in store.tickets.log.tickets.values()]

        async def stop(line: BatchLine, client: BatchClient) -> None:
            if line.ticket.step is not Step.RUNNING:
                line.said = "not running" if line.ticket.step is not Step.ASKED else "not known yet: run again first"
                return
            line.ticket = store.tickets.record(line.ticket, Step.RUNNING, {"cancelling": True})
            line.said = _said(await client.call(client.api.cancel(line.ticket)), "cancelling")

        anyio.run(partial(_each, lines, path, transport, environment, key_env, stop))
    return lines


def adopt(
    path: Path, tag: str, batch: str, notice: Notice, *, environment: Mapping[str, str], key_env: str | None = None
) -> BatchLine:
    """Say that a batch is the one whose creation was cut off: its ticket goes on with it. Raises LlmbatchError."""
    with _opened(path, notice) as store, _transport() as transport:
        tickets = store.tickets.log.tickets
        ticket = tickets.get(tag)
        if ticket is None or ticket.step is not Step.ASKED:
            raise UsageError(
                f"{path} has no batch {tag!r} whose creation is in doubt",
                f"llmbatch batches {path} lists what there is.",
            )
        owner = next((one.tag for one in tickets.values() if batch in (one.batch, *one.more)), None)
        if owner is not None:
            raise UsageError(
                f"batch {batch!r} is that of {owner}: {tag} has another one", "Look it up at the provider."
            )
        line = BatchLine(replace(ticket, batch=batch))

        async def take(line: BatchLine, client: BatchClient) -> None:
            status = await check_batch(line.ticket, client)
            now = SystemClock.wall()
            line.ticket = store.tickets.record(ticket, Step.RUNNING, {"batch": batch, "created_at": now})
            line.said = status.word

        anyio.run(partial(_each, [line], path, transport, environment, key_env, take))
    return line


async def check_batch(ticket: Ticket, client: BatchClient) -> Status:
    """Return how the batch of a ticket is, of which a person says that it is the one. Raises UsageError if it is not.

    One that has ended is known by its first row. Any other has to have as many records.
    """
    reply = await client.call(client.api.poll(ticket))
    status = client.api.status(reply) if isinstance(reply, Reply) else reply
    look = "Look its name up at the provider."
    if not isinstance(status, Status):
        raise UsageError(f"batch {ticket.batch!r} is not there: {status.message}", look)
    if status.total not in (None, ticket.requests):
        raise UsageError(
            f"batch {ticket.batch!r} has {counted(status.total, 'request')}, and {ticket.tag} has {ticket.requests:,}: "
            "it is another one",
            look,
        )
    for name in status.outputs if status.ended else ():
        rows = await client.call(replace(client.api.output(ticket, name), only=_FIRST_ROWS))
        if not isinstance(rows, Reply) or not 200 <= rows.status < 300:
            continue
        row = read_row(client.api, rows.body.partition(b"\n")[0])
        if row is not None and line_of(ticket.tag, ticket.requests, row.id) is None:
            raise UsageError(
                f"batch {ticket.batch!r} has a row {str(row.id)[:80]!r}, which is of no record of {ticket.tag}: "
                "it is another one",
                look,
            )
    return status


def give_up(path: Path, tag: str, notice: Notice) -> BatchLine:
    """Say that a batch will never be collected: its records without a line are in doubt. Raises LlmbatchError."""
    with _opened(path, notice) as store:
        ticket = store.tickets.log.tickets.get(tag)
        if ticket is None:
            raise UsageError(
                f"{path} has no batch {tag!r} that is not collected", f"llmbatch batches {path} lists what there is."
            )
        # Their intents were written when the file was opened, with marks that say sent.
        store.tickets.record(ticket, Step.VOID, {"reason": "given up", "keep_rows": True})
        store.tickets.tidy(ticket, keep_rows=True)
    return BatchLine(ticket, said="given up")


@contextmanager
def _opened(path: Path, notice: Notice) -> Iterator[Store]:
    """Open a results file. One of which it is not known what is in doubt is left alone: that is a run's to decide."""
    with open_store(path, fsync="batch", hold=True) as store:
        for text in store.found.notices:
            notice(text)
        yield store


def _open_tickets(path: Path) -> list[Ticket]:
    folder = path.with_name(f"{path.name}.state")
    if not path.exists() and not folder.exists():
        raise UsageError(f"{path}: no such results file", "Name the FILE of a run with -o FILE.")
    if folder.is_dir():
        check_folder(folder)
    content = read_log(folder / NAME)
    content.check(folder / NAME, "A run with --move-broken moves that file away and looks the batch up.")
    return [ticket for ticket in content.tickets.values() if ticket.is_open]


@contextmanager
def _transport() -> Iterator[TransportProcess]:
    with spawn_transport() as transport:
        yield transport


async def _look(line: BatchLine, client: BatchClient) -> None:
    if line.ticket.batch is None:
        line.said = "not known yet: run again to look it up"
        return
    reply = await client.call(client.api.poll(line.ticket))
    status = client.api.status(reply) if isinstance(reply, Reply) else reply
    if isinstance(status, Status):
        line.said, line.answered = status.word, status.completed
    else:
        line.said = status.message


async def _each(
    lines: Sequence[BatchLine],
    path: Path,
    transport: TransportProcess,
    environment: Mapping[str, str],
    key_env: str | None,
    act: Callable[[BatchLine, BatchClient], Any],
) -> None:
    """Do something about each batch at its provider; one for which there is not the right key says so."""
    settings = TransportSettings(
        base_urls=("http://127.0.0.1",),
        headers={},
        reader=AnswerReader(),
        ca_file=None,
        connect_timeout=10.0,
        timeout=60.0,
        lanes=1,
        logged=False,
    )
    folder = path.with_name(f"{path.name}.state") / "mock"
    if not folder.is_dir():  # the parts of a run have one built-in mock together
        folder = path.with_name("mock")
    mocked = any(line.ticket.address == MOCK_ADDRESS for line in lines)
    with mock_process(str(folder)) if mocked else nullcontext("") as mock_url:
        async with transport.connected(settings, log=None, lost=lambda error: None):
            for line in lines:
                model = model_of(line.ticket, environment, key_env)
                try:
                    servers = find_servers(model, environment)
                    if line.ticket.address == MOCK_ADDRESS:
                        servers = replace(servers, base_url=mock_url)
                    client = client_of(line.ticket, servers, model, transport)
                except UsageError:
                    raise
                except LlmbatchError as error:
                    line.said, line.unasked = error.message, error
                    continue
                if client is not None:
                    await act(line, client)


def _said(reply: Any, good: str) -> str:
    if isinstance(reply, Reply):
        return good if 200 <= reply.status < 300 else f"refused: HTTP {reply.status}"
    return str(reply.message)

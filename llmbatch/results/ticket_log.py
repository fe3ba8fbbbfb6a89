"""The log of tickets: a line per step in FILE.state/tickets.jsonl, on the disk before the next call to the provider.

Each line carries a checksum. A piece of a line at the end is what a crash left of a step whose call never followed, so
it is dropped. Damage anywhere else is somebody else's work, and a run is refused: a step that is missing could make it
create a batch twice.
"""

import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from llmbatch.codec import json
from llmbatch.core.errors import UsageError
from llmbatch.core.ticket import Step, Ticket
from llmbatch.results import disk

__all__ = ["NAME", "LogContent", "TicketLog", "read_log"]

NAME = "tickets.jsonl"
_LIMITS = "limits"
"""Entries of what was learned of a model's queue."""
_STEPS = frozenset([_LIMITS, *map(str, Step)])
_REWRITE = 1 << 20
"""Bytes beyond which a log of settled tickets is written anew."""


class LogContent(NamedTuple):
    """What a log holds: the tickets that are not over, the tokens that may be queued for each model, the damage."""

    tickets: dict[str, Ticket]
    limits: dict[str, int]
    damaged: tuple[int, ...] = ()
    """The numbers of the lines that cannot be read."""
    size: int = 0
    """Where the last whole line ends."""
    kept: frozenset[str] = frozenset()
    """The tickets that are over, and whose rows hold what could not be read."""

    def check(self, path: Path, way: str) -> None:
        """Raise UsageError for damage; `way` leads out of it."""
        if self.damaged:
            numbers = ", ".join(map(str, self.damaged))
            raise UsageError(
                f"{path}, line {numbers}: damaged, so what became of a batch is not known; nothing was sent", way
            )


def read_log(path: Path) -> LogContent:
    """Read a log; one that is not there is empty. Raises OSError, UsageError for one of a newer version."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return LogContent({}, {})
    tickets: dict[str, Ticket] = {}
    limits: dict[str, int] = {}
    damaged: list[int] = []
    kept: set[str] = set()
    size = data.rfind(b"\n") + 1
    lines = data[:size].split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        entry = _unsealed(line)
        if entry is None:
            if number == len(lines) and b"\0" in line:  # what a power cut left of the last step
                size -= len(line) + 1
            else:
                damaged.append(number)
            continue
        if entry["step"] not in _STEPS:
            raise UsageError(
                f"{path}, line {number}: a step {entry['step'][:40]!r} of a newer llmbatch; nothing was sent",
                "Use that version: it knows what became of the batch.",
            )
        if entry["step"] == _LIMITS:
            limits[str(entry.get("model"))] = int(entry.get("tokens", 0))
            continue
        try:
            ticket = tickets.get(entry["t"], Ticket(tag=entry["t"], step=Step.DRAWN)).after(entry)
        except (ValueError, TypeError):
            damaged.append(number)
            continue
        if ticket.step in (Step.SETTLED, Step.VOID):
            tickets.pop(ticket.tag, None)
            if entry.get("keep_rows"):
                kept.add(ticket.tag)
        else:
            tickets[ticket.tag] = ticket
    return LogContent(tickets, limits, tuple(damaged), size, frozenset(kept))


class TicketLog:
    """The log of one results file, whose lock its user holds. Methods block, and raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._fd = -1
        self.tickets: dict[str, Ticket] = {}
        """Those that are not over, by tag."""
        self.kept: frozenset[str] = frozenset()
        """Those that are over, and whose rows hold what could not be read."""
        self.limits: dict[str, int] = {}

    def open(self, *, move_broken: bool = False) -> Path | None:
        """Read the log and drop what a crash left at its end; return where it was moved if lines were damaged.

        It is moved with `move_broken` only; else damage raises UsageError. A ticket that seems only uploaded then
        counts as asked for, since that may be the step that is missing.
        """
        moved = None
        content = read_log(self._path)
        if not move_broken:
            way = "Put the file back from a copy, or add --move-broken: the file is moved, and the batch is looked up."
            content.check(self._path, way)
        self.tickets, self.limits, self.kept = content.tickets, content.limits, content.kept
        if content.damaged:
            for tag, ticket in self.tickets.items():
                if ticket.is_drawn_only:
                    self.tickets[tag] = ticket.after({"step": Step.ASKED, "asked_at": ticket.drawn_at})
            moved = disk.free_name(self._path.parent, "broken-tickets", ".jsonl")
            disk.rename(self._path, moved)
            self._rewrite()
        elif self._path.exists() and (not content.size or (content.size > _REWRITE and not self.tickets)):
            self._rewrite()
        elif self._path.exists() and content.size < self._path.stat().st_size:
            fd = disk.create(self._path)
            try:
                disk.cut(fd, content.size)
                disk.sync(fd)
            finally:
                os.close(fd)
        return moved

    def record(self, ticket: Ticket, step: Step, **facts: Any) -> Ticket:
        """Put a step on the disk; return the ticket after it. Raises OSError: the step is not taken then."""
        entry = {"t": ticket.tag, "step": step, **facts}
        self._append(entry)
        after = ticket.after(entry)
        if step in (Step.SETTLED, Step.VOID):
            self.tickets.pop(ticket.tag, None)
        else:
            self.tickets[ticket.tag] = after
        return after

    def draw(self, ticket: Ticket) -> None:
        """Put a new ticket on the disk."""
        self._append(_whole(ticket))
        self.tickets[ticket.tag] = ticket

    def learn(self, model: str, tokens: int) -> None:
        """Put on the disk how many tokens may be queued for a model."""
        self._append({"step": _LIMITS, "model": model, "tokens": tokens})
        self.limits[model] = tokens

    def _append(self, entry: Mapping[str, Any]) -> None:
        new = self._fd < 0 and not self._path.exists()
        if self._fd < 0:
            self._fd = disk.create(self._path)
        size = os.fstat(self._fd).st_size
        try:
            disk.append(self._fd, _sealed(entry))
            disk.sync(self._fd)
        except OSError:
            disk.cut(self._fd, size)
            raise
        if new:
            disk.sync_folder(self._path.parent)

    def _rewrite(self) -> None:
        self.close()
        limits = ({"step": _LIMITS, "model": model, "tokens": tokens} for model, tokens in self.limits.items())
        lines: Iterable[bytes] = [*map(_sealed, limits), *(_sealed(_whole(ticket)) for ticket in self.tickets.values())]
        disk.replace(self._path.with_suffix(".new"), self._path, lines)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _whole(ticket: Ticket) -> dict[str, Any]:
    facts = asdict(ticket)
    return {"t": facts.pop("tag"), "step": facts.pop("step"), **facts}


def _sealed(entry: Mapping[str, Any]) -> bytes:
    """Return an entry as a line, with the checksum of what stands before that."""
    body = json.dumps(entry)[:-1]
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def _unsealed(line: bytes) -> dict[str, Any] | None:
    """Read a line; None when it is damaged."""
    body, mark, seal = line.rpartition(b',"crc":"')
    if not mark or seal != b'%08x"}' % zlib.crc32(body):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    fine = isinstance(entry, dict) and isinstance(entry.get("step"), str)
    return entry if fine and (entry["step"] == _LIMITS or isinstance(entry.get("t"), str)) else None

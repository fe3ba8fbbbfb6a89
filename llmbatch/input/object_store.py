"""Reads objects by obstore: S3 and what speaks like it, Google Cloud Storage, Azure, web servers.

An object is read by ranges, each a request of its own that ends soon: a run may read slower than a connection lives.
All ranges are of one version. A request that fails in a way that may pass is made again for a while, from where it was.
"""

import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from threading import Event
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from llmbatch.core.errors import InputError
from llmbatch.input.address import Address, parsed
from llmbatch.input.store_access import opened
from llmbatch.input.store_errors import changed, explained, may_pass

__all__ = ["RANGE", "Facts", "RemoteObject", "listed"]

RANGE = 4 << 20
"""Bytes of one request."""
PATIENCE = 180.0
"""Seconds for which a range is asked for again and again."""
FIRST_PATIENCE = 5.0
"""The same for the first request to an object, whose name may be wrong."""
_TIMEOUT = timedelta(seconds=60)
"""Time for a range, which a slow connection needs."""
_FOR_ALL = timedelta(hours=1)
"""Time for a body that cannot be read by ranges."""
_PAUSES = 0.25, 8.0
"""The first and the longest pause between two tries, in seconds."""

T = TypeVar("T")


class Facts(NamedTuple):
    """What an object is at present. `tag` names its version: its etag or, without one, its date."""

    size: int
    tag: str | None


class RemoteObject:
    """An object, in the version that the first request to it met. For one thread; `close` is for any."""

    def __init__(self, name: str) -> None:
        self._address = parsed(name)
        self._store, self._path = opened(self._address, _TIMEOUT)
        self._facts: Facts | None = None
        self._copy: Any = None
        """The whole object in an unnamed file, where a server sends no ranges."""
        self._by_range = True
        self._closed = Event()

    @property
    def facts(self) -> Facts:
        """The size and the version. Raises InputError."""
        if self._facts is None:
            self._get(0, 1)
        assert self._facts is not None
        return self._facts

    @property
    def has_ranges(self) -> bool:
        """Whether it can be read from the middle. Raises InputError."""
        return bool(self.facts) and self._by_range

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to before `end`, fewer at the end of the object. Raises InputError."""
        if self._facts is not None:
            end = min(end, self._facts.size)
        if end <= start:
            return b""
        data = self._get(start, end) if self._by_range else None
        return self._copied(start, end) if data is None else data

    def close(self) -> None:
        """Ask for nothing more."""
        self._closed.set()
        if self._copy is not None:
            self._copy.close()

    def _get(self, start: int, end: int) -> bytes | None:
        """Return a range; None if the server sends none, or there is nothing in it."""

        def get() -> bytes | None:
            import obstore

            options: Any = {"range": (start, end)}
            if self._facts is not None and self._facts.tag is not None and self._facts.tag.startswith('"'):
                options["if_match"] = self._facts.tag
            try:
                result = obstore.get(self._store, self._path, options=options)
            except obstore.exceptions.PreconditionError:
                raise changed(self._address) from None
            except obstore.exceptions.NotSupportedError:
                self._by_range = False
                self._look()
                return None
            except obstore.exceptions.GenericError as error:
                if "status code: 416" not in str(error):
                    raise
                self._look()
                if self._facts is not None and self._facts.size > start:
                    raise changed(self._address) from None
                return None
            self._note(result.meta)
            return bytes(result.bytes())

        return self._ask(get)

    def _look(self) -> None:
        """Learn the facts from the head of an answer with all of the object."""
        import obstore

        self._note(obstore.get(self._store, self._path).meta)

    def _copied(self, start: int, end: int) -> bytes:
        """Return a range from a copy of the object on this machine."""
        if self._copy is None:
            self._copy = self._ask(self._copy_all)
        self._copy.seek(start)
        data: bytes = self._copy.read(end - start)
        return data

    def _copy_all(self) -> Any:
        import obstore

        copy = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the object
        result = obstore.get(opened(self._address, _FOR_ALL)[0], self._path)
        self._note(result.meta)
        for piece in result.stream():
            if self._closed.is_set():
                break
            copy.write(piece)
        return copy

    def _note(self, meta: Any) -> None:
        date = meta["last_modified"]
        facts = Facts(meta["size"], meta["e_tag"] or (date.isoformat() if date.timestamp() > 0 else None))
        if self._facts is None:
            self._facts = facts
        elif self._facts != facts:
            raise changed(self._address)

    def _ask(self, call: Callable[[], T]) -> T:
        return _again(self._address, call, lambda: FIRST_PATIENCE if self._facts is None else PATIENCE, self._closed)


def listed(address: Address, *, below: bool) -> Iterator[tuple[str, Facts]]:
    """Yield the keys that begin with that of an address, a folder's, and facts; those `below` its own folders, too.

    Raises InputError.
    """
    import obstore

    store, path = opened(address, _TIMEOUT)
    prefix = path.rstrip("/") or None

    def ask() -> list[Any]:
        if below:
            return [meta for some in obstore.list(store, prefix=prefix) for meta in some]
        return [*obstore.list_with_delimiter(store, prefix=prefix)["objects"]]

    for meta in _again(address, ask, lambda: FIRST_PATIENCE, Event()):
        yield meta["path"], Facts(meta["size"], meta["e_tag"] or meta["last_modified"].isoformat())


def _again(address: Address, call: Callable[[], T], patience: Callable[[], float], is_over: Event) -> T:
    """Call until it works, at most for so many seconds. Raises InputError."""
    from obstore.exceptions import BaseError

    began, pause = monotonic(), _PAUSES[0]
    while True:
        try:
            return call()
        except (BaseError, FileNotFoundError, ValueError) as error:
            if not may_pass(error) or monotonic() + pause > began + patience() or is_over.is_set():
                raise explained(address, error) from error
        except OSError as error:
            raise InputError(f"cannot keep a copy of {address.key}: {error.strerror}", "Set TMPDIR.") from error
        is_over.wait(pause)
        pause = min(2 * pause, _PAUSES[1])

"""Serves shared limits to workers over a socket, as JSON lines: `llmbatch limits`, and workers of one machine.

A socket file on one machine is served by the first worker that needs it, and by another one when that ends. Over TCP
each message carries a token.
"""

import fcntl
import hmac
import os
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from llmbatch.app.prices import spent_before
from llmbatch.app.shared import Shared
from llmbatch.codec import json
from llmbatch.core.errors import ActionNeeded, CeilingReached, LlmbatchError, UsageError
from llmbatch.core.loopback import is_loopback
from llmbatch.core.ports import Observer
from llmbatch.core.settings import OutputSettings, PaceSettings, StopSettings
from llmbatch.core.thread import start_thread
from llmbatch.pacing.cost import Price
from llmbatch.pacing.lender import Ask, Grant, Lender
from llmbatch.parts.loans import Borrower

__all__ = [
    "LimitsClient",
    "LimitsServer",
    "check_exposed",
    "limits_client",
    "place_of",
    "shared_limits",
    "spent_on_file",
]

TIMEOUT = 5.0
"""Seconds that a call may take."""
PAUSE = 0.5
"""Seconds until a server that cannot be reached is called again."""
_LONGEST = 1 << 16

Address = tuple[str, int] | Path


def place_of(text: str, folder: Path | None) -> Address:
    """Return where `--share-limits` leads: an address, or the socket file of a name or, with `auto`, of a folder.

    Raises UsageError.
    """
    if ":" in text:
        host, _, port = text.removeprefix("tcp://").rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(f"--share-limits {text!r} is not HOST:PORT", "Example: --share-limits node-1:7070")
        return host.strip("[]"), int(port)
    if text == "auto":
        if folder is None:
            raise UsageError("--share-limits auto is for -o DIR/", "Runs on one machine share a NAME.")
        return folder / ".limits"
    if not text.isidentifier() and not text.replace("-", "_").isidentifier():
        raise UsageError(f"--share-limits {text!r} is not a name", "Use letters and digits, auto, or HOST:PORT.")
    private = Path(tempfile.gettempdir()) / f"llmbatch-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    status = private.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise UsageError(f"{private} belongs to somebody else", "Set TMPDIR to a folder of your own.")
    return private / f"{text}.limits"


class LimitsServer:
    """Serves a lender until it is closed. With a `token`, calls without it are refused."""

    def __init__(self, lender: Lender, address: Address, token: str | None = None) -> None:
        lock = threading.Lock()
        connections = self._connections = set[socket.socket]()

        class Handler(socketserver.StreamRequestHandler):
            timeout = 60.0

            def handle(self) -> None:
                connections.add(self.connection)
                with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                    while line := self.rfile.readline(_LONGEST):
                        fields = json.loads(line)
                        if token is not None and not hmac.compare_digest(str(fields.get("token")), token):
                            self.wfile.write(b'{"error":"another LLMBATCH_LIMITS_TOKEN"}\n')
                            return
                        with lock:
                            reply = _answer(lender, fields)
                        self.wfile.write(json.dumps(reply) + b"\n")

        if isinstance(address, Path):
            address.unlink(missing_ok=True)
            with _short(address) as name:
                self._server: socketserver.BaseServer = _UnixServer(name, Handler)
        else:
            self._server = _TcpServer(address, Handler)

    @property
    def port(self) -> int:
        """Return the port, over TCP."""
        return int(cast(Any, self._server).server_address[1])

    def serve(self) -> None:
        """Serve until closed. Blocks."""
        self._server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        for connection in [*self._connections]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()


class LimitsClient:
    """Calls a server; on one machine it becomes the server when there is none. `lender` makes what it then lends by.

    When a server was out of reach for `patience` seconds, or has another token, `failure` says so and nothing is lent
    any more. `notice` is told when it is out of reach, and when it answers again.
    """

    def __init__(
        self,
        address: Address,
        lender: Callable[[bool], Lender],
        *,
        token: str | None = None,
        patience: float = 900.0,
        notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._address, self._lender, self._token, self._patience = address, lender, token, patience
        self._notice = notice
        self._name = ":".join(map(str, address)) if isinstance(address, tuple) else str(address)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._file: Any = None
        self._server: LimitsServer | None = None
        self._had_server = False
        self._lost_since: float | None = None
        self.failure: LlmbatchError | None = None

    def lend(self, ask: Ask) -> Grant:
        """Ask for slices of the limits; nothing while the server is out of reach."""
        reply = self._call({"lend": list(ask)})
        return Grant(*(float("inf") if units is None else units for units in reply)) if reply is not None else Grant()

    def borrow(self, dollars: float) -> float:
        """Ask for a part of the budget."""
        reply = self._call({"borrow": dollars})
        return float(reply) if reply is not None else 0.0

    def close(self) -> None:
        """Disconnect; stop serving, so that another one can."""
        with self._lock:
            self._disconnect()
            if self._server is not None:
                self._server.close()
                self._server = None
                os.close(self._held)

    def _disconnect(self) -> None:
        for one in (self._file, self._socket):
            if one is not None:
                one.close()
        self._socket = self._file = None

    def _call(self, fields: dict[str, Any]) -> Any:
        with self._lock:
            for again in (True, False):
                try:
                    if self._socket is None:
                        self._connect()
                    assert self._socket is not None
                    self._socket.sendall(json.dumps(fields | {"token": self._token}) + b"\n")
                    line = self._file.readline(_LONGEST)
                    if not line:
                        raise ConnectionError("it closed the connection")
                    reply = json.loads(line)
                    if isinstance(reply, dict) and "error" in reply:
                        self._disconnect()
                        self.failure = ActionNeeded(
                            f"the limits at {self._name} have {reply['error']}", "Set it to the same secret as there."
                        )
                        return None
                    if self._lost_since is not None:
                        self._notice(f"the limits at {self._name} answer again")
                    self._lost_since, self._had_server = None, True
                    return reply
                except (OSError, ValueError) as error:
                    self._disconnect()
                    if not again:
                        self._note_loss(error)
        return None

    def _note_loss(self, error: Exception) -> None:
        now = time.monotonic()
        reason = (isinstance(error, OSError) and error.strerror) or error
        if self._lost_since is None:
            self._lost_since = now
            self._notice(
                f"the limits at {self._name} cannot be reached ({reason}); nothing is sent until they answer, "
                f"for at most {self._patience:g} s (--max-outage)"
            )
        if now - self._lost_since > self._patience and self.failure is None:
            self.failure = CeilingReached(
                f"the limits at {self._name} were out of reach for longer than --max-outage {self._patience:g} s: "
                f"{reason}",
                "Start llmbatch limits there, then run the same command again.",
                by="outage",
            )

    def _connect(self) -> None:
        if isinstance(self._address, tuple):
            self._socket = socket.create_connection(self._address, TIMEOUT)
        else:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(TIMEOUT)
            try:
                with _short(self._address) as name:
                    self._socket.connect(name)
            except OSError:
                self._serve(self._address)
                with _short(self._address) as name:
                    self._socket.connect(name)
        self._file = self._socket.makefile("rb")

    def _serve(self, path: Path) -> None:
        """Serve from here on, if nobody else does. The lock ends with this process."""
        lock = os.open(
            path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            time.sleep(PAUSE / 10)  # another worker begins to serve at this moment
            return
        self._held = lock
        self._server = LimitsServer(self._lender(self._had_server), path)
        start_thread(self._server.serve)


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _TcpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True


def _answer(lender: Lender, fields: dict[str, Any]) -> Any:
    if "borrow" in fields:
        return lender.borrow(float(fields["borrow"]))
    who, unused, needed, *rest = fields["lend"]
    ask = Ask(str(who), (float(unused[0]), float(unused[1])), (float(needed[0]), float(needed[1])), *rest)
    return [units if units < float("inf") else None for units in lender.lend(ask, time.monotonic())]


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name of a socket file that is short enough for the system."""
    if len(os.fsencode(path)) < 100:
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def check_exposed(host: str, token: str | None) -> None:
    """Raise UsageError where others on the network could take the limits."""
    if token is None and not is_loopback(host):
        raise UsageError(
            f"--host {host} is open to the network, and LLMBATCH_LIMITS_TOKEN is not set",
            "Set it to the same secret here and for the workers.",
        )


def limits_client(
    pace: PaceSettings,
    folder: Path | None,
    environment: Mapping[str, str],
    dollars: float,
    *,
    patience: float,
    notice: Callable[[str], None],
) -> LimitsClient:
    """Return the client that `--share-limits` asks for. Where it has to serve, it lends the limits of `pace`.

    `folder` is that of a run of parts; a server that does not answer is waited for `patience` seconds. A client that
    begins to serve after another one lends no dollars: what that lent is not known. Raises UsageError.
    """
    address = place_of(pace.share_limits or "", folder)

    def lender(again: bool) -> Lender:
        left = 0.0 if again and dollars < float("inf") else dollars
        return Lender(time.monotonic(), rpm=pace.rpm, tpm=pace.tpm, dollars=left)

    token = environment.get("LLMBATCH_LIMITS_TOKEN") or None
    return LimitsClient(address, lender, token=token, patience=patience, notice=notice)


def spent_on_file(output: OutputSettings, stop: StopSettings, price: Price | None) -> float:
    """Return what earlier runs spent on the one results file of a run with a ceiling. Raises InputError."""
    if output.path is None or output.overwrite or not stop.has_ceiling:
        return 0.0
    return spent_before([output.path], price)


@contextmanager
def shared_limits(
    client: LimitsClient, pace: PaceSettings, stop: StopSettings, price: Price | None, before: float = 0.0
) -> Iterator[tuple[Shared, Sequence[Observer]]]:
    """Yield limits that are borrowed while the context lasts, and the observer that tells of refusals.

    `before` is what earlier runs spent under the ceiling in `stop`, where that is the ceiling of this run alone.
    """
    borrower = Borrower(pace, stop, price, client.lend, client.borrow, before)
    borrower.shared.failure = lambda: client.failure
    try:
        with borrower.at_work():
            yield borrower.shared, (borrower.see,)
    finally:
        client.close()

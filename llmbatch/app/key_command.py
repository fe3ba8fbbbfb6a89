"""`--key-command`: runs a program that prints the key, and runs it again when a key that worked is refused."""

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import anyio
import anyio.to_thread

from llmbatch.core.errors import ActionNeeded, LlmbatchError, UsageError
from llmbatch.core.exchange import ReadReply, Request
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.outcome import Completion
from llmbatch.core.ports import Lane
from llmbatch.core.redact import Redactor

__all__ = ["KeyRenewal", "run_key_command"]

_MOST = 64 * 1024
"""The most bytes that are read of what a program says; no key is so long."""


def run_key_command(command: str, timeout: float) -> str:
    """Run a command without a shell; return the one line that it prints.

    Raises UsageError for a command that cannot run or prints several lines, ActionNeeded for one that fails or takes
    longer than `timeout` seconds. No message shows what it printed.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--key-command cannot be split into words: {error}", "Close the quotes.") from None
    if not words:
        raise UsageError("--key-command is empty", "Example: --key-command 'gcloud auth print-access-token'")
    name = words[0]
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"--key-command: {name} cannot be run: {reason}", "Name a program; a pipe or a variable needs sh -c '…'."
        ) from None
    with process:
        try:
            out, err = _output(process, timeout)
        except TimeoutError:
            raise ActionNeeded(
                f"--key-command: {name} took longer than {timeout:g} s",
                "Run it by hand to see what it waits for; --connect-timeout S allows more.",
            ) from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    lines = out.decode("utf-8-sig", "replace").strip().splitlines()
    if process.returncode:
        said = err.decode("utf-8", "replace").strip().splitlines()
        # What it printed may be half a key, and it may have said the same on stderr.
        why = f": {Redactor(line.strip() for line in lines)(said[-1][:300])}" if said else ""
        code = process.returncode
        how = f"ended with {code}" if code > 0 else f"was killed by {signal.Signals(-code).name}"
        raise ActionNeeded(f"--key-command: {name} {how}{why}", "Run it by hand; perhaps you have to log in again.")
    if not lines:
        raise ActionNeeded(f"--key-command: {name} printed nothing", "It has to print the key, and nothing else.")
    if len(lines) > 1 or len(out) > _MOST:
        raise UsageError(f"--key-command: {name} printed more than one line", "It has to print the key, nothing else.")
    return lines[0].strip()


def _output(process: subprocess.Popen[bytes], timeout: float) -> tuple[bytes, bytes]:
    """Return what a process says until it has ended. Raises TimeoutError.

    It has ended when it exits: a child that it left behind may hold its pipes open for longer.
    """
    assert process.stdout is not None and process.stderr is not None
    end = time.monotonic() + timeout
    said = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in said:
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            exited = process.poll() is not None
            ready = selector.select(0.0 if exited else min(0.05, max(0.0, end - time.monotonic())))
            for key, _ in ready:
                pipe = next(each for each in said if each is key.fileobj)
                if not (some := os.read(pipe.fileno(), _MOST)):
                    selector.unregister(pipe)
                elif len(said[pipe]) <= _MOST:
                    said[pipe] += some
            if exited and not ready:
                break
            if time.monotonic() >= end:
                raise TimeoutError
    try:
        process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return bytes(said[process.stdout]), bytes(said[process.stderr])


class KeyRenewal:
    """Renews a key that expires: when one that worked is refused, a new one is asked for, once for all requests.

    `ask` prints a new key and blocks; `use` has all later requests carry it; `resent` hears of each request that is
    sent again; `failed` of the reason why there is no new key. A new key that is refused before it has worked is not
    asked for again: the refusals then count as those of any other key.
    """

    def __init__(
        self,
        ask: Callable[[], str],
        use: Callable[[str], None],
        *,
        resent: Callable[[Request], None],
        failed: Callable[[LlmbatchError], None],
    ) -> None:
        self._ask = ask
        self._use = use
        self._resent = resent
        self._failed = failed
        self._number = 0
        """How many keys there were before this one."""
        self._worked = False
        self._lock = anyio.Lock()

    def lane(self, lane: Lane) -> Lane:
        """Return a lane that sends again what was refused for an expired key."""
        return _RenewingLane(self, lane)

    async def send(self, lane: Lane, request: Request) -> ReadReply | Fault:
        """Make an attempt, and another one with a new key where that of the first has expired."""
        number = self._number
        reply = await lane.ask(request)
        if isinstance(reply, Fault):
            return reply
        if any(isinstance(verdict, Completion) for verdict in reply[0]):
            self._worked = self._worked or number == self._number
        if not _is_refusal(reply) or not await self.renew(number):
            return reply
        self._resent(request)
        return await self.send_once(lane, request)

    async def send_once(self, lane: Lane, request: Request) -> ReadReply | Fault:
        """Make an attempt with the key as it is now."""
        number = self._number
        reply = await lane.ask(request)
        if not isinstance(reply, Fault) and any(isinstance(verdict, Completion) for verdict in reply[0]):
            self._worked = self._worked or number == self._number
        return reply

    async def renew(self, number: int) -> bool:
        """Ask for the key that follows key `number`, unless others did; tell whether there is one."""
        async with self._lock:
            if self._number != number:
                return True
            if not self._worked:
                return False
            self._worked = False
            try:
                key = await anyio.to_thread.run_sync(self._ask)
            except LlmbatchError as error:
                self._failed(ActionNeeded(error.message, error.hint))
                return False
            self._number += 1
            self._use(key)
            return True


class _RenewingLane:
    def __init__(self, renewal: KeyRenewal, lane: Lane) -> None:
        self._renewal = renewal
        self._lane = lane

    async def ask(self, request: Request) -> ReadReply | Fault:
        return await self._renewal.send(self._lane, request)

    async def aclose(self) -> None:
        await self._lane.aclose()


def _is_refusal(reply: ReadReply) -> bool:
    return all(isinstance(verdict, Fault) and verdict.kind is Kind.UNAUTHORIZED for verdict in reply[0])

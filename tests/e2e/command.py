"""The installed command in a subprocess, in an environment of its own, and what to wait for instead of sleeping."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.forked_command import LLMBATCH, start

__all__ = [
    "LLMBATCH",
    "PATIENCE",
    "ROOT",
    "SAMPLES",
    "Command",
    "Ended",
    "Mock",
    "OnTerminal",
    "Running",
    "children_of",
    "is_alive",
    "lines_of",
    "until",
]

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
PATIENCE = 60.0
"""Nothing here takes this long: what does hangs."""

Arg = str | Path | int


@dataclass(frozen=True)
class Ended:
    """A command that is over."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def results(self) -> list[dict[str, Any]]:
        """The lines of stdout."""
        return lines_of(self.stdout)

    @property
    def result(self) -> dict[str, Any]:
        """The only line of stdout."""
        (result,) = self.results
        return result


class Command:
    """Runs llmbatch, seeing no variable of the test's own environment but PATH."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.config = home / "config" / "llmbatch" / "config.toml"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def configure(self, toml: str) -> None:
        """Write the settings file."""
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(toml)

    def __call__(
        self,
        *args: Arg,
        stdin: bytes | str | Sequence[Any] | None = b"",
        env: dict[str, str] | None = None,
        preexec: Callable[[], None] | None = None,
        stdout: int = subprocess.PIPE,
        timeout: float = PATIENCE,
    ) -> Ended:
        """Run it to its end. A list as stdin is records, None is no stdin at all."""
        with start(
            [*map(str, args)],
            stdin=subprocess.PIPE if stdin is not None else None,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=self.environment | (env or {}),
            cwd=self.home,
            preexec_fn=preexec,
        ) as process:
            try:
                out, err = process.communicate(_bytes(stdin) if stdin is not None else None, timeout=timeout)
            finally:
                process.kill()
        return Ended(process.returncode, out or b"", err.decode())

    def start(
        self,
        *args: Arg,
        env: dict[str, str] | None = None,
        stdin: int = subprocess.PIPE,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        preexec: Callable[[], None] | None = None,
    ) -> "Running":
        """Start it; it is killed at the end of the test if need be."""
        process = start(
            [*map(str, args)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=self.environment | (env or {}),
            cwd=self.home,
            preexec_fn=preexec,
            bufsize=0,
        )
        self._started.append(process)
        return Running(process)

    def shell(self, script: str, *, env: dict[str, str] | None = None, timeout: float = PATIENCE) -> Ended:
        """Run a shell script in which `llmbatch` is the command."""
        environment = self.environment | {"PATH": f"{Path(LLMBATCH).parent}:{os.environ['PATH']}"} | (env or {})
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, env=environment, cwd=self.home, timeout=timeout
        )
        return Ended(done.returncode, done.stdout, done.stderr.decode())

    def on_terminal(
        self,
        *args: Arg,
        stdin: bytes | str | Sequence[Any] = b"",
        stdout: bool = False,
        stderr: bool = False,
        env: dict[str, str] | None = None,
    ) -> "OnTerminal":
        """Run it to its end with stdout, stderr or both on one terminal of 80 columns."""
        ours, theirs = pty.openpty()
        try:
            process = start(
                [*map(str, args)],
                stdin=subprocess.PIPE,
                stdout=theirs if stdout else subprocess.PIPE,
                stderr=theirs if stderr else subprocess.PIPE,
                env=self.environment | {"TERM": "xterm-256color", "COLUMNS": "80"} | (env or {}),
                cwd=self.home,
                start_new_session=True,
            )
            self._started.append(process)
        finally:
            os.close(theirs)
        assert process.stdin is not None
        process.stdin.write(_bytes(stdin))
        process.stdin.close()
        seen: dict[int, bytearray] = {ours: bytearray()}
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                seen[pipe.fileno()] = bytearray()
        out = process.stdout.fileno() if process.stdout else ours
        err = process.stderr.fileno() if process.stderr else ours
        open_ones, until = set(seen), time.monotonic() + PATIENCE
        while open_ones:
            readable = select.select(list(open_ones), [], [], max(0.0, until - time.monotonic()))[0]
            assert readable, f"still running, and said: {seen}"
            for fd in readable:
                try:
                    chunk = os.read(fd, 65536)
                except OSError:  # a terminal nobody holds any more
                    chunk = b""
                seen[fd] += chunk
                if not chunk:
                    open_ones.discard(fd)
        code = process.wait(PATIENCE)
        os.close(ours)
        return OnTerminal(code, bytes(seen[out]), bytes(seen[err]), bytes(seen[ours]))

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            process.wait(PATIENCE)


@dataclass(frozen=True)
class OnTerminal:
    """What a command wrote, `terminal` being what a person saw."""

    code: int
    stdout: bytes
    stderr: bytes
    terminal: bytes


class Running:
    """A command that runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid
        self._out = b""
        self._err = b""

    def write(self, *records: Any) -> None:
        """Give it records on stdin, which stays open."""
        assert self.process.stdin is not None
        self.process.stdin.write(_bytes(records))

    def end_input(self) -> None:
        """Close its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None

    def read_line(self) -> dict[str, Any]:
        """Wait for one more line on stdout."""
        assert self.process.stdout is not None
        while b"\n" not in self._out:
            chunk = _read(self.process.stdout.fileno())
            assert chunk, f"stdout ended after {self._out!r}"
            self._out += chunk
        line, _, self._out = self._out.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def read_error(self, words: str) -> str:
        """Wait until stderr has said these words; return all of it."""
        assert self.process.stderr is not None
        while words.encode() not in self._err:
            chunk = _read(self.process.stderr.fileno())
            assert chunk, f"stderr ended without {words!r}: {self._err.decode()}"
            self._err += chunk
        return self._err.decode()

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        self.process.send_signal(signum)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait(timeout)

    def end(self, timeout: float = PATIENCE) -> Ended:
        """Wait for its end; return all that was not read yet."""
        out, err = self.process.communicate(timeout=timeout)
        return Ended(self.process.returncode, self._out + (out or b""), (self._err + (err or b"")).decode())


class Mock:
    """A mock provider that serves until stopped, and its ledger."""

    def __init__(self, folder: Path, *flags: Arg, env: dict[str, str] | None = None, port: int = 0) -> None:
        self._ledger = folder / f"ledger-{time.monotonic_ns()}.jsonl"
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"} | (env or {})
        self._process = start(
            ["mock", "--port", str(port), "--ledger", str(self._ledger), *map(str, flags)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().decode().strip()
        assert self.base_url, "the mock did not start"

    def __call__(self, *more: Arg) -> tuple[Arg, ...]:
        """Return the arguments that send a run here."""
        return ("--base-url", self.base_url, "-m", "mock-1", *more)

    def ledger(self, containing: str = "") -> list[dict[str, Any]]:
        """Return what was sent here, as far as the prompt contains these words."""
        whole = self._ledger.read_bytes().rpartition(b"\n")[0] if self._ledger.exists() else b""
        return [entry for entry in lines_of(whole) if containing in entry["prompt"]]

    def kill(self) -> None:
        """Let it die without a word."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def close(self) -> None:
        """Stop it."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE)
        self._process.stdout.close()


def lines_of(data: bytes | Path) -> list[dict[str, Any]]:
    """Read JSON lines, and fail for anything else."""
    raw = data.read_bytes() if isinstance(data, Path) else data
    return [json.loads(line) for line in raw.split(b"\n") if line]


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started and that have not ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody waits for is over as well."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def until(what: Callable[[], Any], *, patience: float = PATIENCE) -> Any:
    """Ask again and again until the answer is true; return it."""
    end = time.monotonic() + patience
    while not (answer := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return answer


def _read(fd: int) -> bytes:
    assert select.select([fd], [], [], PATIENCE)[0], "nothing came"
    return os.read(fd, 65536)


def _bytes(records: bytes | str | Sequence[Any]) -> bytes:
    if isinstance(records, bytes):
        return records
    if isinstance(records, str):
        return records.encode()
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)

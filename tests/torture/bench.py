"""What torture needs: a provider that keeps a ledger, runs that can be struck, and what they leave to be checked."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.support.forked_command import LLMBATCH, start
from tests.torture.trap import Trap

__all__ = [
    "ENVIRONMENT",
    "LLMBATCH",
    "Bench",
    "Ended",
    "Provider",
    "World",
    "holder",
    "prompts",
    "quick_folder",
    "results_of",
    "write_records",
]

ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir(), "LANG": "C.UTF-8"}
"""Of runs that are not forked by a bench."""
KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    code: int
    stderr: str
    struck: str | None = None
    """The operation that the trap struck."""

    @property
    def killed(self) -> bool:
        """Whether it died of SIGKILL."""
        return self.code == KILLED


class Provider:
    """The mock provider in a process of its own, and its ledger."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self._ledger = folder / "ledger.jsonl"
        command = [sys.executable, "-m", "llmbatch", "mock", "--port", "0", "--ledger", str(self._ledger), *flags]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()
        self._asked = 0
        self._seen = 0
        self._offset = 0

    def new_entries(self) -> list[dict[str, Any]]:
        """Return what was asked since the last call, all of it: also what a killed run left in flight."""
        health = self.base_url.removesuffix("/v1") + "/health"
        with urlopen(health) as reply:  # the provider numbers requests as they come
            last = int(reply.headers["x-request-id"].removeprefix("req_"))
        entries: list[dict[str, Any]] = []
        until = time.monotonic() + 20
        while self._seen < last:
            assert time.monotonic() < until, "the provider keeps requests to itself"
            with self._ledger.open("rb") as file:
                file.seek(self._offset)
                lines = file.read().rpartition(b"\n")[0]
            if not lines:
                time.sleep(0.001)
                continue
            self._offset += len(lines) + 1
            got = [json.loads(line) for line in lines.split(b"\n")]
            self._seen += len(got)
            entries += [entry for entry in got if entry["key"] is not None and entry["prompt"]]
        return entries

    def kill(self) -> None:
        """Let it die without a word."""
        self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Bench:
    """Forks runs of llmbatch that have nothing to load."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.stable"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def run(
        self,
        folder: Path,
        *arguments: object,
        kill_after: float | None = None,
        trap: Trap | None = None,
        stdin: Path | None = None,
        stdout: Path | None = None,
        clock: bool = False,
        largest: int | None = None,
        storage: str | None = None,
    ) -> Ended:
        """Run `llmbatch run ...` in a folder, to its end or to what was ordered.

        With `clock` the wall clock goes back each time it is looked at; no file may become larger than `largest`;
        `storage` is what the run takes for its boot and mount.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        stderr = folder / "stderr"
        if trap is not None and trap.told is not None:
            Path(trap.told).unlink(missing_ok=True)
        order = {
            "folder": str(folder),
            "arguments": ["run", *map(str, arguments)],
            "environment": {"PATH": os.environ["PATH"], "HOME": str(self._home), "TMPDIR": str(self._home)},
            "stderr": str(stderr),
            "stdin": str(stdin) if stdin else None,
            "stdout": str(stdout) if stdout else None,
            "kill_after": kill_after,
            "trap": trap.as_json() if trap is not None else None,
            "clock": clock,
            "largest": largest,
            "storage": storage,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        told = Path(trap.told) if trap is not None and trap.told is not None else None
        struck = told.read_text() if told is not None and told.exists() else None
        said = stderr.read_text() if stderr.exists() else ""  # killed before it could open it
        ended = Ended(answer["code"], said, struck)
        assert "Traceback" not in ended.stderr and "a bug" not in ended.stderr, ended.stderr
        return ended

    def close(self) -> None:
        """Stop it."""
        self._process.communicate(timeout=10)


def results_of(path: Path, *, torn: bool = False) -> list[dict[str, Any]]:
    """Read a results file; with `torn` its last line may be cut, else it must end well."""
    data = path.read_bytes() if path.exists() else b""
    whole, _, tail = data.rpartition(b"\n")
    assert torn or not tail, f"{path} ends in {tail!r}"
    lines = [json.loads(line) for line in whole.split(b"\n") if line.strip()]
    names = Counter((line["id"], line.get("occurrence", 0)) for line in lines)
    assert not names or max(names.values()) == 1, f"{path} has records twice: {names.most_common(3)}"
    return lines


def _words(entry: dict[str, Any]) -> list[str]:
    """Return the first word of each prompt of a request."""
    return [prompt.split(" ")[0] for prompt in entry["prompt"].split("\n")]


class World:
    """A folder with an input and a results file, and a place for rescue beside it.

    The provider counts how often each prompt was asked: `name` tells those of one world from others.
    """

    def __init__(self, bench: Bench, provider: Provider, folder: Path, name: str = "") -> None:
        self._name = name or str(folder)
        self.bench, self.provider, self.folder = bench, provider, folder
        self.disk, self.rescue = folder / "disk", folder / "rescue"
        self.disk.mkdir(parents=True, exist_ok=True)
        self.rescue.mkdir(exist_ok=True)
        self.source, self.output = folder / "in.jsonl", self.disk / "out.jsonl"
        self.state = self.disk / "out.jsonl.state"
        self.redo = self.state / "redo.jsonl"
        self._told = folder / "struck"
        self.asked()

    @property
    def to_provider(self) -> tuple[str, ...]:
        """The flags that lead a run to the provider."""
        return ("--base-url", self.provider.base_url, "-m", "m")

    def run(
        self,
        records: Sequence[Any] | bytes,
        *more: object,
        trap: Trap | None = None,
        stdin: bool = False,
        output: Path | None = None,
        stdout: Path | None = None,
        clock: bool = False,
        largest: int | None = None,
        storage: str | None = None,
    ) -> Ended:
        """Run on these records, in batches of two."""
        if isinstance(records, bytes):
            self.source.write_bytes(records)
        else:
            write_records(self.source, [self.own(record) for record in records])
        provider = self.to_provider[:2] if "-m" in more else self.to_provider  # a second -m would be a second model
        order = ("-" if stdin else self.source, *provider, "-o", output or self.output, "-c", 2, "-b", 2)
        return self.bench.run(
            self.disk,
            *(*order, "--rescue-dir", self.rescue, *more),
            trap=trap,
            stdin=self.source if stdin else None,
            stdout=stdout,
            clock=clock,
            largest=largest,
            storage=storage,
        )

    def own(self, record: Any) -> Any:
        """Make a prompt one of this world."""
        return {**record, "prompt": f"{record['prompt']} ({self._name})"}

    def trap(self, at: int, number: int | None = None, *, for_good: bool = False) -> Trap:
        """Lay a trap for operations on the disk of the results file."""
        return Trap(at=at, errno=number, for_good=for_good, folder=str(self.disk), told=str(self._told))

    def asked(self) -> list[str]:
        """Return the first words of the prompts that the provider got since the last question."""
        return [word for entry in self.provider.new_entries() for word in _words(entry)]

    def billed(self) -> Counter[str]:
        """Count what was charged since the last question, by the first word of the prompt."""
        return Counter(word for entry in self.provider.new_entries() if entry["billed"] for word in _words(entry))

    def answers_received(self) -> set[str]:
        """Return whose answers left the provider since the last question."""
        return {
            word
            for entry in self.provider.new_entries()
            if entry["status"] == 200 and not entry["aborted"]
            for word in _words(entry)
        }

    def answers_kept(self) -> set[str]:
        """Return whose answers are in the results file, the redo file or a rescue file."""
        kept: set[str] = set()
        for path in (self.output, self.redo, *self.rescue.iterdir()):
            kept |= {line["id"] for line in results_of(path, torn=True) if line["status"] == "ok"}
        return kept

    def put_back(self) -> None:
        """Do what the message says: put the rescued lines where the next run finds them."""
        for file in self.rescue.iterdir():
            with self.redo.open("ab") as redo:
                redo.write(file.read_bytes())
            file.unlink()

    def results(self) -> dict[Any, dict[str, Any]]:
        """Return the results by id."""
        return {line["id"]: line for line in results_of(self.output)}


@contextmanager
def quick_folder() -> Iterator[Path]:
    """Yield a folder where a sync costs nothing, if the system has such."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        yield Path(name)


def write_records(path: Path, records: Sequence[Any]) -> Path:
    """Write an input."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def prompts(*names: str) -> list[dict[str, Any]]:
    """Return records whose ids are the first words of their prompts."""
    return [{"id": name.split(" ")[0], "prompt": name} for name in names]


@contextmanager
def holder(
    world: World, *more: object, output: Path | None = None, told: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A run that waits for its input, and holds the results file."""
    command = ["run", "-", *world.to_provider, "-o", str(output or world.output), *map(str, more)]
    stderr = subprocess.PIPE if told else subprocess.DEVNULL
    with start(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"id":"first","prompt":"first"}\n')
        process.stdin.flush()
        while not (output or world.output).exists() or b'"first"' not in (output or world.output).read_bytes():
            assert process.poll() is None
        try:
            yield process
        finally:
            process.kill()

"""A run of parts as a user starts it, with a mock that answers after a while, and what its ledger has to show."""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.command import LLMBATCH, Mock, lines_of, until

PATIENCE = 100.0


class Driver:
    """The command, which may be started several times on one folder."""

    def __init__(self, folder: Path, *options: str, records: int = 1200, mock: tuple[str, ...] = ()) -> None:
        self.folder, self.records = folder, records
        source = folder / "in.jsonl"
        source.write_text("".join(json.dumps({"id": n, "prompt": f"scale {n}"}) + "\n" for n in range(records)))
        self.mock = Mock(folder, *(mock or ("--latency", "0.1")))
        given = self.mock("-o", "out/", "--part-size", str(records // 4), "-c", "10", *options)
        self.arguments = [LLMBATCH, "run", str(source), *map(str, given)]
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "RAY_AUTH_MODE": "disabled",
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *more: str) -> "subprocess.Popen[bytes]":
        """Start it, in a session of its own so that all of its processes can be killed at once."""
        process = subprocess.Popen(
            [*self.arguments, *more], cwd=self.folder, env=self.environment, stderr=subprocess.PIPE
        )
        self._started.append(process)
        return process

    def wait_for(self, requests: int) -> None:
        """Wait until so many requests were sent."""
        until(lambda: len(self.sent()) > requests, patience=PATIENCE)

    def sent(self) -> list[dict[str, Any]]:
        """The requests so far."""
        return self.mock.ledger("scale")

    def ends(self, process: "subprocess.Popen[bytes]", code: int = 0) -> str:
        """Wait for its end; return what it said."""
        said = process.communicate(timeout=PATIENCE)[1].decode()
        assert process.returncode == code, said
        return said

    def lines(self) -> list[dict[str, Any]]:
        """The result lines of all parts."""
        return [line for file in sorted(self.folder.glob("out/part-*.jsonl")) for line in lines_of(file)]

    def check_complete(self) -> None:
        """Check that each record has one result, and that the books show what was sent twice."""
        lines = self.lines()
        assert Counter(line["id"] for line in lines) == dict.fromkeys(range(self.records), 1)
        answered = [entry for entry in self.sent() if entry["status"] == 200]
        assert len(answered) - self.records <= sum(line.get("possibly_billed", 0) for line in lines)

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        self.mock.close()


def most_within(times: list[float], seconds: float) -> int:
    """Return the most moments in any window of so many seconds."""
    times, begin, most = sorted(times), 0, 0
    for end, moment in enumerate(times):
        while times[begin] <= moment - seconds:
            begin += 1
        most = max(most, end - begin + 1)
    return most

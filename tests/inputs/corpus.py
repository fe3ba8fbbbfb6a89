"""Inputs as people have them, each with the lines that must come of it: see README.md."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmbatch.api.options import settings_of
from llmbatch.app.input import InputReader
from llmbatch.core.errors import LlmbatchError
from llmbatch.core.job import Job
from llmbatch.core.outcome import InvalidRecord
from tests.support.dialects import dialect_of

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """An input, the options that it is read with, and what must come."""

    name: str
    file: Path
    options: dict[str, Any]
    expected: dict[str, Any]
    piped: bool


@dataclass
class Reading:
    """What came of an input."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    """The digests of the records."""
    said: list[str] = field(default_factory=list)
    stops: dict[str, Any] | None = None
    """The exit code and the words of what ended it."""


def cases() -> list[Case]:
    """Return the cases of this folder, by name."""
    found = []
    for path in sorted(FOLDER.glob("*.lines.json")):
        expected = json.loads(path.read_text())
        name = path.name.removesuffix(".lines.json")
        (file,) = (file for file in FOLDER.glob(f"{name}.*") if file != path)
        piped = expected.get("piped", "stops" not in expected) and file.suffix != ".parquet"
        found.append(Case(name, file, expected.get("options", {}), expected, piped))
    return found


def read(*paths: Path, options: dict[str, Any], limit: int = 64) -> Reading:
    """Read inputs as a run does that has nothing yet, and sends nothing."""
    reading = Reading()
    try:
        settings = settings_of({"provider": "mock", "model": "m"} | options, [str(path) for path in paths], tee=False)
        reader = InputReader(settings.input, settings.model, reading.said.append)
        try:
            jobs = reader.jobs(dialect_of(settings), must_be_usable=True)
            while batch := jobs.records(limit):
                reading.lines += map(_line, batch)
                reading.records += [job.identity.record for job in batch]
        finally:
            reader.close()
    except LlmbatchError as error:
        reading.stops = {"exit": int(error.exit_code), "says": f"{error.message}; {error.hint}"}
    return reading


def _line(job: Job | InvalidRecord) -> dict[str, Any]:
    line: dict[str, Any] = {"id": job.identity.id, "meta": job.meta}
    if isinstance(job, InvalidRecord):
        return line | {"fails": job.fault.message}
    messages = job.item.get("messages")
    plain = messages is not None and len(messages) == 1 and isinstance(messages[0].get("content"), str)
    rest = {name: value for name, value in job.item.items() if name != "messages" and (name, value) != ("model", "m")}
    return line | ({"prompt": messages[0]["content"]} if plain else {"messages": messages}) | rest

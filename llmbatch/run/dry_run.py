"""`--dry-run`: the requests as they would be sent, and what they would weigh. Nothing leaves the machine."""

import os
from collections import Counter
from collections.abc import Callable
from contextlib import closing

from llmbatch.codec import json
from llmbatch.core.errors import ExitCode, ReaderGone
from llmbatch.core.job import Job
from llmbatch.core.printable import printable
from llmbatch.core.settings import Settings
from llmbatch.run.endpoint import find_preset
from llmbatch.run.reading import Reading, new_dialect

__all__ = ["dry_run"]


def dry_run(settings: Settings, *, say: Callable[[str], None], stdout: int = 1) -> int:
    """Write the requests as JSONL to a descriptor; return the exit code. Raises what reading raises."""
    name, preset = find_preset(settings.model)
    base_url = (settings.model.base_url or preset.base_url).rstrip("/")
    counts: Counter[str] = Counter()
    tokens = 0
    dialect = new_dialect(settings)
    with closing(Reading(settings, lambda text: say(f"llmbatch: {printable(text)}"))) as reading:
        jobs = reading.preparation(dialect)
        while batch := jobs.read(settings.input.batch_size):
            lines = []
            for job in batch:
                if isinstance(job, Job):
                    counts["requests"] += 1
                    tokens += job.tokens
                    lines.append(_line(job, base_url))
                else:
                    counts["failed"] += 1
                    if settings.view.verbose:
                        say(f"llmbatch: {printable(job.fault.message)}")
            _write(stdout, b"".join(lines))
    bad = f", {counts['failed']:,} records that cannot be sent" if counts["failed"] else ""
    say(f"llmbatch: dry run, nothing sent: {counts['requests']:,} requests to {name}{bad}, about {tokens:,} tokens in")
    return ExitCode.OK


def _line(job: Job, base_url: str) -> bytes:
    identity = job.identity
    fields = {
        "id": identity.id,
        "index": identity.index,
        "method": "POST",
        "url": f"{base_url}{job.route.path}",
    }
    return json.dumps(fields | {"body": job.item, "record": identity.record, "key": job.key}) + b"\n"


def _write(fd: int, lines: bytes) -> None:
    view = memoryview(lines)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        raise ReaderGone("the reader of stdout went away") from None

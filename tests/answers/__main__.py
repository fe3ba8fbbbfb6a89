"""Adds an answer to the corpus: `python -m tests.answers SERVICE/NAME [STATUS] [HEADER:VALUE ...] < BODY`.

Writes the answer with a head and a length, and a file beside it that says what the line is today, to be corrected.
"""

import asyncio
import json
import sys
from dataclasses import replace

from llmbatch.transport.lane import Http11Lane

from .corpus import HERE, Case
from .replay import replaying

_OWN = {"id", "index", "record", "key", "meta", "started_at", "latency_s", "attempts", "request_id"}


async def _line_of(case: Case) -> dict[str, object]:
    async with replaying(Http11Lane) as replay:
        (line,), again, stops = await replay.read(case, [case.answer])
    fields: dict[str, object] = {"line": {name: value for name, value in line.items() if name not in _OWN}}
    if again:
        fields["again"] = again
    if stops != "record":
        fields["stops"] = stops
    return fields


def main(name: str, *more: str) -> None:
    """Write both files."""
    status = next((word for word in more if word.isdecimal()), "200")
    headers = dict(word.split(":", 1) for word in more if ":" in word)
    kind = "text/event-stream" if name.endswith(".stream") else "application/json"
    body = sys.stdin.buffer.read().removesuffix(b"\n")
    fields = {"content-type": kind, **headers, "content-length": str(len(body))}
    head = "\r\n".join([f"HTTP/1.1 {status} X", *(f"{field}: {value.strip()}" for field, value in fields.items())])
    path = HERE / f"{name}.http"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(head.encode("latin-1") + b"\r\n\r\n" + body)
    blank = Case(name, path.read_bytes(), "", ({},))
    case = replace(blank, stream=blank.whole_form is not None)
    spec = {"source": "https://…", **asyncio.run(_line_of(case))}
    path.with_suffix(".json").write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path.name} and its .json are written: check the line, and name the source")


if __name__ == "__main__":
    main(*sys.argv[1:])

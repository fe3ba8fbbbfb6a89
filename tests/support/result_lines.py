"""Result lines made by hand, as `run -o` writes them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmbatch.codec.digest import digest
from llmbatch.codec.json import canonical

Fields = dict[str, Any]


def record_of(fields: Any) -> str:
    return digest(canonical({"prompt": fields} if isinstance(fields, str) else fields))


def ok(id: Any = None, index: int = 0, text: str | None = "yes", **more: Any) -> Fields:
    fields = {"id": id, "index": index, "status": "ok", "text": text, "finish_reason": "stop", "model": "m-1"}
    fields |= {"usage": {"input_tokens": 3, "output_tokens": 5}, "started_at": "2026-11-22T10:00:00.123Z"}
    fields |= {"latency_s": 0.5, "attempts": 1, "request_id": "r", "record": f"{index:032x}", "key": "a" * 32}
    return fields | {"meta": {}} | more


def failed(id: Any = None, index: int = 0, kind: str = "bad_request", status: int | None = 400, **more: Any) -> Fields:
    error = {"kind": kind, "status": status, "code": None, "message": "no"}
    fields = {"id": id, "index": index, "status": "failed", "error": error, "attempts": 2, "latency_s": 0.1}
    fields |= {"started_at": "2026-11-22T10:00:01.000Z", "record": f"{index:032x}", "key": "a" * 32, "meta": {}}
    return fields | more


def put(path: Path, lines: Iterable[Any]) -> str:
    """Write values as JSON lines, bytes as they are; return the name."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines))
    return str(path)

"""Faults that change the text of an answer, or its reply, as with a 429. Pure.

All of them are legal HTTP: the reply is sent like any other, and the connection stays open.
"""

import gzip
import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from llmbatch.codec import json
from llmbatch.mock.error_formats import ERROR_FORMATS, ErrorFormat, Refusal
from llmbatch.mock.fault_markers import Fault, without_markers
from llmbatch.mock.reply import HTML, Headers, Reply

__all__ = ["REPLIES", "UNSTREAMED", "apply_fault", "fault_text"]

_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>%s</title></head>\n<body><center><h1>%s</h1></center>"
    b"<hr><center>cloudflare</center></body></html>\n"
)
_NOT_UTF8 = "\ue0e9"  # a private character that stands for a Latin-1 é until the body is encoded
_CONTROL = (
    "Plain, \x1b[31mred\x1b[0m, \x1b]0;a title\x07 \x1b]8;;http://mock.invalid\x1b\\a link\x1b]8;;\x1b\\ "
    "\x9b2J\x90q\x9c \u202eturned\u202c \u2066isolated\u2069 \u200bnothing\ufeff\r\x08\x00\x7f\u2028 "
    "[/INST][bold] end."
)


def fault_text(fault: Fault | None, prompt: str) -> str | None:
    """Return the text a fault puts in place of the answer's."""
    if fault is None:
        return None
    match fault.name:
        case "text":
            return str(fault.options["value"])
        case "echo":
            return without_markers(prompt)
        case "control":
            return _CONTROL
        case "surrogate":
            return "Half a smile: \ud83d and no more."
        case "bad-utf8":
            return f"Caf{_NOT_UTF8} noir."
        case "big":
            return "plain words " * int(fault.options["mb"] * 1_000_000 / 12)
    return None


def apply_fault(reply: Reply, fault: Fault, error_format: ErrorFormat) -> Reply:
    """Return a good reply as the fault changes it; the same reply when the fault belongs to another stage."""
    if fault.name == "status":
        return _status(fault.options, error_format)
    change = REPLIES.get(fault.name)
    return change(reply, fault.options) if change else reply


def _status(options: dict[str, Any], error_format: ErrorFormat) -> Reply:
    code, shape = options["code"], options["body"]
    message = options["message"].replace("_", " ") or f"The mock was told to answer {code}."
    pairs = (("retry-after-ms", options["retry-after-ms"]), ("x-should-retry", options["should-retry"]))
    headers: Headers = [(key.encode(), _header(value)) for key, value in pairs if value]
    wait, name = options["retry-after"], options["code-name"]
    if shape in ERROR_FORMATS or not shape:
        refusal = Refusal(code, message, options["type"] or None, code=name or None, wait=wait)
        reply = ERROR_FORMATS.get(shape, error_format).refuse(refusal)
        reply.headers = [(key, _header(value.decode("latin-1"))) for key, value in reply.headers] + headers
        return reply
    if wait:
        headers.append((b"retry-after", _header(wait)))
    if shape == "html":
        title = f"{code} {message}".encode("ascii", "xmlcharrefreplace")
        return Reply(code, _PAGE % (title, title), HTML, headers)
    if shape == "empty":
        return Reply(code, b"", b"text/plain", headers)
    shapes: dict[str, Any] = {
        "flat": {"object": "error", "message": message, "type": options["type"], "param": None, "code": name or code},
        "detail": {"detail": message},
        "string": {"error": message},
    }
    return Reply(code, json.dumps(shapes[shape]), headers=headers)


def _header(value: str) -> bytes:
    return re.sub(rb"[\x00-\x1f\x7f]", b"", value.encode("latin-1", "replace")).strip()


def _error_200(_: Reply, options: dict[str, Any]) -> Reply:
    code, message = options["code"], options["message"].replace("_", " ") or "Provider returned error"
    bodies: dict[str, Any] = {
        "": {"error": {"message": message, "code": code, "metadata": {}}},
        "words": {"error": {"message": message}},
        "base-resp": {"choices": None, "base_resp": {"status_code": options["number"], "status_msg": message}},
        "detail": {"detail": message},
    }
    return Reply(200, json.dumps(bodies[options["body"]]))


def _first(value: bytes) -> Callable[[Reply, dict[str, Any]], Reply]:
    """Put a field with this value first in the body."""
    return lambda reply, _: Reply(200, b'{"mock":' + value + b"," + reply.body[1:])


def _deep(reply: Reply, options: dict[str, Any]) -> Reply:
    depth = options["depth"]
    return _first(b"[" * depth + b"]" * depth)(reply, options)


def _encoded(reply: Reply, encoding: bytes, body: bytes) -> Reply:
    return Reply(reply.status, body, reply.content_type, [(b"content-encoding", encoding)])


@lru_cache(maxsize=2)
def _spaces(megabytes: int) -> bytes:
    """Compress that many decimal megabytes of JSON white space: a deflate stream, not closed."""
    packer = zlib.compressobj(9, wbits=-15)
    blank = b" " * 1_000_000
    return b"".join(packer.compress(blank) for _ in range(megabytes)) + packer.flush(zlib.Z_FULL_FLUSH)


def _bomb(reply: Reply, options: dict[str, Any]) -> Reply:
    megabytes, body = options["mb"], reply.content
    crc, blank = 0, b" " * 1_000_000
    for _ in range(megabytes):
        crc = zlib.crc32(blank, crc)
    size = (megabytes * 1_000_000 + len(body)) % 2**32
    packer = zlib.compressobj(wbits=-15)
    end = zlib.crc32(body, crc).to_bytes(4, "little") + size.to_bytes(4, "little")
    packed = _spaces(megabytes) + packer.compress(body) + packer.flush() + end
    return _encoded(reply, b"gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + packed)


def _huge_headers(reply: Reply, options: dict[str, Any]) -> Reply:
    reply.headers += [(f"x-huge-{number}".encode(), b"a" * 1000) for number in range(options["kb"])]
    return reply


def _junk_after(reply: Reply, _: dict[str, Any]) -> Reply:
    reply.tail = b"\r\nnobody asked for this"
    return reply


REPLIES: dict[str, Callable[[Reply, dict[str, Any]], Reply]] = {
    "html": lambda *_: Reply(200, _PAGE % (b"Sign in", b"Sign in"), HTML),
    "empty": lambda *_: Reply(200, b""),
    "error-200": _error_200,
    "redirect": lambda _, options: Reply(options["code"], b"", headers=[(b"location", _header(options["location"]))]),
    "nan": _first(b"NaN"),
    "huge-number": _first(b"1e400"),
    "deep": _deep,
    "bom": lambda reply, _: Reply(200, b"\xef\xbb\xbf" + reply.body),
    "bad-utf8": lambda reply, _: Reply(200, reply.body.replace(_NOT_UTF8.encode(), b"\xe9")),
    "gzip": lambda reply, _: _encoded(reply, b"gzip", gzip.compress(reply.content, mtime=0)),
    "bomb": _bomb,
    "bad-gzip": lambda reply, _: _encoded(reply, b"gzip", reply.content),
    "truncated-gzip": lambda reply, _: _encoded(reply, b"gzip", gzip.compress(reply.content, mtime=0)[:-30]),
    "br": lambda reply, _: _encoded(reply, b"br", b"\x8b\x03\x80" + zlib.compress(reply.content)),
    "huge-headers": _huge_headers,
    "extra-bytes": _junk_after,
}
"""Faults that change a reply; `status` replaces it, in the error format of the provider."""

UNSTREAMED = frozenset({"nan", "huge-number", "deep", "bom", "bad-utf8"})
"""Faults inside a JSON body; a request for a stream gets that body too."""

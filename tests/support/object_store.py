"""An object store in memory on a free port of loopback: S3, Google Cloud Storage, Azure, and plain web addresses.

It speaks as much of each as reading needs, counts requests, and fails as it is told.
"""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

__all__ = ["ObjectStore", "Request", "serving"]


class Request(NamedTuple):
    """A request as it came."""

    path: str
    query: str
    range: str | None
    if_match: str | None


class ObjectStore:
    """`objects` by path, as `bucket/key`; `faults` by path, one for each request, the first one first.

    A fault is a status, or `cut` (the body ends in the middle), `whole` (ranges are ignored), `endless` (no length).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.objects: dict[str, bytes] = {}
        self.faults: dict[str, list[int | str]] = defaultdict(list)
        self.always: dict[str, int | str] = {}
        self.requests: list[Request] = []
        self.wait: Callable[[], object] = lambda: None
        """Called before each answer."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead the clients of all three stores here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret of S3",
            "GOOGLE_SKIP_SIGNATURE": "true",
            "GOOGLE_BASE_URL": self.url,
            "AZURE_STORAGE_ENDPOINT": f"{self.url}/account",
            "AZURE_STORAGE_ACCOUNT_NAME": "account",
            "AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0",
        }


def tag_of(body: bytes) -> str:
    """The etag of a body."""
    return f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"'


@contextmanager
def serving() -> Iterator[ObjectStore]:
    """Serve a store while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one piece

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            raw, _, query = self.path.partition("?")
            path = unquote(raw).lstrip("/")
            if path == "account" or path.startswith("account/"):
                path = path.removeprefix("account").lstrip("/")
            store.wait()
            store.requests.append(Request(path, query, self.headers["Range"], self.headers["If-Match"]))
            fault = store.faults[path].pop(0) if store.faults[path] else store.always.get(path)
            fields = {name: values[0] for name, values in parse_qs(query).items()}
            if isinstance(fault, int):
                place = {"Location": f"{store.url}/{path}/moved?{query}"} if fault in (302, 307) else {}
                self.answer(fault, b"<Error><Code>Scripted</Code></Error>", place)
            elif "list-type" in fields and not has_bucket(path):
                self.answer(404, b"<Error><Code>NoSuchBucket</Code></Error>", {})
            elif "list-type" in fields or fields.get("comp") == "list":
                self.answer(200, listing(path, fields).encode(), {})
            elif (body := store.objects.get(path.removesuffix("/moved"))) is None:
                code = "NoSuchKey" if has_bucket(path) else "NoSuchBucket"
                self.answer(404, f"<Error><Code>{code}</Code><Message>none</Message></Error>".encode(), {})
            else:
                self.send(body, fault)

        do_HEAD = do_GET  # noqa: N815  # the name that the library calls

        def send(self, body: bytes, fault: str | None) -> None:
            tag, wanted = tag_of(body), self.headers["Range"]
            if self.headers["If-Match"] not in (None, tag):
                self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>", {})
                return
            headers = {"ETag": tag, "Last-Modified": "Fri, 27 Nov 2026 10:00:00 GMT"}
            if wanted is None or fault in ("whole", "endless"):
                self.answer(200, body, headers, fault)
                return
            start, _, last = wanted.removeprefix("bytes=").partition("-")
            piece = body[int(start) : int(last) + 1]
            if not piece:
                self.answer(416, b"<Error><Code>InvalidRange</Code></Error>", {})
                return
            headers["Content-Range"] = f"bytes {start}-{int(start) + len(piece) - 1}/{len(body)}"
            self.answer(206, piece, headers, fault)

        def answer(self, status: int, body: bytes, headers: dict[str, str], fault: str | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if fault != "endless":
                self.send_header("Content-Length", str(len(body)))
            else:
                self.send_header("Transfer-Encoding", "chunked")
                body = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault == "cut":
                self.close_connection = True
                body = body[: len(body) // 2]
            self.wfile.write(body)

    def has_bucket(path: str) -> bool:
        return any(name.startswith(path.partition("/")[0] + "/") for name in store.objects)

    def listing(path: str, fields: dict[str, str]) -> str:
        bucket = path.strip("/") + "/"
        prefix = fields.get("prefix", "")
        keys = [name.removeprefix(bucket) for name in sorted(store.objects) if name.startswith(bucket + prefix)]
        if fields.get("delimiter"):
            keys = [key for key in keys if "/" not in key[len(prefix) :]]
        date, azure = "2026-11-27T10:00:00.000Z", fields.get("comp") == "list"
        entries = []
        for key in keys:
            size, tag = len(store.objects[bucket + key]), escape(tag_of(store.objects[bucket + key]))
            entries.append(
                f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>Fri, 27 Nov 2026 10:00:00 GMT"
                f"</Last-Modified><Etag>{tag}</Etag><Content-Length>{size}</Content-Length>"
                f"<Content-Type>text/plain</Content-Type></Properties></Blob>"
                if azure
                else f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>{tag}</ETag>"
                f"<LastModified>{date}</LastModified></Contents>"
            )
        inside = "".join(entries)
        if azure:
            return f"<EnumerationResults><Blobs>{inside}</Blobs><NextMarker/></EnumerationResults>"
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{inside}</ListBucketResult>"

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client that leaves in the middle

    server = Server(("127.0.0.1", 0), Handler)
    store = ObjectStore(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()

"""Runs errands: bodies of any size from and to files, and patience as long as bytes move.

They are few and large, so httpx does it, with a connection for each: a kept one that turns out to be closed would leave
unknown whether a batch was created.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

import httpx

from llmbatch.core.errand import DISK, Call, Errand, FilePart
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.transport.base import Trace
from llmbatch.transport.errors import to_fault
from llmbatch.transport.limits import Limits
from llmbatch.transport.proxies import proxy_for
from llmbatch.transport.tls import shared_context

__all__ = ["ErrandRunner"]

_PIECE = 256 * 1024


class ErrandRunner:
    """Runs errands, several at once. Raises UsageError for certificates that cannot be used."""

    def __init__(self, *, limits: Limits, ca_file: str | None, log: Callable[[str], None] | None = None) -> None:
        self._limits = limits
        self._tls = shared_context(ca_file)
        self._unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        """For plain HTTP: httpx would load all certificates for each call, and megabytes wait for the collector."""
        self._log = log

    async def run(self, call: Call) -> Reply | Fault:
        """Make the call once. A fault is unbilled where the request cannot have arrived whole."""
        errand = call.errand
        result: Reply | Fault
        try:
            result = await self._run(call)
        except _DiskError as error:
            result = Fault(kind=Kind.CONFIGURATION, message=str(error), code=DISK)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            result = _fault(error)
        if self._log is not None:
            end = f"{result.status}" if isinstance(result, Reply) else f"{result.kind}: {result.message}"
            self._log(f"{errand.method} {httpx.URL(call.url).path} (errand) -> {end}")
        return result

    async def _run(self, call: Call) -> Reply:
        errand = call.errand
        url = httpx.URL(call.url)
        context = self._tls() if url.scheme == "https" else self._unused
        patience = httpx.Timeout(errand.patience, connect=self._limits.connect_timeout, pool=None)
        async with httpx.AsyncClient(
            verify=context, proxy=proxy_for(url), trust_env=False, timeout=patience, follow_redirects=False
        ) as client:
            body = errand.body
            headers = {**call.headers, "connection": "close"}
            if isinstance(body, FilePart):
                headers["content-length"] = str(_length(body))
                request = client.build_request(errand.method, url, headers=headers, content=_pieces(body))
            else:
                request = client.build_request(errand.method, url, headers=headers, content=body)
            response = await client.send(request, stream=True)
            try:
                said = {name.lower(): value for name, value in response.headers.items()}
                if errand.sink is not None and 200 <= response.status_code < 300:
                    await _save(response, errand.sink)
                    # Only then does httpx know that it got all.
                    cut = "content-length" not in said and "transfer-encoding" not in said
                    return Reply(response.status_code, said, b"", cut=cut)
                return Reply(response.status_code, said, await self._read(response, errand))
            finally:
                await response.aclose()

    async def _read(self, response: httpx.Response, errand: Errand) -> bytes:
        """Read a body into memory, which is small: one that drips without end is given up."""
        pieces, size, longest = [], 0, max(self._limits.timeout, errand.patience)
        try:
            async with asyncio.timeout(longest):
                async for piece in response.aiter_bytes(_PIECE):
                    pieces.append(piece)
                    size += len(piece)
                    if 0 < errand.only <= size:
                        break
                    if size > self._limits.body:
                        raise httpx.ReadError(f"answer beyond {self._limits.body} bytes")
        except TimeoutError:
            raise httpx.ReadTimeout(f"answer not complete after {longest:g} s") from None
        return b"".join(pieces)


class _DiskError(Exception):
    """Our own disk refuses."""


async def _pieces(body: FilePart) -> AsyncIterator[bytes]:
    yield body.before
    with _opened(body.path) as file:
        while piece := file.read(_PIECE):
            yield piece
    if body.after:
        yield body.after


async def _save(response: httpx.Response, sink: str) -> None:
    """Write the body to a file and put that on the disk; a body that is not whole leaves a part of it there."""
    try:
        with _created(sink) as file:
            async for piece in response.aiter_bytes(_PIECE):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _DiskError(f"cannot write {sink}: {error.strerror}") from error


def _length(body: FilePart) -> int:
    return len(body.before) + os.path.getsize(body.path) + len(body.after)


def _opened(path: str) -> BinaryIO:
    return open(path, "rb")


def _created(path: str) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    return open(os.open(path, flags, 0o600), "wb", buffering=_PIECE)


def _fault(error: Exception) -> Fault:
    if isinstance(error, httpx.TransportError):
        return to_fault(error, Trace(sent=not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)))
    message = f"{type(error).__name__}: {error}"
    return Fault(kind=Kind.CONNECTION, message=message, billing=Billing.DOUBTFUL, retry=True)

"""One attempt over a lane: core request in, whole reply or fault out, within one deadline."""

import asyncio
from collections.abc import Callable, Mapping

import httpx

from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Reply, Request
from llmbatch.wire.encoding import EncodingError, decode
from llmbatch.wire.faults import fault_of, timed_out
from llmbatch.wire.limits import Limits
from llmbatch.wire.trace import TRACE, Trace

__all__ = ["LaneSender", "WireLog"]

WireLog = Callable[[str], None]
"""Takes one line about an attempt, for `--debug`."""


class LaneSender:
    """Sends over one lane. `headers` go with every request; the base URL has no slash at its end."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        base_url: str,
        headers: Mapping[str, str],
        limits: Limits,
        log: WireLog | None = None,
    ) -> None:
        self._transport = transport
        self._base_url = base_url
        self._limits = limits
        self._log = log
        url = httpx.URL(base_url)
        self._headers = [
            (b"host", url.netloc),
            *((name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers.items()),
        ]
        self._urls: dict[str, httpx.URL] = {}

    async def send(self, request: Request) -> Reply | Fault:
        """Make one attempt: never longer than the attempt's deadline, however the answer drips."""
        trace = Trace()
        try:
            async with asyncio.timeout(self._limits.attempt):
                response = await self._transport.handle_async_request(self._outgoing(request, trace))
        except TimeoutError:
            result: Reply | Fault = timed_out(self._limits.attempt, trace)
        except Exception as error:
            result = fault_of(error, trace)
        else:
            result = self._reply(response, trace)
        if self._log is not None:
            self._log(_line(request, result, trace))
        return result

    async def aclose(self) -> None:
        """Close the connection."""
        await self._transport.aclose()

    def _outgoing(self, request: Request, trace: Trace) -> httpx.Request:
        url = self._urls.get(request.path)
        if url is None:
            url = self._urls[request.path] = httpx.URL(self._base_url + request.path)
        return httpx.Request(
            request.method,
            url,
            headers=[*self._headers, (b"content-length", b"%d" % len(request.body))],
            stream=httpx.ByteStream(request.body),
            extensions={TRACE: trace},
        )

    def _reply(self, response: httpx.Response, trace: Trace) -> Reply | Fault:
        body = b"".join(response.stream)  # type: ignore[arg-type]  # lanes answer with a ByteStream
        headers = dict(response.headers)
        encoding = headers.get("content-encoding")
        if encoding:
            try:
                body = decode(body, encoding, self._limits)
            except EncodingError as error:
                paid = 200 <= response.status_code < 300
                return Fault(
                    kind=Kind.UNPARSABLE,
                    message=str(error),
                    billing=Billing.BILLED if paid else Billing.DOUBTFUL,
                    status=response.status_code,
                    raw=body if paid else None,
                )
        return Reply(response.status_code, headers, body, cut=trace.open_ended)


def _line(request: Request, result: Reply | Fault, trace: Trace) -> str:
    end = (
        f"{result.status}, {len(result.body)} B"
        if isinstance(result, Reply)
        else f"{result.kind}: {result.message}"
    )
    connection = "new connection" if trace.fresh else "kept connection"
    return f"{request.method} {request.path} {len(request.body)} B on a {connection} -> {end}"

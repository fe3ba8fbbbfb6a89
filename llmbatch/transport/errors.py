"""Turns an exception of httpx, and the lane's trace, into a fault."""

import re
import socket
import ssl
from collections.abc import Iterator

import httpx

from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.transport.base import Trace
from llmbatch.transport.limits import AnswerTooLarge

__all__ = ["in_words", "no_connection", "timed_out", "to_fault"]

_WORDS = 300
"""Characters kept of an exception's text: h11 quotes all of an illegal line."""


def timed_out(seconds: float, trace: Trace) -> Fault:
    """Return the fault of an attempt that our deadline ended. Once the request was sent, it may be billed."""
    if not _doubtful(trace):
        return Fault(
            kind=Kind.TIMEOUT,
            message=f"the request could not be sent within {seconds:g} s",
            retry=True,
        )
    return Fault(
        kind=Kind.TIMEOUT,
        message=f"no whole answer within {seconds:g} s; --timeout allows more",
        billing=Billing.DOUBTFUL,
        retry=True,
    )


def to_fault(error: BaseException, trace: Trace) -> Fault:
    """Return the fault of an attempt that an exception ended. Re-raises other exceptions, which are bugs."""
    message = in_words(error)[:_WORDS]
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        tls = _tls_error(error)
        if tls is not None:
            return Fault(kind=Kind.TLS, message=tls, scope=Scope.RUN)
        return Fault(kind=Kind.CONNECTION, message=message, scope=Scope.RUN, retry=True)
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.InvalidURL):
        return Fault(kind=Kind.CONFIGURATION, message=message, scope=Scope.RUN)
    if isinstance(error, AnswerTooLarge):
        return Fault(kind=Kind.TOO_LARGE, message=message, billing=Billing.BILLED, raw=error.beginning)
    if isinstance(error, httpx.TransportError):
        protocol = isinstance(error, httpx.ProtocolError)
        return Fault(
            kind=Kind.PROTOCOL if protocol else Kind.CONNECTION,
            message=message,
            billing=Billing.DOUBTFUL if _doubtful(trace) else Billing.UNBILLED,
            retry=True,
        )
    raise error


def no_connection(error: OSError, host: str, port: int) -> str:
    """Say why no connection came about, and where to: a person checks the address first."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(error, TimeoutError):
        return f"no answer from {address}"
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused by {address}"
    if isinstance(error, socket.gaierror):
        return f"cannot look up {host}: {in_words(error)}"
    return f"no connection to {address}: {in_words(error)}"


def in_words(error: BaseException) -> str:
    """Return the text of an error without the system's number; without text, as after a time-out, its type in words."""
    text = re.sub(r"^\[Errno -?\d+\] ", "", str(error))
    if re.match("[A-Z][a-z]", text):
        text = text[:1].lower() + text[1:]
    return text or re.sub("(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def _doubtful(trace: Trace) -> bool:
    return trace.sent or trace.answered


def _tls_error(error: Exception) -> str | None:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate was refused: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and cause.reason in (
            "WRONG_VERSION_NUMBER",
            "HTTP_REQUEST",
            "RECORD_LAYER_FAILURE",
        ):
            return "the server does not speak TLS at this address; is it http:// rather than https://?"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

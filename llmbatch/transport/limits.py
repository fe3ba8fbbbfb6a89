"""The caps and time-outs of lanes."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from llmbatch.core.settings import PatienceSettings

__all__ = ["AnswerTooLarge", "Limits", "socket_options"]

_EVIDENCE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps against hostile servers, and times in seconds. `idle` stays below the 60 s of many gateways."""

    head: int = 100 * 1024
    body: int = 64 * 1024 * 1024
    """Both on the wire and decoded."""
    ratio: int = 100
    """How much larger than on the wire a body may become, once it is beyond 1 MiB."""
    connect_timeout: float = PatienceSettings().connect_timeout
    timeout: float = PatienceSettings().timeout
    idle: float = 50.0


class AnswerTooLarge(httpx.ReadError):
    """A body went beyond the cap. `beginning` is kept of it."""

    def __init__(self, limits: Limits, chunks: Sequence[bytes]) -> None:
        super().__init__(f"answer beyond {limits.body} bytes")
        self.beginning = b"".join(chunks)[:_EVIDENCE]


def socket_options() -> list[tuple[int, int, int]]:
    """List the options every connection gets: no Nagle, and keep-alive probes.

    Long answers keep a connection silent for minutes; without probes, network address translators drop it
    (120 s at the strictest clouds) and the client waits for ever.
    """
    options = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
    idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
    for name, value in (
        (idle, 60),
        (getattr(socket, "TCP_KEEPINTVL", None), 60),
        (getattr(socket, "TCP_KEEPCNT", None), 5),
    ):
        if name is not None:
            options.append((socket.IPPROTO_TCP, name, value))
    return options

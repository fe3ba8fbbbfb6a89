"""Connects to the first address of a host that answers, so that a dead IPv6 route does not fail a run."""

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from llmbatch.transport.limits import socket_options

__all__ = ["Address", "dial"]

_STAGGER = 0.25
"""Seconds an address has to itself before the next one joins the race (RFC 8305)."""


class Address(NamedTuple):
    """Where to connect: the address family and what `socket.connect` takes."""

    family: int
    sockaddr: Any


async def dial(host: str, port: int) -> socket.socket:
    """Connect to the first address of the host that answers. Raises OSError."""
    addresses = await resolve(host, port)
    if len(addresses) == 1:
        return await _connect(addresses[0])
    return await _race(addresses)


async def resolve(host: str, port: int) -> list[Address]:
    """Look up a host; address families alternate, starting with the resolver's first. Raises OSError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [Address(family, (host, port))]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label of more than 63 characters
        raise OSError(f"{host[:80]!r} is not a host name") from error
    first = found[0][0]
    turns = zip_longest(
        (Address(entry[0], entry[4]) for entry in found if entry[0] == first),
        (Address(entry[0], entry[4]) for entry in found if entry[0] != first),
    )
    return [address for address in chain.from_iterable(turns) if address is not None]


async def _race(addresses: Sequence[Address]) -> socket.socket:
    """Start attempts one after the other, each a little later or when one fails; the first to connect wins."""
    running: set[asyncio.Task[socket.socket]] = set()
    failures: list[BaseException] = []
    try:
        waiting = list(reversed(addresses))
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(_connect(waiting.pop())))
            done, running = await asyncio.wait(
                running,
                timeout=_STAGGER if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            winner: socket.socket | None = None
            for task in done:
                error = task.exception()
                if error is not None:
                    failures.append(error)
                elif winner is None:
                    winner = task.result()
                else:
                    task.result().close()
            if winner is not None:
                return winner
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_discard)
        if running:
            await asyncio.wait(running)
    reasons = dict.fromkeys(map(str, failures))
    raise failures[0] if len(reasons) == 1 else OSError("; ".join(reasons))


def _discard(task: asyncio.Task[socket.socket]) -> None:
    """Close a socket that lost the race but was opened all the same."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        for level, name, value in socket_options():
            sock.setsockopt(level, name, value)
        await _until_connected(sock, address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


async def _until_connected(sock: socket.socket, sockaddr: Any) -> None:
    """Connect a socket that does not block. Raises OSError.

    uvloop's `sock_connect` sends even numeric addresses to the resolver and its threads, which is slow.
    """
    loop = asyncio.get_running_loop()
    with suppress(BlockingIOError):
        sock.connect(sockaddr)
    writable = loop.create_future()
    loop.add_writer(sock, _set_done, writable)
    try:
        await writable
    finally:
        loop.remove_writer(sock)
    if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(code, os.strerror(code))


def _set_done(writable: asyncio.Future[None]) -> None:
    if not writable.done():
        writable.set_result(None)

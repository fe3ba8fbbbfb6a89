"""`llmbatch limits`: serves shared limits to workers on several machines."""

from typing import Annotated

import typer

from llmbatch.core.environment import ENVIRONMENT
from llmbatch.core.errors import UsageError

__all__ = ["limits"]


def limits(
    rpm: Annotated[float | None, typer.Option(metavar="N", min=1, help="Requests a minute of all workers.")] = None,
    tpm: Annotated[float | None, typer.Option(metavar="N", min=1, help="Tokens a minute of all workers.")] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="USD", min=0, help="US dollars that all workers may spend, while it serves.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="HOST", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="The port; 0 takes a free one.")] = 7070,
) -> None:
    """Serve shared limits until interrupted; workers have --share-limits HOST:PORT and the same limits.

    LLMBATCH_LIMITS_TOKEN=... llmbatch limits --host 0.0.0.0 --rpm 6000

    The address is the first line that it prints. Beyond this machine it needs LLMBATCH_LIMITS_TOKEN, here and for the
    workers. Started again, it takes the last minute as used up: no minute has more than the rate.
    """
    import math
    from contextlib import suppress
    from time import monotonic

    from llmbatch.pacing.lender import Lender
    from llmbatch.parts.limits_server import LimitsServer, check_exposed
    from llmbatch.ui.streams import stdout_sink

    token = ENVIRONMENT.get("LLMBATCH_LIMITS_TOKEN") or None
    check_exposed(host, token)
    lender = Lender(monotonic(), rpm=rpm, tpm=tpm, dollars=math.inf if max_cost is None else max_cost)
    try:
        server = LimitsServer(lender, (host, port), token)
    except OSError as error:
        raise UsageError(f"cannot listen at {host}:{port}: {error.strerror}", "Choose another --port.") from error
    stdout_sink()(f"{host}:{server.port}\n".encode())
    with suppress(KeyboardInterrupt):
        server.serve()

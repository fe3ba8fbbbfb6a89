"""`llmbatch mock`: serve the built-in provider."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["mock"]


def mock(
    host: Annotated[str, typer.Option(help="Address to listen on; loopback only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8099,
    seed: Annotated[int, typer.Option(help="Answers, jitter and random faults follow from it.")] = 0,
    latency: Annotated[float, typer.Option(help="Seconds before an answer.", min=0)] = 0.0,
    jitter: Annotated[float, typer.Option(help="Up to so many seconds more.", min=0)] = 0.0,
    rpm: Annotated[int | None, typer.Option(help="Requests a minute; beyond: 429.", min=1)] = None,
    tpm: Annotated[int | None, typer.Option(help="Tokens a minute; beyond: 429.", min=1)] = None,
    concurrency_limit: Annotated[int | None, typer.Option(help="Requests in flight; beyond: 429.", min=1)] = None,
    fault_rate: Annotated[float, typer.Option(help="Share of requests that fail.", min=0, max=1)] = 0.0,
    ledger: Annotated[Path | None, typer.Option(help="Append a line for every request to this file.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="LLMBATCH_MOCK_KEY", help="The only key that is let in.")
    ] = None,
) -> None:
    r"""Serve the built-in mock provider until interrupted; its base URL is printed first.

    Prompts may order faults: [\[mock:status code=429 times=2]], [\[mock:hang]], [\[mock:cut]] ...
    """
    from llmbatch.core.errors import UsageError
    from llmbatch.mock.server import run
    from llmbatch.mock.settings import MockSettings

    if host not in ("127.0.0.1", "::1", "localhost"):
        raise UsageError(f"--host {host}: the mock serves loopback only", "Use 127.0.0.1.")
    settings = MockSettings(
        host=host,
        port=port,
        seed=seed,
        latency=latency,
        jitter=jitter,
        rpm=rpm,
        tpm=tpm,
        concurrency_limit=concurrency_limit,
        fault_rate=fault_rate,
        ledger=str(ledger) if ledger is not None else None,
        api_key=api_key,
    )
    try:
        run(settings, started=lambda url: print(url, flush=True))
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}", "Try --port 0.") from error

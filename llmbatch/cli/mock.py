"""`llmbatch mock`: serves the built-in provider."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmbatch.cli.completion import choose

if TYPE_CHECKING:
    from llmbatch.mock.random_refusals import RandomRefusal

__all__ = ["mock"]

HOSTS = ("127.0.0.1", "::1", "localhost")


def mock(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", autocompletion=choose(*HOSTS), help="Address to listen on; loopback only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="Port; 0 takes a free one.", min=0, max=65535)] = 8099,
    seed: Annotated[int, typer.Option(metavar="N", help="Answers, jitter and random faults follow from it.")] = 0,
    latency: Annotated[float, typer.Option(metavar="S", help="Seconds before an answer.", min=0)] = 0.0,
    jitter: Annotated[float, typer.Option(metavar="S", help="Up to so many seconds more.", min=0)] = 0.0,
    sigma: Annotated[
        float, typer.Option(metavar="X", help="Spread of the latency, lognormal; 0.3 is usual.", min=0)
    ] = 0.0,
    slots: Annotated[
        int | None, typer.Option(metavar="N", help="Requests worked on at once; others queue.", min=1)
    ] = None,
    refusal_latency: Annotated[float, typer.Option(metavar="S", help="Seconds before a refusal.", min=0)] = 0.0,
    rpm: Annotated[int | None, typer.Option(metavar="N", help="Requests a minute; beyond: 429.", min=1)] = None,
    tpm: Annotated[int | None, typer.Option(metavar="N", help="Tokens a minute; beyond: 429.", min=1)] = None,
    window: Annotated[
        float, typer.Option(metavar="S", help="Seconds in which --rpm and --tpm allow their share.", min=0.001)
    ] = 60.0,
    burst: Annotated[
        int | None, typer.Option(metavar="N", help="--rpm is a bucket of this size that refills.", min=1)
    ] = None,
    announce: Annotated[bool, typer.Option(help="Tell of limits in headers, and how long to wait.")] = True,
    loading: Annotated[
        float, typer.Option(metavar="S", help="Seconds after the start in which a model loads: 503.", min=0)
    ] = 0.0,
    concurrency_limit: Annotated[
        int | None, typer.Option(metavar="N", help="Requests in flight; beyond: 429.", min=1)
    ] = None,
    fault_rate: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of requests that fail.", min=0, max=1)
    ] = 0.0,
    random_refusals: Annotated[
        list[str] | None,
        typer.Option(
            help="Refuse a share of all requests, as 429:0.05:1; repeatable.",
            metavar="CODE:SHARE[:RETRY_AFTER]",
            autocompletion=choose("429:0.05:1", "503:0.05", "529:0.05"),
        ),
    ] = None,
    silent_close: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Share of streamed answers after which the connection is lost.", min=0, max=1
        ),
    ] = 0.0,
    ledger: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append a line for every request to this file.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(metavar="KEY", envvar="LLMBATCH_MOCK_KEY", help="The only key that is let in.")
    ] = None,
    batch_delay: Annotated[
        float, typer.Option(metavar="S", help="Seconds from the create of a batch to its end.", min=0)
    ] = 10.0,
    batch_expire: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of a batch's rows that expire.", min=0, max=1)
    ] = 0.0,
    batch_row_errors: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of rows that fail.", min=0, max=1)
    ] = 0.0,
    batch_missing: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of rows that run and are in no file.", min=0, max=1)
    ] = 0.0,
    batch_lost_create: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Share of creates whose batch is made, but whose answer is lost.", min=0, max=1
        ),
    ] = 0.0,
    batch_lag: Annotated[
        float, typer.Option(metavar="S", help="Seconds for which a new batch is unknown: 404, and in no list.", min=0)
    ] = 0.0,
    batch_queue: Annotated[
        int | None, typer.Option(metavar="N", help="Enqueued tokens of a model; a batch beyond fails.", min=1)
    ] = None,
    batch_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep files and batches here, for the next start too.")
    ] = None,
) -> None:
    r"""Serve the built-in mock provider until interrupted; its base URL is printed first.

    Prompts may order faults: [\[mock:status code=429 times=2]], [\[mock:hang]], [\[mock:cut]] ...

    Rows of batches: [\[mock:batch expire]], missing, invalid, duplicate-row, stranger, unreadable.
    """
    from llmbatch.core.errors import UsageError
    from llmbatch.mock.server import run
    from llmbatch.mock.settings import MockSettings

    if host not in HOSTS:
        raise UsageError(f"--host {host}: the mock serves loopback only", "Use 127.0.0.1.")
    if batch_dir is not None:
        try:
            batch_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--batch-dir {batch_dir}: {error.strerror}", "Name a folder that can be made.") from error
    settings = MockSettings(
        host=host,
        port=port,
        seed=seed,
        latency=latency,
        jitter=jitter,
        sigma=sigma,
        slots=slots,
        refusal_latency=refusal_latency,
        rpm=rpm,
        tpm=tpm,
        window=window,
        burst=burst,
        announce=announce,
        loading=loading,
        concurrency_limit=concurrency_limit,
        fault_rate=fault_rate,
        random_refusals=tuple(map(_random_refusal, random_refusals or ())),
        silent_close=silent_close,
        ledger=str(ledger) if ledger is not None else None,
        api_key=api_key,
        batch_delay=batch_delay,
        batch_expire=batch_expire,
        batch_row_errors=batch_row_errors,
        batch_missing=batch_missing,
        batch_lost_create=batch_lost_create,
        batch_lag=batch_lag,
        batch_queue=batch_queue,
        batch_dir=str(batch_dir) if batch_dir is not None else None,
    )
    try:
        run(settings, started=lambda url: print(url, flush=True))
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}", "Try --port 0.") from error


def _random_refusal(text: str) -> "RandomRefusal":
    from llmbatch.core.errors import UsageError
    from llmbatch.mock.random_refusals import RandomRefusal

    try:
        return RandomRefusal.parse(text)
    except ValueError:
        raise UsageError(
            f"--random-refusals {text!r} is not CODE:SHARE[:RETRY_AFTER]", "Examples: 429:0.05, 503:0.1:2."
        ) from None

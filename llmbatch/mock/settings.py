"""The settings of a mock provider."""

from dataclasses import dataclass

from llmbatch.mock.random_refusals import RandomRefusal

__all__ = ["MockSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MockSettings:
    """Where the provider listens, how fast it answers, what it refuses, and what it logs. Times in seconds."""

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 0
    latency: float = 0.0
    """Before the answer begins."""
    jitter: float = 0.0
    """Added to the latency: uniform between 0 and this, the same for equal requests."""
    sigma: float = 0.0
    """The spread of a lognormal latency: its median is the latency, and two thirds lie within a factor of e**sigma."""
    slots: int | None = None
    """So many requests are worked on at once, each for the latency; the others queue."""
    refusal_latency: float = 0.0
    """Before a refusal."""
    rpm: int | None = None
    tpm: int | None = None
    window: float = 60.0
    """The time over which `rpm` and `tpm` are enforced; with 1.0, a sixtieth of them each second."""
    burst: int | None = None
    """`rpm` is a bucket of this size that refills evenly, instead of a limit on any window."""
    announce: bool = True
    """Tell of limits in headers, and after a refusal for how long to wait."""
    loading: float = 0.0
    """So many seconds after the start a model is still being loaded: 503."""
    concurrency_limit: int | None = None
    """More requests in flight than this are refused with 429."""
    fault_rate: float = 0.0
    """The share of requests that meet a random fault, the same one for the same attempt at equal requests."""
    random_refusals: tuple[RandomRefusal, ...] = ()
    """Shares of the requests that are refused whatever the load is."""
    silent_close: float = 0.0
    """After this share of streamed answers the connection looks open, but is closed once the next request comes."""
    ledger: str | None = None
    """A file that gets one JSON line per request."""
    api_key: str | None = None
    """When set, requests with any other bearer key get 401."""
    batch_delay: float = 10.0
    """From the creation of a batch to its end."""
    batch_expire: float = 0.0
    """The share of the rows of batches that expire: they do not run, and their batch ends as expired."""
    batch_row_errors: float = 0.0
    """The share of rows that fail with a 429, 500 or 503."""
    batch_missing: float = 0.0
    """The share of rows that run and are in no file."""
    batch_lost_create: float = 0.0
    """The share of creates whose batch is made, but whose answer is lost."""
    batch_lag: float = 0.0
    """So long after its creation a batch is unknown: 404, and in no list."""
    batch_queue: int | None = None
    """Enqueued tokens of a model; a batch beyond fails."""
    batch_dir: str | None = None
    """Where files and batches are kept, also after the provider's end; else in a temporary folder."""

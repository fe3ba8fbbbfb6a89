"""The settings of a mock provider."""

from dataclasses import dataclass

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
    rpm: int | None = None
    tpm: int | None = None
    window: float = 60.0
    """The time over which `rpm` and `tpm` are enforced; with 1.0, a sixtieth of them each second."""
    concurrency_limit: int | None = None
    """More requests in flight than this are refused with 429."""
    fault_rate: float = 0.0
    """The share of requests that meet a random fault, the same one for the same attempt at equal requests."""
    ledger: str | None = None
    """A file that gets one JSON line per request."""
    api_key: str | None = None
    """When set, requests with any other bearer key get 401."""

"""The protocol by which the pipeline uses a provider's batch API, beside its live requests, and is used by it."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from llmbatch.core.errors import LlmbatchError
from llmbatch.core.events import Finished
from llmbatch.core.job import Job
from llmbatch.core.snapshot import BatchesState
from llmbatch.engine.writer import Writer

__all__ = ["AccountOfBatches", "Batches", "EarlierRecords", "Live"]


class EarlierRecords(Protocol):
    """The records that earlier runs put into batches, as far as the books of a run count them."""

    @property
    def resolved(self) -> int:
        """How many of this input came to an end in this run."""
        ...

    @property
    def others(self) -> int:
        """How many came to an end though they are not in this input."""
        ...


class AccountOfBatches(Protocol):
    """The records of this run that have no result line, once all is over."""

    held: int
    """Held in doubt."""
    not_started: int
    """Never asked for."""


class Live(NamedTuple):
    """The live side of a run, as batches use it."""

    writer: Writer
    """Where outcomes go."""
    send: Callable[[list[Job]], None]
    """Sends jobs live."""
    jobs: Callable[[], int]
    """Counts the jobs that are live."""
    fail: Callable[[LlmbatchError], None]
    """Ends the run."""
    changed: Callable[[], None]
    """Lets the pipeline look whether it is done, or may read more."""


class Batches(Protocol):
    """Has records answered by a batch API, and hands their outcomes to the writer of the pipeline."""

    def connect(self, live: Live) -> None:
        """Connect with the live side of the run. Comes before all else."""
        ...

    async def run(self) -> None:
        """Serve them until all is done, or the run is to end."""
        ...

    def add(self, jobs: Iterable[Job]) -> list[Job]:
        """Take records; return those that are to go live."""
        ...

    def input_ended(self) -> None:
        """Note that no more records come."""
        ...

    def finished(self, event: Finished) -> None:
        """Note what was written."""
        ...

    def live_idle(self) -> None:
        """Note that nothing is live any more."""
        ...

    def stop(self) -> None:
        """Begin nothing new."""
        ...

    @property
    def takes_new(self) -> bool:
        """Whether the records of the input go into batches."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether more records may be read."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be done any more, once the input has ended."""
        ...

    # What the books of a run count.

    def state(self) -> BatchesState | None:
        """Tell where they stand; None when there are none."""
        ...

    def end_account(self) -> None:
        """Count what was read but never asked for, once all is over."""
        ...

    @property
    def pending(self) -> int:
        """Count the records of this run that are still out."""
        ...

    @property
    def account(self) -> AccountOfBatches:
        """What became of the other records of this run."""
        ...

    @property
    def earlier(self) -> EarlierRecords:
        """The records that earlier runs put there."""
        ...

"""What happens in a run, for those who watch it."""

from dataclasses import dataclass
from enum import Enum

from llmbatch.core.fault import Fault
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import InvalidRecord, Outcome

__all__ = ["Event", "Finished", "Notice", "Paused", "Retrying", "ServerChange", "Stopping"]


@dataclass(frozen=True, slots=True)
class Finished:
    """These records are written."""

    outcomes: list[Outcome | InvalidRecord]


@dataclass(frozen=True, slots=True)
class Retrying:
    """An attempt failed and the job will be sent again in `wait` seconds."""

    job: Job
    fault: Fault
    wait: float


@dataclass(frozen=True, slots=True)
class Paused:
    """A route is left alone for `wait` seconds from now because of a fault, `added` of them new."""

    route: Route
    fault: Fault
    wait: float
    added: float


@dataclass(frozen=True, slots=True)
class Stopping:
    """Nothing new is sent; what is in flight finishes within `grace` seconds."""

    reason: str
    in_flight: int
    grace: float


@dataclass(frozen=True, slots=True)
class Notice:
    """One line a person should read."""

    text: str


class ServerChange(Enum):
    """What becomes of one of several servers."""

    SUSPENDED = "is paused; one request at a time tries it again"
    WORKS_AGAIN = "works again"
    LEFT_OUT = "gets no more requests in this run"


Event = Finished | Retrying | Paused | Stopping | Notice

"""Shared limits as an actor of Ray with a name: who needs it first starts it, and another one when that is gone."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llmbatch.app.shared import Shared
from llmbatch.core.errors import LlmbatchError
from llmbatch.core.ports import Observer
from llmbatch.core.settings import PaceSettings, StopSettings
from llmbatch.pacing.cost import Price
from llmbatch.pacing.lender import Ask, Grant
from llmbatch.parts.hub import LenderHere
from llmbatch.parts.loans import Borrower

__all__ = ["RayLimits", "limits_on_ray", "nothing_left"]

NAMESPACE = "llmbatch"
TIMEOUT = 5.0
"""Seconds that a call may take; it starts the actor, if need be."""


class LimitsActor:
    """The actor. After a restart it lends no dollars: what was lent before is not known."""

    def __init__(self, rpm: float | None, tpm: float | None, dollars: float) -> None:
        import ray

        if ray.get_runtime_context().was_current_actor_reconstructed:
            dollars = nothing_left(dollars)
        self._lender = LenderHere(rpm=rpm, tpm=tpm, dollars=dollars)

    def lend(self, ask: Ask) -> Grant:
        """Lend slices of the limits."""
        return self._lender.lend(ask)

    def borrow(self, dollars: float) -> float:
        """Lend a part of the budget."""
        return self._lender.borrow(dollars)


class RayLimits:
    """Lends what the actor of a name lends. Where it has to start one, that has the limits of these settings.

    The actor ends with the process that started it. One that is started after another one takes the last minute as
    used up and lends no dollars.
    """

    failure: LlmbatchError | None = None

    def __init__(self, name: str, pace: PaceSettings, dollars: float) -> None:
        self._name, self._pace, self._dollars = f"limits {name}", pace, dollars
        self._actor: Any = None
        self._had_one = False

    def lend(self, ask: Ask) -> Grant:
        """Ask for slices of the limits; nothing while there is no actor."""
        found = self._call("lend", ask)
        return found if found is not None else Grant()

    def borrow(self, dollars: float) -> float:
        """Ask for a part of the budget."""
        return self._call("borrow", dollars) or 0.0

    def _call(self, method: str, argument: Any) -> Any:
        import ray

        for _ in range(2):
            try:
                if self._actor is None:
                    self._actor = self._find()
                reply = ray.get(getattr(self._actor, method).remote(argument), timeout=TIMEOUT)
            except ray.exceptions.GetTimeoutError:
                return None
            except (ray.exceptions.RayError, ValueError):  # ValueError: its name is that of one that is just ending
                self._actor = None
            else:
                self._had_one = True
                return reply
        return None

    def _find(self) -> Any:
        import ray

        dollars = nothing_left(self._dollars) if self._had_one else self._dollars
        options = {"name": self._name, "namespace": NAMESPACE, "get_if_exists": True, "num_cpus": 0, "max_restarts": -1}
        return ray.remote(LimitsActor).options(**options).remote(self._pace.rpm, self._pace.tpm, dollars)


def nothing_left(dollars: float) -> float:
    """Return what may be lent of a budget when it is not known what was lent before."""
    return min(dollars, 0.0) if math.isfinite(dollars) else dollars


@contextmanager
def limits_on_ray(
    name: str, pace: PaceSettings, stop: StopSettings, price: Price | None
) -> Iterator[tuple[Shared | None, Sequence[Observer]]]:
    """Yield limits that are borrowed from the actor while the context lasts, and the observer that tells of refusals.

    None where these settings have no limits.
    """
    ceiling = stop.ceiling(0.0)[0] if stop.has_ceiling else math.inf
    limits = RayLimits(name, pace, ceiling)
    borrower = Borrower.of(pace, stop, price, limits.lend, limits.borrow)
    if borrower is None:
        yield None, ()
        return
    with borrower.at_work():
        yield borrower.shared, (borrower.see,)

"""Decides whether and when a failed attempt is made again. Pure: the random source is passed in."""

from collections.abc import Callable
from typing import NamedTuple

from llmbatch.core.attempts import Attempts
from llmbatch.core.fault import Billing, Fault

__all__ = ["RetryPolicy", "backoff", "refused_apart"]

Random = Callable[[], float]
"""Uniform in [0, 1)."""

CAP = 60.0
SINGLED_OUT, OTHERS = 6, 4
"""A job is set apart after so many refusals, with so many answers to others between two of them on average."""


def backoff(attempt: int, base: float, random: Random) -> float:
    """Draw a wait in seconds before retry `attempt` (1, 2, …): full jitter under `base` doubled each time, capped.

    Full jitter spreads a crowd best (AWS, "Exponential backoff and jitter").
    """
    return random() * min(CAP, base * 2.0 ** min(attempt - 1, 16))


def refused_apart(attempts: Attempts, answers: int) -> int | None:
    """Count a refusal of a job; return how many in a row it had since it was set apart, None while it is not.

    A job is set apart when it is refused again and again while others are answered. `answers` are those of its gate so
    far: without one since the last refusal there is no other job to compare with, as any limit refuses the last job of
    a run; and a job that is apart may have been refused for what another one took.
    """
    times, before, last = attempts.refused or (0, answers, answers)
    attempts.refused = times + 1, before, answers
    if attempts.apart is not None:
        attempts.apart = 0 if answers > last else attempts.apart + 1
    elif answers > last and times + 1 >= SINGLED_OUT and answers - before >= OTHERS * times:
        attempts.apart = 0
    return attempts.apart


class RetryPolicy(NamedTuple):
    """How often a record's request may be sent again, by what the failed attempt may have cost.

    `unknown_outcomes` and `server_errors` bound what may already be billed; both are 0 under `--in-doubt hold`.
    """

    retries: int = 5
    unusable_answers: int = 0
    """Extra attempts for a paid answer that is not what was asked for."""
    unknown_outcomes: int = 1
    server_errors: int = 2

    def wait(self, attempts: Attempts, fault: Fault, random: Random) -> float | None:
        """Return the seconds until the job may be sent again, None when it may not. `attempts` has this one.

        A wait that the server asked for is a minimum, with up to a tenth (and a second) more, so that jobs with the
        same wait do not come back together.
        """
        if not fault.retry:
            return None
        match fault.billing:
            case Billing.BILLED:
                return 0.0 if 0 < attempts.unusable_answers <= self.unusable_answers else None
            case Billing.THROTTLED:
                wait = backoff(1, 1.0, random)
            case Billing.DOUBTFUL:
                if attempts.unknown_outcomes > self.unknown_outcomes:
                    return None
                wait = backoff(attempts.unknown_outcomes, 2.0, random)
            case Billing.SERVER:
                if attempts.server_errors > self.server_errors:
                    return None
                wait = backoff(attempts.server_errors, 2.0, random)
            case Billing.UNBILLED:
                if attempts.retries > self.retries:
                    return None
                wait = backoff(attempts.retries, 0.5, random)
        if fault.wait is not None:
            wait = max(wait, fault.wait) + random() * min(10.0, 1.0 + 0.1 * fault.wait)
        return wait

"""Decides whether and when a failed attempt is made again. Pure: the random source is passed in."""

from collections.abc import Callable
from typing import NamedTuple

from llmbatch.core.attempts import Attempts
from llmbatch.core.fault import Billing, Fault

__all__ = ["RetryPolicy", "backoff", "singled_out"]

Random = Callable[[], float]
"""Uniform in [0, 1)."""

CAP = 60.0


def backoff(attempt: int, base: float, random: Random) -> float:
    """Draw a wait in seconds before retry `attempt` (1, 2, …): full jitter under `base` doubled each time, capped.

    Full jitter spreads a crowd best (AWS, "Exponential backoff and jitter").
    """
    return random() * min(CAP, base * 2.0 ** min(attempt - 1, 16))


def singled_out(attempts: Attempts, answers: int, refusals: int) -> int:
    """Count a refusal of a job; return how many there were while hardly any other job was refused, else 0.

    `answers` and `refusals` are those of its gate so far. Without an answer since the last refusal there is no
    other job to compare with: any limit refuses the last job of a run alone.
    """
    times, answers_before, refusals_before, answers_last = attempts.refused or (0, answers, refusals, -1)
    times += 1
    attempts.refused = times, answers_before, refusals_before, answers
    others = refusals - refusals_before - times + 1
    return times if answers > answers_last and answers - answers_before >= max(times, 4 * others) else 0


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

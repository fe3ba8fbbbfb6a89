"""What limits a run, in words."""

import pytest

from llmbatch.core.snapshot import Cause, RouteState
from llmbatch.ui.causes import limits_line, shares_line


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (RouteState("m", 3, 9, Cause.NAMED_RATE, rate=2400.0), "limited to 2,400 requests a minute"),
        (RouteState("m", 3, 9, Cause.ANNOUNCED_RATE, rate=60.0), "60 requests a minute, announced by the server"),
        (RouteState("m", 3, 9, Cause.ANNOUNCED_RATE, rate=9e4, unit="tokens"), "90,000 tokens a minute"),
        (RouteState("m", 3, 9, Cause.LEARNED_RATE, rate=61.2), "about 61 requests a minute, learned from refusals"),
        (RouteState("m", 1, 1, Cause.WALL, closed_for=12.4, reason="rate limited"), "rate limited, 12 s"),
        (RouteState("m", 1, 1, Cause.WALL, closed_for=0.1), "the server refuses more, 1 s"),
        (RouteState("m", 64, 64, Cause.SCATTERED, share=0.052), "refuses 5% of the requests, whatever the load"),
        (RouteState("m", 64, 64, Cause.CEILING, share=0.08), "64 in flight; 8% of the requests are refused, whatever"),
        (RouteState("m", 64, 64, Cause.LATENCY), "more in flight would only be slower"),
        (RouteState("m", 64, 64, Cause.CEILING), "at the ceiling of 64 in flight"),
        (RouteState("m", 0, 64, Cause.INPUT), "waiting for input"),
        (RouteState("m", 0, 64, None), ""),
    ],
)
def test_each_cause_has_words(state: RouteState, words: str) -> None:
    assert words in limits_line([state])
    assert bool(limits_line([state])) == bool(words)


@pytest.mark.parametrize("cause", Cause)
def test_no_cause_is_without_words(cause: Cause) -> None:
    assert limits_line([RouteState("m", 1, 1, cause)]) and shares_line({cause: 0.5}).endswith("50% of the time")


def test_routes_are_told_apart_where_they_differ_and_only_there() -> None:
    ceiling, named = Cause.CEILING, Cause.NAMED_RATE
    same = [RouteState(name, 8, 8, ceiling) for name in ("one", "two")]
    assert limits_line(same) == "at the ceiling of 8 in flight"
    differing = [*same, RouteState("\x1b[2Jthree", 1, 8, named, rate=60.0)]
    line = limits_line(differing)
    assert "one: at the ceiling" in line and "three: limited to 60 requests a minute" in line and "\x1b" not in line
    many = [RouteState(f"model-{n}", n, n, ceiling) for n in range(1, 9)]
    assert "; and 5 more" in limits_line(many)


def test_the_summary_names_causes_by_their_shares() -> None:
    shares = {"announced_rate": 0.62, "ceiling": 0.2, "input": 0.001}
    assert shares_line(shares) == "the rate that the server announces 62% of the time, the ceiling in flight 20%"
    assert shares_line({}) == ""
